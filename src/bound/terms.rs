//! Each term of the bound, from what the network says.

use std::f64::consts::LN_2;

use crate::config::{Family, SchedulerConfig, VarianceType};
use crate::op::{divergence, level};
use crate::schedule::{Posterior, alphas_cumprod, predict_x0, preserving};
use crate::{Error, Result};

const FILE: &str = "scheduler_config.json";

/// q(x_{t−1} | x_t, x_0) and p_θ(x_{t−1} | x_t) of every timestep, both of them normal, in f64.
#[derive(Clone, Debug)]
pub struct Terms {
    alphas_cumprod: Vec<f64>,
    steps: Vec<Step>,
    /// The absolute value that x̂0 is clipped to.
    clip: Option<f64>,
}

/// A timestep.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// What x_0 and ε are multiplied by for x_t: √ᾱ and √(1 − ᾱ).
    shares: (f64, f64),
    /// What x_t and the model's output are multiplied by for x̂0.
    x0_of: (f64, f64),
    /// The means' coefficient of x_0 or x̂0. That of x_t is the same in both, so it does not matter.
    from_x0: f64,
    /// ln of the variance of q.
    log_true: f64,
    variance: Variance,
}

/// The variance of p_θ.
#[derive(Clone, Copy, Debug)]
enum Variance {
    /// The same for all pixels: its logarithm.
    Fixed(f64),
    /// What the model says, as diffusers takes it.
    Learned,
    /// Between two bounds, as the model says: exp(f max_log + (1 − f) min_log) with f = (v + 1) / 2 (Nichol and Dhariwal 2021,
    /// equation 15).
    Range { min_log: f64, max_log: f64 },
}

impl Terms {
    /// Those of the model whose forward process, prediction and variance a scheduler's file describes.
    ///
    /// # Errors
    /// When it has no such forward process, x̂0 is thresholded, or a term is infinite whatever the model says.
    pub fn new(config: &SchedulerConfig) -> Result<Self> {
        let refuse = |problem: String| Err(Error::Config { file: FILE, problem });
        if config.kind.family() != Family::Beta || config.use_flow_sigmas {
            return refuse(format!(
                "{} is of models that are trained otherwise. The bound is of those with a β a timestep, as DDPMScheduler.",
                config.kind.class()
            ));
        }
        if config.thresholding {
            return refuse(
                "thresholding is true: x̂0 is then bounded by its own quantile, for which the bound is not computed. Set \
                 thresholding to false; clip_sample may stay."
                    .into(),
            );
        }
        let alphas_cumprod = alphas_cumprod(config);
        let steps: Vec<Step> = (0..alphas_cumprod.len()).map(|t| Step::new(config, &alphas_cumprod, t)).collect();
        if steps.len() == 1 {
            return refuse("num_train_timesteps is 1; the bound needs two or more.".into());
        }
        if let Some(t) = steps.iter().position(|step| !step.is_finite()) {
            return refuse(format!(
                "at timestep {t} the bound is infinite. If nothing is left of the image there, the model has to predict \
                 v_prediction or sample."
            ));
        }
        let clip = config.clip_sample.then_some(config.clip_sample_range);
        Ok(Terms { alphas_cumprod, steps, clip })
    }

    /// T: timesteps are 0 to T − 1.
    pub fn timesteps(&self) -> usize {
        self.steps.len()
    }

    /// Whether the model has to say the variance in as many channels more.
    pub fn learns_variance(&self) -> bool {
        !matches!(self.steps[0].variance, Variance::Fixed(_))
    }

    /// x_t of an image and noise, in the precision that the network takes it in.
    pub fn noisy(&self, timestep: usize, x0: &[f32], noise: &[f32]) -> Vec<f32> {
        let (signal, deviation) = self.steps[timestep].shares;
        let mix = |(&x0, &noise): (&f32, &f32)| (signal * f64::from(x0) + deviation * f64::from(noise)) as f32;
        x0.iter().zip(noise).map(mix).collect()
    }

