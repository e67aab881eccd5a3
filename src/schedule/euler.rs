//! Euler's and Heun's methods in σ (Karras et al. 2022, Algorithm 2; diffusers
//! scheduling_euler_discrete.py, scheduling_edm_euler.py, scheduling_euler_ancestral_discrete.py,
//! scheduling_heun_discrete.py).

use super::sigmas::{Sigmas, ancestral as ancestral_step, derivative, row, sigmas};
use super::{Combination, Row, Run, StepOptions, each, edm};
use crate::Result;
use crate::config::{PredictionType, SchedulerKind};

/// x' = x + (σ' − σ) dx/dσ, after raising σ by noise if there is churn.
pub(super) fn euler(run: &Run) -> Result<(f64, Vec<Row>)> {
    let Sigmas { timesteps, sigmas, init_noise_sigma } = match run.config.kind {
        SchedulerKind::EdmEuler => edm::levels(run),
        _ => sigmas(run)?,
    };
    let levels = run.options.begin + sigmas.len() - 1;
    let row = |i: usize| churned(run, levels, timesteps[i], sigmas[i], sigmas[i + 1]);
    Ok((init_noise_sigma, each(timesteps.len(), &row)))
}

/// A step of Karras et al. 2022, Algorithm 2. As diffusers has it, the model sees x and σ as they were before the noise.
fn churned(run: &Run, levels: usize, timestep: f64, sigma: f64, next: f64) -> Row {
    let StepOptions { s_churn, s_tmin, s_tmax, s_noise, .. } = run.options;
    let gamma = match (s_tmin..=s_tmax).contains(&sigma) {
        true => (s_churn / levels as f64).min(std::f64::consts::SQRT_2 - 1.0),
        false => 0.0,
    };
    let row = row(run, timestep, sigma);
    if gamma == 0.0 {
        return Row { prev: Combination::X + derivative(sigma) * (next - sigma), ..row };
    }
    let raised = sigma * (gamma + 1.0);
    let x = Combination::X + Combination::NOISE * (s_noise * (raised * raised - sigma * sigma).sqrt());
    let (x0_from_x, x0_from_model) = match run.config.prediction_type {
        _ if run.config.kind == SchedulerKind::EdmEuler => edm::predict_x0(run, raised),
        PredictionType::Epsilon => (1.0, -raised),
        _ => (row.x0_from_x, row.x0_from_model),
    };
    let x0 = x * x0_from_x + Combination::MODEL * x0_from_model;
    let prev = x + (x - x0) * ((next - raised) / raised);
    Row { prev, draws_noise: true, x0_from_x, x0_from_model, ..row }
}

/// A step further down than σ', and noise back up to it. Noise is drawn in every step, also where it counts for nothing.
pub(super) fn ancestral(run: &Run) -> Result<(f64, Vec<Row>)> {
    let Sigmas { timesteps, sigmas, init_noise_sigma } = sigmas(run)?;
    let row = |i: usize| {
        let (down, up) = ancestral_step(sigmas[i], sigmas[i + 1]);
        let prev = Combination::X + derivative(sigmas[i]) * (down - sigmas[i]) + Combination::NOISE * up;
        Row { prev, draws_noise: true, ..row(run, timesteps[i], sigmas[i]) }
    };
    Ok((init_noise_sigma, each(timesteps.len(), &row)))
}

/// An Euler step to σ', a second evaluation there, and the mean of both slopes; the last step, to 0, is Euler's.
pub(super) fn heun(run: &Run) -> Result<(f64, Vec<Row>)> {
    let Sigmas { timesteps, sigmas, init_noise_sigma } = sigmas(run)?;
    let mut rows = Vec::with_capacity(2 * timesteps.len());
    for (i, pair) in sigmas.windows(2).enumerate() {
        let (sigma, next) = (pair[0], pair[1]);
        let slope = derivative(sigma);
        let prev = Combination::X + slope * (next - sigma);
        // Half of the first slope is for the second evaluation to add to.
        let halfway = Combination::X + slope * (0.5 * (next - sigma));
        rows.push(Row { prev, keep: vec![(0, halfway)], ..row(run, timesteps[i], sigma) });
        if let Some(&t) = timesteps.get(i + 1) {
            let prev = Combination::kept(0) + derivative(next) * (0.5 * (next - sigma));
            rows.push(Row { prev, ..row(run, t, next) });
        }
    }
    Ok((init_noise_sigma, rows))
}
