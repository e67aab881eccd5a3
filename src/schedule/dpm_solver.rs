//! DPM-Solver and DPM-Solver++, multistep, and their inversion (Lu et al. 2022a, 2022b; diffusers
//! scheduling_dpmsolver_multistep.py, scheduling_dpmsolver_multistep_inverse.py).

use super::forward::{linspace, trailing};
use super::sigmas::{Sigmas, interpolate, spaced, table, timestep};
use super::{Combination, Row, Run, each, edm, epsilon_of_x0, flow, forward, predict_epsilon, sigmas};
use crate::config::{AlgorithmType, BetaSchedule, FinalSigmasType, SchedulerKind, SolverType, TimestepSpacing};
use crate::{Error, Result};

/// The noise levels of a run: t of each, and of each and after the last σ, as how much more of the noise than of the
/// picture there is in x.
pub(super) struct Levels {
    pub timesteps: Vec<f64>,
    pub sigmas: Vec<f64>,
}

/// α, the picture's share in x, and the noise's share σα at a level.
pub(super) fn alpha_sigma(run: &Run, sigma: f64) -> (f64, f64) {
    let alpha = match run.config.kind {
        SchedulerKind::EdmDpmSolver => 1.0,
        _ if run.config.use_flow_sigmas => 1.0 / (1.0 + sigma),
        _ => 1.0 / (sigma * sigma + 1.0).sqrt(),
    };
    (alpha, sigma * alpha)
}

/// The levels of diffusers' DPM-Solver, DEIS and UniPC schedulers, `set_timesteps`.
///
/// # Errors
/// When a timestep lies beyond T.
pub(super) fn levels(run: &Run) -> Result<Levels> {
    let &Run { config, steps, .. } = run;
    if config.kind == SchedulerKind::EdmDpmSolver {
        let Sigmas { timesteps, sigmas, .. } = edm::levels(run);
        return Ok(Levels { timesteps, sigmas });
    }
    let table = table(run.alphas_cumprod);
    if config.use_flow_sigmas {
        return Ok(flow::levels(run, table[0]));
    }
    let total = usable(run, &table)?;
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
        timesteps = whole_timesteps(run, &table, &sigmas);
    }
    let repeated = sigmas[steps - 1];
    let is_spaced = config.use_karras_sigmas || config.use_exponential_sigmas || config.use_beta_sigmas;
    sigmas.push(match (config.kind, config.final_sigmas_type) {
        (SchedulerKind::DeisMultistep, _) if is_spaced => repeated,
        (SchedulerKind::DeisMultistep, _) => table[0],
        (_, FinalSigmasType::Zero) => 0.0,
        (SchedulerKind::UniPc, FinalSigmasType::SigmaMin) if is_spaced => repeated,
        (_, FinalSigmasType::SigmaMin) => table[0],
    });
    Ok(Levels { timesteps: run.made(timesteps), sigmas: run.made(sigmas) })
}

/// How many timesteps have enough left of the picture: λ = ln(α/σ) = −ln σ is not below `lambda_min_clipped`.
fn usable(run: &Run, table: &[f64]) -> Result<usize> {
    let floor = run.config.lambda_min_clipped.unwrap_or(f64::NEG_INFINITY);
    match table.iter().filter(|sigma| -libm::log(**sigma) >= floor).count() {
        0 => Err(Error::Settings(format!("lambda_min_clipped is {floor}, which leaves no timestep."))),
        total => Ok(total),
    }
}

/// The timesteps of levels that are not those of timesteps. Which are rounded and which cut off is diffusers' choice.
fn whole_timesteps(run: &Run, table: &[f64], sigmas: &[f64]) -> Vec<f64> {
    let config = run.config;
    let cosine =
        config.kind == SchedulerKind::DpmSolverMultistep && config.beta_schedule == BetaSchedule::SquaredcosCapV2;
    let rounded = (config.use_karras_sigmas || config.use_lu_lambdas) && !cosine;
    let timesteps = sigmas.iter().map(|&sigma| timestep(table, sigma));
    timesteps.map(|t| if rounded { t.round_ties_even() } else { t.trunc() }).collect()
}

