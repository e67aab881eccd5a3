//! DDIM with the whole family of σ (Song et al. 2020; diffusers scheduling_ddim.py).

use super::{Combination, Row, Run, forward, predict_epsilon};
use crate::Result;

/// Song et al. 2020, equations 12 and 16. ε is the model's, not re-derived from a clipped x̂0. The previous timestep is
/// a fixed distance away, whatever the spacing.
pub(super) fn rows(run: &Run) -> Result<Vec<Row>> {
    let &Run { config, alphas_cumprod, steps, eta } = run;
    let before_first = if config.set_alpha_to_one { 1.0 } else { alphas_cumprod[0] };
    let row = |timestep: usize| {
        let alpha_cumprod = alphas_cumprod[timestep];
        let prev = timestep.checked_sub(config.num_train_timesteps / steps);
        let alpha_cumprod_prev = prev.map_or(before_first, |prev| alphas_cumprod[prev]);
        let variance = (1.0 - alpha_cumprod_prev) / (1.0 - alpha_cumprod) * (1.0 - alpha_cumprod / alpha_cumprod_prev);
        let sigma = eta * variance.max(0.0).sqrt();
        let direction = (1.0 - alpha_cumprod_prev - sigma * sigma).max(0.0).sqrt();
        let epsilon = predict_epsilon(config.prediction_type, alpha_cumprod);
        Row {
            clip: config.clip_sample.then_some(config.clip_sample_range),
            prev: Combination::X0 * alpha_cumprod_prev.sqrt() + epsilon * direction + Combination::NOISE * sigma,
            draws_noise: eta > 0.0,
            ..Row::at(config.prediction_type, timestep as f64, alpha_cumprod)
        }
    };
    Ok(forward::timesteps(run)?.into_iter().map(row).collect())
}
