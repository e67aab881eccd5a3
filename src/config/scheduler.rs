//! `scheduler/scheduler_config.json`: the noise schedule and how to sample (diffusers `schedulers/`).

use serde::{Deserialize, Serialize};

use super::{Object, only};
use crate::{Error, Result};

const FILE: &str = "scheduler/scheduler_config.json";

/// A sampling method, by its diffusers class or a short name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum SchedulerKind {
    /// Ancestral sampling (Ho et al. 2020, Algorithm 2).
    #[default]
    Ddpm,
    /// Denoising diffusion implicit models (Song et al. 2020), with any η.
    Ddim,
    /// Pseudo numerical methods (Liu et al. 2022).
    Pndm,
    /// Euler's method in σ, with churn if it is asked for (Karras et al. 2022, Algorithm 2).
    Euler,
    /// Euler's method with fresh noise (Crowson's k-diffusion).
    EulerAncestral,
    /// Heun's method in σ (Karras et al. 2022, Algorithm 2).
    Heun,
    /// The midpoint method in ln σ (Karras et al. 2022; k-diffusion's `dpm_2`).
    Kdpm2,
    /// The midpoint method with fresh noise.
    Kdpm2Ancestral,
    /// A linear multistep method in σ (k-diffusion).
    Lms,
    /// DPM-Solver and DPM-Solver++, multistep (Lu et al. 2022).
    DpmSolverMultistep,
    /// DPM-Solver multistep backwards, from an image to its noise.
    DpmSolverMultistepInverse,
    /// DPM-Solver and DPM-Solver++, singlestep.
    DpmSolverSinglestep,
    /// The exponential integrator in log ρ (Zhang and Chen 2022).
    DeisMultistep,
    /// Predictor and corrector of any order (Zhao et al. 2023).
    UniPc,
    /// The fourth-order multistep method of PNDM on a schedule of its own (Crowson's v-diffusion).
    IpNdm,
    /// DDIM backwards, from an image to its noise.
    DdimInverse,
    /// Inpainting, with jumps back towards the noise (Lugmayr et al. 2022).
    RePaint,
    /// The variance-exploding SDE, with Langevin steps as a corrector (Song et al. 2021).
    ScoreSdeVe,
}

use SchedulerKind::*;

/// Every kind with its class in diffusers and its short name. Where there are two of a kind, the first is its own; the
/// others compute the same.
const KINDS: &[(SchedulerKind, &str, &str)] = &[
    (Ddpm, "DDPMScheduler", "ddpm"),
    (Ddim, "DDIMScheduler", "ddim"),
    (Pndm, "PNDMScheduler", "pndm"),
    (Euler, "EulerDiscreteScheduler", "euler"),
    (EulerAncestral, "EulerAncestralDiscreteScheduler", "euler_ancestral"),
    (Heun, "HeunDiscreteScheduler", "heun"),
    (Kdpm2, "KDPM2DiscreteScheduler", "kdpm2"),
    (Kdpm2Ancestral, "KDPM2AncestralDiscreteScheduler", "kdpm2_ancestral"),
    (Lms, "LMSDiscreteScheduler", "lms"),
    (DpmSolverMultistep, "DPMSolverMultistepScheduler", "dpm_solver"),
    (DpmSolverMultistepInverse, "DPMSolverMultistepInverseScheduler", "dpm_solver_inverse"),
    (DpmSolverSinglestep, "DPMSolverSinglestepScheduler", "dpm_solver_singlestep"),
    (DeisMultistep, "DEISMultistepScheduler", "deis"),
    (UniPc, "UniPCMultistepScheduler", "unipc"),
    (IpNdm, "IPNDMScheduler", "ipndm"),
    (DdimInverse, "DDIMInverseScheduler", "ddim_inverse"),
    (RePaint, "RePaintScheduler", "repaint"),
    (ScoreSdeVe, "ScoreSdeVeScheduler", "score_sde_ve"),
    (Ddpm, "DDPMParallelScheduler", "ddpm"),
    (Ddim, "DDIMParallelScheduler", "ddim"),
];

