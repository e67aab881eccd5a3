//! The noise level σ = √((1 − ᾱ) / ᾱ), in which several samplers move (Karras et al. 2022).
//!
//! There x is √(σ² + 1) times what the network was trained on, so that x = x_0 + σ ε.

use super::forward::linspace;
use super::{Combination, Row, Run, beta_distribution, edm, forward, model_from_gradient};
use crate::Result;
use crate::config::{Family, FinalSigmasType, InterpolationType, PredictionType, TimestepSpacing, TimestepType};

/// The levels of a run.
pub(super) struct Sigmas {
    /// t at each level, as the model is told it.
    pub timesteps: Vec<f64>,
    /// σ at each, and the one after the last evaluation.
    pub sigmas: Vec<f64>,
    /// What standard normal noise is multiplied by to begin with.
    pub init_noise_sigma: f64,
}

/// σ of every timestep of the forward process.
pub(crate) fn table(alphas_cumprod: &[f64]) -> Vec<f64> {
    alphas_cumprod.iter().map(|alpha| ((1.0 - alpha) / alpha).sqrt()).collect()
}

/// The levels of diffusers' Euler, Heun, LMS and KDPM2 schedulers (scheduling_euler_discrete.py, `set_timesteps`).
///
/// # Errors
/// When a timestep lies beyond T.
pub(super) fn sigmas(run: &Run) -> Result<Sigmas> {
    let &Run { config, steps, .. } = run;
    let total = config.num_train_timesteps;
    let table = table(run.alphas_cumprod);
    let mut timesteps: Vec<f64> = match config.timestep_spacing {
        // Only here it falls between the whole timesteps.
        TimestepSpacing::Linspace => linspace(0.0, (total - 1) as f64, steps).into_iter().rev().collect(),
        _ => forward::all_timesteps(run)?.into_iter().map(|t| t as f64).collect(),
    };
    let mut sigmas: Vec<f64> = match config.interpolation_type {
        InterpolationType::Linear => timesteps.iter().map(|&t| interpolate(&table, t)).collect(),
        // One more than there are steps; diffusers appends the final σ to them all the same and never reaches it.
        InterpolationType::LogLinear => {
            linspace(libm::log(table[total - 1]), libm::log(table[0]), steps + 1).into_iter().map(libm::exp).collect()
        }
    };
    let last = sigmas[sigmas.len() - 1];
    if let Some(spaced) = spaced(run, last, sigmas[0]) {
        sigmas = spaced;
        timesteps = sigmas.iter().map(|&sigma| timestep(&table, sigma)).collect();
    }
    let highest = sigmas.iter().copied().fold(0.0, f64::max);
    let init_noise_sigma = match config.timestep_spacing {
        TimestepSpacing::Leading => (highest * highest + 1.0).sqrt(),
        TimestepSpacing::Linspace | TimestepSpacing::Trailing => highest,
    };
    sigmas.push(match config.final_sigmas_type {
        FinalSigmasType::Zero => 0.0,
        FinalSigmasType::SigmaMin => table[0],
    });
    if config.timestep_type == TimestepType::Continuous && config.prediction_type == PredictionType::VPrediction {
        timesteps = sigmas.iter().take(steps).map(|sigma| 0.25 * libm::log(*sigma)).collect();
    }
    Ok(Sigmas { timesteps: run.made(timesteps), sigmas: run.made(sigmas), init_noise_sigma })
}

/// The levels from `max` down to `min` that the configuration asks for in place of those of the timesteps.
pub(super) fn spaced(run: &Run, min: f64, max: f64) -> Option<Vec<f64>> {
    let config = run.config;
    let (min, max) = (config.sigma_min.unwrap_or(min), config.sigma_max.unwrap_or(max));
    if config.use_karras_sigmas {
        Some(linspace(0.0, 1.0, run.steps).into_iter().map(|ramp| karras(min, max, 7.0, ramp)).collect())
    } else if config.use_exponential_sigmas || config.use_lu_lambdas {
        Some(linspace(libm::log(max), libm::log(min), run.steps).into_iter().map(libm::exp).collect())
    } else if config.use_beta_sigmas {
        // Lee et al. 2024, with α = β = 0.6.
        let at = |r: f64| min + beta_distribution::quantile(1.0 - r, 0.6, 0.6) * (max - min);
        Some(linspace(0.0, 1.0, run.steps).into_iter().map(at).collect())
    } else {
        None
    }
}

/// σ^(1/ρ) on its way from `max` to `min`: Karras et al. 2022, equation 5.
pub(super) fn karras(min: f64, max: f64, rho: f64, ramp: f64) -> f64 {
    let (from, to) = (libm::pow(max, 1.0 / rho), libm::pow(min, 1.0 / rho));
    libm::pow(from + ramp * (to - from), rho)
}

/// The table at a fractional timestep, linearly.
pub(super) fn interpolate(table: &[f64], t: f64) -> f64 {
    let low = (t.floor().max(0.0) as usize).min(table.len() - 1);
    let high = (low + 1).min(table.len() - 1);
    table[low] + (t - low as f64) * (table[high] - table[low])
}

/// The fractional timestep of a level, linear in ln σ.
pub(crate) fn timestep(table: &[f64], sigma: f64) -> f64 {
    let log = libm::log(sigma.max(1e-10));
    let low =
        table.partition_point(|&level| libm::log(level) <= log).saturating_sub(1).min(table.len().saturating_sub(2));
    let high = (low + 1).min(table.len() - 1);
    let (from, to) = (libm::log(table[low]), libm::log(table[high]));
    let weight = if to > from { ((log - from) / (to - from)).clamp(0.0, 1.0) } else { 0.0 };
    low as f64 + weight * (high - low) as f64
}

/// A row at level σ, with what leads from there still to be filled in.
pub(super) fn row(run: &Run, timestep: f64, sigma: f64) -> Row {
    if run.config.kind.family() == Family::Edm {
        return edm::row(run, timestep, sigma);
    }
    let variance = sigma * sigma + 1.0;
    let (x0_from_x, x0_from_model) = match run.config.prediction_type {
        PredictionType::Epsilon | PredictionType::FlowPrediction => (1.0, -sigma),
        PredictionType::Sample => (0.0, 1.0),
        PredictionType::VPrediction => (1.0 / variance, -sigma / variance.sqrt()),
    };
    Row {
        timestep,
        alpha_cumprod: 1.0 / variance,
        input_scale: 1.0 / variance.sqrt(),
        x0_from_x,
        x0_from_model,
        model_from_gradient: model_from_gradient(1.0 / variance, x0_from_model),
        ..Row::NOTHING
    }
    .bounded(run.config)
}

/// dx/dσ = (x − x̂0) / σ (Karras et al. 2022, equations 3 and 4).
pub(super) fn derivative(sigma: f64) -> Combination {
    (Combination::X - Combination::X0) * (1.0 / sigma)
}

/// A step from σ to σ' that adds as much noise as keeps the marginals: where it goes, and the noise (k-diffusion,
/// `get_ancestral_step`).
pub(super) fn ancestral(sigma: f64, next: f64) -> (f64, f64) {
    let up = (next * next * (sigma * sigma - next * next) / (sigma * sigma)).max(0.0).sqrt();
    ((next * next - up * up).max(0.0).sqrt(), up)
}
