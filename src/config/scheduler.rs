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
    /// Euler's method in σ, with churn if it is asked for (Karras et al. 2022, Algorithm 2).
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
    /// DPM-Solver multistep backwards, from an image to its noise.
    #[serde(rename = "DPMSolverMultistepInverseScheduler", alias = "dpm_solver_inverse")]
    DpmSolverMultistepInverse,
    /// DPM-Solver and DPM-Solver++, singlestep.
    #[serde(rename = "DPMSolverSinglestepScheduler", alias = "dpm_solver_singlestep")]
    DpmSolverSinglestep,
    /// The exponential integrator in log ρ (Zhang and Chen 2022).
    #[serde(rename = "DEISMultistepScheduler", alias = "deis")]
    DeisMultistep,
    /// Predictor and corrector of any order (Zhao et al. 2023).
    #[serde(rename = "UniPCMultistepScheduler", alias = "unipc")]
    UniPc,
    /// The fourth-order multistep method of PNDM on a schedule of its own (Crowson's v-diffusion).
    #[serde(rename = "IPNDMScheduler", alias = "ipndm")]
    IpNdm,
    /// DDIM backwards, from an image to its noise.
    #[serde(rename = "DDIMInverseScheduler", alias = "ddim_inverse")]
    DdimInverse,
    /// Inpainting, with jumps back towards the noise (Lugmayr et al. 2022).
    #[serde(rename = "RePaintScheduler", alias = "repaint")]
    RePaint,
    /// The variance-exploding SDE, with Langevin steps as a corrector (Song et al. 2021).
    #[serde(rename = "ScoreSdeVeScheduler", alias = "score_sde_ve")]
    ScoreSdeVe,
}

impl SchedulerKind {
    /// Whether it goes from an image to its noise, not the other way.
    pub fn inverts(self) -> bool {
        matches!(self, SchedulerKind::DdimInverse | SchedulerKind::DpmSolverMultistepInverse)
    }
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
    /// Euler, UniPC: the σ that spaced levels end at, in place of the schedule's. ScoreSdeVe: the smallest.
    pub sigma_min: Option<f64>,
    /// Euler, UniPC: the σ that spaced levels begin at, in place of the schedule's. ScoreSdeVe: the largest.
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

    // Fields with one supported value; `check` names any other.
    use_flow_sigmas: bool,
    use_dynamic_shifting: bool,
    shift_terminal: Option<f64>,

    /// What the file itself says, to be read with another scheduler's defaults.
    #[serde(skip)]
    given: serde_json::Map<String, serde_json::Value>,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        SchedulerConfig::defaults(SchedulerKind::Ddpm)
    }
}

/// Every field of every scheduler here. `solver_p`, `flow_shift`, `time_shift_type` and `sigmas` do nothing unless something
/// unsupported is on; the three in the middle are of old versions.
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
    "shift_terminal",
    "sigmas",
    "tensor_format",
    "timestep_values",
    "predict_epsilon",
    "eta",
    "snr",
    "sampling_eps",
    "correct_steps",
];

/// Whether diffusers' scheduler of this kind has a field; `from_config` leaves out what it does not have.
fn has(kind: SchedulerKind, field: &str) -> bool {
    use SchedulerKind::*;
    let dpm_solver = matches!(kind, DpmSolverMultistep | DpmSolverMultistepInverse | DpmSolverSinglestep);
    let solver = dpm_solver || matches!(kind, DeisMultistep | UniPc);
    let in_sigma = solver || matches!(kind, Euler | Heun | Kdpm2 | Kdpm2Ancestral | Lms);
    match field {
        "beta_start" | "beta_end" | "beta_schedule" => !matches!(kind, IpNdm | ScoreSdeVe),
        "trained_betas" => kind != ScoreSdeVe,
        // RePaint's is ours: diffusers has it for ε only.
        "prediction_type" => !matches!(kind, IpNdm | ScoreSdeVe),
        "timestep_spacing" | "steps_offset" => !matches!(kind, DpmSolverSinglestep | IpNdm | RePaint | ScoreSdeVe),
        "rescale_betas_zero_snr" => {
            matches!(kind, Ddpm | Ddim | DdimInverse | Euler | EulerAncestral | DpmSolverMultistep | UniPc)
        }
        "variance_type" => dpm_solver || kind == Ddpm,
        "clip_sample" => matches!(kind, Ddpm | Ddim | DdimInverse | Heun | RePaint),
        "clip_sample_range" => matches!(kind, Ddpm | Ddim | DdimInverse | Heun),
        "thresholding" | "dynamic_thresholding_ratio" | "sample_max_value" => solver || matches!(kind, Ddpm | Ddim),
        "set_alpha_to_one" => matches!(kind, Ddim | DdimInverse | Pndm),
        "skip_prk_steps" => kind == Pndm,
        "use_karras_sigmas" | "use_exponential_sigmas" | "use_beta_sigmas" => in_sigma,
        "use_lu_lambdas" => kind == DpmSolverMultistep,
        "final_sigmas_type" => matches!(kind, Euler | DpmSolverMultistep | DpmSolverSinglestep | UniPc),
        "solver_order" | "solver_type" | "lower_order_final" | "use_flow_sigmas" => solver,
        "algorithm_type" => dpm_solver || kind == DeisMultistep,
        "euler_at_final" => matches!(kind, DpmSolverMultistep | DpmSolverMultistepInverse),
        "lambda_min_clipped" => dpm_solver,
        "predict_x0" | "disable_corrector" | "shift_terminal" => kind == UniPc,
        "use_dynamic_shifting" => solver && kind != DpmSolverMultistepInverse,
        "sigma_min" | "sigma_max" => matches!(kind, Euler | UniPc | ScoreSdeVe),
        "interpolation_type" | "timestep_type" => kind == Euler,
        "eta" => kind == RePaint,
        "snr" | "sampling_eps" | "correct_steps" => kind == ScoreSdeVe,
        _ => true,
    }
}

