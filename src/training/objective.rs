//! What a network learns to predict, and how much each image counts.

use crate::config::{Family, PredictionType, SchedulerConfig, VarianceType};
use crate::op::VariationalBound;
use crate::schedule::{Posterior, alphas_cumprod};
use crate::{Error, Result};

/// What an image at a timestep costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// The error of what is predicted, as much as at any other: L_simple (Ho et al. 2020, equation 14).
    Simple,
    /// The same error, as much as the timestep's signal-to-noise ratio, but not more than γ, in terms of x_0 (Hang et al. 2023,
    /// section 3.4; 5 is theirs).
    MinSnr(f64),
    /// L_simple + λ L_vlb with λ = 0.001 (Nichol and Dhariwal 2021, equation 16), for a network that learns the variance too.
    /// L_vlb is the sum over all T timesteps, so with one of them drawn evenly its term, in bits a number, counts T / 1000. Only
    /// the variance learns from it ([`VariationalBound`]).
    Hybrid,
    /// −ln p(y | x_t), of a classifier: what the network predicts does not matter.
    CrossEntropy,
}

/// What a network learns: from x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε to predict ε, x_0 or v.
#[derive(Clone, Debug)]
pub struct Objective {
    alphas_cumprod: Vec<f64>,
    prediction: PredictionType,
    loss: Loss,
    /// What [`VariationalBound`] is given of an image at each timestep, if a variance is learned.
    bounds: Vec<[f32; 4]>,
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
    /// When it predicts what has no such forward process, or the loss is hybrid and its variance is not learned so.
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
        let (alphas_cumprod, prediction) = (alphas_cumprod(config), config.prediction_type);
        if loss != Loss::Hybrid {
            return Ok(Objective { alphas_cumprod, prediction, loss, bounds: Vec::new() });
        }
        match config.variance_type {
            VarianceType::LearnedRange => {}
            // diffusers takes σ² itself, the paper's authors its logarithm.
            VarianceType::Learned => {
                return refuse(
                    "variance_type is learned: the network says σ² itself, which would not be positive for long. The hybrid \
                     loss teaches learned_range."
                        .into(),
                );
            }
            other => {
                return refuse(format!(
                    "its variance is {other:?}, which is not learned. The hybrid loss is for a DDPMScheduler whose \
                     variance_type is learned_range, and a network with twice as many out_channels as in_channels; for \
                     others there is the simple loss."
                ));
            }
        }
        let bounds = (0..alphas_cumprod.len()).map(|t| bound(&alphas_cumprod, prediction, t)).collect::<Vec<_>>();
        // Of a single timestep there is no β̃, and where no signal is left ε does not say x_0.
        match bounds.iter().position(|row| row.iter().any(|number| !number.is_finite())) {
            Some(t) => refuse(format!(
                "at timestep {t} the variational bound is infinite, so its variance cannot be learned by the hybrid loss. If \
                 nothing is left of the image there, predict v_prediction or sample."
            )),
            None => Ok(Objective { alphas_cumprod, prediction, loss, bounds }),
        }
    }

    /// What the variational bound's term of an image is multiplied by, if the network learns a variance: T / 1000.
    pub(super) fn bound_scale(&self) -> Option<f64> {
        (self.loss == Loss::Hybrid).then_some(self.timesteps() as f64 / 1000.0)
    }

    /// What [`VariationalBound`] is given of an image at `timestep`, which exists and whose variance is learned.
    pub(super) fn bound(&self, timestep: usize) -> [f32; 4] {
        self.bounds[timestep]
    }

    /// What an image costs.
    pub(super) fn loss(&self) -> Loss {
        self.loss
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
            (Loss::Simple | Loss::Hybrid | Loss::CrossEntropy, _) => 1.0,
            // The weight of x̂0's error in terms of what is predicted; with a ratio of 0 too.
            (Loss::MinSnr(gamma), PredictionType::Epsilon) => (gamma / snr).min(1.0),
            (Loss::MinSnr(gamma), PredictionType::VPrediction) => snr.min(gamma) / (snr + 1.0),
            (Loss::MinSnr(gamma), _) => snr.min(gamma),
        };
        Ok(Coefficients { mixes: [x0, noise, target[0], target[1]].map(|x| x as f32), weight: weight as f32 })
    }
}

/// What [`VariationalBound`] is given of an image at `timestep`.
fn bound(alphas_cumprod: &[f64], prediction: PredictionType, timestep: usize) -> [f32; 4] {
    let signal = alphas_cumprod[timestep];
    let Posterior { from_x0, log_variance, log_beta } = Posterior::at(alphas_cumprod, timestep);
    // What x_0 follows from is what is predicted.
    let factor = match prediction {
        PredictionType::Epsilon => -from_x0 * ((1.0 - signal) / signal).sqrt(),
        PredictionType::VPrediction => -from_x0 * (1.0 - signal).sqrt(),
        PredictionType::Sample | PredictionType::FlowPrediction => from_x0,
    };
    VariationalBound::row(factor, log_variance, log_beta, timestep == 0)
}
