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
    /// Pseudo numerical methods (Liu et al. 2022).
    #[serde(rename = "PNDMScheduler", alias = "pndm")]
    Pndm,
    /// Euler's method in σ (Karras et al. 2022, Algorithm 2 without churn).
    #[serde(rename = "EulerDiscreteScheduler", alias = "euler")]
    Euler,
    /// Euler's method with fresh noise (Crowson's k-diffusion).
    #[serde(rename = "EulerAncestralDiscreteScheduler", alias = "euler_ancestral")]
    EulerAncestral,
    /// Heun's method in σ (Karras et al. 2022, Algorithm 2).
    #[serde(rename = "HeunDiscreteScheduler", alias = "heun")]
    Heun,
    /// The midpoint method in ln σ (Karras et al. 2022; k-diffusion's `dpm_2`).
    #[serde(rename = "KDPM2DiscreteScheduler", alias = "kdpm2")]
    Kdpm2,
    /// The midpoint method with fresh noise.
    #[serde(rename = "KDPM2AncestralDiscreteScheduler", alias = "kdpm2_ancestral")]
    Kdpm2Ancestral,
    /// A linear multistep method in σ (k-diffusion).
    #[serde(rename = "LMSDiscreteScheduler", alias = "lms")]
    Lms,
    /// DPM-Solver and DPM-Solver++, multistep (Lu et al. 2022).
    #[serde(rename = "DPMSolverMultistepScheduler", alias = "dpm_solver")]
    DpmSolverMultistep,
    /// Predictor and corrector of any order (Zhao et al. 2023).
    #[serde(rename = "UniPCMultistepScheduler", alias = "unipc")]
    UniPc,
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
    /// β a sigmoid of t (GeoDiff).
    Sigmoid,
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

/// The fields of diffusers' schedulers, with their names; each scheduler has defaults of its own.
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
    /// Every β, in place of a formula.
    pub trained_betas: Option<Vec<f64>>,
    /// Whether β is changed so that nothing of the picture is left at T (Lin et al. 2023, Algorithm 1).
    pub rescale_betas_zero_snr: bool,
    /// DDPM's σ².
    pub variance_type: VarianceType,
    /// Whether x̂_0 is clipped (DDPM, DDIM and Heun).
    pub clip_sample: bool,
    /// To what absolute value.
    pub clip_sample_range: f64,
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

    // Fields with one supported value; `check` names any other.
    thresholding: bool,
    use_beta_sigmas: bool,
    use_lu_lambdas: bool,
    use_flow_sigmas: bool,
    sigma_min: Option<f64>,
    sigma_max: Option<f64>,
    interpolation_type: String,
    timestep_type: String,

    /// What the file itself says, to be read with another scheduler's defaults.
    #[serde(skip)]
    given: serde_json::Map<String, serde_json::Value>,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        SchedulerConfig::defaults(SchedulerKind::Ddpm)
    }
}

/// Every field of every scheduler here. `dynamic_thresholding_ratio` and `sample_max_value` are settings of dynamic
/// thresholding, which is off; `solver_p`, `flow_shift` and others like them do nothing unless something unsupported is
/// on.
const KNOWN: &[&str] = &[
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
    "variance_type",
    "clip_sample",
    "clip_sample_range",
    "prediction_type",
    "timestep_spacing",
    "steps_offset",
    "set_alpha_to_one",
    "skip_prk_steps",
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "final_sigmas_type",
    "solver_order",
    "algorithm_type",
    "solver_type",
    "lower_order_final",
    "euler_at_final",
    "lambda_min_clipped",
    "predict_x0",
    "disable_corrector",
    "thresholding",
    "dynamic_thresholding_ratio",
    "sample_max_value",
    "use_beta_sigmas",
    "use_lu_lambdas",
    "use_flow_sigmas",
    "flow_shift",
    "sigma_min",
    "sigma_max",
    "interpolation_type",
    "timestep_type",
    "solver_p",
    "use_dynamic_shifting",
    "time_shift_type",
    "sigmas",
];

