//! `scheduler/scheduler_config.json`: the noise schedule and how to sample (diffusers `schedulers/`).

use serde::{Deserialize, Serialize};

use super::only;
use crate::{Error, Result};

const FILE: &str = "scheduler/scheduler_config.json";

/// A sampling method, by its diffusers class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum SchedulerKind {
    /// Ancestral sampling (Ho et al. 2020, Algorithm 2).
    #[default]
    #[serde(rename = "DDPMScheduler", alias = "ddpm")]
    Ddpm,
    /// Denoising diffusion implicit models (Song et al. 2020), with any η.
    #[serde(rename = "DDIMScheduler", alias = "ddim")]
    Ddim,
}

/// How β_t runs from t = 0 to T − 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// β linear in t (Ho et al. 2020).
    #[default]
    Linear,
    /// √β linear in t.
    ScaledLinear,
    /// ᾱ a squared cosine, β capped at 0.999 (Nichol and Dhariwal 2021, equation 17).
    #[serde(rename = "squaredcos_cap_v2")]
    SquaredcosCapV2,
}

/// What the network predicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// ε, the noise in x_t.
    #[default]
    Epsilon,
    /// x_0 itself.
    Sample,
    /// v = √ᾱ ε − √(1−ᾱ) x_0 (Salimans and Ho 2022).
    VPrediction,
}

/// Which timesteps a run of fewer than T steps visits (Lin et al. 2023, Table 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestepSpacing {
    /// Multiples of T/S from 0 up: starts below T − 1.
    #[default]
    Leading,
    /// Multiples of T/S from T − 1 down.
    Trailing,
    /// Evenly from 0 to T − 1, both included.
    Linspace,
}

/// σ² of DDPM's reverse step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VarianceType {
    /// β̃_t, the posterior's (Ho et al. 2020, equation 7).
    #[default]
    FixedSmall,
    /// β_t.
    FixedLarge,
}

/// The fields of `DDPMScheduler` and `DDIMScheduler`, with diffusers' names and defaults.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub struct SchedulerConfig {
    /// The sampling method the model's author chose.
    #[serde(rename = "_class_name")]
    pub kind: SchedulerKind,
    /// T, the number of steps of the forward process.
    pub num_train_timesteps: usize,
    /// β at t = 0.
    pub beta_start: f64,
    /// β at t = T − 1.
    pub beta_end: f64,
    /// How β runs between them.
    pub beta_schedule: BetaSchedule,
    /// DDPM's σ².
    pub variance_type: VarianceType,
    /// Whether x̂_0 is clipped.
    pub clip_sample: bool,
    /// To what absolute value.
    pub clip_sample_range: f64,
    /// What the network predicts.
    pub prediction_type: PredictionType,
    /// Which timesteps a run visits.
    pub timestep_spacing: TimestepSpacing,
    /// Added to every timestep of leading spacing.
    pub steps_offset: usize,
    /// DDIM: whether ᾱ before the first timestep is 1, or that of timestep 0.
    pub set_alpha_to_one: bool,

    // Fields with one supported value; `check` names any other.
    thresholding: bool,
    rescale_betas_zero_snr: bool,
    trained_betas: Option<Vec<f64>>,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        SchedulerConfig {
            kind: SchedulerKind::Ddpm,
            num_train_timesteps: 1000,
            beta_start: 1e-4,
            beta_end: 0.02,
            beta_schedule: BetaSchedule::Linear,
            variance_type: VarianceType::FixedSmall,
            clip_sample: true,
            clip_sample_range: 1.0,
            prediction_type: PredictionType::Epsilon,
            timestep_spacing: TimestepSpacing::Leading,
            steps_offset: 0,
            set_alpha_to_one: true,
            thresholding: false,
            rescale_betas_zero_snr: false,
            trained_betas: None,
        }
    }
}

/// Every field of both schedulers. The last two are settings of dynamic thresholding, which is off.
const KNOWN: &[&str] = &[
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "variance_type",
    "clip_sample",
    "clip_sample_range",
    "prediction_type",
    "timestep_spacing",
    "steps_offset",
    "set_alpha_to_one",
    "thresholding",
    "rescale_betas_zero_snr",
    "dynamic_thresholding_ratio",
    "sample_max_value",
];

impl SchedulerConfig {
    /// Reads a `scheduler/scheduler_config.json`.
    ///
    /// # Errors
    /// When it is not valid JSON or asks for something that is not supported.
    pub fn from_json(json: &str) -> Result<Self> {
        let config: SchedulerConfig = super::read(FILE, json, KNOWN, &[])?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        only(FILE, "thresholding", &self.thresholding, &false)?;
        only(FILE, "rescale_betas_zero_snr", &self.rescale_betas_zero_snr, &false)?;
        only(FILE, "trained_betas", &self.trained_betas, &None)?;
        let invalid = |problem: String| Err(Error::Config { file: FILE, problem });
        if !(1..=100_000).contains(&self.num_train_timesteps) {
            return invalid(format!(
                "num_train_timesteps is {}; it must be between 1 and 100000.",
                self.num_train_timesteps
            ));
        }
        if self.steps_offset >= self.num_train_timesteps {
            return invalid(format!(
                "steps_offset is {}; it must be less than num_train_timesteps, {}.",
                self.steps_offset, self.num_train_timesteps
            ));
        }
        for (field, value) in [("beta_start", self.beta_start), ("beta_end", self.beta_end)] {
            if !(value > 0.0 && value < 1.0) {
                return invalid(format!("{field} is {value}; it must be between 0 and 1."));
            }
        }
        if !(self.clip_sample_range > 0.0 && self.clip_sample_range.is_finite()) {
            return invalid(format!("clip_sample_range is {}; it must be positive.", self.clip_sample_range));
        }
        Ok(())
    }
}
