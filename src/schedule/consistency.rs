//! Consistency models: the network leads from any σ to the picture, and noise leads back to a smaller σ (Song et al. 2023,
//! Algorithm 1; diffusers scheduling_consistency_models.py). x = x_0 + σ ε.

use super::sigmas::karras;
use super::{Combination, Row, Run, each, edm};

/// One row a step. The model is told 250 ln σ.
pub(super) fn rows(run: &Run) -> (f64, Vec<Row>) {
    let &Run { config, steps, .. } = run;
    let total = config.num_train_timesteps;
    let (min, max) = edm::bounds(run);
    let level = |i: usize| {
        let ramp = (i * (total / steps)) as f64 / (total.max(2) - 1) as f64;
        if i < steps { karras(min, max, config.rho, ramp) } else { min }
    };
    let row = |i: usize| {
        let (sigma, next) = (level(i), level(i + 1).clamp(min.min(max), max));
        let row = edm::row(run, 250.0 * libm::log(sigma + 1e-44), sigma);
        // Appendix C: at the least noise x is the picture.
        let (data, above) = (config.sigma_data, sigma - min);
        Row {
            x0_from_x: data * data / (above * above + data * data),
            x0_from_model: above * data * row.input_scale,
            clip: config.clip_denoised.then_some(1.0),
            prev: Combination::X0 + Combination::NOISE * (config.s_noise * (next * next - min * min).max(0.0).sqrt()),
            draws_noise: steps > 1,
            ..row
        }
    };
    (max, each(steps - run.options.begin, &|i| row(run.options.begin + i)))
}
