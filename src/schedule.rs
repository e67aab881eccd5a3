//! A scheduler compiled to a table: one row of coefficients a model evaluation.
//!
//! Everything is computed in `f64` with the papers' names. With ᾱ_t = Π (1 − β_s), the forward process is
//! x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε (Ho et al. 2020, equation 4). Every way of sampling is then a linear combination of
//! what is at hand at an evaluation: x, the model's output, x̂0, fresh noise, and what earlier evaluations kept. See
//! [`Row`].

mod beta_distribution;
mod combination;
mod consistency;
mod ddim;
mod ddpm;
mod deis;
mod dpm_solver;
mod dpm_solver_sde;
mod dpm_solver_singlestep;
mod edm;
mod euler;
mod flow;
mod forward;
mod ipndm;
mod kdpm2;
mod lcm;
mod lms;
mod pndm;
mod repaint;
mod score_sde_ve;
mod sigmas;
mod step_options;
mod unipc;

pub use crate::op::{Coefficients, KEEPS, Keep, REGISTERS};
pub use combination::Combination;
use combination::adams_bashforth;
pub(crate) use forward::Posterior;
pub(crate) use sigmas::{table as sigma_table, timestep as sigma_to_timestep};
pub use step_options::StepOptions;

use serde::Serialize;

use crate::config::{PredictionType, SchedulerConfig, SchedulerKind};
use crate::{Error, Result, Shown};

/// What to do at one evaluation of the model.
///
/// The model is given `input_scale · x` and t. Then x̂0 = clip(x0_from_x · x + x0_from_model · model), x becomes
/// `prev`, and `keep` says what goes to registers for later rows. The last fields are of single schedulers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// t, as the model is told it; a whole number unless the scheduler interpolates.
    pub timestep: f64,
    /// ᾱ_t: how much of x's variance is the picture's, if a pixel's is 1.
    pub alpha_cumprod: f64,
    /// What the picture is multiplied by in x: √ᾱ_t for x as networks with β's are trained on it, 1 where x is x_0 + σ ε.
    pub signal: f64,
    /// What x is multiplied by before the model sees it.
    pub input_scale: f64,
    /// Weight of x in x̂0.
    pub x0_from_x: f64,
    /// Weight of the model's output in x̂0.
    pub x0_from_model: f64,
    /// Weight that the gradient of a classifier has in the model's output, so that ε̂ becomes ε̂ − √(1 − ᾱ) ∇ log p(y | x_t).
    pub model_from_gradient: f64,
    /// The absolute value x̂0 is clipped to.
    pub clip: Option<f64>,
    /// The quantile of its own absolute values that x̂0 is clipped to and divided by.
    pub threshold: Option<Threshold>,
    /// What x becomes.
    pub prev: Combination,
    /// Registers and what is put in them, at most [`KEEPS`]. Computed from the registers as they were before.
    pub keep: Vec<(usize, Combination)>,
    /// Whether this step takes noise from the generator (even if its weight is zero, as some of diffusers' do).
    pub draws_noise: bool,
    /// What the noise is multiplied by, element by element, if the model's output says so.
    pub learned_sigma: Option<LearnedSigma>,
    /// Inpainting: where the picture is known, x becomes this times the picture,
    pub known_from_original: f64,
    /// and this times noise: as much of both as the next row expects; after the last row the picture itself.
    pub known_from_noise: f64,
    /// RePaint: what a step does besides.
    pub repaint: Option<RePaint>,
    /// ScoreSdeVe: the signal-to-noise ratio of a Langevin step, which then replaces `prev`.
    pub langevin: Option<f64>,
}

/// Dynamic thresholding (Saharia et al. 2022, section 2.3): s is a quantile of |x̂0| over an image, at least 1, and x̂0
/// becomes clip(x̂0, −s, s) / s.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Threshold {
    /// Which quantile, from 0 to 1.
    pub ratio: f64,
    /// The largest s.
    pub max: f64,
}

