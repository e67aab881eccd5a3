//! A scheduler compiled to a table: one row of coefficients a model evaluation.
//!
//! Everything is computed in `f64` with the papers' names. With ᾱ_t = Π (1 − β_s), the forward process is
//! x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε (Ho et al. 2020, equation 4). Every way of sampling is then a linear combination of
//! what is at hand at an evaluation: x, the model's output, x̂0, fresh noise, and what earlier evaluations kept. See
//! [`Row`].

mod combination;
mod ddim;
mod ddpm;
mod dpm_solver;
mod euler;
mod forward;
mod kdpm2;
mod lms;
mod pndm;
mod sigmas;
mod unipc;

pub use combination::{Combination, REGISTERS};

use bytemuck::{Pod, Zeroable};
use serde::Serialize;

use crate::config::{PredictionType, SchedulerConfig, SchedulerKind};
use crate::{Error, Result};

/// What to do at one evaluation of the model.
///
/// The model is given `input_scale · x` and t. Then x̂0 = clip(x0_from_x · x + x0_from_model · model), x becomes
/// `prev`, and `keep` says what goes to a register for later rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// t, as the model is told it; a whole number unless the scheduler interpolates.
    pub timestep: f64,
    /// ᾱ_t: how much of the picture's variance is left in x.
    pub alpha_cumprod: f64,
    /// What x is multiplied by before the model sees it.
    pub input_scale: f64,
    /// Weight of x in x̂0.
    pub x0_from_x: f64,
    /// Weight of the model's output in x̂0.
    pub x0_from_model: f64,
    /// The absolute value x̂0 is clipped to.
    pub clip: Option<f64>,
    /// What x becomes.
    pub prev: Combination,
    /// A register and what is put in it. Computed from the registers as they were before.
    pub keep: Option<(usize, Combination)>,
    /// Whether this step takes noise from the generator (even if its weight is zero, as some of diffusers' do).
    pub draws_noise: bool,
}

/// A [`Row`] as the device reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[allow(missing_docs)]
pub struct Coefficients {
    pub input_scale: f32,
    pub x0_from_x: f32,
    pub x0_from_model: f32,
    pub clip: f32,
    pub prev_from_x: f32,
    pub prev_from_model: f32,
    pub prev_from_x0: f32,
    pub prev_from_noise: f32,
    pub prev_from_kept: [f32; REGISTERS],
    /// The register that is written, or −1.
    pub keep: f32,
    pub keep_from_x: f32,
    pub keep_from_model: f32,
    pub keep_from_x0: f32,
    /// What x_prev is multiplied by to be shown, so that it is as strong as what the model was trained on.
    pub show_scale: f32,
    pub pad: [f32; 2],
}

impl Coefficients {
    /// How many floats a row is.
    pub const LEN: usize = size_of::<Self>() / size_of::<f32>();
}

impl Schedule {
    /// The table as the device reads it.
    pub fn coefficients(&self) -> Vec<Coefficients> {
        let shown = self.rows.iter().skip(1).map(|row| row.input_scale as f32).chain([1.0]);
        let rows = self.rows.iter().zip(shown);
        rows.map(|(row, show_scale)| Coefficients { show_scale, ..Coefficients::from(row) }).collect()
    }
}

