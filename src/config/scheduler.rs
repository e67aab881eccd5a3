//! `scheduler/scheduler_config.json`: the noise schedule and how to sample (diffusers `schedulers/`).

mod file;
mod kind;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use file::SchedulerFile;
pub use kind::{Family, SchedulerKind};

use super::Object;
use super::field::Field;
use crate::{Error, Result};
use SchedulerKind::*;
use file::has;

const FILE: &str = "scheduler/scheduler_config.json";

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
    /// β a sigmoid of t (GeoDiff).
    Sigmoid,
    /// λ distributed as Laplace's (Hang et al. 2024).
    Laplace,
    /// ᾱ falling exponentially.
    Exp,
}

/// How σ between the run's ends is found from the timesteps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InterpolationType {
    /// σ linear in t.
    #[default]
    Linear,
    /// ln σ evenly spaced from the first to the last, whatever the timesteps.
    LogLinear,
}

/// What the model is told of the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestepType {
    /// t.
    #[default]
    Discrete,
    /// ¼ ln σ, for a model that predicts v (Karras et al. 2022, Table 1).
    Continuous,
}

/// Which x̂0 or ε DPM-Solver extrapolates, and whether it adds noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum AlgorithmType {
    /// x̂0.
    #[default]
    #[serde(rename = "dpmsolver++")]
    DpmSolverPlusPlus,
    /// ε.
    #[serde(rename = "dpmsolver")]
    DpmSolver,
    /// x̂0, with the noise of the SDE.
    #[serde(rename = "sde-dpmsolver++")]
    SdeDpmSolverPlusPlus,
    /// ε, with the noise of the SDE.
    #[serde(rename = "sde-dpmsolver")]
    SdeDpmSolver,
    /// DEIS's own.
    #[serde(rename = "deis")]
    Deis,
}

/// Variants of the second-order solvers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SolverType {
    /// DPM-Solver: the slope in the middle of the interval.
    Midpoint,
    /// DPM-Solver: the exact integral of a linear slope.
    Heun,
    /// UniPC: B(h) = h.
    Bh1,
    /// UniPC: B(h) = e^h − 1.
    Bh2,
    /// DEIS: polynomials in log ρ.
    #[serde(rename = "logrho")]
    LogRho,
}

/// The σ after the last evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalSigmasType {
    /// 0.
    #[default]
    Zero,
    /// The smallest σ of the training process.
    SigmaMin,
}

/// How σ of a preconditioned network is spaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SigmaSchedule {
    /// σ^(1/ρ) evenly (Karras et al. 2022, equation 5).
    #[default]
    Karras,
    /// ln σ evenly.
    Exponential,
}

/// What the network predicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify))]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// ε, the noise in x_t.
    #[default]
    Epsilon,
    /// x_0 itself.
    Sample,
    /// v = √ᾱ ε − √(1−ᾱ) x_0 (Salimans and Ho 2022).
    VPrediction,
    /// ε − x_0, the velocity of a flow (Lipman et al. 2023).
    FlowPrediction,
}

/// Which timesteps a run of fewer than T steps visits (Lin et al. 2023, Table 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify))]
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
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify))]
#[serde(rename_all = "snake_case")]
pub enum VarianceType {
    /// β̃_t, the posterior's (Ho et al. 2020, equation 7).
    #[default]
    FixedSmall,
    /// The same, by way of its logarithm.
    FixedSmallLog,
    /// β_t.
    FixedLarge,
    /// The second half of the model's output.
    Learned,
    /// Between β̃_t and β_t, as the second half of the model's output says (Nichol and Dhariwal 2021, equation 15).
    LearnedRange,
}

