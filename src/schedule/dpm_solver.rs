//! DPM-Solver and DPM-Solver++, multistep (Lu et al. 2022a, 2022b; diffusers scheduling_dpmsolver_multistep.py).

use super::forward::{linspace, trailing};
use super::sigmas::{interpolate, spaced, table, timestep};
use super::{Combination, Row, Run, forward, predict_epsilon};
use crate::config::{AlgorithmType, FinalSigmasType, SchedulerKind, SolverType, TimestepSpacing};
use crate::{Error, Result};

/// The noise levels of a run: t of each, and σ of each and after the last.
pub(super) struct Levels {
    pub timesteps: Vec<f64>,
    pub sigmas: Vec<f64>,
}

/// α = 1 / √(σ² + 1) and the noise's share σα at a level.
pub(super) fn alpha_sigma(sigma: f64) -> (f64, f64) {
    let alpha = 1.0 / (sigma * sigma + 1.0).sqrt();
    (alpha, sigma * alpha)
}

/// The levels of diffusers' DPM-Solver and UniPC schedulers, `set_timesteps`.
///
/// # Errors
/// When a timestep lies beyond T.
pub(super) fn levels(run: &Run) -> Result<Levels> {
    let &Run { config, steps, .. } = run;
    let table = table(run.alphas_cumprod);
    // Timesteps with too little left of the picture are left out. λ = ln(α/σ) = −ln σ.
    let floor = config.lambda_min_clipped.unwrap_or(f64::NEG_INFINITY);
    let total = table.iter().filter(|sigma| -sigma.ln() >= floor).count();
    if total == 0 {
        return Err(Error::Settings(format!("lambda_min_clipped is {floor}, which leaves no timestep.")));
    }
    let mut timesteps: Vec<f64> = match config.timestep_spacing {
        TimestepSpacing::Linspace => {
            let all = linspace(0.0, (total - 1) as f64, steps + 1);
            all.into_iter().rev().take(steps).map(f64::round_ties_even).collect()
        }
        TimestepSpacing::Leading => {
            let ratio = total / (steps + 1);
            (1..=steps).rev().map(|i| (i * ratio + config.steps_offset) as f64).collect()
        }
        TimestepSpacing::Trailing => trailing_from(total, config.num_train_timesteps, steps),
    };
    forward::check(run, timesteps[0] as usize)?;
    let mut sigmas: Vec<f64> = timesteps.iter().map(|&t| interpolate(&table, t)).collect();
    if let Some(levels) = spaced(run, table[0], table[table.len() - 1]) {
        sigmas = levels;
        let rounded = config.use_karras_sigmas;
        timesteps = sigmas
            .iter()
            .map(|&sigma| timestep(&table, sigma))
            .map(|t| if rounded { t.round_ties_even() } else { t.trunc() })
            .collect();
    }
    let unipc_repeats =
        config.kind == SchedulerKind::UniPc && (config.use_karras_sigmas || config.use_exponential_sigmas);
    sigmas.push(match config.final_sigmas_type {
        FinalSigmasType::Zero => 0.0,
        FinalSigmasType::SigmaMin if unipc_repeats => sigmas[steps - 1],
        FinalSigmasType::SigmaMin => table[0],
    });
    Ok(Levels { timesteps, sigmas })
}

/// numpy's `arange(total, 0, −all / steps)`, rounded, less one.
fn trailing_from(total: usize, all: usize, steps: usize) -> Vec<f64> {
    if total == all {
        return trailing(total, steps).collect();
    }
    let distance = all as f64 / steps as f64;
    (0..steps).map(|i| ((total as f64 - i as f64 * distance).round_ties_even() - 1.0).max(0.0)).collect()
}

/// A row at level σ, with what leads from there still to be filled in.
pub(super) fn row(run: &Run, timestep: f64, sigma: f64) -> Row {
    Row::at(run.config.prediction_type, timestep, 1.0 / (sigma * sigma + 1.0))
}

/// How many of what a step extrapolates are kept.
const KEPT: usize = 3;

