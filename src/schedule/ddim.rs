//! DDIM with the whole family of σ, and its inversion (Song et al. 2020; diffusers scheduling_ddim.py,
//! scheduling_ddim_inverse.py).

use super::{Combination, Row, Run, each, epsilon_of_x0, forward, predict_epsilon, preserving};
use crate::config::{PredictionType, TimestepSpacing};
use crate::{Error, Result};

/// Song et al. 2020, equations 12 and 16. ε is the model's, not re-derived from a clipped x̂0 unless that is asked for.
/// The previous timestep is a fixed distance away, whatever the spacing.
pub(super) fn rows(run: &Run) -> Result<Vec<Row>> {
    let &Run { config, alphas_cumprod, steps, options } = run;
    let eta = options.eta.unwrap_or(0.0);
    let row = |timestep: usize| {
        let alpha_cumprod = alphas_cumprod[timestep];
        let prev = timestep.checked_sub(config.num_train_timesteps / steps);
        let alpha_cumprod_prev = prev.map_or(before_first(run), |prev| alphas_cumprod[prev]);
        let variance = forward::posterior_variance(alpha_cumprod, alpha_cumprod_prev);
        let sigma = eta * variance.max(0.0).sqrt();
        let epsilon = match options.use_clipped_model_output {
            true => epsilon_of_x0(preserving(alpha_cumprod)),
            false => predict_epsilon(config.prediction_type, preserving(alpha_cumprod)),
        };
        let row = Row {
            prev: step(epsilon, alpha_cumprod_prev, sigma),
            draws_noise: eta > 0.0,
            ..Row::at(config.prediction_type, timestep as f64, alpha_cumprod)
        };
        row.bounded(config)
    };
    let timesteps = forward::timesteps(run)?;
    Ok(each(timesteps.len(), &|i| row(timesteps[i])))
}

/// √ᾱ' x̂0 + √(1 − ᾱ' − σ²) ε + σ z.
pub(super) fn step(epsilon: Combination, alpha_cumprod_prev: f64, sigma: f64) -> Combination {
    let direction = (1.0 - alpha_cumprod_prev - sigma * sigma).max(0.0).sqrt();
    Combination::X0 * alpha_cumprod_prev.sqrt() + epsilon * direction + Combination::NOISE * sigma
}

/// ᾱ before the first timestep.
fn before_first(run: &Run) -> f64 {
    if run.config.set_alpha_to_one { 1.0 } else { run.alphas_cumprod[0] }
}

/// The same steps from the image to its noise. The model is told the timestep that a step leads to.
pub(super) fn inverse(run: &Run) -> Result<Vec<Row>> {
    let &Run { config, alphas_cumprod, steps, .. } = run;
    if config.timestep_spacing == TimestepSpacing::Linspace {
        return Err(Error::Settings(
            "DDIM's inversion has no linspace spacing; choose leading or trailing for timestep_spacing.".into(),
        ));
    }
    if config.prediction_type == PredictionType::Sample && config.set_alpha_to_one {
        return Err(Error::Settings(
            "DDIM's inversion begins where there is no noise, of which a model that predicts x_0 says nothing; give \
             set_alpha_to_one: false."
                .into(),
        ));
    }
    let row = |timestep: usize| {
        let from = timestep.checked_sub(config.num_train_timesteps / steps);
        let alpha_cumprod = from.map_or(before_first(run), |from| alphas_cumprod[from]);
        let epsilon = predict_epsilon(config.prediction_type, preserving(alpha_cumprod));
        let row = Row {
            prev: step(epsilon, alphas_cumprod[timestep], 0.0),
            ..Row::at(config.prediction_type, timestep as f64, alpha_cumprod)
        };
        row.bounded(config)
    };
    let timesteps = forward::timesteps(run)?;
    Ok(each(steps, &|i| row(timesteps[steps - 1 - i])))
}