/// A σ that is the second half of the model's output, v (diffusers scheduling_ddpm.py, `_get_variance`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum LearnedSigma {
    /// √v.
    Variance,
    /// exp(½(f ln β + (1 − f) ln β̃)) with f = (v + 1) / 2: Nichol and Dhariwal 2021, equation 15.
    Range {
        /// ln β̃_t.
        min_log: f64,
        /// ln β_t.
        max_log: f64,
    },
}

/// What RePaint does besides DDIM's step (Lugmayr et al. 2022, Algorithm 1; diffusers scheduling_repaint.py).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RePaint {
    /// Before the evaluation x is multiplied by this, and noise is added: a jump back towards the noise.
    pub undo_scale: f64,
    /// The weight of each noise that is drawn for the jump.
    pub undo_draws: Vec<f64>,
}

impl Schedule {
    /// The table as the device reads it, for classifier-free guidance of scale `guidance` and rescale
    /// `guidance_rescale`, and for a classifier's of scale `classifier_scale`.
    pub fn coefficients(&self, guidance: f32, guidance_rescale: f32, classifier_scale: f64) -> Vec<Coefficients> {
        let of_row = |row: &Row| Coefficients {
            guidance,
            guidance_rescale,
            model_from_gradient: (classifier_scale * row.model_from_gradient) as f32,
            noise_from_gradient: (classifier_scale * row.prev.noise) as f32,
            ..Coefficients::from(row)
        };
        self.rows.iter().map(of_row).collect()
    }

    /// How x is shown before evaluation `row`, or x_0 after the last: where x grows with σ the model is given less of it, and
    /// so is the eye.
    pub fn shown(&self, row: usize) -> Shown {
        let scale = match self.rows.get(row) {
            Some(row) if row.input_scale != 1.0 => row.alpha_cumprod.sqrt(),
            _ => 1.0,
        };
        // ScoreSdeVe's pictures are over [0, 1].
        match self.rows.iter().any(|row| row.langevin.is_some()) {
            true => Shown { scale: 2.0 * scale, offset: -1.0 },
            false => Shown { scale, offset: 0.0 },
        }
    }
}

impl From<&Row> for Coefficients {
    fn from(row: &Row) -> Self {
        let mut keep = [Keep::default(); KEEPS];
        for (keep, (register, kept)) in keep.iter_mut().zip(&row.keep) {
            *keep = Keep {
                to: *register as f32,
                from_x: kept.x as f32,
                from_model: kept.model as f32,
                from_x0: kept.x0 as f32,
            };
        }
        let threshold = row.threshold.unwrap_or(Threshold { ratio: 1.0, max: 1.0 });
        let (learned_sigma, min_log, max_log) = match row.learned_sigma {
            None => (0.0, 0.0, 0.0),
            Some(LearnedSigma::Variance) => (1.0, 0.0, 0.0),
            Some(LearnedSigma::Range { min_log, max_log }) => (2.0, min_log, max_log),
        };
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
            keep,
            threshold_ratio: threshold.ratio as f32,
            threshold_max: threshold.max as f32,
            learned_sigma,
            min_log: min_log as f32,
            max_log: max_log as f32,
            guidance: 1.0,
            guidance_rescale: 0.0,
            undo_scale: row.repaint.as_ref().map_or(1.0, |repaint| repaint.undo_scale as f32),
            known_from_original: row.known_from_original as f32,
            known_from_noise: row.known_from_noise as f32,
            langevin: row.langevin.unwrap_or(0.0) as f32,
            model_from_gradient: 0.0,
            noise_from_gradient: 0.0,
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
    options: StepOptions,
}

impl Run<'_> {
    /// Of what there is for each step, that of the steps that are made.
    fn made<T>(&self, mut of_steps: Vec<T>) -> Vec<T> {
        of_steps.drain(..self.options.begin);
        of_steps
    }
}

