//! Pseudo numerical methods for diffusion models (Liu et al. 2022; diffusers scheduling_pndm.py).

use super::{Combination, Row, Run, adams_bashforth, forward};
use crate::config::PredictionType;
use crate::{Error, Result};

/// The registers: the latest slopes for the linear multistep method, of which the first evaluation of each Runge–Kutta
/// step leaves one, and the middle two slopes of such a step.
const SLOPES: usize = 3;
const MIDDLE: [usize; 2] = [3, 4];

/// Three Runge–Kutta steps of four evaluations each to begin with, then a linear multistep method of order four; with
/// `skip_prk_steps` the latter from the start, at growing order.
pub(super) fn rows(run: &Run) -> Result<Vec<Row>> {
    if run.config.prediction_type == PredictionType::Sample {
        return Err(Error::Settings("PNDM cannot sample a model that predicts x0; choose another sampler.".into()));
    }
    let timesteps: Vec<i64> = forward::timesteps(run)?.into_iter().rev().map(|t| t as i64).collect();
    // Of a run that begins in the middle there may be too little left for three such steps.
    let skips = run.config.skip_prk_steps || run.options.begin > 0 && timesteps.len() < 4;
    if !skips && timesteps.len() < 4 {
        return Err(Error::Settings(format!("Steps is {}; PNDM takes at least 4.", run.steps)));
    }
    let distance = (run.config.num_train_timesteps / run.steps) as i64;
    let (mut rows, mut slopes, multistep) = match skips {
        true => (improved_euler(run, &timesteps, distance), 1, timesteps.len() - 1),
        false => (runge_kutta(run, &timesteps[timesteps.len() - 4..], distance / 2), 3, timesteps.len() - 3),
    };
    for &t in timesteps[..multistep].iter().rev() {
        let kept = |back: usize| Combination::kept((slopes - back) % SLOPES);
        let slope = adams_bashforth(slopes, Combination::MODEL, kept);
        let prev = transfer(run, Combination::X, t, t - distance, slope);
        rows.push(Row { prev, keep: vec![(slopes % SLOPES, Combination::MODEL)], ..row(run, t) });
        slopes += 1;
    }
    Ok(rows)
}

/// Where a step began, from where it led: `step` = a · X + b · MODEL, and the model's output then is in `slope` now.
fn beginning(step: Combination, slope: Combination) -> Combination {
    (Combination::X - slope * step.model) * (1.0 / step.x)
}

/// Twelve evaluations for three steps, each with four slopes as in the classical method. The first slope of each stays.
fn runge_kutta(run: &Run, last: &[i64], half: i64) -> Vec<Row> {
    let mut rows = Vec::new();
    for step in 0..3 {
        let (t, next) = (last[3 - step], last[2 - step]);
        let e1 = Combination::kept(step);
        let [e2, e3] = MIDDLE.map(Combination::kept);
        // Every evaluation moves x anew from where the step began.
        let moved = |to: i64| transfer(run, Combination::X, t, to, Combination::MODEL);
        let again = |from: Combination, to: i64, slope: Combination| transfer(run, from, t, to, slope);
        let to = [t - half, next + half, next];
        let second = beginning(moved(to[0]), e1);
        let third = beginning(moved(to[1]), e2);
        let fourth = beginning(moved(to[2]), e3);
        let mean = (e1 + e2 * 2.0 + e3 * 2.0 + Combination::MODEL) * (1.0 / 6.0);
        rows.push(Row { prev: moved(to[0]), keep: vec![(step, Combination::MODEL)], ..row(run, t) });
        for (from, to, register) in [(second, to[1], MIDDLE[0]), (third, to[2], MIDDLE[1])] {
            let prev = again(from, to, Combination::MODEL);
            rows.push(Row { prev, keep: vec![(register, Combination::MODEL)], ..row(run, next + half) });
        }
        rows.push(Row { prev: again(fourth, next, mean), ..row(run, next) });
    }
    rows
}

/// A step, and the same step again with the mean of the slopes at both its ends.
fn improved_euler(run: &Run, timesteps: &[i64], distance: i64) -> Vec<Row> {
    let t = timesteps[timesteps.len() - 1];
    let step = transfer(run, Combination::X, t, t - distance, Combination::MODEL);
    let mut rows = vec![Row { prev: step, keep: vec![(0, Combination::MODEL)], ..row(run, t) }];
    if let Some(&second) = timesteps.iter().rev().nth(1) {
        let slope = (Combination::MODEL + Combination::kept(0)) * 0.5;
        let prev = transfer(run, beginning(step, Combination::kept(0)), second + distance, second, slope);
        rows.push(Row { prev, ..row(run, second) });
    }
    rows
}

/// ᾱ_t, and that before the first timestep.
fn alpha_cumprod(run: &Run, t: i64) -> f64 {
    match usize::try_from(t) {
        Ok(t) => run.alphas_cumprod[t],
        Err(_) if run.config.set_alpha_to_one => 1.0,
        Err(_) => run.alphas_cumprod[0],
    }
}

/// φ(x, ε, t, t'): Liu et al. 2022, equation 11. A slope in v is turned into ε with x.
fn transfer(run: &Run, x: Combination, t: i64, next: i64, slope: Combination) -> Combination {
    let (alpha, alpha_next) = (alpha_cumprod(run, t), alpha_cumprod(run, next));
    let slope = match run.config.prediction_type {
        PredictionType::VPrediction => slope * alpha.sqrt() + x * (1.0 - alpha).sqrt(),
        _ => slope,
    };
    let denominator = alpha * (1.0 - alpha_next).sqrt() + (alpha * (1.0 - alpha) * alpha_next).sqrt();
    x * (alpha_next / alpha).sqrt() - slope * ((alpha_next - alpha) / denominator)
}

fn row(run: &Run, t: i64) -> Row {
    Row::at(run.config.prediction_type, t as f64, alpha_cumprod(run, t))
}