impl SchedulerConfig {
    /// What diffusers' scheduler of this kind is without any configuration.
    pub fn defaults(kind: SchedulerKind) -> Self {
        use SchedulerKind::*;
        let (beta_start, beta_end) = match kind {
            Heun | Kdpm2 | Kdpm2Ancestral => (0.00085, 0.012),
            _ => (1e-4, 0.02),
        };
        SchedulerConfig {
            kind,
            num_train_timesteps: 1000,
            beta_start,
            beta_end,
            beta_schedule: BetaSchedule::Linear,
            trained_betas: None,
            rescale_betas_zero_snr: false,
            variance_type: VarianceType::FixedSmall,
            clip_sample: matches!(kind, Ddpm | Ddim),
            clip_sample_range: 1.0,
            prediction_type: PredictionType::Epsilon,
            timestep_spacing: match kind {
                Ddpm | Ddim | Pndm => TimestepSpacing::Leading,
                _ => TimestepSpacing::Linspace,
            },
            steps_offset: 0,
            set_alpha_to_one: kind != Pndm,
            skip_prk_steps: false,
            use_karras_sigmas: false,
            use_exponential_sigmas: false,
            final_sigmas_type: FinalSigmasType::Zero,
            solver_order: 2,
            algorithm_type: AlgorithmType::DpmSolverPlusPlus,
            solver_type: None,
            lower_order_final: true,
            euler_at_final: false,
            lambda_min_clipped: None,
            predict_x0: true,
            disable_corrector: Vec::new(),
            thresholding: false,
            use_beta_sigmas: false,
            use_lu_lambdas: false,
            use_flow_sigmas: false,
            sigma_min: None,
            sigma_max: None,
            interpolation_type: "linear".into(),
            timestep_type: "discrete".into(),
            given: serde_json::Map::new(),
        }
    }

    /// Reads a `scheduler/scheduler_config.json`.
    ///
    /// # Errors
    /// When it is not valid JSON or asks for something that is not supported.
    pub fn from_json(json: &str) -> Result<Self> {
        let mut given = super::object(FILE, json, KNOWN)?;
        // JSON has no infinity; diffusers writes it all the same, as a string or a bare word that no parser reads.
        if given.get("lambda_min_clipped").is_some_and(|value| value.as_str() == Some("-inf")) {
            given.remove("lambda_min_clipped");
        }
        let kind = given.get("_class_name").map_or(Ok(SchedulerKind::Ddpm), |name| {
            serde_json::from_value(name.clone()).map_err(|error| Error::Config {
                file: FILE,
                problem: format!("_class_name is {name}, which is not supported: {error}."),
            })
        })?;
        Self::read(kind, given)
    }

    /// The same configuration for another scheduler, as diffusers' `from_config`: what the file says stays, what it does
    /// not say is that scheduler's own default.
    ///
    /// # Errors
    /// When the other scheduler does not support what the file says.
    pub fn with_kind(&self, kind: SchedulerKind) -> Result<Self> {
        let mut given = self.given.clone();
        // A variant of another solver is none of this one's.
        given.remove("solver_type");
        Self::read(kind, given)
    }

    fn read(kind: SchedulerKind, given: serde_json::Map<String, serde_json::Value>) -> Result<Self> {
        let mut merged = match serde_json::to_value(Self::defaults(kind)) {
            Ok(serde_json::Value::Object(defaults)) => defaults,
            _ => unreachable!("a configuration is an object"),
        };
        merged.extend(given.iter().map(|(key, value)| (key.clone(), value.clone())));
        merged.insert("_class_name".into(), serde_json::to_value(kind).unwrap_or_default());
        let mut config: SchedulerConfig = super::parse(FILE, merged)?;
        // What another scheduler's file says of clipping does not concern those that never clip.
        config.clip_sample &= matches!(kind, SchedulerKind::Ddpm | SchedulerKind::Ddim | SchedulerKind::Heun);
        config.given = given;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        only(FILE, "thresholding", &self.thresholding, &false)?;
        only(FILE, "use_beta_sigmas", &self.use_beta_sigmas, &false)?;
        only(FILE, "use_lu_lambdas", &self.use_lu_lambdas, &false)?;
        only(FILE, "use_flow_sigmas", &self.use_flow_sigmas, &false)?;
        only(FILE, "sigma_min", &self.sigma_min, &None)?;
        only(FILE, "sigma_max", &self.sigma_max, &None)?;
        only(FILE, "interpolation_type", &self.interpolation_type.as_str(), &"linear")?;
        only(FILE, "timestep_type", &self.timestep_type.as_str(), &"discrete")?;
        let invalid = |problem: String| Err(Error::Config { file: FILE, problem });
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
        if self.use_karras_sigmas && self.use_exponential_sigmas {
            return invalid("use_karras_sigmas and use_exponential_sigmas exclude each other.".into());
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