/// The fields of diffusers' schedulers, with their names; each scheduler has defaults of its own.
#[derive(Clone, Debug)]
pub struct SchedulerConfig {
    /// The sampling method the model's author chose.
    pub kind: SchedulerKind,
    /// T, the number of steps of the forward process.
    pub num_train_timesteps: usize,
    /// β at t = 0.
    pub beta_start: f64,
    /// β at t = T − 1.
    pub beta_end: f64,
    /// How β runs between them.
    pub beta_schedule: BetaSchedule,
    /// Every β, in place of a formula.
    pub trained_betas: Option<Vec<f64>>,
    /// Whether β is changed so that nothing of the picture is left at T (Lin et al. 2023, Algorithm 1).
    pub rescale_betas_zero_snr: bool,
    /// DDPM's σ².
    pub variance_type: VarianceType,
    /// Whether x̂_0 is clipped (DDPM, DDIM and its inversion, RePaint and Heun).
    pub clip_sample: bool,
    /// To what absolute value.
    pub clip_sample_range: f64,
    /// Whether x̂_0 is clipped to a quantile of its own absolute values, and divided by it (Saharia et al. 2022,
    /// section 2.3; DDPM, DDIM and the DPM-Solver family).
    pub thresholding: bool,
    /// Which quantile.
    pub dynamic_thresholding_ratio: f64,
    /// The largest value that the quantile may have.
    pub sample_max_value: f64,
    /// What the network predicts.
    pub prediction_type: PredictionType,
    /// Which timesteps a run visits.
    pub timestep_spacing: TimestepSpacing,
    /// Added to every timestep of leading spacing.
    pub steps_offset: usize,
    /// DDIM, PNDM: whether ᾱ before the first timestep is 1, or that of timestep 0.
    pub set_alpha_to_one: bool,
    /// PNDM: whether to begin without Runge–Kutta steps.
    pub skip_prk_steps: bool,
    /// Whether σ is spaced as in Karras et al. 2022, equation 5.
    pub use_karras_sigmas: bool,
    /// Whether ln σ is spaced evenly.
    pub use_exponential_sigmas: bool,
    /// Whether σ is spaced as quantiles of a Beta(0.6, 0.6) distribution (Lee et al. 2024).
    pub use_beta_sigmas: bool,
    /// DPM-Solver: whether ln σ is spaced evenly over all of the training process.
    pub use_lu_lambdas: bool,
    /// Euler, UniPC: the σ that spaced levels end at, in place of the schedule's. ScoreSdeVe, EDM's, consistency: the
    /// smallest.
    pub sigma_min: Option<f64>,
    /// Euler, UniPC: the σ that spaced levels begin at, in place of the schedule's. ScoreSdeVe, EDM's, consistency: the
    /// largest.
    pub sigma_max: Option<f64>,
    /// Euler: how σ is found from the timesteps.
    pub interpolation_type: InterpolationType,
    /// Euler: what the model is told of the time.
    pub timestep_type: TimestepType,
    /// The σ after the last evaluation.
    pub final_sigmas_type: FinalSigmasType,
    /// DPM-Solver, UniPC: the order.
    pub solver_order: usize,
    /// DPM-Solver: what is extrapolated.
    pub algorithm_type: AlgorithmType,
    /// DPM-Solver, UniPC: the variant.
    pub solver_type: Option<SolverType>,
    /// DPM-Solver, UniPC: whether the last steps of a short run are of lower order.
    pub lower_order_final: bool,
    /// DPM-Solver: whether the very last step is of order 1.
    pub euler_at_final: bool,
    /// DPM-Solver: timesteps whose ln(α/σ) is below this are left out; `None` is −∞.
    pub lambda_min_clipped: Option<f64>,
    /// UniPC: whether x̂0 is extrapolated, not ε.
    pub predict_x0: bool,
    /// UniPC: steps without a corrector.
    pub disable_corrector: Vec<usize>,
    /// RePaint: DDIM's η.
    pub eta: f64,
    /// ScoreSdeVe: the signal-to-noise ratio of a Langevin step.
    pub snr: f64,
    /// ScoreSdeVe: the time of the last step, of a process that lasts 1.
    pub sampling_eps: f64,
    /// ScoreSdeVe: Langevin steps at each level.
    pub correct_steps: usize,
    /// EDM's, consistency: the standard deviation of the images, for which the network is preconditioned.
    pub sigma_data: f64,
    /// EDM's, consistency: ρ of Karras et al. 2022, equation 5.
    pub rho: f64,
    /// EDM's: how σ is spaced.
    pub sigma_schedule: SigmaSchedule,
    /// Consistency: the standard deviation of the noise that is added.
    pub s_noise: f64,
    /// Consistency: whether x̂_0 is clipped.
    pub clip_denoised: bool,
    /// LCM, TCD: how many timesteps the model was distilled at.
    pub original_inference_steps: usize,
    /// LCM: what t is multiplied by to say how much of x̂0 is the network's.
    pub timestep_scaling: f64,
    /// FlowMatch: how far σ is pushed towards 1 (Esser et al. 2024, equation 23).
    pub shift: f64,
    /// DPM-Solver, DEIS, UniPC: the same, of a flow.
    pub flow_shift: f64,
    /// DPM-Solver, DEIS, UniPC: whether a flow is followed.
    pub use_flow_sigmas: bool,
    /// FlowMatch, UniPC: the σ that a flow's last evaluation is stretched to.
    pub shift_terminal: Option<f64>,
    /// FlowMatch: whether the picture is at σ = 1.
    pub invert_sigmas: bool,
    /// FlowMatch: whether every step goes on from x̂0 with new noise.
    pub stochastic_sampling: bool,
    use_dynamic_shifting: bool,

