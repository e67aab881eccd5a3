//! Euler's and Heun's methods in σ (Karras et al. 2022, Algorithm 2 without churn; diffusers
//! scheduling_euler_discrete.py, scheduling_euler_ancestral_discrete.py, scheduling_heun_discrete.py).

use super::sigmas::{Sigmas, ancestral as ancestral_step, derivative, row, sigmas};
use super::{Combination, Row, Run};
use crate::Result;

/// x' = x + (σ' − σ) dx/dσ.
pub(super) fn euler(run: &Run) -> Result<(f64, Vec<Row>)> {
    let Sigmas { timesteps, sigmas, init_noise_sigma } = sigmas(run)?;
    let rows = timesteps.iter().zip(sigmas.windows(2)).map(|(&t, pair)| {
        let prev = Combination::X + derivative(pair[0]) * (pair[1] - pair[0]);
        Row { prev, ..row(run, t, pair[0]) }
    });
    Ok((init_noise_sigma, rows.collect()))
}

/// A step further down than σ', and noise back up to it. Noise is drawn in every step, also where it counts for nothing.
pub(super) fn ancestral(run: &Run) -> Result<(f64, Vec<Row>)> {
    let Sigmas { timesteps, sigmas, init_noise_sigma } = sigmas(run)?;
    let rows = timesteps.iter().zip(sigmas.windows(2)).map(|(&t, pair)| {
        let (down, up) = ancestral_step(pair[0], pair[1]);
        let prev = Combination::X + derivative(pair[0]) * (down - pair[0]) + Combination::NOISE * up;
        Row { prev, draws_noise: true, ..row(run, t, pair[0]) }
    });
    Ok((init_noise_sigma, rows.collect()))
}

/// An Euler step to σ', a second evaluation there, and the mean of both slopes; the last step, to 0, is Euler's.
pub(super) fn heun(run: &Run) -> Result<(f64, Vec<Row>)> {
    let Sigmas { timesteps, sigmas, init_noise_sigma } = sigmas(run)?;
    let mut rows = Vec::with_capacity(2 * timesteps.len());
    for (i, pair) in sigmas.windows(2).enumerate() {
        let (sigma, next) = (pair[0], pair[1]);
        let slope = derivative(sigma);
        let prev = Combination::X + slope * (next - sigma);
        // Half of the first slope is for the second evaluation to add to.
        let halfway = Combination::X + slope * (0.5 * (next - sigma));
        rows.push(Row { prev, keep: Some((0, halfway)), ..row(run, timesteps[i], sigma) });
        if let Some(&t) = timesteps.get(i + 1) {
            let prev = Combination::kept(0) + derivative(next) * (0.5 * (next - sigma));
            rows.push(Row { prev, ..row(run, t, next) });
        }
    }
    Ok((init_noise_sigma, rows))
}
