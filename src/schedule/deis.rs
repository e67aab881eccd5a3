//! DEIS in log ρ (Zhang and Chen 2022, section 4; diffusers scheduling_deis_multistep.py).

use super::dpm_solver::{Differences, Levels, alpha_sigma, epsilon, integral, levels, order, row};
use super::{Combination, Row, Run, each};
use crate::{Error, Result};

/// How many ε are kept.
const KEPT: usize = 3;

/// One row a step. Order one is DDIM; above, ε is a polynomial in ln ρ through the latest values, with ρ = σ here.
pub(super) fn rows(run: &Run) -> Result<Vec<Row>> {
    let config = run.config;
    if config.solver_order > 3 {
        return Err(Error::Settings(format!("DEIS has orders 1 to 3; solver_order is {}.", config.solver_order)));
    }
    let Levels { timesteps, sigmas } = levels(run)?;
    let steps = timesteps.len();
    let row = |i: usize| {
        let order = order(run, i, steps, false);
        let now = epsilon(run, sigmas[i]);
        let value = |back: usize| if back == 0 { now } else { Combination::kept((i - back) % KEPT) };
        let prev = if order == 1 {
            let differences = Differences { d0: now, d1: None, d2: None, exact: false };
            integral(run, Combination::X, [sigmas[i], sigmas[i + 1]], &differences)
        } else {
            let ((alpha, _), (alpha_next, _)) = (alpha_sigma(run, sigmas[i]), alpha_sigma(run, sigmas[i + 1]));
            let nodes: Vec<f64> = (0..order).map(|back| libm::log(sigmas[i - back])).collect();
            let begin = Combination::X * (1.0 / alpha);
            let sum = (0..order).fold(begin, |sum, j| sum + value(j) * weight(&nodes, j, sigmas[i], sigmas[i + 1]));
            sum * alpha_next
        };
        Row { prev, keep: vec![(i % KEPT, now)], ..row(run, timesteps[i], sigmas[i]) }.bounded(config)
    };
    Ok(each(steps, &row))
}

/// ∫ from ρ to ρ' of the Lagrange polynomial in ln ρ that is 1 at node j and 0 at the others.
fn weight(nodes: &[f64], j: usize, from: f64, to: f64) -> f64 {
    let others: Vec<f64> = nodes.iter().enumerate().filter(|&(k, _)| k != j).map(|(_, &node)| node).collect();
    let denominator: f64 = others.iter().map(|node| nodes[j] - node).product();
    let antiderivative = |rho: f64| {
        let log = libm::log(rho);
        match *others.as_slice() {
            // ∫ (ln ρ − a) dρ
            [a] => rho * (log - 1.0 - a),
            // ∫ (ln ρ − a)(ln ρ − b) dρ
            [a, b] => rho * (log * log - 2.0 * log + 2.0 - (a + b) * (log - 1.0) + a * b),
            _ => unreachable!("the order is two or three"),
        }
    };
    (antiderivative(to) - antiderivative(from)) / denominator
}