/// The levels of diffusers' inversion of DPM-Solver, from the least noise to the most.
///
/// # Errors
/// When a timestep lies beyond T.
fn inverse_levels(run: &Run) -> Result<Levels> {
    let &Run { config, steps, .. } = run;
    let table = table(run.alphas_cumprod);
    let total = usable(run, &table)?;
    let mut timesteps: Vec<f64> = match config.timestep_spacing {
        TimestepSpacing::Linspace => {
            let all = linspace(0.0, (total - 1) as f64, steps + 1);
            all.into_iter().take(steps).map(f64::round_ties_even).collect()
        }
        TimestepSpacing::Leading => {
            let ratio = total / (steps + 1);
            (0..steps).map(|i| (i * ratio + config.steps_offset) as f64).collect()
        }
        TimestepSpacing::Trailing => {
            trailing_from(total, config.num_train_timesteps, steps).into_iter().rev().collect()
        }
    };
    forward::check(run, timesteps[timesteps.len() - 1] as usize)?;
    let mut sigmas: Vec<f64> = timesteps.iter().map(|&t| interpolate(&table, t)).collect();
    let mut last = table[total - 1];
    if let Some(levels) = spaced(run, table[table.len() - 1], table[0]) {
        timesteps = whole_timesteps(run, &table, &levels);
        last = levels[levels.len() - 1];
        sigmas = levels;
    }
    sigmas.push(last);
    // With many steps some fall on the same timestep, and count once.
    timesteps.dedup();
    sigmas.truncate(timesteps.len() + 1);
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
    match run.config.kind {
        SchedulerKind::EdmDpmSolver => sigmas::row(run, timestep, sigma),
        _ => Row::mixed(run.config.prediction_type, timestep, alpha_sigma(run, sigma)),
    }
}

/// ε at level σ: the model's, or that of an x̂0 that was thresholded.
pub(super) fn epsilon(run: &Run, sigma: f64) -> Combination {
    let shares = alpha_sigma(run, sigma);
    match run.config.thresholding || run.config.kind == SchedulerKind::EdmDpmSolver {
        true => epsilon_of_x0(shares),
        false => predict_epsilon(run.config.prediction_type, shares),
    }
}

/// What is extrapolated at level σ.
pub(super) fn extrapolated(run: &Run, sigma: f64) -> Combination {
    match run.config.algorithm_type {
        AlgorithmType::DpmSolver | AlgorithmType::SdeDpmSolver | AlgorithmType::Deis => epsilon(run, sigma),
        AlgorithmType::DpmSolverPlusPlus | AlgorithmType::SdeDpmSolverPlusPlus => Combination::X0,
    }
}

/// Whether every step adds noise.
pub(super) fn is_stochastic(algorithm_type: AlgorithmType) -> bool {
    matches!(algorithm_type, AlgorithmType::SdeDpmSolver | AlgorithmType::SdeDpmSolverPlusPlus)
}

/// Checks what multistep and singlestep have in common.
pub(super) fn check(run: &Run) -> Result<()> {
    let config = run.config;
    if config.solver_order > 3 {
        return Err(Error::Settings(format!("DPM-Solver has orders 1 to 3; solver_order is {}.", config.solver_order)));
    }
    let of_epsilon = matches!(config.algorithm_type, AlgorithmType::DpmSolver | AlgorithmType::SdeDpmSolver);
    if of_epsilon && config.final_sigmas_type == FinalSigmasType::Zero && !config.kind.inverts() {
        return Err(Error::Settings(
            "algorithm_type dpmsolver needs final_sigmas_type \"sigma_min\": it cannot end at σ = 0.".into(),
        ));
    }
    if config.algorithm_type == AlgorithmType::SdeDpmSolver && config.solver_order == 3 {
        return Err(Error::Settings("algorithm_type sde-dpmsolver has no third order; set solver_order to 2.".into()));
    }
    Ok(())
}

/// From noise to image.
pub(super) fn rows(run: &Run) -> Result<Vec<Row>> {
    check(run)?;
    let final_zero = run.config.final_sigmas_type == FinalSigmasType::Zero;
    Ok(multistep(run, &levels(run)?, final_zero))
}

/// From an image to its noise.
pub(super) fn inverse(run: &Run) -> Result<Vec<Row>> {
    check(run)?;
    if is_stochastic(run.config.algorithm_type) {
        return Err(Error::Settings(
            "An inversion adds no noise; set algorithm_type to dpmsolver++ or dpmsolver.".into(),
        ));
    }
    Ok(multistep(run, &inverse_levels(run)?, false))
}

/// How many of what a step extrapolates are kept.
const KEPT: usize = 3;

/// The order of step i of a multistep method: growing at first, and falling at the end of a short run, or where the last
/// step is to be of order one in any case.
pub(super) fn order(run: &Run, i: usize, steps: usize, ends_low: bool) -> usize {
    let short = run.config.lower_order_final && run.options.begin + steps < 15;
    let wanted = match steps - i {
        1 if short || ends_low => 1,
        2 if short => 2,
        _ => run.config.solver_order,
    };
    wanted.min(run.config.solver_order).min(i + 1)
}

