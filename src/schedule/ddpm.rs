//! DDPM: ancestral sampling (Ho et al. 2020, Algorithm 2; diffusers scheduling_ddpm.py).

use super::{Combination, LearnedSigma, Row, Run, forward};
use crate::Result;
use crate::config::VarianceType;

/// x_{t−1} ~ N(μ̃_t(x_t, x̂0), σ_t²), Ho et al. 2020, equation 7. The previous timestep is the next one of the run.
pub(super) fn rows(run: &Run) -> Result<Vec<Row>> {
    let timesteps = forward::timesteps(run)?;
    let rows = timesteps.iter().enumerate().map(|(i, &timestep)| {
        let alpha_cumprod = run.alphas_cumprod[timestep];
        let alpha_cumprod_prev = timesteps.get(i + 1).map_or(1.0, |&prev| run.alphas_cumprod[prev]);
        row(run, timestep, alpha_cumprod, alpha_cumprod_prev)
    });
    Ok(rows.collect())
}

fn row(run: &Run, timestep: usize, alpha_cumprod: f64, alpha_cumprod_prev: f64) -> Row {
    let config = run.config;
    let alpha = alpha_cumprod / alpha_cumprod_prev;
    let beta = 1.0 - alpha;
    let posterior_mean_coef1 = alpha_cumprod_prev.sqrt() * beta / (1.0 - alpha_cumprod);
    let posterior_mean_coef2 = alpha.sqrt() * (1.0 - alpha_cumprod_prev) / (1.0 - alpha_cumprod);
    let posterior_variance = forward::posterior_variance(alpha_cumprod, alpha_cumprod_prev).max(1e-20);
    let (sigma, learned_sigma) = match config.variance_type {
        VarianceType::FixedSmall | VarianceType::FixedSmallLog => (posterior_variance.sqrt(), None),
        VarianceType::FixedLarge => (beta.sqrt(), None),
        VarianceType::Learned => (1.0, Some(LearnedSigma::Variance)),
        VarianceType::LearnedRange => {
            (1.0, Some(LearnedSigma::Range { min_log: libm::log(posterior_variance), max_log: libm::log(beta) }))
        }
    };
    let sigma = if timestep > 0 { sigma } else { 0.0 };
    let row = Row {
        learned_sigma,
        prev: Combination::X * posterior_mean_coef2
            + Combination::X0 * posterior_mean_coef1
            + Combination::NOISE * sigma,
        draws_noise: timestep > 0,
        ..Row::at(config.prediction_type, timestep as f64, alpha_cumprod)
    };
    row.bounded(config)
}