    /// What the file itself says, to be read with another scheduler's defaults.
    file: SchedulerFile,
}

/// Defines how the fields of a file are read, by their names.
macro_rules! fields {
    ($($field:ident)*) => {
        const FIELDS: &[&str] = &[$(stringify!($field)),*];

        impl SchedulerConfig {
            /// Takes a field of a file. One that is not here does nothing.
            fn set(&mut self, field: &str, value: Value) -> std::result::Result<(), serde::de::value::Error> {
                match field {
                    $(stringify!($field) => self.$field = Deserialize::deserialize(Field(value))?,)*
                    _ => {}
                }
                Ok(())
            }
        }
    };
}

fields! {
    num_train_timesteps beta_start beta_end beta_schedule trained_betas rescale_betas_zero_snr variance_type
    clip_sample clip_sample_range thresholding dynamic_thresholding_ratio sample_max_value prediction_type
    timestep_spacing steps_offset set_alpha_to_one skip_prk_steps use_karras_sigmas use_exponential_sigmas
    use_beta_sigmas use_lu_lambdas sigma_min sigma_max interpolation_type timestep_type final_sigmas_type
    solver_order algorithm_type solver_type lower_order_final euler_at_final lambda_min_clipped predict_x0
    disable_corrector eta snr sampling_eps correct_steps sigma_data rho sigma_schedule s_noise clip_denoised
    original_inference_steps timestep_scaling shift flow_shift use_flow_sigmas shift_terminal invert_sigmas
    stochastic_sampling use_dynamic_shifting
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        SchedulerConfig::defaults(SchedulerKind::Ddpm)
    }
}

