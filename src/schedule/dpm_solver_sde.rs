//! DPM-Solver++ of second order for the SDE, in σ (Lu et al. 2022b; k-diffusion's `sample_dpmpp_sde`; diffusers
//! scheduling_dpmsolver_sde.py).

use super::sigmas::{Sigmas, ancestral, row, sigmas, table, timestep};
use super::{Combination, Row, Run};
use crate::Result;

/// A step to the middle in ln σ, and one from where it began with the x̂0 found there; the last step, to 0, is Euler's.
///
/// Both add noise, which is the same Brownian motion's: over the whole step it is that to the middle and what comes after.
/// Noise is not kept, but that to the middle follows from where it led.
///
/// # Errors
/// When a timestep lies beyond T.
pub(super) fn rows(run: &Run) -> Result<(f64, Vec<Row>)> {
    let Sigmas { timesteps, sigmas, init_noise_sigma } = sigmas(run)?;
    let table = table(run.alphas_cumprod);
    let mut rows = Vec::with_capacity(2 * timesteps.len());
    for (i, pair) in sigmas.windows(2).enumerate() {
        let (sigma, next) = (pair[0], pair[1]);
        if next == 0.0 {
            rows.push(Row { prev: Combination::X0, ..row(run, timesteps[i], sigma) });
            continue;
        }
        let middle = (sigma * next).sqrt();
        let (down, up) = ancestral(sigma, middle);
        let first = Combination::X * (down / sigma) + Combination::X0 * (1.0 - down / sigma);
        let (down, up_whole) = ancestral(sigma, next);
        // The shares of both parts of the motion.
        let (to_middle, after) =
            (((sigma - middle) / (sigma - next)).sqrt(), ((middle - next) / (sigma - next)).sqrt());
        let again = up_whole * to_middle / up;
        let kept = Combination::X * (down / sigma) - first * again;
        let prev = first + Combination::NOISE * up;
        rows.push(Row { prev, keep: vec![(0, kept)], draws_noise: true, ..row(run, timesteps[i], sigma) });
        let prev = Combination::kept(0)
            + Combination::X * again
            + Combination::X0 * (1.0 - down / sigma)
            + Combination::NOISE * (up_whole * after);
        let t = timestep(&table, middle);
        rows.push(Row { prev, draws_noise: true, ..row(run, t, middle) });
    }
    Ok((init_noise_sigma, rows))
}