/// ᾱ_t for every t of the forward process that a network is trained on.
pub(crate) fn alphas_cumprod(config: &SchedulerConfig) -> Vec<f64> {
    forward::alphas_cumprod(&forward::betas(config))
}

impl Schedule {
    /// Compiles `config` to the table of a run of `steps` steps; a method that evaluates the model twice a step has more
    /// rows.
    ///
    /// # Errors
    /// When `steps` is not between 1 and T, a timestep lies beyond T, an option is out of its range or of another
    /// scheduler, or the scheduler cannot do what is asked.
    pub fn new(config: &SchedulerConfig, steps: usize, options: &StepOptions) -> Result<Self> {
        let total = config.num_train_timesteps;
        if !(1..=total).contains(&steps) {
            return Err(Error::Settings(format!("Steps is {steps}; this model takes between 1 and {total}.")));
        }
        options.check(config.kind, steps)?;
        let betas = forward::betas(config);
        let mut alphas_cumprod = forward::alphas_cumprod(&betas);
        use SchedulerKind::*;
        if config.rescale_betas_zero_snr && !matches!(config.kind, Ddpm | Ddim | DdimInverse | Lcm | Tcd) {
            // A σ of infinity cannot be computed with; diffusers makes it 2¹².
            alphas_cumprod[total - 1] = 2_f64.powi(-24);
        }
        if config.kind == ScoreSdeVe {
            check_evaluations(steps.saturating_mul(config.correct_steps + 1))?;
        }
        let run = Run { config, alphas_cumprod: &alphas_cumprod, steps, options: *options };
        let (init_noise_sigma, mut rows) = match config.kind {
            Ddpm => (1.0, ddpm::rows(&run)?),
            Ddim => (1.0, ddim::rows(&run)?),
            DdimInverse => (1.0, ddim::inverse(&run)?),
            Pndm => (1.0, pndm::rows(&run)?),
            IpNdm => (1.0, ipndm::rows(&run)?),
            Euler => euler::euler(&run)?,
            EulerAncestral => euler::ancestral(&run)?,
            Heun => euler::heun(&run)?,
            Kdpm2 => kdpm2::rows(&run, false)?,
            Kdpm2Ancestral => kdpm2::rows(&run, true)?,
            Lms => lms::rows(&run)?,
            DpmSolverMultistep => (1.0, dpm_solver::rows(&run)?),
            DpmSolverMultistepInverse => (1.0, dpm_solver::inverse(&run)?),
            DpmSolverSinglestep => (1.0, dpm_solver_singlestep::rows(&run)?),
            DeisMultistep => (1.0, deis::rows(&run)?),
            UniPc => (1.0, unipc::rows(&run)?),
            RePaint => (1.0, repaint::rows(&run)?),
            ScoreSdeVe => score_sde_ve::rows(&run),
            Lcm => (1.0, lcm::lcm(&run)?),
            Tcd => (1.0, lcm::tcd(&run)?),
            DpmSolverSde => dpm_solver_sde::rows(&run)?,
            Consistency => consistency::rows(&run),
            FlowEuler => (1.0, flow::euler(&run)),
            FlowHeun => (1.0, flow::heun(&run)),
            EdmEuler => euler::euler(&run)?,
            EdmDpmSolver => (edm::levels(&run).init_noise_sigma, dpm_solver::rows(&run)?),
        };
        // RePaint's own say where its steps lead, since a jump back may come before the next.
        if config.kind != RePaint {
            for i in 1..rows.len() {
                (rows[i - 1].known_from_original, rows[i - 1].known_from_noise) = rows[i].shares();
            }
        }
        for row in &rows {
            let coefficients: [f32; Coefficients::LEN] = bytemuck::cast(Coefficients::from(row));
            if coefficients.iter().any(|coefficient| !coefficient.is_finite()) {
                if config.rescale_betas_zero_snr && row.alpha_cumprod == 0.0 {
                    return Err(Error::Settings(format!(
                        "At timestep {} rescale_betas_zero_snr leaves nothing of the picture, and a model that predicts ε \
                         says nothing of it there. Take leading spacing, or a model that predicts v.",
                        row.timestep
                    )));
                }
                let repeated = rows.windows(2).find(|pair| pair[0].alpha_cumprod == pair[1].alpha_cumprod);
                if let (Some(pair), true) = (repeated, rows.len() + options.begin == steps) {
                    return Err(Error::Settings(format!(
                        "{steps} steps visit timestep {} more than once, which {} cannot do. Take fewer steps, trailing \
                         spacing or another sampler.",
                        pair[0].timestep,
                        config.kind.class()
                    )));
                }
                return Err(Error::Settings(format!(
                    "At timestep {} the schedule leaves the range of 32-bit numbers (ᾱ is {:e}). The number of steps, or \
                     the scheduler's num_train_timesteps, beta_start and beta_end, do not go together; fewer steps or \
                     another spacing may help.",
                    row.timestep, row.alpha_cumprod
                )));
            }
        }
        Ok(Schedule { betas, alphas_cumprod, init_noise_sigma, rows })
    }
}

