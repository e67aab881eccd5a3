//! DPM-Solver and DPM-Solver++, singlestep (Lu et al. 2022a, Algorithms 1 and 2; 2022b, Algorithm 1; diffusers
//! scheduling_dpmsolver_singlestep.py).

use super::dpm_solver::{
    Differences, Levels, check, extrapolated, integral, is_heun, is_stochastic, lambda, levels, row,
};
use super::{Combination, Row, Run};
use crate::config::{AlgorithmType, FinalSigmasType};
use crate::{Error, Result};

/// The registers: where a step of several evaluations began, and what it found on the way.
const BEGINNING: usize = 0;
const FOUND: [usize; 2] = [1, 2];

/// A step of order n is n rows; each goes on from where the first of them began.
pub(super) fn rows(run: &Run) -> Result<Vec<Row>> {
    check(run)?;
    let config = run.config;
    if config.algorithm_type == AlgorithmType::SdeDpmSolver {
        return Err(Error::Settings("DPM-Solver singlestep has no algorithm_type sde-dpmsolver.".into()));
    }
    let Levels { timesteps, sigmas } = levels(run)?;
    let mut rows = Vec::with_capacity(timesteps.len());
    for (i, order) in orders(run, timesteps.len()).into_iter().enumerate() {
        let first = i + 1 - order;
        let now = extrapolated(run, sigmas[i]);
        // λ of each evaluation of this step, from where it began, in units of the whole step.
        let h = lambda(sigmas[i + 1]) - lambda(sigmas[first]);
        let ratio = |j: usize| (lambda(sigmas[first + j]) - lambda(sigmas[first])) / h;
        let [d0, second] = FOUND.map(Combination::kept);
        let (x, differences, keep) = match order {
            1 => {
                let differences = Differences { d0: now, d1: None, d2: None, exact: false };
                (Combination::X, differences, vec![(BEGINNING, Combination::X), (FOUND[0], now)])
            }
            2 => {
                let d1 = (now - d0) * (1.0 / ratio(1));
                let differences = Differences { d0, d1: Some(d1), d2: None, exact: is_heun(run) };
                (Combination::kept(BEGINNING), differences, vec![(FOUND[1], now)])
            }
            _ => {
                let (r0, r1) = (ratio(2), ratio(1));
                let near = (second - d0) * (1.0 / r1);
                let far = (now - d0) * (1.0 / r0);
                let differences = if is_heun(run) {
                    let d1 = (near * r0 - far * r1) * (1.0 / (r0 - r1));
                    let d2 = (far - near) * (2.0 / (r0 - r1));
                    Differences { d0, d1: Some(d1), d2: Some(d2), exact: true }
                } else {
                    Differences { d0, d1: Some(far), d2: None, exact: true }
                };
                (Combination::kept(BEGINNING), differences, Vec::new())
            }
        };
        let row = Row {
            prev: integral(run, x, [sigmas[first], sigmas[i + 1]], &differences),
            keep,
            draws_noise: is_stochastic(config.algorithm_type),
            ..row(run, timesteps[i], sigmas[i])
        };
        rows.push(row.bounded(config));
    }
    Ok(rows)
}

/// Which evaluation of a step each row is: 1, 2, 3, 1, 2, 3, … The last steps are shorter if the rows do not divide.
fn orders(run: &Run, steps: usize) -> Vec<usize> {
    let (config, order) = (run.config, run.config.solver_order);
    let final_zero = config.final_sigmas_type == FinalSigmasType::Zero;
    let mut orders: Vec<usize> = (0..steps).map(|i| i % order + 1).collect();
    // A last step at full order is cut short where it would end at σ = 0, or where that is asked for.
    if final_zero || config.lower_order_final && steps.is_multiple_of(order) {
        orders[steps - 1] = 1;
    }
    orders
}