/// What a model was trained as: schedulers of one family sample the same models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// T timesteps with a β each.
    Beta,
    /// The SDE with exploding variance.
    Score,
    /// v-diffusion: t from 1 to 0.
    VDiffusion,
}

impl SchedulerKind {
    /// Whether it goes from an image to its noise, not the other way.
    pub fn inverts(self) -> bool {
        matches!(self, DdimInverse | DpmSolverMultistepInverse)
    }

    /// Which models it samples.
    pub fn family(self) -> Family {
        match self {
            ScoreSdeVe => Family::Score,
            IpNdm => Family::VDiffusion,
            _ => Family::Beta,
        }
    }

    fn names(self) -> (&'static str, &'static str) {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or(("", ""), |&(_, class, short)| (class, short))
    }

    /// Its class in diffusers.
    pub fn class(self) -> &'static str {
        self.names().0
    }

    /// Its short name, as settings have it.
    pub fn short_name(self) -> &'static str {
        self.names().1
    }
}

impl From<SchedulerKind> for &'static str {
    fn from(kind: SchedulerKind) -> Self {
        kind.class()
    }
}

impl TryFrom<String> for SchedulerKind {
    type Error = String;

    fn try_from(name: String) -> std::result::Result<Self, String> {
        let named = KINDS.iter().find(|(_, class, short)| [*class, *short].contains(&name.as_str()));
        named.map(|(kind, ..)| *kind).ok_or_else(|| format!("There is no scheduler {name}"))
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
    file: SchedulerFile,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        SchedulerConfig::defaults(SchedulerKind::Ddpm)
    }
}

/// Fields of diffusers' schedulers that [`SchedulerConfig`] has not: of classes that are not supported, or without an
/// effect on what is.
const OTHERS: &str = " flow_shift solver_p time_shift_type sigmas \
    original_inference_steps timestep_scaling predictor_order corrector_order tau_func sigma_data sigma_schedule rho \
    s_noise clip_denoised shift base_shift max_shift base_image_seq_len max_image_seq_len invert_sigmas \
    stochastic_sampling noise_sampler_seed snr_shift_scale s_churn s_min s_max scaler s ";