impl Schedule {
    /// At which step a run has to begin for x at ᾱ: at the last one that expects as much noise in it, or more. What x lacks is
    /// to be added (Ho et al. 2020, equation 2).
    ///
    /// # Errors
    /// As [`Schedule::new`], and when there is more noise in x than any run begins with.
    pub fn begin_at(
        config: &SchedulerConfig,
        steps: usize,
        options: &StepOptions,
        alpha_cumprod: f64,
    ) -> Result<usize> {
        let expects = |begin: usize| -> Result<bool> {
            let schedule = Schedule::new(config, steps, &StepOptions { begin, ..*options })?;
            Ok(is_below(schedule.rows[0].alpha_cumprod, alpha_cumprod))
        };
        if !expects(0)? {
            let problem = "There is more noise in x than this sampler begins with; take another, or more steps.";
            return Err(Error::Settings(problem.into()));
        }
        if !config.kind.begins_anywhere() {
            return Ok(0);
        }
        let (mut low, mut high) = (0, steps);
        while high - low > 1 {
            let middle = (low + high) / 2;
            if expects(middle)? { low = middle } else { high = middle }
        }
        Ok(low)
    }
}

/// Whether x at one ᾱ can be made of x at another by adding noise, but for rounding.
pub(crate) fn is_below(alpha_cumprod: f64, other: f64) -> bool {
    alpha_cumprod <= other * (1.0 + 1e-9)
}

/// The most rows of a table: all of them are made before the first is run.
const MOST_EVALUATIONS: usize = 1 << 18;

fn check_evaluations(count: usize) -> Result<()> {
    if count <= MOST_EVALUATIONS {
        return Ok(());
    }
    Err(Error::Settings(format!(
        "This run would evaluate the model more than {MOST_EVALUATIONS} times; take fewer steps, jumps or corrections."
    )))
}

impl Row {
    /// A row for x as the model was trained on it, at ᾱ, with what leads from there still to be filled in.
    fn at(prediction: PredictionType, timestep: f64, alpha_cumprod: f64) -> Row {
        Row { alpha_cumprod, ..Row::mixed(prediction, timestep, preserving(alpha_cumprod)) }
    }

    /// A row for x as a mixture of the picture and noise in these shares.
    fn mixed(prediction: PredictionType, timestep: f64, (signal, noise): (f64, f64)) -> Row {
        let (x0_from_x, x0_from_model) = predict_x0(prediction, (signal, noise));
        let alpha_cumprod = signal * signal / (signal * signal + noise * noise);
        let model_from_gradient = model_from_gradient(alpha_cumprod, x0_from_model);
        Row { timestep, alpha_cumprod, signal, x0_from_x, x0_from_model, model_from_gradient, ..Row::NOTHING }
    }

