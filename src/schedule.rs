//! A scheduler compiled to a table: one row of coefficients a model evaluation.
//!
//! Everything is computed in `f64` with the papers' names. With ᾱ_t = Π (1 − β_s), the forward process is
//! x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε (Ho et al. 2020, equation 4). Each way of sampling is then a linear combination of
//! what is at hand at step t, see [`Row`].

use bytemuck::{Pod, Zeroable};
use serde::Serialize;

use crate::config::{BetaSchedule, PredictionType, SchedulerConfig, SchedulerKind, TimestepSpacing, VarianceType};
use crate::{Error, Result};

/// What to do at one evaluation of the model: predict
/// `x̂0 = clip(x0_from_x · x_t + x0_from_model · model)`, then move to
/// `x_prev = prev_from_x · x_t + prev_from_model · model + prev_from_x0 · x̂0 + prev_from_noise · z`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// t, as the model is told it.
    pub timestep: usize,
    /// ᾱ_t: how much of the picture's variance is left in x_t.
    pub alpha_cumprod: f64,
    /// Weight of x_t in x̂0.
    pub x0_from_x: f64,
    /// Weight of the model's output in x̂0.
    pub x0_from_model: f64,
    /// The absolute value x̂0 is clipped to.
    pub clip: Option<f64>,
    /// Weight of x_t in x_prev.
    pub prev_from_x: f64,
    /// Weight of the model's output in x_prev.
    pub prev_from_model: f64,
    /// Weight of x̂0 in x_prev.
    pub prev_from_x0: f64,
    /// Weight of fresh noise z in x_prev: σ_t.
    pub prev_from_noise: f64,
    /// Whether this step takes noise from the generator (even if its weight is zero, as diffusers' DDIM does).
    pub draws_noise: bool,
}

/// A [`Row`] as the device reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[allow(missing_docs)]
pub struct Coefficients {
    pub x0_from_x: f32,
    pub x0_from_model: f32,
    pub clip: f32,
    pub prev_from_x: f32,
    pub prev_from_model: f32,
    pub prev_from_x0: f32,
    pub prev_from_noise: f32,
    pub pad: f32,
}

impl Coefficients {
    /// How many floats a row is.
    pub const LEN: usize = size_of::<Self>() / size_of::<f32>();
}

impl From<&Row> for Coefficients {
    fn from(row: &Row) -> Self {
        Coefficients {
            x0_from_x: row.x0_from_x as f32,
            x0_from_model: row.x0_from_model as f32,
            clip: row.clip.map_or(f32::MAX, |clip| clip as f32),
            prev_from_x: row.prev_from_x as f32,
            prev_from_model: row.prev_from_model as f32,
            prev_from_x0: row.prev_from_x0 as f32,
            prev_from_noise: row.prev_from_noise as f32,
            pad: 0.0,
        }
    }
}

/// The rows of a run, from noise to image.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// β_t for every t of the forward process.
    pub betas: Vec<f64>,
    /// ᾱ_t for every t of the forward process.
    pub alphas_cumprod: Vec<f64>,
    /// One row an evaluation.
    pub rows: Vec<Row>,
}

