//! Distilled models that jump along their trajectories: latent consistency (Luo et al. 2023, Algorithm 3; diffusers
//! scheduling_lcm.py) and trajectory consistency (Zheng et al. 2024, Algorithm 2; diffusers scheduling_tcd.py).

use super::{Combination, Row, Run, each, predict_epsilon, preserving};
use crate::{Error, Result};

/// Some of the timesteps that the model was distilled at, from noise to image.
///
/// # Errors
/// When there are fewer.
fn timesteps(run: &Run) -> Result<Vec<usize>> {
    let &Run { config, steps, .. } = run;
    let original = config.original_inference_steps;
    if steps > original {
        return Err(Error::Settings(format!(
            "Steps is {steps}, more than the {original} of original_inference_steps; take fewer."
        )));
    }
    let (distance, stride) = (config.num_train_timesteps / original, original as f64 / steps as f64);
    Ok(run.made((0..steps).map(|i| (original - (i as f64 * stride) as usize) * distance - 1).collect()))
}

/// x̂0, mixed with x where there is hardly any noise, and noise again.
///
/// # Errors
/// When there are too many steps.
pub(super) fn lcm(run: &Run) -> Result<Vec<Row>> {
    let timesteps = timesteps(run)?;
    let row = |i: usize| {
        let t = timesteps[i];
        let scaled = t as f64 * run.config.timestep_scaling;
        let variance = scaled * scaled + 0.25; // of images with a deviation of ½
        let denoised = Combination::X0 * (scaled / variance.sqrt()) + Combination::X * (0.25 / variance);
        let next = timesteps.get(i + 1);
        let (signal, noise) = next.map_or((1.0, 0.0), |&next| preserving(run.alphas_cumprod[next]));
        Row {
            prev: denoised * signal + Combination::NOISE * noise,
            draws_noise: next.is_some(),
            ..Row::at(run.config.prediction_type, t as f64, run.alphas_cumprod[t])
        }
        .bounded(run.config)
    };
    Ok(each(timesteps.len(), &row))
}

/// A step of DDIM to a share γ below the next timestep, and noise back up to it.
///
/// # Errors
/// When there are too many steps.
pub(super) fn tcd(run: &Run) -> Result<Vec<Row>> {
    let timesteps = timesteps(run)?;
    let gamma = run.options.eta.unwrap_or(0.3);
    let row = |i: usize| {
        let t = timesteps[i];
        let next = timesteps.get(i + 1).copied().unwrap_or(0);
        // As torch multiplies whole numbers.
        let below = ((1.0 - gamma) as f32 * next as f32).floor() as usize;
        let alpha_cumprod = run.alphas_cumprod[t];
        let (signal, noise) = preserving(run.alphas_cumprod[below]);
        let epsilon = predict_epsilon(run.config.prediction_type, preserving(alpha_cumprod));
        let draws_noise = gamma > 0.0 && i + 1 < timesteps.len();
        let (kept, added) = match draws_noise {
            true => preserving(run.alphas_cumprod[next] / run.alphas_cumprod[below]),
            false => (1.0, 0.0),
        };
        Row {
            prev: (Combination::X0 * signal + epsilon * noise) * kept + Combination::NOISE * added,
            draws_noise,
            ..Row::at(run.config.prediction_type, t as f64, alpha_cumprod)
        }
    };
    Ok(each(timesteps.len(), &row))
}
