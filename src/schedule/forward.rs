//! The forward process, and which of its timesteps a run visits.

use super::Run;
use crate::config::{BetaSchedule, SchedulerConfig, TimestepSpacing};
use crate::{Error, Result};

/// β_t for t = 0 … T − 1.
pub(super) fn betas(config: &SchedulerConfig) -> Vec<f64> {
    let total = config.num_train_timesteps;
    let (start, end) = (config.beta_start, config.beta_end);
    let betas = match (&config.trained_betas, config.beta_schedule) {
        (Some(betas), _) => betas.clone(),
        (None, BetaSchedule::Linear) => linspace(start, end, total),
        (None, BetaSchedule::ScaledLinear) => {
            linspace(start.sqrt(), end.sqrt(), total).into_iter().map(|root| root * root).collect()
        }
        // Nichol and Dhariwal 2021, equation 17, with s = 0.008.
        (None, BetaSchedule::SquaredcosCapV2) => {
            of_alpha_bar(total, |t| libm::cos((t + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).powi(2))
        }
        (None, BetaSchedule::Exp) => of_alpha_bar(total, |t| libm::exp(-12.0 * t)),
        (None, BetaSchedule::Laplace) => of_alpha_bar(total, |t| {
            let lambda = -0.5 * 1_f64.copysign(0.5 - t) * libm::log(1.0 - 2.0 * (0.5 - t).abs() + 1e-6);
            let snr = libm::exp(lambda);
            (snr / (1.0 + snr)).sqrt()
        }),
        (None, BetaSchedule::Sigmoid) => {
            let sigmoid = |x: f64| 1.0 / (1.0 + libm::exp(-x));
            linspace(-6.0, 6.0, total).into_iter().map(|x| sigmoid(x) * (end - start) + start).collect()
        }
    };
    if config.rescale_betas_zero_snr { zero_terminal_snr(&betas) } else { betas }
}

/// ᾱ_t, the product of all 1 − β up to t.
pub(super) fn alphas_cumprod(betas: &[f64]) -> Vec<f64> {
    let mut product = 1.0;
    let next = |beta: &f64| {
        product *= 1.0 - beta;
        product
    };
    betas.iter().map(next).collect()
}

/// β_t so that ᾱ follows a function of t/T, capped at 0.999 (diffusers, `betas_for_alpha_bar`).
fn of_alpha_bar(total: usize, alpha_bar: impl Fn(f64) -> f64) -> Vec<f64> {
    let at = |i: usize| alpha_bar(i as f64 / total as f64);
    (0..total).map(|i| (1.0 - at(i + 1) / at(i)).min(0.999)).collect()
}

/// Changes β so that ᾱ_{T−1} = 0, shifting and stretching √ᾱ (Lin et al. 2023, Algorithm 1).
fn zero_terminal_snr(betas: &[f64]) -> Vec<f64> {
    let mut product = 1.0;
    let roots: Vec<f64> = betas
        .iter()
        .map(|beta| {
            product *= 1.0 - beta;
            f64::sqrt(product)
        })
        .collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    let bars: Vec<f64> = roots.iter().map(|root| ((root - last) * (first / (first - last))).powi(2)).collect();
    (0..bars.len()).map(|t| 1.0 - if t == 0 { bars[0] } else { bars[t] / bars[t - 1] }).collect()
}

/// β̃: the variance of x at an earlier timestep, given x_t and x_0 (Ho et al. 2020, equation 7).
pub(super) fn posterior_variance(alpha_cumprod: f64, alpha_cumprod_prev: f64) -> f64 {
    (1.0 - alpha_cumprod_prev) / (1.0 - alpha_cumprod) * (1.0 - alpha_cumprod / alpha_cumprod_prev)
}

/// q(x_{t−1} | x_t, x_0), as far as the variational bound needs it (Ho et al. 2020, equation 7).
pub(crate) struct Posterior {
    /// The mean's coefficient of x_0.
    pub(crate) from_x0: f64,
    /// ln β̃_t; of the first timestep, whose β̃ is 0, that of the second, as improved-diffusion has it.
    pub(crate) log_variance: f64,
    /// ln β_t.
    pub(crate) log_beta: f64,
}

impl Posterior {
    /// That of a timestep which exists. Of a process with only one timestep the variance is 0.
    pub(crate) fn at(alphas_cumprod: &[f64], timestep: usize) -> Self {
        let signal = alphas_cumprod[timestep];
        let before = |timestep: usize| if timestep == 0 { 1.0 } else { alphas_cumprod[timestep - 1] };
        let beta = 1.0 - signal / before(timestep);
        let variance = match alphas_cumprod.get(timestep.max(1)) {
            Some(&signal) => posterior_variance(signal, before(timestep.max(1))),
            None => 0.0,
        };
        let from_x0 = before(timestep).sqrt() * beta / (1.0 - signal);
        Posterior { from_x0, log_variance: libm::log(variance), log_beta: libm::log(beta) }
    }
}

/// `count` numbers evenly from `start` to `end`, computed as numpy's `linspace` does.
pub(super) fn linspace(start: f64, end: f64, count: usize) -> Vec<f64> {
    let step = (end - start) / (count.max(2) - 1) as f64;
    (0..count).map(|i| if i > 0 && i + 1 == count { end } else { start + i as f64 * step }).collect()
}

/// numpy's `arange(total, 0, −total / steps)`: the distance it steps by is itself rounded against `total`.
pub(super) fn trailing(total: usize, steps: usize) -> impl Iterator<Item = f64> {
    let total = total as f64;
    let distance = (total - total / steps as f64) - total;
    (0..steps).map(move |i| (total + i as f64 * distance).round_ties_even() - 1.0)
}

/// The timesteps of the steps that a run of DDPM or DDIM makes.
///
/// # Errors
/// As [`all_timesteps`].
pub(super) fn timesteps(run: &Run) -> Result<Vec<usize>> {
    Ok(run.made(all_timesteps(run)?))
}

/// The timesteps of a whole run of DDPM or DDIM, from noise to image: Lin et al. 2023, Table 2, rounded as diffusers does
/// (scheduling_ddim.py, `set_timesteps`).
///
/// # Errors
/// When the first lies beyond T.
pub(super) fn all_timesteps(run: &Run) -> Result<Vec<usize>> {
    let &Run { config, steps, .. } = run;
    let total = config.num_train_timesteps;
    let timesteps: Vec<usize> = match config.timestep_spacing {
        TimestepSpacing::Leading => (0..steps).rev().map(|i| i * (total / steps) + config.steps_offset).collect(),
        TimestepSpacing::Linspace => {
            linspace(0.0, (total - 1) as f64, steps).into_iter().rev().map(|t| t.round_ties_even() as usize).collect()
        }
        TimestepSpacing::Trailing => trailing(total, steps).map(|t| t as usize).collect(),
    };
    check(run, timesteps[0])?;
    Ok(timesteps)
}

/// Checks that the first timestep of a run is not beyond the last one of the forward process.
pub(super) fn check(run: &Run, first: usize) -> Result<()> {
    let last = run.config.num_train_timesteps - 1;
    if first <= last {
        return Ok(());
    }
    Err(Error::Settings(format!(
        "{} steps of leading spacing with an offset of {} begin at timestep {first}, beyond the last one, {last}. Take \
         fewer steps or another spacing.",
        run.steps, run.config.steps_offset
    )))
}
