//! Flows: x = (1 − σ) x_0 + σ ε with σ from 1 to 0, of which the network gives the velocity ε − x_0 (Lipman et al. 2023,
//! Esser et al. 2024; diffusers scheduling_flow_match_euler_discrete.py, scheduling_flow_match_heun_discrete.py, and
//! `use_flow_sigmas` elsewhere). The model is told σ T.

use super::dpm_solver::Levels;
use super::forward::linspace;
use super::sigmas::spaced;
use super::{Combination, Row, Run, each};
use crate::config::{FinalSigmasType, PredictionType, SchedulerKind};

/// Esser et al. 2024, equation 23.
fn shifted(shift: f64, sigma: f64) -> f64 {
    shift * sigma / (1.0 + (shift - 1.0) * sigma)
}

/// The levels stretched so that the last of them is where the configuration wants it.
fn stretch(run: &Run, sigmas: &mut [f64]) {
    if let (Some(terminal @ 1e-300..), Some(last)) = (run.config.shift_terminal, sigmas.last()) {
        // A single level stays where it is: all of the noise, which no stretching moves.
        let scale = if *last < 1.0 { (1.0 - last) / (1.0 - terminal) } else { 1.0 };
        sigmas.iter_mut().for_each(|sigma| *sigma = 1.0 - (1.0 - *sigma) / scale);
    }
}

/// σ of each step, and after the last.
fn sigmas(run: &Run) -> Vec<f64> {
    let &Run { config, steps, .. } = run;
    let (total, shift) = (config.num_train_timesteps as f64, config.shift);
    let all = linspace(shifted(shift, 1.0) * total, shifted(shift, 1.0 / total) * total, steps);
    let mut sigmas: Vec<f64> = all.into_iter().map(|t| shifted(shift, t / total)).collect();
    stretch(run, &mut sigmas);
    if let Some(spaced) = spaced(run, sigmas[steps - 1], sigmas[0]) {
        sigmas = spaced;
    }
    sigmas.push(0.0);
    if config.invert_sigmas {
        sigmas.iter_mut().for_each(|sigma| *sigma = 1.0 - *sigma);
    }
    run.made(sigmas)
}

fn row(run: &Run, sigma: f64) -> Row {
    let timestep = sigma * run.config.num_train_timesteps as f64;
    // Inverted, σ is the picture's share, and the velocity leads to it.
    let (noise, sign) = if run.config.invert_sigmas { (1.0 - sigma, -1.0) } else { (sigma, 1.0) };
    let row = Row::mixed(PredictionType::FlowPrediction, timestep, (1.0 - noise, noise));
    Row { x0_from_model: sign * row.x0_from_model, ..row }
}

/// x' = x + (σ' − σ) v, or new noise on x̂0.
pub(super) fn euler(run: &Run) -> Vec<Row> {
    let sigmas = sigmas(run);
    let step = |i: usize| {
        let (sigma, next) = (sigmas[i], sigmas[i + 1]);
        let draws_noise = run.config.stochastic_sampling;
        let prev = match draws_noise {
            true => Combination::X0 * (1.0 - next) + Combination::NOISE * next,
            false => Combination::X + Combination::MODEL * (next - sigma),
        };
        Row { prev, draws_noise, ..row(run, sigma) }
    };
    each(sigmas.len() - 1, &step)
}

/// A step to σ', and again with the mean of both velocities; the last step, to 0, is Euler's.
pub(super) fn heun(run: &Run) -> Vec<Row> {
    let mut rows = Vec::with_capacity(2 * run.steps);
    for pair in sigmas(run).windows(2) {
        let (sigma, next) = (pair[0], pair[1]);
        let half = Combination::MODEL * (0.5 * (next - sigma));
        let prev = Combination::X + half * 2.0;
        rows.push(Row { prev, keep: vec![(0, Combination::X + half)], ..row(run, sigma) });
        if next != 0.0 {
            rows.push(Row { prev: Combination::kept(0) + half, ..row(run, next) });
        }
    }
    rows
}

/// The levels of DPM-Solver, DEIS and UniPC along a flow. `smallest` is the σ of the training process that some end at.
pub(super) fn levels(run: &Run, smallest: f64) -> Levels {
    let &Run { config, steps, .. } = run;
    let total = config.num_train_timesteps as f64;
    let linear = linspace(1.0, 1.0 / total, steps + 1);
    let unipc = config.kind == SchedulerKind::UniPc;
    let level = |i: usize| shifted(config.flow_shift, if unipc { linear[i] } else { 1.0 - linear[steps - i] });
    let mut sigmas: Vec<f64> = (0..steps).map(level).collect();
    if unipc {
        stretch(run, &mut sigmas);
        if (sigmas[0] - 1.0).abs() < 1e-6 {
            sigmas[0] -= 1e-6;
        }
    }
    let timesteps = sigmas.iter().map(|sigma| (sigma * total).trunc()).collect();
    sigmas.push(match config.final_sigmas_type {
        _ if config.kind == SchedulerKind::DeisMultistep => sigmas[steps - 1],
        FinalSigmasType::Zero => 0.0,
        FinalSigmasType::SigmaMin if unipc => sigmas[steps - 1],
        FinalSigmasType::SigmaMin => smallest,
    });
    sigmas.iter_mut().for_each(|sigma| *sigma /= 1.0 - *sigma);
    Levels { timesteps: run.made(timesteps), sigmas: run.made(sigmas) }
}
