//! The variance-exploding SDE with predictor and corrector (Song et al. 2021, Algorithms 1 and 2; diffusers
//! scheduling_sde_ve.py). x = x_0 + σ ε with x_0 over [0, 1]; the network gives the score, −ε / σ.

use super::forward::linspace;
use super::{Combination, Row, Run};

/// Of each level, `correct_steps` Langevin steps and one of the reverse SDE. The model is told σ.
pub(super) fn rows(run: &Run) -> (f64, Vec<Row>) {
    let &Run { config, steps, .. } = run;
    let (sigma_min, sigma_max) = (config.sigma_min.unwrap_or(0.01), config.sigma_max.unwrap_or(1348.0));
    let level = |t: f64| sigma_min * libm::pow(sigma_max / sigma_min, t);
    let discrete = |k: usize| level(k as f64 / (steps.max(2) - 1) as f64);
    let mut rows = Vec::new();
    let times = linspace(1.0, config.sampling_eps, steps);
    for (i, t) in times.into_iter().enumerate() {
        let sigma = level(t);
        let row = Row {
            timestep: sigma,
            alpha_cumprod: 1.0 / (sigma * sigma + 1.0),
            // Tweedie's formula.
            x0_from_x: 1.0,
            x0_from_model: sigma * sigma,
            draws_noise: true,
            ..Row::NOTHING
        };
        rows.extend((0..config.correct_steps).map(|_| Row { langevin: Some(config.snr), ..row.clone() }));
        // diffusers' times are f32, and rounding decides which level they belong to.
        let k = (t as f32 * (steps - 1) as f32) as usize;
        let below = k.checked_sub(1).map_or(0.0, discrete);
        let diffusion = (discrete(k) * discrete(k) - below * below).sqrt();
        // The image is the last mean, without the noise.
        let noise = if i + 1 == steps { 0.0 } else { diffusion };
        let prev = Combination::X + Combination::MODEL * (diffusion * diffusion) + Combination::NOISE * noise;
        rows.push(Row { prev, ..row });
    }
    (sigma_max, rows)
}
