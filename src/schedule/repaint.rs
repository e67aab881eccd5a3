//! RePaint: inpainting by sampling with the known part replaced at every step, and jumping back towards the noise so that
//! both parts come to fit (Lugmayr et al. 2022, Algorithm 1; diffusers scheduling_repaint.py).

use super::{RePaint, Row, Run, StepOptions, check_evaluations, ddim, forward, predict_epsilon, preserving};
use crate::Result;

/// One row an evaluation. A jump back is part of the row after it.
///
/// # Errors
/// When there would be too many.
pub(super) fn rows(run: &Run) -> Result<Vec<Row>> {
    let &Run { config, alphas_cumprod, steps, options } = run;
    let distance = config.num_train_timesteps / steps;
    let eta = options.eta.unwrap_or(config.eta);
    let mut rows = Vec::new();
    let (mut undo_scale, mut undo_draws) = (1.0, Vec::new());
    let mut last = usize::MAX;
    for t in timesteps(run)? {
        if t > last {
            // One step of the forward process after another (Ho et al. 2020, equation 2).
            for t in last..last + distance {
                let alpha = alphas_cumprod[t] / t.checked_sub(1).map_or(1.0, |before| alphas_cumprod[before]);
                undo_scale *= alpha.sqrt();
                undo_draws.iter_mut().for_each(|weight| *weight *= alpha.sqrt());
                undo_draws.push((1.0 - alpha).sqrt());
            }
        } else {
            let alpha_cumprod = alphas_cumprod[t];
            let alpha_cumprod_prev = t.checked_sub(distance).map_or(1.0, |prev| alphas_cumprod[prev]);
            let variance = forward::posterior_variance(alpha_cumprod, alpha_cumprod_prev);
            let epsilon = predict_epsilon(config.prediction_type, preserving(alpha_cumprod));
            let row = Row {
                prev: ddim::step(epsilon, alpha_cumprod_prev, eta * variance.max(0.0).sqrt()),
                draws_noise: true,
                known_from_original: alpha_cumprod_prev.sqrt(),
                known_from_noise: (1.0 - alpha_cumprod_prev).sqrt(),
                repaint: Some(RePaint { undo_scale, undo_draws: std::mem::take(&mut undo_draws) }),
                ..Row::at(config.prediction_type, t as f64, alpha_cumprod)
            };
            rows.push(row.bounded(config));
            undo_scale = 1.0;
        }
        last = t;
    }
    Ok(rows)
}

/// The timesteps in the order they are visited: one that is larger than the one before it is jumped back to. Figure 9 of
/// the paper.
fn timesteps(run: &Run) -> Result<Vec<usize>> {
    let StepOptions { jump_length, jump_n_sample, .. } = run.options;
    let steps = run.steps;
    // How many jumps begin at each t.
    let mut jumps = vec![0; steps];
    for t in (0..steps.saturating_sub(jump_length)).step_by(jump_length) {
        jumps[t] = jump_n_sample - 1;
    }
    let mut timesteps = Vec::new();
    let mut t = steps;
    while t > 0 {
        t -= 1;
        timesteps.push(t);
        if jumps[t] > 0 {
            jumps[t] -= 1;
            timesteps.extend(t + 1..=t + jump_length);
            t += jump_length;
        }
        check_evaluations(timesteps.len())?;
    }
    Ok(timesteps.into_iter().map(|t| t * (run.config.num_train_timesteps / steps)).collect())
}