impl Schedule {
    /// Compiles `config` to `steps` rows. `eta` is DDIM's η: 0 is deterministic, 1 adds as much noise as DDPM.
    ///
    /// # Errors
    /// When `steps` is not between 1 and T, a timestep lies beyond T, or η is not between 0 and 1 (and not 0 for
    /// DDPM, which has no η).
    pub fn new(config: &SchedulerConfig, steps: usize, eta: f64) -> Result<Self> {
        let total = config.num_train_timesteps;
        if !(1..=total).contains(&steps) {
            return Err(Error::Settings(format!("Steps is {steps}; this model takes between 1 and {total}.")));
        }
        if !(0.0..=1.0).contains(&eta) {
            return Err(Error::Settings(format!("η is {eta}; it must be between 0 and 1.")));
        }
        if config.kind == SchedulerKind::Ddpm && eta != 0.0 {
            return Err(Error::Settings(format!("η is {eta}, but DDPM has no η; choose DDIM or set it to 0.")));
        }
        let betas = betas(config);
        let alphas_cumprod: Vec<f64> = betas
            .iter()
            .scan(1.0, |product, beta| {
                *product *= 1.0 - beta;
                Some(*product)
            })
            .collect();
        let timesteps = timesteps(config, steps);
        if timesteps[0] >= total {
            return Err(Error::Settings(format!(
                "{steps} steps of leading spacing with an offset of {} begin at timestep {}, beyond the last one, {}. \
                 Take fewer steps or another spacing.",
                config.steps_offset,
                timesteps[0],
                total - 1
            )));
        }
        let rows: Vec<Row> = timesteps
            .iter()
            .enumerate()
            .map(|(i, &t)| match config.kind {
                SchedulerKind::Ddpm => {
                    // DDPM's previous timestep is the next one of the run.
                    let alpha_cumprod_prev = timesteps.get(i + 1).map_or(1.0, |&prev| alphas_cumprod[prev]);
                    ddpm(config, t, alphas_cumprod[t], alpha_cumprod_prev)
                }
                SchedulerKind::Ddim => {
                    // DDIM's is a fixed distance away, whatever the spacing (diffusers scheduling_ddim.py, `step`).
                    let before_first = if config.set_alpha_to_one { 1.0 } else { alphas_cumprod[0] };
                    let alpha_cumprod_prev =
                        t.checked_sub(total / steps).map_or(before_first, |prev| alphas_cumprod[prev]);
                    ddim(config, t, alphas_cumprod[t], alpha_cumprod_prev, eta)
                }
            })
            .collect();
        for row in &rows {
            let coefficients: [f32; Coefficients::LEN] = bytemuck::cast(Coefficients::from(row));
            if coefficients.iter().any(|coefficient| !coefficient.is_finite()) {
                return Err(Error::Settings(format!(
                    "At timestep {} the schedule leaves the range of 32-bit numbers (ᾱ is {:e}). The scheduler's \
                     num_train_timesteps, beta_start and beta_end do not go together.",
                    row.timestep, row.alpha_cumprod
                )));
            }
        }
        Ok(Schedule { betas, alphas_cumprod, rows })
    }
}