/// One row a step: order one at first, then as many earlier values as the order asks for.
fn multistep(run: &Run, levels: &Levels, final_zero: bool) -> Vec<Row> {
    let config = run.config;
    let Levels { timesteps, sigmas } = levels;
    let steps = timesteps.len();
    let row = |i: usize| {
        let order = order(run, i, steps, config.euler_at_final || final_zero);
        let now = extrapolated(run, sigmas[i]);
        let value = |back: usize| if back == 0 { now } else { Combination::kept((i - back) % KEPT) };
        let differences = divided_differences(run, sigmas, i, order, value);
        Row {
            prev: integral(run, Combination::X, [sigmas[i], sigmas[i + 1]], &differences),
            keep: vec![(i % KEPT, now)],
            draws_noise: is_stochastic(config.algorithm_type),
            ..row(run, timesteps[i], sigmas[i])
        }
        .bounded(config)
    };
    each(steps, &row)
}

/// A value and its derivatives over λ, in units of the step's h, for a Taylor polynomial.
pub(super) struct Differences {
    pub d0: Combination,
    pub d1: Option<Combination>,
    pub d2: Option<Combination>,
    /// Whether the slope is integrated exactly, not taken as constant from the middle of the step.
    pub exact: bool,
}

/// Whether the second order integrates exactly.
pub(super) fn is_heun(run: &Run) -> bool {
    run.config.solver_type == Some(SolverType::Heun)
}

/// λ = ln(α/σ) of a level.
pub(super) fn lambda(sigma: f64) -> f64 {
    -libm::log(sigma)
}

/// First and second divided differences of the latest values over λ (Lu et al. 2022b, Algorithm 2 and appendix B).
fn divided_differences(
    run: &Run,
    sigmas: &[f64],
    i: usize,
    order: usize,
    value: impl Fn(usize) -> Combination,
) -> Differences {
    let h = lambda(sigmas[i + 1]) - lambda(sigmas[i]);
    let ratio = |i: usize| (lambda(sigmas[i]) - lambda(sigmas[i - 1])) / h;
    let d0 = value(0);
    if order == 1 {
        return Differences { d0, d1: None, d2: None, exact: false };
    }
    let r0 = ratio(i);
    let latest = (d0 - value(1)) * (1.0 / r0);
    if order == 2 {
        return Differences { d0, d1: Some(latest), d2: None, exact: is_heun(run) };
    }
    let r1 = ratio(i - 1);
    let earlier = (value(1) - value(2)) * (1.0 / r1);
    let d2 = (latest - earlier) * (1.0 / (r0 + r1));
    Differences { d0, d1: Some(latest + d2 * r0), d2: Some(d2), exact: true }
}

/// The exact solution from one level to another, starting from `x`, with the extrapolated value a polynomial over λ
/// (Lu et al. 2022a, equation 3.4; 2022b, equation 9).
pub(super) fn integral(run: &Run, x: Combination, levels: [f64; 2], differences: &Differences) -> Combination {
    let config = run.config;
    let Differences { d0, d1, d2, exact } = *differences;
    let ((alpha, sigma), (alpha_next, sigma_next)) = (alpha_sigma(run, levels[0]), alpha_sigma(run, levels[1]));
    let h = lambda(levels[1]) - lambda(levels[0]);
    // e^{−h} and e^h without going through an h that may be infinite.
    let (decay, growth) = (levels[1] / levels[0], levels[0] / levels[1]);
    let terms = |value: f64, midpoint: f64, slope: f64, curvature: f64| {
        let mut sum = d0 * value;
        if let Some(d1) = d1 {
            sum = sum + d1 * if exact { slope } else { midpoint };
        }
        if let Some(d2) = d2 {
            sum = sum + d2 * curvature;
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
            x * (sigma_next / sigma) + sum
        }
        AlgorithmType::DpmSolver | AlgorithmType::Deis => {
            let e = growth - 1.0;
            let sum = terms(
                -sigma_next * e,
                -0.5 * sigma_next * e,
                -sigma_next * (e / h - 1.0),
                -sigma_next * ((e - h) / (h * h) - 0.5),
            );
            x * (alpha_next / alpha) + sum
        }
        AlgorithmType::SdeDpmSolverPlusPlus => {
            let e = 1.0 - decay * decay;
            let sum = terms(
                alpha_next * e,
                0.5 * alpha_next * e,
                alpha_next * (e / (-2.0 * h) + 1.0),
                alpha_next * ((e - 2.0 * h) / (4.0 * h * h) - 0.5),
            );
            x * (sigma_next / sigma * decay) + sum + Combination::NOISE * (sigma_next * e.max(0.0).sqrt())
        }
        AlgorithmType::SdeDpmSolver => {
            let e = growth - 1.0;
            let sum = terms(-2.0 * sigma_next * e, -sigma_next * e, -2.0 * sigma_next * (e / h - 1.0), 0.0);
            let noise = sigma_next * (growth * growth - 1.0).max(0.0).sqrt();
            x * (alpha_next / alpha) + sum + Combination::NOISE * noise
        }
    }
}
