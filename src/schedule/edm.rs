//! Networks preconditioned so that what goes in and what comes out has a variance of 1, whatever σ (Karras et al. 2022,
//! Table 1; diffusers scheduling_edm_euler.py, scheduling_edm_dpmsolver_multistep.py). x = x_0 + σ ε.

use super::forward::linspace;
use super::sigmas::{Sigmas, karras};
use super::{Row, Run};
use crate::config::{FinalSigmasType, PredictionType, SchedulerKind, SigmaSchedule};

/// The least and the most noise.
pub(super) fn bounds(run: &Run) -> (f64, f64) {
    (run.config.sigma_min.unwrap_or(0.002), run.config.sigma_max.unwrap_or(80.0))
}

/// The levels of a run. The model is told ¼ ln σ.
pub(super) fn levels(run: &Run) -> Sigmas {
    let &Run { config, steps, .. } = run;
    let (min, max) = bounds(run);
    let mut sigmas: Vec<f64> = match config.sigma_schedule {
        SigmaSchedule::Karras => {
            linspace(0.0, 1.0, steps).into_iter().map(|ramp| karras(min, max, config.rho, ramp)).collect()
        }
        SigmaSchedule::Exponential => {
            linspace(libm::log(min), libm::log(max), steps).into_iter().rev().map(libm::exp).collect()
        }
    };
    let timesteps = sigmas.iter().map(|sigma| 0.25 * libm::log(*sigma)).collect();
    sigmas.push(match config.final_sigmas_type {
        FinalSigmasType::Zero => 0.0,
        FinalSigmasType::SigmaMin if config.kind == SchedulerKind::EdmEuler => sigmas[steps - 1],
        FinalSigmasType::SigmaMin => min,
    });
    let init_noise_sigma = (max * max + 1.0).sqrt();
    Sigmas { timesteps: run.made(timesteps), sigmas: run.made(sigmas), init_noise_sigma }
}

/// x̂0 from x and the model's output: c_skip and c_out.
pub(super) fn predict_x0(run: &Run, sigma: f64) -> (f64, f64) {
    let data = run.config.sigma_data;
    let variance = sigma * sigma + data * data;
    let out = sigma * data / variance.sqrt();
    let sign = if run.config.prediction_type == PredictionType::VPrediction { -1.0 } else { 1.0 };
    (data * data / variance, sign * out)
}

/// A row at level σ, with what leads from there still to be filled in.
pub(super) fn row(run: &Run, timestep: f64, sigma: f64) -> Row {
    let (x0_from_x, x0_from_model) = predict_x0(run, sigma);
    Row {
        timestep,
        alpha_cumprod: 1.0 / (sigma * sigma + 1.0),
        input_scale: 1.0 / sigma.hypot(run.config.sigma_data),
        x0_from_x,
        x0_from_model,
        ..Row::NOTHING
    }
}
