//! A linear multistep method in σ: Adams–Bashforth with steps of unequal length (k-diffusion; diffusers
//! scheduling_lms_discrete.py).

use super::sigmas::{Sigmas, derivative, row, sigmas};
use super::{Combination, Row, Run, each};
use crate::Result;

/// How many slopes are kept.
const KEPT: usize = 4;

/// x' = x + ∫ p(σ) dσ, with p the polynomial through the latest slopes.
pub(super) fn rows(run: &Run) -> Result<(f64, Vec<Row>)> {
    let Sigmas { timesteps, sigmas, init_noise_sigma } = sigmas(run)?;
    let row = |i: usize| {
        let slope = derivative(sigmas[i]);
        let order = run.options.order.min(i + 1);
        let prev = (0..order).fold(Combination::X, |prev, j| {
            let slope = if j == 0 { slope } else { Combination::kept((i - j) % KEPT) };
            prev + slope * weight(&sigmas, i, j, order)
        });
        Row { prev, keep: vec![(i % KEPT, slope)], ..row(run, timesteps[i], sigmas[i]) }
    };
    Ok((init_noise_sigma, each(timesteps.len(), &row)))
}

/// The integral from σ_i to σ_{i+1} of the Lagrange polynomial that is 1 at σ_{i−j} and 0 at the other slopes' σ.
fn weight(sigmas: &[f64], i: usize, j: usize, order: usize) -> f64 {
    // Two points of Gauss and Legendre integrate a cubic exactly.
    let (centre, half) = ((sigmas[i + 1] + sigmas[i]) / 2.0, (sigmas[i + 1] - sigmas[i]) / 2.0);
    let lagrange = |sigma: f64| -> f64 {
        let others = (0..order).filter(|&k| k != j);
        others.map(|k| (sigma - sigmas[i - k]) / (sigmas[i - j] - sigmas[i - k])).product()
    };
    let offset = half / 3_f64.sqrt();
    half * (lagrange(centre - offset) + lagrange(centre + offset))
}