/// The fields as they are called and written today: without what is not set or −∞, which is the default, and without
/// what older versions of diffusers wrote.
fn todays(mut given: serde_json::Map<String, serde_json::Value>) -> serde_json::Map<String, serde_json::Value> {
    given.retain(|field, value| match field.as_str() {
        "variance_type" => !value.is_null(),
        "lambda_min_clipped" => value.as_str() != Some("-inf"),
        "tensor_format" | "timestep_values" => false,
        _ => true,
    });
    if let Some(serde_json::Value::Bool(false)) = given.remove("predict_epsilon") {
        given.entry("prediction_type").or_insert("sample".into());
    }
    given
}

/// The scheduler of a class name.
fn kind_named(name: &serde_json::Value) -> Result<SchedulerKind> {
    serde_json::from_value(name.clone()).map_err(|error| Error::Config {
        file: FILE,
        problem: format!("_class_name is {name}, which is not supported: {error}."),
    })
}

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
            num_train_timesteps: if kind == ScoreSdeVe { 2000 } else { 1000 },
            beta_start,
            beta_end,
            beta_schedule: BetaSchedule::Linear,
            trained_betas: None,
            rescale_betas_zero_snr: false,
            variance_type: VarianceType::FixedSmall,
            clip_sample: matches!(kind, Ddpm | Ddim | DdimInverse | RePaint),
            clip_sample_range: 1.0,
            thresholding: false,
            dynamic_thresholding_ratio: 0.995,
            sample_max_value: 1.0,
            prediction_type: PredictionType::Epsilon,
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
            sigma_min: (kind == ScoreSdeVe).then_some(0.01),
            sigma_max: (kind == ScoreSdeVe).then_some(1348.0),
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
            use_flow_sigmas: false,
            use_dynamic_shifting: false,
            shift_terminal: None,
            given: serde_json::Map::new(),
        }
    }

    /// Reads a `scheduler/scheduler_config.json`.
    ///
    /// # Errors
    /// When it is not valid JSON or asks for something that is not supported.
    pub fn from_json(json: &str) -> Result<Self> {
        let given = todays(super::object(FILE, json, KNOWN)?);
        let kind = given.get("_class_name").map_or(Ok(SchedulerKind::Ddpm), kind_named)?;
        Self::read(kind, given)
    }

    /// The same configuration for another scheduler, as diffusers' `from_config`: what the file says stays, as far as that
    /// scheduler has the field; what it does not say is that scheduler's own default.
    ///
    /// # Errors
    /// When the other scheduler does not support what the file says.
    pub fn with_kind(&self, kind: SchedulerKind) -> Result<Self> {
        Self::read(kind, self.given.clone())
    }

    /// The same configuration for another scheduler, if one is named, and with the fields of `json` in place of its own.
    ///
    /// # Errors
    /// When `json` is not an object of fields, or the scheduler does not support what is asked.
    pub fn with(&self, kind: Option<SchedulerKind>, json: &str) -> Result<Self> {
        let changes = todays(super::object(FILE, json, KNOWN)?);
        let named = changes.get("_class_name").map(kind_named).transpose()?;
        let mut given = self.given.clone();
        given.extend(changes);
        Self::read(kind.or(named).unwrap_or(self.kind), given)
    }

    fn read(kind: SchedulerKind, given: serde_json::Map<String, serde_json::Value>) -> Result<Self> {
        let mut merged = match serde_json::to_value(Self::defaults(kind)) {
            Ok(serde_json::Value::Object(defaults)) => defaults,
            _ => unreachable!("a configuration is an object"),
        };
        let own = given.iter().filter(|(field, _)| has(kind, field));
        merged.extend(own.map(|(field, value)| (field.clone(), value.clone())));
        merged.insert("_class_name".into(), serde_json::to_value(kind).unwrap_or_default());
        let mut config: SchedulerConfig = super::parse(FILE, merged)?;
        // DEIS and DPM-Solver have this field, but not its values, in common.
        if (config.algorithm_type == AlgorithmType::Deis) != (kind == SchedulerKind::DeisMultistep) {
            config.algorithm_type = Self::defaults(kind).algorithm_type;
        }
        config.given = given;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        only(FILE, "use_flow_sigmas", &self.use_flow_sigmas, &false)?;
        only(FILE, "use_dynamic_shifting", &self.use_dynamic_shifting, &false)?;
        only(FILE, "shift_terminal", &self.shift_terminal, &None)?;
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
        let spacings = [self.use_karras_sigmas, self.use_exponential_sigmas, self.use_beta_sigmas, self.use_lu_lambdas];
        if spacings.into_iter().filter(|&used| used).count() > 1 {
            return invalid(
                "use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas and use_lu_lambdas exclude each other."
                    .into(),
            );
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
        ] {
            if !(value > 0.0 && value.is_finite()) {
                return invalid(format!("{field} is {value}; it must be positive."));
            }
        }
        for (field, value) in [("dynamic_thresholding_ratio", self.dynamic_thresholding_ratio), ("eta", self.eta)] {
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
