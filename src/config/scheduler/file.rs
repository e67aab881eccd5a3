//! `scheduler_config.json` as it was saved, and what one scheduler or another makes of it.

use serde::Deserialize;
use serde_json::Value;

use super::SchedulerKind::*;
use super::kind::KINDS;
use super::{AlgorithmType, FIELDS, FILE, Family, SchedulerConfig, SchedulerKind};
use crate::config::field::Field;
use crate::config::{Object, object};
use crate::{Error, Result};

/// Fields of diffusers' schedulers that [`SchedulerConfig`] has not: of classes that are not supported, or without an
/// effect on what is.
const OTHERS: &str = " solver_p time_shift_type sigmas predictor_order corrector_order tau_func base_shift max_shift \
    base_image_seq_len max_image_seq_len noise_sampler_seed snr_shift_scale s_churn s_min s_max scaler s ";

/// Whether diffusers' scheduler of this kind has a field; `from_config` leaves out what it does not have.
pub(super) fn has(kind: SchedulerKind, field: &str) -> bool {
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
pub struct SchedulerFile(pub(super) Object);

impl SchedulerFile {
    /// Reads a `scheduler/scheduler_config.json`. What is in it is looked at by [`SchedulerFile::config`].
    ///
    /// # Errors
    /// When it is not a JSON object.
    pub fn from_json(json: &str) -> Result<Self> {
        Ok(SchedulerFile(todays(object(FILE, json)?)))
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

    /// The configuration with which DDPM samples the model, with these changes.
    ///
    /// # Errors
    /// As [`SchedulerFile::config`]; when DDPM cannot sample it, what `refusal` makes of the class that can.
    pub fn ddpm(&self, changes: &str, refusal: impl FnOnce(&str) -> String) -> Result<SchedulerConfig> {
        if !self.kinds().contains(&SchedulerKind::Ddpm) {
            return Err(Error::Settings(refusal(self.class().unwrap_or("another scheduler"))));
        }
        self.config(Some(SchedulerKind::Ddpm), changes)
    }

    /// The configuration of the scheduler it is of, or of another, with the fields of the JSON object `changes` in place
    /// of its own. As diffusers' `from_config`: what the file says stays, as far as that scheduler has the field; what it
    /// does not say is that scheduler's own default. Whether it can do anything with the model is for
    /// [`SchedulerFile::kinds`] to say.
    ///
    /// # Errors
    /// When `changes` is not an object of fields, or the scheduler does not support what is asked.
    pub fn config(&self, kind: Option<SchedulerKind>, changes: &str) -> Result<SchedulerConfig> {
        let changes = todays(object(FILE, changes)?);
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