/// β_t for t = 0 … T − 1.
fn betas(config: &SchedulerConfig) -> Vec<f64> {
    let total = config.num_train_timesteps;
    let (start, end) = (config.beta_start, config.beta_end);
    match config.beta_schedule {
        BetaSchedule::Linear => linspace(start, end, total),
        BetaSchedule::ScaledLinear => {
            linspace(start.sqrt(), end.sqrt(), total).into_iter().map(|root| root * root).collect()
        }
        BetaSchedule::SquaredcosCapV2 => {
            // Nichol and Dhariwal 2021, equation 17, with s = 0.008.
            let alpha_bar = |t: f64| ((t + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
            let total = total as f64;
            (0..config.num_train_timesteps)
                .map(|i| (1.0 - alpha_bar((i + 1) as f64 / total) / alpha_bar(i as f64 / total)).min(0.999))
                .collect()
        }
    }
}

/// `count` numbers evenly from `start` to `end`, computed as numpy's `linspace` does.
fn linspace(start: f64, end: f64, count: usize) -> Vec<f64> {
    let step = (end - start) / (count.max(2) - 1) as f64;
    (0..count).map(|i| if i > 0 && i + 1 == count { end } else { start + i as f64 * step }).collect()
}

/// The timesteps of a run, from noise to image: Lin et al. 2023, Table 2, rounded as diffusers does
/// (scheduling_ddim.py, `set_timesteps`).
fn timesteps(config: &SchedulerConfig, steps: usize) -> Vec<usize> {
    let total = config.num_train_timesteps;
    match config.timestep_spacing {
        TimestepSpacing::Leading => (0..steps).rev().map(|i| i * (total / steps) + config.steps_offset).collect(),
        TimestepSpacing::Linspace => {
            linspace(0.0, (total - 1) as f64, steps).into_iter().rev().map(|t| t.round_ties_even() as usize).collect()
        }
        TimestepSpacing::Trailing => {
            // numpy's `arange(T, 0, −T/S)`: the distance it steps by is itself rounded against T.
            let total = total as f64;
            let distance = (total - total / steps as f64) - total;
            (0..steps).map(|i| (total + i as f64 * distance).round_ties_even() as usize - 1).collect()
        }
    }
}

/// x̂0 from x_t and the model's output, as weights of the two.
fn predict_x0(prediction: PredictionType, alpha_cumprod: f64) -> (f64, f64) {
    let (signal, noise) = (alpha_cumprod.sqrt(), (1.0 - alpha_cumprod).sqrt());
    match prediction {
        PredictionType::Epsilon => (1.0 / signal, -noise / signal), // Ho et al. 2020, equation 15
        PredictionType::Sample => (0.0, 1.0),
        PredictionType::VPrediction => (signal, -noise), // Salimans and Ho 2022, appendix D
    }
}

/// ε from x_t and the model's output, as weights of the two.
fn predict_epsilon(prediction: PredictionType, alpha_cumprod: f64) -> (f64, f64) {
    let (signal, noise) = (alpha_cumprod.sqrt(), (1.0 - alpha_cumprod).sqrt());
    match prediction {
        PredictionType::Epsilon => (0.0, 1.0),
        PredictionType::Sample => (1.0 / noise, -signal / noise),
        PredictionType::VPrediction => (noise, signal),
    }
}

/// A step of DDPM: x_{t−1} ~ N(μ̃_t(x_t, x̂0), σ_t²), Ho et al. 2020, equation 7 and Algorithm 2.
fn ddpm(config: &SchedulerConfig, timestep: usize, alpha_cumprod: f64, alpha_cumprod_prev: f64) -> Row {
    let alpha = alpha_cumprod / alpha_cumprod_prev;
    let beta = 1.0 - alpha;
    let posterior_mean_coef1 = alpha_cumprod_prev.sqrt() * beta / (1.0 - alpha_cumprod);
    let posterior_mean_coef2 = alpha.sqrt() * (1.0 - alpha_cumprod_prev) / (1.0 - alpha_cumprod);
    let variance = match config.variance_type {
        VarianceType::FixedSmall => ((1.0 - alpha_cumprod_prev) / (1.0 - alpha_cumprod) * beta).max(1e-20),
        VarianceType::FixedLarge => beta,
    };
    let (x0_from_x, x0_from_model) = predict_x0(config.prediction_type, alpha_cumprod);
    Row {
        timestep,
        alpha_cumprod,
        x0_from_x,
        x0_from_model,
        clip: config.clip_sample.then_some(config.clip_sample_range),
        prev_from_x: posterior_mean_coef2,
        prev_from_model: 0.0,
        prev_from_x0: posterior_mean_coef1,
        prev_from_noise: if timestep > 0 { variance.sqrt() } else { 0.0 },
        draws_noise: timestep > 0,
    }
}

/// A step of DDIM: Song et al. 2020, equations 12 and 16. ε is the model's, not re-derived from a clipped x̂0.
fn ddim(config: &SchedulerConfig, timestep: usize, alpha_cumprod: f64, alpha_cumprod_prev: f64, eta: f64) -> Row {
    let variance = (1.0 - alpha_cumprod_prev) / (1.0 - alpha_cumprod) * (1.0 - alpha_cumprod / alpha_cumprod_prev);
    let sigma = eta * variance.max(0.0).sqrt();
    let direction = (1.0 - alpha_cumprod_prev - sigma * sigma).max(0.0).sqrt();
    let (x0_from_x, x0_from_model) = predict_x0(config.prediction_type, alpha_cumprod);
    let (epsilon_from_x, epsilon_from_model) = predict_epsilon(config.prediction_type, alpha_cumprod);
    Row {
        timestep,
        alpha_cumprod,
        x0_from_x,
        x0_from_model,
        clip: config.clip_sample.then_some(config.clip_sample_range),
        prev_from_x: direction * epsilon_from_x,
        prev_from_model: direction * epsilon_from_model,
        prev_from_x0: alpha_cumprod_prev.sqrt(),
        prev_from_noise: sigma,
        draws_noise: eta > 0.0,
    }
}