/// One row a step: order one at first, then as many earlier values as the order asks for.
pub(super) fn rows(run: &Run) -> Result<Vec<Row>> {
    let config = run.config;
    let final_zero = config.final_sigmas_type == FinalSigmasType::Zero;
    if config.solver_order > 3 {
        return Err(Error::Settings(format!("DPM-Solver has orders 1 to 3; solver_order is {}.", config.solver_order)));
    }
    let extrapolates_epsilon = matches!(config.algorithm_type, AlgorithmType::DpmSolver | AlgorithmType::SdeDpmSolver);
    if extrapolates_epsilon && final_zero {
        return Err(Error::Settings(
            "algorithm_type dpmsolver needs final_sigmas_type \"sigma_min\": it cannot end at σ = 0.".into(),
        ));
    }
    if config.algorithm_type == AlgorithmType::SdeDpmSolver && config.solver_order == 3 {
        return Err(Error::Settings("algorithm_type sde-dpmsolver has no third order; set solver_order to 2.".into()));
    }
    let stochastic = matches!(config.algorithm_type, AlgorithmType::SdeDpmSolver | AlgorithmType::SdeDpmSolverPlusPlus);
    let Levels { timesteps, sigmas } = levels(run)?;
    let steps = timesteps.len();
    let short = config.lower_order_final && steps < 15;
    let row = |i: usize| {
        let last = i + 1 == steps && (config.euler_at_final || short || final_zero);
        let second_last = i + 2 == steps && short;
        let order = match (i, config.solver_order) {
            (0, _) | (_, 1) => 1,
            _ if last => 1,
            (1, _) | (_, 2) => 2,
            _ if second_last => 2,
            _ => 3,
        };
        let now = if extrapolates_epsilon {
            predict_epsilon(config.prediction_type, 1.0 / (sigmas[i] * sigmas[i] + 1.0))
        } else {
            Combination::X0
        };
        let value = |back: usize| if back == 0 { now } else { Combination::kept((i - back) % KEPT) };
        Row {
            prev: step(run, &sigmas, i, order, value),
            keep: Some((i % KEPT, now)),
            draws_noise: stochastic,
            ..row(run, timesteps[i], sigmas[i])
        }
    };
    Ok((0..steps).map(row).collect())
}

/// The update from level i to i + 1 (Lu et al. 2022b, Algorithm 2 and appendix B).
fn step(run: &Run, sigmas: &[f64], i: usize, order: usize, value: impl Fn(usize) -> Combination) -> Combination {
    let config = run.config;
    let heun = config.solver_type == Some(SolverType::Heun);
    let lambda = |i: usize| -sigmas[i].ln();
    let ((alpha, sigma), (alpha_next, sigma_next)) = (alpha_sigma(sigmas[i]), alpha_sigma(sigmas[i + 1]));
    let h = lambda(i + 1) - lambda(i);
    // e^{−h} and e^h without going through an h that may be infinite.
    let (decay, growth) = (sigmas[i + 1] / sigmas[i], sigmas[i] / sigmas[i + 1]);

    let m0 = value(0);
    // First and second divided differences of the latest values over λ.
    let (mut d1, mut d2) = (Combination::ZERO, Combination::ZERO);
    if order >= 2 {
        let r0 = (lambda(i) - lambda(i - 1)) / h;
        d1 = (m0 - value(1)) * (1.0 / r0);
        if order == 3 {
            let r1 = (lambda(i - 1) - lambda(i - 2)) / h;
            let earlier = (value(1) - value(2)) * (1.0 / r1);
            d2 = (d1 - earlier) * (1.0 / (r0 + r1));
            d1 = d1 + d2 * r0;
        }
    }
    // The third order is always the exact integral.
    let exact = heun || order == 3;
    let terms = |c0: f64, midpoint: f64, integral: f64, second: f64| {
        let mut sum = m0 * c0;
        if order >= 2 {
            sum = sum + d1 * if exact { integral } else { midpoint };
        }
        if order == 3 {
            sum = sum + d2 * second;
        }
        sum
    };
    match config.algorithm_type {
        AlgorithmType::DpmSolverPlusPlus => {
            let e = decay - 1.0;
            let sum = terms(
                -alpha_next * e,
                -0.5 * alpha_next * e,
                alpha_next * (e / h + 1.0),
                -alpha_next * ((e + h) / (h * h) - 0.5),
            );
            Combination::X * (sigma_next / sigma) + sum
        }
        AlgorithmType::DpmSolver => {
            let e = growth - 1.0;
            let sum = terms(
                -sigma_next * e,
                -0.5 * sigma_next * e,
                -sigma_next * (e / h - 1.0),
                -sigma_next * ((e - h) / (h * h) - 0.5),
            );
            Combination::X * (alpha_next / alpha) + sum
        }
        AlgorithmType::SdeDpmSolverPlusPlus => {
            let e = 1.0 - decay * decay;
            let sum = terms(
                alpha_next * e,
                0.5 * alpha_next * e,
                alpha_next * (e / (-2.0 * h) + 1.0),
                alpha_next * ((e - 2.0 * h) / (4.0 * h * h) - 0.5),
            );
            Combination::X * (sigma_next / sigma * decay) + sum + Combination::NOISE * (sigma_next * e.max(0.0).sqrt())
        }
        AlgorithmType::SdeDpmSolver => {
            let e = growth - 1.0;
            let sum = terms(-2.0 * sigma_next * e, -sigma_next * e, -2.0 * sigma_next * (e / h - 1.0), 0.0);
            let noise = sigma_next * (growth * growth - 1.0).max(0.0).sqrt();
            Combination::X * (alpha_next / alpha) + sum + Combination::NOISE * noise
        }
    }
}
