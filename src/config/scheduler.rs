//! `scheduler/scheduler_config.json`: the noise schedule and how to sample (diffusers `schedulers/`).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Object;
use super::field::Field;
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
    /// A latent consistency model's: x̂0, and noise again (Luo et al. 2023).
    Lcm,
    /// Trajectory consistency distillation, with γ as η (Zheng et al. 2024).
    Tcd,
    /// DPM-Solver++ of second order as an SDE in σ (k-diffusion).
    DpmSolverSde,
    /// Multistep consistency sampling (Song et al. 2023, Algorithm 1).
    Consistency,
    /// Euler's method along a flow (Esser et al. 2024).
    FlowEuler,
    /// Heun's method along a flow.
    FlowHeun,
    /// Euler's method for a network preconditioned as in Karras et al. 2022.
    EdmEuler,
    /// DPM-Solver++ for such a network.
    EdmDpmSolver,
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
    (Lcm, "LCMScheduler", "lcm"),
    (Tcd, "TCDScheduler", "tcd"),
    (DpmSolverSde, "DPMSolverSDEScheduler", "dpm_solver_sde"),
    (Consistency, "CMStochasticIterativeScheduler", "consistency"),
    (FlowEuler, "FlowMatchEulerDiscreteScheduler", "flow_euler"),
    (FlowHeun, "FlowMatchHeunDiscreteScheduler", "flow_heun"),
    (EdmEuler, "EDMEulerScheduler", "edm_euler"),
    (EdmDpmSolver, "EDMDPMSolverMultistepScheduler", "edm_dpm_solver"),
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
    /// Consistency models.
    Consistency,
    /// Flows: x = (1 − σ) x_0 + σ ε, of which the model predicts the velocity ε − x_0.
    Flow,
    /// Networks preconditioned as in Karras et al. 2022.
    Edm,
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
            Consistency => Family::Consistency,
            FlowEuler | FlowHeun => Family::Flow,
            EdmEuler | EdmDpmSolver => Family::Edm,
            _ => Family::Beta,
        }
    }

    /// Whether it can make images with a model of a family, and needs nothing else for it.
    fn samples(self, family: Family) -> bool {
        let flows = family == Family::Flow && self.has_flow_sigmas();
        !self.inverts() && self != RePaint && (self.family() == family || flows)
    }

    /// Whether it can be told to follow a flow.
    fn has_flow_sigmas(self) -> bool {
        matches!(self, DpmSolverMultistep | DpmSolverSinglestep | DeisMultistep | UniPc)
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

/// Fields of diffusers' schedulers that [`SchedulerConfig`] has not: of classes that are not supported, or without an
/// effect on what is.
const OTHERS: &str = " solver_p time_shift_type sigmas predictor_order corrector_order tau_func base_shift max_shift \
    base_image_seq_len max_image_seq_len noise_sampler_seed snr_shift_scale s_churn s_min s_max scaler s ";

/// Whether diffusers' scheduler of this kind has a field; `from_config` leaves out what it does not have.
fn has(kind: SchedulerKind, field: &str) -> bool {
    let family = kind.family();
    let (edm, flow_euler) = (family == Family::Edm, kind == FlowEuler);
    let dpm_solver = matches!(kind, DpmSolverMultistep | DpmSolverMultistepInverse | DpmSolverSinglestep);
    let solver = dpm_solver || matches!(kind, DeisMultistep | UniPc);
    let in_sigma = solver || flow_euler || matches!(kind, Euler | Heun | Kdpm2 | Kdpm2Ancestral | Lms | DpmSolverSde);
    match field {
        "beta_start" | "beta_end" | "beta_schedule" => family == Family::Beta,
        "trained_betas" => family == Family::Beta || kind == IpNdm,
        // RePaint's is ours: diffusers has it for ε only.
        "prediction_type" => family == Family::Beta || edm,
        "timestep_spacing" | "steps_offset" => {
            family == Family::Beta && !matches!(kind, DpmSolverSinglestep | RePaint | Lcm | Tcd)
        }
        "rescale_betas_zero_snr" => {
            matches!(kind, Ddpm | Ddim | DdimInverse | Euler | EulerAncestral | DpmSolverMultistep | UniPc | Lcm | Tcd)
        }
        "variance_type" => kind == Ddpm,
        "clip_sample" => matches!(kind, Ddpm | Ddim | DdimInverse | Heun | RePaint | Lcm),
        "clip_sample_range" => matches!(kind, Ddpm | Ddim | DdimInverse | Heun | Lcm),
        "thresholding" | "dynamic_thresholding_ratio" | "sample_max_value" => {
            solver || matches!(kind, Ddpm | Ddim | Lcm | EdmDpmSolver)
        }
        "set_alpha_to_one" => matches!(kind, Ddim | DdimInverse | Pndm),
        "skip_prk_steps" => kind == Pndm,
        "use_karras_sigmas" | "use_exponential_sigmas" | "use_beta_sigmas" => in_sigma,
        "use_lu_lambdas" => kind == DpmSolverMultistep,
        "final_sigmas_type" => edm || matches!(kind, Euler | DpmSolverMultistep | DpmSolverSinglestep | UniPc),
        "solver_order" | "solver_type" | "lower_order_final" => solver || kind == EdmDpmSolver,
        "use_flow_sigmas" | "flow_shift" => kind.has_flow_sigmas(),
        "algorithm_type" => dpm_solver || matches!(kind, DeisMultistep | EdmDpmSolver),
        "euler_at_final" => matches!(kind, DpmSolverMultistep | DpmSolverMultistepInverse | EdmDpmSolver),
        "lambda_min_clipped" => dpm_solver,
        "predict_x0" | "disable_corrector" => kind == UniPc,
        "shift_terminal" => kind == UniPc || flow_euler,
        "use_dynamic_shifting" => kind.has_flow_sigmas() || flow_euler,
        "shift" => family == Family::Flow,
        "invert_sigmas" | "stochastic_sampling" => flow_euler,
        "sigma_min" | "sigma_max" => edm || matches!(kind, Euler | UniPc | ScoreSdeVe | Consistency),
        "sigma_data" | "rho" => edm || kind == Consistency,
        "sigma_schedule" => edm,
        "s_noise" | "clip_denoised" => kind == Consistency,
        "original_inference_steps" => matches!(kind, Lcm | Tcd),
        "timestep_scaling" => kind == Lcm,
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
    if let Some(Value::Bool(false)) = given.remove("predict_epsilon") {
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

    /// Whether the model was trained to say the variance too, whichever scheduler samples it.
    pub fn learns_variance(&self) -> bool {
        matches!(self.0.get("variance_type").and_then(Value::as_str), Some("learned" | "learned_range"))
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
        SchedulerKind::deserialize(Field(class.clone())).map_err(|_| {
            let (class, kinds) = (class.as_str().unwrap_or("its _class_name"), self.kinds());
            let others: Vec<&str> = kinds.into_iter().map(SchedulerKind::class).collect();
            let others = others.join(", ");
            let problem = format!(
                "{class} is not supported; this model can be sampled with {others}: choose one with --scheduler, or in \
                 the Sampler menu."
            );
            Error::Config { file: FILE, problem }
        })
    }

    /// Whether a solver is told to follow a flow.
    fn follows_flow(&self) -> bool {
        self.0.get("use_flow_sigmas").and_then(Value::as_bool) == Some(true)
    }

    fn family(&self) -> Family {
        let own = SchedulerKind::try_from(self.class().unwrap_or(Ddpm.class()).to_string());
        match own {
            Ok(kind) if kind.has_flow_sigmas() && self.follows_flow() => Family::Flow,
            Ok(kind) => kind.family(),
            Err(_) if self.follows_flow() || self.0.contains_key("shift") => Family::Flow,
            Err(_) => Family::Beta,
        }
    }

    /// The schedulers that can make images with a model of such a file and need nothing else for it, its own first.
    pub fn kinds(&self) -> Vec<SchedulerKind> {
        let (class, family) = (self.class().unwrap_or(Ddpm.class()), self.family());
        let own = KINDS.iter().filter(|(_, name, short)| [*name, *short].contains(&class));
        let mut kinds: Vec<SchedulerKind> = Vec::new();
        for &(kind, ..) in own.chain(KINDS) {
            if kind.samples(family) && !kinds.contains(&kind) {
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
    /// does not say is that scheduler's own default. Whether it can do anything with the model is for
    /// [`SchedulerFile::kinds`] to say.
    ///
    /// # Errors
    /// When `changes` is not an object of fields, or the scheduler does not support what is asked.
    pub fn config(&self, kind: Option<SchedulerKind>, changes: &str) -> Result<SchedulerConfig> {
        let changes = todays(super::object(FILE, changes)?);
        if let Some(field) = unknown(&changes).first() {
            return Err(Error::Config { file: FILE, problem: format!("no scheduler has a field \"{field}\".") });
        }
        let named = changes
            .get("_class_name")
            .cloned()
            .map(|class| SchedulerFile(Object::from_iter([("_class_name".into(), class)])));
        let kind = kind.map_or_else(|| named.as_ref().unwrap_or(self).kind(), Ok)?;
        let mut given = self.0.clone();
        if self.family() == Family::Flow {
            // The two ways of saying how to follow a flow.
            let shifts = if kind.family() == Family::Flow { ["flow_shift", "shift"] } else { ["shift", "flow_shift"] };
            if let Some(shift) = given.get(shifts[0]).cloned() {
                given.entry(shifts[1]).or_insert(shift);
            }
            if kind.has_flow_sigmas() && !self.follows_flow() {
                given.insert("use_flow_sigmas".into(), true.into());
                given.insert("prediction_type".into(), "flow_prediction".into());
            }
        }
        if self.kind().ok() != Some(kind)
            && given
                .get("algorithm_type")
                .is_some_and(|value| AlgorithmType::deserialize(Field(value.clone())).is_err())
        {
            // Of another scheduler, which has the field, but not its values, in common.
            given.remove("algorithm_type");
        }
        given.extend(changes);
        given.insert("_class_name".into(), kind.class().into());
        SchedulerConfig::read(kind, given)
    }
}

/// The fields of an object that no scheduler of diffusers has.
fn unknown(object: &Object) -> Vec<String> {
    let is_known =
        |field: &str| field.starts_with('_') || FIELDS.contains(&field) || OTHERS.contains(&format!(" {field} "));
    object.keys().filter(|field| !is_known(field)).cloned().collect()
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