impl From<&Row> for Coefficients {
    fn from(row: &Row) -> Self {
        let (keep, kept) = row.keep.unwrap_or((usize::MAX, Combination::ZERO));
        Coefficients {
            input_scale: row.input_scale as f32,
            x0_from_x: row.x0_from_x as f32,
            x0_from_model: row.x0_from_model as f32,
            clip: row.clip.map_or(f32::MAX, |clip| clip as f32),
            prev_from_x: row.prev.x as f32,
            prev_from_model: row.prev.model as f32,
            prev_from_x0: row.prev.x0 as f32,
            prev_from_noise: row.prev.noise as f32,
            prev_from_kept: row.prev.kept.map(|weight| weight as f32),
            keep: if row.keep.is_some() { keep as f32 } else { -1.0 },
            keep_from_x: kept.x as f32,
            keep_from_model: kept.model as f32,
            keep_from_x0: kept.x0 as f32,
            show_scale: 1.0,
            pad: [0.0; 2],
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
    /// What standard normal noise is multiplied by to begin with.
    pub init_noise_sigma: f64,
    /// One row an evaluation.
    pub rows: Vec<Row>,
}

/// The run that a scheduler makes a table for.
struct Run<'a> {
    config: &'a SchedulerConfig,
    alphas_cumprod: &'a [f64],
    steps: usize,
    eta: f64,
}

impl Schedule {
    /// Compiles `config` to the table of a run of `steps` steps; a method that evaluates the model twice a step has more
    /// rows. `eta` is DDIM's η: 0 is deterministic, 1 adds as much noise as DDPM.
    ///
    /// # Errors
    /// When `steps` is not between 1 and T, a timestep lies beyond T, η is not between 0 and 1 (and not 0 for anything
    /// but DDIM), or the scheduler cannot do what is asked.
    pub fn new(config: &SchedulerConfig, steps: usize, eta: f64) -> Result<Self> {
        let total = config.num_train_timesteps;
        if !(1..=total).contains(&steps) {
            return Err(Error::Settings(format!("Steps is {steps}; this model takes between 1 and {total}.")));
        }
        if !(0.0..=1.0).contains(&eta) {
            return Err(Error::Settings(format!("η is {eta}; it must be between 0 and 1.")));
        }
        if config.kind != SchedulerKind::Ddim && eta != 0.0 {
            return Err(Error::Settings(format!("η is {eta}, but only DDIM has an η; choose DDIM or set it to 0.")));
        }
        let betas = forward::betas(config);
        let mut alphas_cumprod: Vec<f64> = betas
            .iter()
            .scan(1.0, |product, beta| {
                *product *= 1.0 - beta;
                Some(*product)
            })
            .collect();
        if config.rescale_betas_zero_snr && !matches!(config.kind, SchedulerKind::Ddpm | SchedulerKind::Ddim) {
            // A σ of infinity cannot be computed with; diffusers makes it 2¹².
            alphas_cumprod[total - 1] = 2_f64.powi(-24);
        }
        let run = Run { config, alphas_cumprod: &alphas_cumprod, steps, eta };
        let (init_noise_sigma, rows) = match config.kind {
            SchedulerKind::Ddpm => (1.0, ddpm::rows(&run)?),
            SchedulerKind::Ddim => (1.0, ddim::rows(&run)?),
            SchedulerKind::Pndm => (1.0, pndm::rows(&run)?),
            SchedulerKind::Euler => euler::euler(&run)?,
            SchedulerKind::EulerAncestral => euler::ancestral(&run)?,
            SchedulerKind::Heun => euler::heun(&run)?,
            SchedulerKind::Kdpm2 => kdpm2::rows(&run, false)?,
            SchedulerKind::Kdpm2Ancestral => kdpm2::rows(&run, true)?,
            SchedulerKind::Lms => lms::rows(&run)?,
            SchedulerKind::DpmSolverMultistep => (1.0, dpm_solver::rows(&run)?),
            SchedulerKind::UniPc => (1.0, unipc::rows(&run)?),
        };
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
        Ok(Schedule { betas, alphas_cumprod, init_noise_sigma, rows })
    }
}

impl Row {
    /// A row for x as the model was trained on it, at ᾱ, with what leads from there still to be filled in.
    fn at(prediction: PredictionType, timestep: f64, alpha_cumprod: f64) -> Row {
        let (x0_from_x, x0_from_model) = predict_x0(prediction, alpha_cumprod);
        Row {
            timestep,
            alpha_cumprod,
            input_scale: 1.0,
            x0_from_x,
            x0_from_model,
            clip: None,
            prev: Combination::X,
            keep: None,
            draws_noise: false,
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

/// ε from x_t and the model's output.
fn predict_epsilon(prediction: PredictionType, alpha_cumprod: f64) -> Combination {
    let (signal, noise) = (alpha_cumprod.sqrt(), (1.0 - alpha_cumprod).sqrt());
    let (x, model) = match prediction {
        PredictionType::Epsilon => (0.0, 1.0),
        PredictionType::Sample => (1.0 / noise, -signal / noise),
        PredictionType::VPrediction => (noise, signal),
    };
    Combination::X * x + Combination::MODEL * model
}
