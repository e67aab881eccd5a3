//! The midpoint method in ln σ (Karras et al. 2022; diffusers scheduling_k_dpm_2_discrete.py and
//! scheduling_k_dpm_2_ancestral_discrete.py).

use super::sigmas::{Sigmas, ancestral, derivative, row, sigmas, table, timestep};
use super::{Combination, Row, Run};
use crate::Result;

/// A step to the middle, and one from where it began with the slope found there; the last step, to 0, is Euler's.
pub(super) fn rows(run: &Run, with_noise: bool) -> Result<(f64, Vec<Row>)> {
    let Sigmas { timesteps, sigmas, init_noise_sigma } = sigmas(run)?;
    let table = table(run.alphas_cumprod);
    let round = |t: f64| if run.config.use_karras_sigmas { t.round_ties_even() } else { t };
    let mut rows = Vec::with_capacity(2 * timesteps.len());
    for (i, pair) in sigmas.windows(2).enumerate() {
        let (sigma, next) = (pair[0], pair[1]);
        let (down, up) = if with_noise { ancestral(sigma, next) } else { (next, 0.0) };
        let last = i + 1 == timesteps.len();
        let middle = if last { 0.0 } else { (sigma * down).sqrt() };
        let prev = Combination::X + derivative(sigma) * (middle - sigma);
        rows.push(Row { prev, keep: vec![(0, Combination::X)], ..row(run, round(timesteps[i]), sigma) });
        if !last {
            let prev = Combination::kept(0) + derivative(middle) * (down - sigma) + Combination::NOISE * up;
            let t = timestep(&table, middle);
            rows.push(Row { prev, draws_noise: with_noise, ..row(run, t, middle) });
        }
    }
    Ok((init_noise_sigma, rows))
}
