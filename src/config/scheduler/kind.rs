//! The schedulers, what each is called, and what it samples.

use serde::{Deserialize, Serialize};

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
pub(super) const KINDS: &[(SchedulerKind, &str, &str)] = &[
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

    /// Whether a run may begin with x that has less noise than a whole run begins with.
    pub fn begins_anywhere(self) -> bool {
        !self.inverts() && !matches!(self, RePaint | ScoreSdeVe | IpNdm)
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
    pub(super) fn samples(self, family: Family) -> bool {
        let flows = family == Family::Flow && self.has_flow_sigmas();
        !self.inverts() && self != RePaint && (self.family() == family || flows)
    }

    /// Whether it can be told to follow a flow.
    pub(super) fn has_flow_sigmas(self) -> bool {
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