/// Whether diffusers' scheduler of this kind has a field; `from_config` leaves out what it does not have.
fn has(kind: SchedulerKind, field: &str) -> bool {
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
        "variance_type" => kind == Ddpm,
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
fn todays(mut given: Object) -> Object {
    given.retain(|field, value| match field.as_str() {
        "variance_type" => !value.is_null(),
        "lambda_min_clipped" => !matches!(value.as_str(), Some("-inf" | "-Infinity")),
        "tensor_format" | "timestep_values" => false,
        _ => true,
    });
    if let Some(serde_json::Value::Bool(false)) = given.remove("predict_epsilon") {
        given.entry("prediction_type").or_insert("sample".into());
    }
    given
}

/// What a `scheduler_config.json` says, for whichever scheduler is to read it.
#[derive(Clone, Debug, Default)]
pub struct SchedulerFile(Object);

impl SchedulerFile {
    /// Reads a `scheduler/scheduler_config.json`. What is in it is looked at by [`SchedulerFile::config`].
    ///
    /// # Errors
    /// When it is not a JSON object.
    pub fn from_json(json: &str) -> Result<Self> {
        Ok(SchedulerFile(todays(super::object(FILE, json)?)))
    }

    /// The class it is of.
    pub fn class(&self) -> Option<&str> {
        self.0.get("_class_name")?.as_str()
    }

    /// The same of this class: what its pipeline is made of counts.
    pub fn of_class(mut self, class: &str) -> Self {
        self.0.insert("_class_name".into(), class.into());
        self
    }

    /// The scheduler it is of; DDPM if it does not say.
    ///
    /// # Errors
    /// When that is not supported.
    pub fn kind(&self) -> Result<SchedulerKind> {
        let Some(class) = self.0.get("_class_name") else { return Ok(Ddpm) };
        serde_json::from_value(class.clone()).map_err(|_| {
            let others: Vec<&str> = self.kinds().into_iter().map(SchedulerKind::class).collect();
            let (class, others) = (class.as_str().map_or(class.to_string(), str::to_string), others.join(", "));
            Error::Config {
                file: FILE,
                problem: format!(
                    "{class} is not supported; this model can be sampled with {others}: choose one with --scheduler, or \
                     in the Sampler menu."
                ),
            }
        })
    }

    fn family(&self) -> Family {
        match self.class().and_then(|class| SchedulerKind::try_from(class.to_string()).ok()) {
            Some(kind) => kind.family(),
            None => Family::Beta,
        }
    }

    /// The schedulers that can make images with a model of such a file and need nothing else for it, its own first.
    pub fn kinds(&self) -> Vec<SchedulerKind> {
        let class = self.class().unwrap_or(Ddpm.class());
        let own = KINDS.iter().filter(|(_, name, short)| [*name, *short].contains(&class));
        let mut kinds: Vec<SchedulerKind> = Vec::new();
        for &(kind, ..) in own.chain(KINDS) {
            let makes_images = !kind.inverts() && kind != RePaint;
            if makes_images && kind.family() == self.family() && !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        kinds
    }

    /// The fields that no scheduler of diffusers has, by their names. They do nothing.
    pub fn unknown_fields(&self) -> Vec<String> {
        unknown(&self.0)
    }

    /// The configuration of the scheduler it is of, or of another, with the fields of the JSON object `changes` in place
    /// of its own. As diffusers' `from_config`: what the file says stays, as far as that scheduler has the field; what it
    /// does not say is that scheduler's own default.
    ///
    /// # Errors
    /// When `changes` is not an object of fields, or the scheduler does not support what is asked.
    pub fn config(&self, kind: Option<SchedulerKind>, changes: &str) -> Result<SchedulerConfig> {
        let changes = todays(super::object(FILE, changes)?);
        if let Some(field) = unknown(&changes).first() {
            return Err(Error::Config { file: FILE, problem: format!("no scheduler has a field \"{field}\".") });
        }
        let mut given = self.0.clone();
        given.extend(changes);
        let file = SchedulerFile(given);
        let kind = kind.map_or_else(|| file.kind(), Ok)?;
        let mut given = file.0;
        if self.kind().ok() != Some(kind)
            && given.get("algorithm_type").is_some_and(|value| AlgorithmType::deserialize(value).is_err())
        {
            // Of another scheduler, which has the field, but not its values, in common.
            given.remove("algorithm_type");
        }
        given.insert("_class_name".into(), kind.class().into());
        SchedulerConfig::read(kind, given)
    }
}

/// The fields of an object that no scheduler of diffusers has.
fn unknown(object: &Object) -> Vec<String> {
    let Ok(own) = serde_json::to_value(SchedulerConfig::default()) else { return Vec::new() };
    let is_known =
        |field: &str| field.starts_with('_') || own.get(field).is_some() || OTHERS.contains(&format!(" {field} "));
    object.keys().filter(|field| !is_known(field)).cloned().collect()
}

impl SchedulerConfig {
    /// What diffusers' scheduler of this kind is without any configuration.
    pub fn defaults(kind: SchedulerKind) -> Self {
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
            file: SchedulerFile(Object::from_iter([("_class_name".to_string(), kind.class().into())])),
        }
    }

    /// How many steps a run takes that is not told.
    pub fn default_steps(&self) -> usize {
        self.num_train_timesteps.min(50)
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
        let mut merged = match serde_json::to_value(Self::defaults(kind)) {
            Ok(serde_json::Value::Object(defaults)) => defaults,
            _ => unreachable!("a configuration is an object"),
        };
        let own = given.iter().filter(|(field, _)| has(kind, field));
        merged.extend(own.map(|(field, value)| (field.clone(), value.clone())));
        let mut config: SchedulerConfig = super::parse(FILE, merged)?;
        // DEIS and DPM-Solver have this field, but not its values, in common.
        if (config.algorithm_type == AlgorithmType::Deis) != (kind == DeisMultistep) {
            config.algorithm_type = Self::defaults(kind).algorithm_type;
        }
        config.file = SchedulerFile(given);
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