impl SchedulerConfig {
    /// What diffusers' scheduler of this kind is without any configuration.
    pub fn defaults(kind: SchedulerKind) -> Self {
        let (beta_start, beta_end) = match kind {
            Heun | Kdpm2 | Kdpm2Ancestral | Lcm | Tcd | DpmSolverSde => (0.00085, 0.012),
            _ => (1e-4, 0.02),
        };
        let sigmas = match kind.family() {
            Family::Score => Some((0.01, 1348.0)),
            Family::Consistency | Family::Edm => Some((0.002, 80.0)),
            _ => None,
        };
        SchedulerConfig {
            kind,
            num_train_timesteps: match kind {
                ScoreSdeVe => 2000,
                Consistency => 40,
                _ => 1000,
            },
            beta_start,
            beta_end,
            beta_schedule: if matches!(kind, Lcm | Tcd) { BetaSchedule::ScaledLinear } else { BetaSchedule::Linear },
            trained_betas: None,
            rescale_betas_zero_snr: false,
            variance_type: VarianceType::FixedSmall,
            clip_sample: matches!(kind, Ddpm | Ddim | DdimInverse | RePaint),
            clip_sample_range: 1.0,
            thresholding: false,
            dynamic_thresholding_ratio: 0.995,
            sample_max_value: 1.0,
            prediction_type: match kind.family() {
                Family::Flow => PredictionType::FlowPrediction,
                _ => PredictionType::Epsilon,
            },
            timestep_spacing: match kind {
                Ddpm | Ddim | DdimInverse | Pndm => TimestepSpacing::Leading,
                _ => TimestepSpacing::Linspace,
            },
            steps_offset: 0,
            set_alpha_to_one: kind != Pndm,
            skip_prk_steps: false,
            use_karras_sigmas: false,
            use_exponential_sigmas: false,
            use_beta_sigmas: false,
            use_lu_lambdas: false,
            sigma_min: sigmas.map(|(min, _)| min),
            sigma_max: sigmas.map(|(_, max)| max),
            interpolation_type: InterpolationType::Linear,
            timestep_type: TimestepType::Discrete,
            final_sigmas_type: FinalSigmasType::Zero,
            solver_order: 2,
            algorithm_type: if kind == DeisMultistep { AlgorithmType::Deis } else { AlgorithmType::DpmSolverPlusPlus },
            solver_type: None,
            lower_order_final: kind != DpmSolverSinglestep,
            euler_at_final: false,
            lambda_min_clipped: None,
            predict_x0: true,
            disable_corrector: Vec::new(),
            eta: 0.0,
            snr: 0.15,
            sampling_eps: 1e-5,
            correct_steps: 1,
            sigma_data: 0.5,
            rho: 7.0,
            sigma_schedule: SigmaSchedule::Karras,
            s_noise: 1.0,
            clip_denoised: true,
            original_inference_steps: 50,
            timestep_scaling: 10.0,
            shift: 1.0,
            flow_shift: 1.0,
            use_flow_sigmas: false,
            shift_terminal: None,
            invert_sigmas: false,
            stochastic_sampling: false,
            use_dynamic_shifting: false,
            file: SchedulerFile(Object::from_iter([("_class_name".to_string(), kind.class().into())])),
        }
    }

    /// How many steps a run takes that is not told: few of a model that was distilled to need few.
    pub fn default_steps(&self) -> usize {
        let steps = match self.kind {
            Consistency => 2,
            Lcm | Tcd => 4,
            _ => 50,
        };
        self.num_train_timesteps.min(steps)
    }

    /// Reads a `scheduler/scheduler_config.json`.
    ///
    /// # Errors
    /// When it is not valid JSON or asks for something that is not supported.
    pub fn from_json(json: &str) -> Result<Self> {
        SchedulerFile::from_json(json)?.config(None, "{}")
    }

    /// The same configuration for another scheduler; see [`SchedulerFile::config`].
    ///
    /// # Errors
    /// When the other scheduler does not support what the file says.
    pub fn with_kind(&self, kind: SchedulerKind) -> Result<Self> {
        self.with(Some(kind), "{}")
    }

    /// The same configuration for another scheduler, if one is named, and with the fields of `json` in place of its own.
    ///
    /// # Errors
    /// When `json` is not an object of fields, or the scheduler does not support what is asked.
    pub fn with(&self, kind: Option<SchedulerKind>, json: &str) -> Result<Self> {
        self.file.config(kind, json)
    }

