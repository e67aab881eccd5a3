//! PNDM's linear multistep method on a schedule without steps: x = α x_0 + β ε with β = sin²(πs/2), s from 1 to 0
//! (Crowson's v-diffusion-pytorch; diffusers scheduling_ipndm.py).
//!
//! The model is told t = (2/π) atan2(β, α), and what it predicts is taken as v, whatever the configuration says.

use super::{Combination, Row, Run, adams_bashforth, each, forward};
use crate::{Error, Result};

/// How many ε are kept.
const KEPT: usize = 3;

/// One row a step, at growing order.
///
/// # Errors
/// When the configuration has betas of its own: here they would be another thing than everywhere else.
pub(super) fn rows(run: &Run) -> Result<Vec<Row>> {
    if run.config.trained_betas.is_some() {
        return Err(Error::Settings("IPNDM cannot sample with trained_betas; choose another sampler.".into()));
    }
    let betas: Vec<f64> = forward::linspace(1.0, 0.0, run.steps + 1)
        .into_iter()
        .map(|s| libm::sin(s * std::f64::consts::FRAC_PI_2).powi(2))
        .collect();
    let alpha = |i: usize| (1.0 - betas[i] * betas[i]).max(0.0).sqrt();
    let row = |i: usize| {
        let (alpha, beta, alpha_next, beta_next) = (alpha(i), betas[i], alpha(i + 1), betas[i + 1]);
        let now = Combination::X * beta + Combination::MODEL * alpha;
        let kept = |back: usize| Combination::kept((i - back) % KEPT);
        let epsilon = adams_bashforth(i, now, kept);
        let x0 = (Combination::X - epsilon * beta) * (1.0 / alpha.max(1e-8));
        Row {
            timestep: libm::atan2(beta, alpha) / std::f64::consts::FRAC_PI_2,
            alpha_cumprod: alpha * alpha,
            signal: alpha,
            x0_from_x: alpha,
            x0_from_model: -beta,
            prev: x0 * alpha_next + epsilon * beta_next,
            keep: vec![(i % KEPT, now)],
            ..Row::NOTHING
        }
    };
    Ok(each(run.steps, &row))
}