    /// The term of a timestep of an image `[C, H, W]`, in bits a number: L_{t−1}, of the first L_0. `model` is the model's
    /// output for `x_t`, with the channels of a variance, if it says one, after the image's.
    ///
    /// # Errors
    /// When the model says a variance that is not positive, or numbers that are not finite.
    pub fn image(&self, timestep: usize, x0: &[f32], x_t: &[f32], model: &[f32]) -> Result<f64> {
        let step = &self.steps[timestep];
        let (prediction, said) = model.split_at(x0.len());
        let mut sum = 0.0;
        for i in 0..x0.len() {
            let [x0, x_t, prediction] = [x0[i], x_t[i], prediction[i]].map(f64::from);
            let expected = step.x0_of.0 * x_t + step.x0_of.1 * prediction;
            let expected = self.clip.map_or(expected, |clip| expected.clamp(-clip, clip));
            let distance = step.from_x0 * (x0 - expected);
            let log_variance = match step.variance {
                Variance::Fixed(log) => log,
                Variance::Learned if said[i] <= 0.0 => {
                    let said = said[i];
                    return Err(Error::Settings(format!(
                        "At timestep {timestep} the model says a variance of {said}; with variance_type \"learned\" it has to \
                         be positive. A model that says where it is between two bounds has \"learned_range\"."
                    )));
                }
                Variance::Learned => f64::from(said[i]).ln(),
                Variance::Range { min_log, max_log } => {
                    let part = 0.5 * (f64::from(said[i]) + 1.0);
                    part * max_log + (1.0 - part) * min_log
                }
            };
            // Else `level` would take a probability that is no number for none at all.
            if !(prediction.is_finite() && distance.is_finite() && log_variance.is_finite()) {
                return Err(Error::Settings(format!(
                    "At timestep {timestep} the model's output is not finite, so its bound is not either. Its weights may be \
                     damaged."
                )));
            }
            sum += match timestep {
                0 => level(x0, distance, log_variance)[0],
                _ => divergence(distance, step.log_true - log_variance, log_variance)[0],
            };
        }
        if !sum.is_finite() {
            return Err(Error::Settings(format!(
                "At timestep {timestep} the bound is infinite: the variance that the model says there is next to none."
            )));
        }
        Ok(sum / x0.len() as f64 / LN_2)
    }

    /// L_T of an image: KL(q(x_T | x_0) ‖ N(0, 1)), in bits a number.
    pub fn prior(&self, x0: &[f32]) -> f64 {
        let signal = self.alphas_cumprod[self.timesteps() - 1];
        let ratio = (-signal).ln_1p();
        let terms = x0.iter().map(|&x0| divergence(signal.sqrt() * f64::from(x0), ratio, 0.0)[0]);
        terms.sum::<f64>() / x0.len() as f64 / LN_2
    }
}

impl Step {
    fn new(config: &SchedulerConfig, alphas_cumprod: &[f64], timestep: usize) -> Self {
        let shares = preserving(alphas_cumprod[timestep]);
        let Posterior { from_x0, log_variance, log_beta } = Posterior::at(alphas_cumprod, timestep);
        let variance = match config.variance_type {
            VarianceType::FixedSmall | VarianceType::FixedSmallLog => Variance::Fixed(log_variance),
            // improved-diffusion takes β̃ of the second timestep for the first here too.
            VarianceType::FixedLarge => Variance::Fixed(if timestep == 0 { log_variance } else { log_beta }),
            VarianceType::Learned => Variance::Learned,
            VarianceType::LearnedRange => Variance::Range { min_log: log_variance, max_log: log_beta },
        };
        Step { shares, x0_of: predict_x0(config.prediction_type, shares), from_x0, log_true: log_variance, variance }
    }

    fn is_finite(&self) -> bool {
        let variance = match self.variance {
            Variance::Fixed(log) => log,
            Variance::Learned => 0.0,
            Variance::Range { min_log, max_log } => min_log + max_log,
        };
        [self.x0_of.0, self.x0_of.1, self.from_x0, self.log_true, variance].iter().all(|number| number.is_finite())
    }
}