    /// A row that leaves x as it is.
    const NOTHING: Row = Row {
        timestep: 0.0,
        alpha_cumprod: 1.0,
        signal: 1.0,
        input_scale: 1.0,
        x0_from_x: 0.0,
        x0_from_model: 0.0,
        model_from_gradient: 0.0,
        clip: None,
        threshold: None,
        prev: Combination::X,
        keep: Vec::new(),
        draws_noise: false,
        learned_sigma: None,
        known_from_original: 1.0,
        known_from_noise: 0.0,
        repaint: None,
        langevin: None,
    };

    /// The shares of the picture and of standard normal noise in x at this row, in the sampler's own scale.
    pub fn shares(&self) -> (f64, f64) {
        (self.signal, self.scale() * (1.0 - self.alpha_cumprod).max(0.0).sqrt())
    }

    /// What x of a variance of 1 is multiplied by to be in the sampler's own scale.
    pub(crate) fn scale(&self) -> f64 {
        if self.alpha_cumprod > 0.0 { self.signal / self.alpha_cumprod.sqrt() } else { 1.0 }
    }

    /// The row with x̂0 bounded as the configuration says.
    fn bounded(mut self, config: &SchedulerConfig) -> Row {
        if config.thresholding {
            let (ratio, max) = (config.dynamic_thresholding_ratio, config.sample_max_value);
            self.threshold = Some(Threshold { ratio, max });
        } else if config.clip_sample {
            self.clip = Some(config.clip_sample_range);
        }
        self
    }
}

/// What ∇ log p(y | x_t) is multiplied by in the model's output, for ε̂ to become ε̂ − √(1 − ᾱ) ∇ log p: then x̂0 grows by
/// (1 − ᾱ) / √ᾱ ∇ log p, of which x0_from_model tells what the model has to say, be it ε, x_0 or v. Where nothing is left of the
/// picture, x_t says nothing of a class either.
fn model_from_gradient(alpha_cumprod: f64, x0_from_model: f64) -> f64 {
    match alpha_cumprod * x0_from_model == 0.0 {
        true => 0.0,
        false => (1.0 - alpha_cumprod) / (alpha_cumprod.sqrt() * x0_from_model),
    }
}

/// One row for each of so many steps. It is the same code for all schedulers: the page loads it.
fn each(steps: usize, row: &dyn Fn(usize) -> Row) -> Vec<Row> {
    (0..steps).map(row).collect()
}

/// The shares of the picture and of the noise in x_t at ᾱ.
pub(crate) fn preserving(alpha_cumprod: f64) -> (f64, f64) {
    (alpha_cumprod.sqrt(), (1.0 - alpha_cumprod).sqrt())
}

/// x̂0 from x_t and the model's output, as weights of the two.
pub(crate) fn predict_x0(prediction: PredictionType, (signal, noise): (f64, f64)) -> (f64, f64) {
    match prediction {
        PredictionType::Epsilon => (1.0 / signal, -noise / signal), // Ho et al. 2020, equation 15
        PredictionType::Sample => (0.0, 1.0),
        PredictionType::VPrediction => (signal, -noise), // Salimans and Ho 2022, appendix D
        PredictionType::FlowPrediction => (1.0, -noise), // here the shares add up to 1
    }
}

/// ε of x_t and an x̂0.
fn epsilon_of_x0((signal, noise): (f64, f64)) -> Combination {
    (Combination::X - Combination::X0 * signal) * (1.0 / noise)
}

/// ε from x_t and the model's output.
pub(crate) fn predict_epsilon(prediction: PredictionType, (signal, noise): (f64, f64)) -> Combination {
    let (x, model) = match prediction {
        PredictionType::Epsilon => (0.0, 1.0),
        PredictionType::Sample => (1.0 / noise, -signal / noise),
        PredictionType::VPrediction => (noise, signal),
        PredictionType::FlowPrediction => (1.0, signal),
    };
    Combination::X * x + Combination::MODEL * model
}
