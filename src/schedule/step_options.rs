//! What a run may tell its scheduler besides the configuration.

use crate::config::SchedulerKind;
use crate::{Error, Result};

/// What may differ from run to run with the same configuration: arguments of diffusers' `step` and `set_timesteps`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepOptions {
    /// DDIM's η, from 0 to 1: 0 is deterministic, 1 adds as much noise as DDPM. TCD's γ. `None` is 0, TCD's 0.3 and
    /// RePaint's own.
    pub eta: Option<f64>,
    /// DDIM: whether ε is derived anew from a clipped x̂0.
    pub use_clipped_model_output: bool,
    /// Euler and EDM's: how much the noise is raised before each step (Karras et al. 2022, Algorithm 2).
    pub s_churn: f64,
    /// Euler and EDM's: the lowest σ at which it is raised.
    pub s_tmin: f64,
    /// Euler and EDM's: the highest σ at which it is raised.
    pub s_tmax: f64,
    /// Euler and EDM's: the standard deviation of what is added.
    pub s_noise: f64,
    /// LMS: how many slopes a step is made of, 1 to 4.
    pub order: usize,
    /// RePaint: steps of a jump back.
    pub jump_length: usize,
    /// RePaint: how often each jump is made.
    pub jump_n_sample: usize,
    /// How many of the steps are left out at the beginning, for x that has less noise than a run begins with (diffusers'
    /// `set_begin_index`). What is left goes on as a run does that has just begun.
    pub begin: usize,
}

impl Default for StepOptions {
    fn default() -> Self {
        StepOptions {
            eta: None,
            use_clipped_model_output: false,
            s_churn: 0.0,
            s_tmin: 0.0,
            s_tmax: f64::INFINITY,
            s_noise: 1.0,
            order: 4,
            jump_length: 10,
            jump_n_sample: 10,
            begin: 0,
        }
    }
}

impl StepOptions {
    pub(super) fn check(&self, kind: SchedulerKind, steps: usize) -> Result<()> {
        use SchedulerKind::*;
        let StepOptions { eta, s_churn, s_tmin, s_tmax, s_noise, order, jump_length, jump_n_sample, begin, .. } = *self;
        let invalid = |problem: String| Err(Error::Settings(problem));
        if let Some(eta) = eta {
            if !(0.0..=1.0).contains(&eta) {
                return invalid(format!("η is {eta}; it must be between 0 and 1."));
            }
            if eta != 0.0 && !matches!(kind, Ddim | RePaint | Tcd) {
                return invalid(format!(
                    "η is {eta}, but only DDIM, TCD and RePaint have an η; choose DDIM or set it to 0."
                ));
            }
        }
        for (name, value) in [("s_churn", s_churn), ("s_noise", s_noise)] {
            if !(value >= 0.0 && value.is_finite()) {
                return invalid(format!("{name} is {value}; it must be at least 0."));
            }
        }
        let default = StepOptions::default();
        let churn = [
            (s_churn, default.s_churn),
            (s_tmin, default.s_tmin),
            (s_tmax, default.s_tmax),
            (s_noise, default.s_noise),
        ];
        if !matches!(kind, Euler | EdmEuler) && churn.iter().any(|(value, default)| value != default) {
            return invalid(
                "s_churn, s_tmin, s_tmax and s_noise are Euler's and EDMEuler's; choose one of them or leave them out."
                    .into(),
            );
        }
        if self.use_clipped_model_output && kind != Ddim {
            return invalid("use_clipped_model_output is DDIM's; choose DDIM or leave it out.".into());
        }
        if kind != Lms && order != default.order {
            return invalid(format!("The order is {order}, but only LMS has it; choose LMS or leave it out."));
        }
        if kind != RePaint && (jump_length, jump_n_sample) != (default.jump_length, default.jump_n_sample) {
            return invalid("jump_length and jump_n_sample are RePaint's; choose RePaint or leave them out.".into());
        }
        if !(1..=4).contains(&order) {
            return invalid(format!("The order is {order}; LMS has orders 1 to 4."));
        }
        if begin >= steps {
            return invalid(format!(
                "Of {steps} steps {begin} are to be left out at the beginning; leave one at least."
            ));
        }
        if begin > 0 && !kind.begins_anywhere() {
            return invalid(format!("{} cannot begin in the middle; choose another sampler.", kind.class()));
        }
        for (name, value) in [("jump_length", jump_length), ("jump_n_sample", jump_n_sample)] {
            if !(1..=1000).contains(&value) {
                return invalid(format!("{name} is {value}; it must be between 1 and 1000."));
            }
        }
        Ok(())
    }
}