    fn read(kind: SchedulerKind, given: Object) -> Result<Self> {
        let mut config = Self::defaults(kind);
        for (field, value) in given.iter().filter(|(field, _)| has(kind, field)) {
            config.set(field, value.clone()).map_err(|error| Error::Config {
                file: FILE,
                problem: format!("{field} is {value}, which is not supported: {error}."),
            })?;
        }
        // DEIS and DPM-Solver have this field, but not its values, in common.
        if (config.algorithm_type == AlgorithmType::Deis) != (kind == DeisMultistep) {
            config.algorithm_type = Self::defaults(kind).algorithm_type;
        }
        config.file = SchedulerFile(given);
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let invalid = |problem: String| Err(Error::Config { file: FILE, problem });
        if self.use_dynamic_shifting {
            return invalid(
                "use_dynamic_shifting is true, which is not supported; set it to false, and shift or flow_shift to the \
                 shift for this size."
                    .into(),
            );
        }
        if self.invert_sigmas && self.stochastic_sampling {
            return invalid("invert_sigmas and stochastic_sampling exclude each other.".into());
        }
        let (prediction, family) = (self.prediction_type, self.kind.family());
        let of_flow = self.use_flow_sigmas || family == Family::Flow;
        if prediction == PredictionType::FlowPrediction && !of_flow
            || prediction == PredictionType::Sample && family == Family::Edm
        {
            return invalid(format!(
                "prediction_type is {prediction:?}, which {} cannot sample; FlowPrediction needs use_flow_sigmas or a \
                 FlowMatch scheduler.",
                self.kind.class()
            ));
        }
        if !(1..=100_000).contains(&self.num_train_timesteps) {
            return invalid(format!(
                "num_train_timesteps is {}; it must be between 1 and 100000.",
                self.num_train_timesteps
            ));
        }
        if !(1..=4).contains(&self.solver_order) {
            return invalid(format!("solver_order is {}; it must be between 1 and 4.", self.solver_order));
        }
        if let Some(betas) = &self.trained_betas
            && (betas.len() != self.num_train_timesteps || betas.iter().any(|beta| !(*beta > 0.0 && *beta < 1.0)))
        {
            return invalid(format!(
                "trained_betas must be {} numbers between 0 and 1; there are {}.",
                self.num_train_timesteps,
                betas.len()
            ));
        }
        let spacings = [
            self.use_karras_sigmas,
            self.use_exponential_sigmas,
            self.use_beta_sigmas,
            self.use_lu_lambdas,
            self.use_flow_sigmas,
        ];
        if spacings.into_iter().filter(|&used| used).count() > 1 {
            return invalid(
                "use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas, use_lu_lambdas and use_flow_sigmas exclude \
                 each other."
                    .into(),
            );
        }
        if !(1..=self.num_train_timesteps).contains(&self.original_inference_steps) && matches!(self.kind, Lcm | Tcd) {
            return invalid(format!(
                "original_inference_steps is {}; it must be between 1 and num_train_timesteps, {}.",
                self.original_inference_steps, self.num_train_timesteps
            ));
        }
        if let (Some(min), Some(max)) = (self.sigma_min, self.sigma_max)
            && min >= max
        {
            return invalid(format!("sigma_min is {min}; it must be less than sigma_max, {max}."));
        }
        for (field, value) in [
            ("sigma_min", self.sigma_min.unwrap_or(1.0)),
            ("sigma_max", self.sigma_max.unwrap_or(1.0)),
            ("sample_max_value", self.sample_max_value),
            ("snr", self.snr),
            ("sampling_eps", self.sampling_eps),
            ("sigma_data", self.sigma_data),
            ("rho", self.rho),
            ("s_noise", self.s_noise),
            ("timestep_scaling", self.timestep_scaling),
            ("shift", self.shift),
            ("flow_shift", self.flow_shift),
        ] {
            if !(value > 0.0 && value.is_finite()) {
                return invalid(format!("{field} is {value}; it must be positive."));
            }
        }
        for (field, value) in [
            ("dynamic_thresholding_ratio", self.dynamic_thresholding_ratio),
            ("eta", self.eta),
            ("shift_terminal", self.shift_terminal.unwrap_or(0.0)),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return invalid(format!("{field} is {value}; it must be between 0 and 1."));
            }
        }
        if self.correct_steps > 100 {
            return invalid(format!("correct_steps is {}; it must be at most 100.", self.correct_steps));
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
