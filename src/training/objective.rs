//! What a network learns to predict, and how much each image counts.

use crate::config::{Family, PredictionType, SchedulerConfig};
use crate::schedule::alphas_cumprod;
use crate::{Error, Result};

/// How much the error of an image at a timestep counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// As much as at any other: L_simple (Ho et al. 2020, equation 14).
    Simple,
    /// As much as its signal-to-noise ratio, but not more than γ, in terms of x_0 (Hang et al. 2023, section 3.4; 5 is theirs).
    MinSnr(f64),
}

/// What a network learns: from x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε to predict ε, x_0 or v.
#[derive(Clone, Debug)]
pub struct Objective {
    alphas_cumprod: Vec<f64>,
    prediction: PredictionType,
    loss: Loss,
}

/// What a batch is given of a timestep.
pub(super) struct Coefficients {
    /// What x_0 and ε are multiplied by for x_t, and for what is to be predicted.
    pub(super) mixes: [f32; 4],
    /// What the mean square error is multiplied by.
    pub(super) weight: f32,
}

impl Objective {
    /// That of a model whose forward process and prediction a scheduler's file describes.
    ///
    /// # Errors
    /// When it predicts what has no such forward process.
    pub fn new(config: &SchedulerConfig, loss: Loss) -> Result<Self> {
        let refuse = |problem: String| Err(Error::Config { file: "scheduler_config.json", problem });
        if config.kind.family() != Family::Beta {
            return refuse(format!(
                "{} is of models that are trained otherwise. Training is for those with a β a timestep, as DDPMScheduler.",
                config.kind.class()
            ));
        }
        if config.prediction_type == PredictionType::FlowPrediction || config.use_flow_sigmas {
            return refuse("it follows a flow; training predicts epsilon, sample or v_prediction.".into());
        }
        Ok(Objective { alphas_cumprod: alphas_cumprod(config), prediction: config.prediction_type, loss })
    }

    /// T: timesteps are 0 to T − 1.
    pub fn timesteps(&self) -> usize {
        self.alphas_cumprod.len()
    }

    /// What an image at `timestep` is given.
    ///
    /// # Errors
    /// When there is no such timestep.
    pub(super) fn coefficients(&self, timestep: usize) -> Result<Coefficients> {
        let Some(&signal) = self.alphas_cumprod.get(timestep) else {
            return Err(Error::Settings(format!(
                "Timestep {timestep} does not exist; those of this model are 0 to {}.",
                self.timesteps() - 1
            )));
        };
        let [x0, noise] = [signal.sqrt(), (1.0 - signal).sqrt()];
        let snr = signal / (1.0 - signal);
        let target = match self.prediction {
            PredictionType::Epsilon => [0.0, 1.0],
            PredictionType::Sample => [1.0, 0.0],
            PredictionType::VPrediction => [-noise, x0],
            PredictionType::FlowPrediction => unreachable!("refused above"),
        };
        let weight = match (self.loss, self.prediction) {
            (Loss::Simple, _) => 1.0,
            // The weight of x̂0's error in terms of what is predicted; with a ratio of 0 too.
            (Loss::MinSnr(gamma), PredictionType::Epsilon) => (gamma / snr).min(1.0),
            (Loss::MinSnr(gamma), PredictionType::VPrediction) => snr.min(gamma) / (snr + 1.0),
            (Loss::MinSnr(gamma), _) => snr.min(gamma),
        };
        Ok(Coefficients { mixes: [x0, noise, target[0], target[1]].map(|x| x as f32), weight: weight as f32 })
    }
}
