//! UniPC: a predictor and a corrector of any order from the same evaluations (Zhao et al. 2023; diffusers
//! scheduling_unipc_multistep.py).

use super::dpm_solver::{Levels, alpha_sigma, epsilon, levels, row};
use super::{Combination, Row, Run};
use crate::Result;
use crate::config::SolverType;

/// How many x̂0 (or ε) are kept.
const KEPT: usize = 4;

/// A step: what the x it begins at is multiplied by, and the weights of the values, the latest first.
struct Step {
    from_x: f64,
    from_values: Vec<f64>,
}

impl Step {
    fn apply(&self, x: Combination, value: impl Fn(usize) -> Combination) -> Combination {
        self.from_values.iter().enumerate().fold(x * self.from_x, |sum, (back, &weight)| sum + value(back) * weight)
    }

    /// The x it began at, from the x it led to. What were the latest values then are one further back now.
    fn undo(&self, value: impl Fn(usize) -> Combination) -> Combination {
        let values = self.from_values.iter().enumerate();
        let moved = values.fold(Combination::X, |sum, (back, &weight)| sum - value(back + 1) * weight);
        moved * (1.0 / self.from_x)
    }
}

/// One row a step. An evaluation at the predicted x first corrects the step that led there, which costs nothing more,
/// then predicts the next.
pub(super) fn rows(run: &Run) -> Result<Vec<Row>> {
    let config = run.config;
    let Levels { timesteps, sigmas } = levels(run)?;
    let steps = timesteps.len();
    let mut rows: Vec<Row> = Vec::with_capacity(steps);
    // The latest prediction and its order.
    let mut latest: Option<(Step, usize)> = None;
    for i in 0..steps {
        let now = if config.predict_x0 { Combination::X0 } else { epsilon(run, sigmas[i]) };
        let value = |back: usize| if back == 0 { now } else { Combination::kept((i - back) % KEPT) };
        let sample = match &latest {
            Some((step, order)) if !config.disable_corrector.contains(&(i - 1)) => {
                correct(run, &sigmas, i, *order).apply(step.undo(value), value)
            }
            _ => Combination::X,
        };
        let wanted = if config.lower_order_final { config.solver_order.min(steps - i) } else { config.solver_order };
        let order = wanted.min(i + 1);
        let step = predict(run, &sigmas, i, order);
        // x is corrected before it is moved on, in one.
        let prev = step.apply(sample, value);
        latest = Some((step, order));
        let row = Row { prev, keep: vec![(i % KEPT, now)], ..row(run, timesteps[i], sigmas[i]) };
        rows.push(row.bounded(config));
    }
    Ok(rows)
}

/// The share of x, of the latest value and of the differences in a step from one level to another: Zhao et al. 2023,
/// equations 3 and 8.
struct Interval {
    from_x: f64,
    from_value: f64,
    /// What the weighted sum of differences is multiplied by.
    differences: f64,
    /// h or −h.
    hh: f64,
    /// B(h).
    b: f64,
}

fn interval(run: &Run, from: f64, to: f64) -> Interval {
    let ((alpha, sigma), (alpha_to, sigma_to)) = (alpha_sigma(run, from), alpha_sigma(run, to));
    let h = libm::log(from) - libm::log(to);
    let hh = if run.config.predict_x0 { -h } else { h };
    let phi = libm::exp(hh) - 1.0;
    let b = if run.config.solver_type == Some(SolverType::Bh1) { hh } else { phi };
    match run.config.predict_x0 {
        true => Interval { from_x: sigma_to / sigma, from_value: -alpha_to * phi, differences: -alpha_to * b, hh, b },
        false => Interval { from_x: alpha_to / alpha, from_value: -sigma_to * phi, differences: -sigma_to * b, hh, b },
    }
}

/// R ρ = b: each row i has r_k^i, and b the i-th remainder of the exponential series.
fn system(ratios: &[f64], hh: f64, b: f64) -> (Vec<Vec<f64>>, Vec<f64>) {
    let mut phi_k = (libm::exp(hh) - 1.0) / hh - 1.0;
    let mut factorial = 1.0;
    let mut right = Vec::new();
    let matrix = (0..ratios.len())
        .map(|i| {
            right.push(phi_k * factorial / b);
            factorial *= (i + 2) as f64;
            phi_k = phi_k / hh - 1.0 / factorial;
            ratios.iter().map(|r| r.powi(i as i32)).collect()
        })
        .collect();
    (matrix, right)
}

/// Solves a small system by elimination with pivots.
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let n = right.len();
    for column in 0..n {
        let pivot = (column..n).max_by(|&a, &b| matrix[a][column].abs().total_cmp(&matrix[b][column].abs()));
        let pivot = pivot.unwrap_or(column);
        matrix.swap(column, pivot);
        right.swap(column, pivot);
        for row in 0..n {
            if row != column {
                let factor = matrix[row][column] / matrix[column][column];
                for k in column..n {
                    matrix[row][k] -= factor * matrix[column][k];
                }
                right[row] -= factor * right[column];
            }
        }
    }
    (0..n).map(|i| right[i] / matrix[i][i]).collect()
}

/// Weights of the values for weights of their divided differences from the one at `centre`; `ratios` belong to those
/// from `first` on.
fn from_differences(centre: usize, first: usize, ratios: &[f64], weights: &[f64], factor: f64) -> Vec<f64> {
    let mut values = vec![0.0; first + ratios.len()];
    for (k, (ratio, weight)) in ratios.iter().zip(weights).enumerate() {
        let weight = factor * weight / ratio;
        values[first + k] += weight;
        values[centre] -= weight;
    }
    values
}

/// From level i to i + 1 by extrapolating the latest values.
fn predict(run: &Run, sigmas: &[f64], i: usize, order: usize) -> Step {
    if sigmas[i + 1] == 0.0 && run.config.predict_x0 {
        // α' = 1, e^{−h} = 0: the value itself.
        return Step { from_x: 0.0, from_values: vec![1.0] };
    }
    let step = interval(run, sigmas[i], sigmas[i + 1]);
    let h = libm::log(sigmas[i]) - libm::log(sigmas[i + 1]);
    let ratios: Vec<f64> = (1..order).map(|k| (libm::log(sigmas[i]) - libm::log(sigmas[i - k])) / h).collect();
    let weights = if order == 2 {
        vec![0.5]
    } else {
        let (matrix, right) = system(&ratios, step.hh, step.b);
        solve(matrix, right)
    };
    let mut from_values = from_differences(0, 1, &ratios, &weights, step.differences);
    from_values[0] += step.from_value;
    Step { from_x: step.from_x, from_values }
}

/// The step that led to level i again, now with the value found there, which is the latest; it begins with the next.
fn correct(run: &Run, sigmas: &[f64], i: usize, order: usize) -> Step {
    let step = interval(run, sigmas[i - 1], sigmas[i]);
    let h = libm::log(sigmas[i - 1]) - libm::log(sigmas[i]);
    let earlier: Vec<f64> = (2..=order).map(|k| (libm::log(sigmas[i - 1]) - libm::log(sigmas[i - k])) / h).collect();
    let ratios: Vec<f64> = earlier.iter().copied().chain([1.0]).collect();
    let weights = if order == 1 {
        vec![0.5]
    } else {
        let (matrix, right) = system(&ratios, step.hh, step.b);
        solve(matrix, right)
    };
    let mut from_values = from_differences(1, 2, &earlier, &weights, step.differences);
    let at_end = step.differences * weights[order - 1];
    from_values[0] += at_end;
    from_values[1] += step.from_value - at_end;
    Step { from_x: step.from_x, from_values }
}
