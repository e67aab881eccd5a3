//! The likelihood of images by the probability-flow ODE, which takes each to the noise that the deterministic samplers make it
//! of (Song et al. 2021, equation 13 and appendix D.2).
//!
//! With σ = √((1 − ᾱ) / ᾱ) and x̄ = x / √ᾱ = x_0 + σ ε it is dx̄/dσ = ε̂(x̄ / √(1 + σ²), t(σ)), from σ of the first timestep to σ of the
//! last; between timesteps t is linear in ln σ, as the samplers have it. On the way the density of x̄ changes by the trace of ε̂'s
//! Jacobian: ln p(x̄_0) = ln p(x̄_T) + ∫ tr(∂ε̂/∂x̄) dσ, and the trace is estimated as vᵀ (∂ε̂/∂x̄) v with v of random signs
//! (Hutchinson's estimator with Rademacher's probes), one v for the whole way.
//!
//! The prior is that of sampling: x_T normal of variance 1, so x̄_T of variance 1 + σ_T². Images are dequantised uniformly: to a
//! number, one of 256 levels 1/127.5 apart, noise of ± half of that is added, so that −ln₂ p(x̄_0) + ln₂ 127.5 is on average an upper
//! bound of what the levels cost in bits. What is given is that, divided by how many numbers an image has. The density is that at
//! σ of the first timestep, not at 0. Nothing is clipped.

mod ode;

pub use ode::{Method, integrate};

use std::f64::consts::{LN_2, TAU};
use std::ops::Deref;

use crate::backend::Executor;
use crate::bound::filled;
use crate::config::{Family, PredictionType, SchedulerConfig};
use crate::graph::Graph;
use crate::op::Slice;
use crate::passes::{Fusion, fuse, vector_jacobian_product};
use crate::plan::Plan;
use crate::random::Generator;
use crate::schedule::{alphas_cumprod, predict_epsilon, preserving, sigma_table, sigma_to_timestep};
use crate::{Backend, Error, Pipeline, Precision, Result, Shape, Tensor};

/// Names in the plan.
mod names {
    /// Input: v.
    pub const PROBE: &str = "probe";
    /// Output: what the network predicts.
    pub const PREDICTION: &str = "prediction";
    /// Output: vᵀ J, J being the Jacobian of that.
    pub const PRODUCT: &str = "product";
}

/// How an ODE is solved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solver {
    /// How a step is taken.
    pub method: Method,
    /// How many steps, evenly in ln σ.
    pub steps: usize,
}

/// Where images come to, and what they cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// x_T, `[N, C, H, W]`, of about the variance 1.
    pub x_t: Tensor,
    /// −log₂ of each image's likelihood, in bits a number.
    pub bits_per_dim: Vec<f64>,
}

/// DDPM's forward process as the model's scheduler file has it, with these changes.
///
/// # Errors
/// When DDPM does not sample the model, or cannot read the file.
pub fn scheduler(pipeline: &Pipeline, changes: &str) -> Result<SchedulerConfig> {
    pipeline
        .scheduler_file()
        .ddpm(changes, |class| format!("The likelihood is of models with a β a timestep, and this one is of {class}."))
}

/// σ of every timestep, between the first and the last of which a model's ODE is solved, if it has one.
///
/// # Errors
/// When the model has no such process, or one in which nothing is left of an image, or takes a condition.
pub fn sigmas(pipeline: &Pipeline, config: &SchedulerConfig) -> Result<Vec<f64>> {
    let refuse = |file: &'static str, problem: String| Err(Error::Config { file, problem });
    if config.kind.family() != Family::Beta || config.use_flow_sigmas {
        return refuse(
            "scheduler_config.json",
            format!(
                "{} is of models that are trained otherwise. The likelihood is of those with a β a timestep, as \
                 DDPMScheduler.",
                config.kind.class()
            ),
        );
    }
    let sigmas = sigma_table(&alphas_cumprod(config));
    if sigmas.len() < 2 || !sigmas.iter().all(|sigma| sigma.is_finite() && *sigma > 0.0) {
        return refuse(
            "scheduler_config.json",
            "at the last timestep nothing is left of the image (rescale_betas_zero_snr), or there is one timestep only: then \
             the ODE has no end in σ."
                .into(),
        );
    }
    if pipeline.condition_channels() > 0 {
        let (taken, channels) = (pipeline.unet().config().in_channels, pipeline.channels());
        return refuse(
            "unet/config.json",
            format!(
                "in_channels is {taken} for images of {channels}: the model takes a condition beside x_t. The likelihood is \
                 of models without."
            ),
        );
    }
    Ok(sigmas)
}

/// Images of 256 levels over [−1, 1] with noise of half a level, evenly.
///
/// # Errors
/// None that the images do not have already.
pub fn dequantised(images: &Tensor, generator: &mut Generator) -> Result<Tensor> {
    let noise = generator.rand(images.data.len());
    Tensor::new(&images.shape, images.data.iter().zip(noise).map(|(x, noise)| x + (noise - 0.5) / 127.5).collect())
}

/// Random signs, with which traces are estimated.
///
/// # Errors
/// When there is no such shape.
pub fn probe(shape: &[usize], generator: &mut Generator) -> Result<Tensor> {
    let signs = generator.rand_below(0.5, shape.iter().product());
    Tensor::new(shape, signs.into_iter().map(|below| if below { 1.0 } else { -1.0 }).collect())
}

/// A model on a device, with the product of a vector and its Jacobian.
pub struct Likelihood<P> {
    pipeline: P,
    prediction: PredictionType,
    /// σ of every timestep.
    sigmas: Vec<f64>,
    executor: Executor,
    /// How many images the network is given at a time.
    batch: usize,
    /// Their shape, `[C, H, W]`.
    image: [usize; 3],
}

impl<P: Deref<Target = Pipeline>> Likelihood<P> {
    /// Makes a model ready for images of `size`, height and width, of which the network is given `batch` at a time, with
    /// the forward process and the prediction of `config`.
    ///
    /// # Errors
    /// As [`sigmas`]; when an op of the model has no gradient, it cannot take images of this size, or the device has not enough
    /// memory.
    pub async fn new(
        backend: &Backend,
        pipeline: P,
        config: &SchedulerConfig,
        batch: usize,
        (height, width): (usize, usize),
    ) -> Result<Self> {
        let sigmas = sigmas(&pipeline, config)?;
        let (unet, channels) = (pipeline.unet(), pipeline.channels());
        if batch == 0 {
            return Err(Error::Settings("The network was to be given no images at a time; it takes 1 or more.".into()));
        }
        let mut graph = Graph::new();
        let values = unet.build(&mut graph, batch, height, width, Precision::F32)?;
        let prediction = match unet.config().out_channels == channels {
            true => values.output,
            false => graph.op(names::PREDICTION, Slice { first: 0, channels }, &[values.output])?,
        };
        let probe = graph.input(names::PROBE, Shape::new(&[batch, height, width, channels]))?;
        let product = vector_jacobian_product(&mut graph, prediction, probe, &[values.sample])?[0];
        graph.output(names::PREDICTION, prediction);
        graph.output(names::PRODUCT, product);
        let plan = Plan::new(&fuse(&graph, Fusion::new(backend.tuning()))?);
        let executor = backend.compile(plan, &[], |_, _| {}).await?;
        let (prediction, image) = (config.prediction_type, [channels, height, width]);
        Ok(Likelihood { pipeline, prediction, sigmas, executor, batch, image })
    }

    /// σ of the first timestep and of the last, between which the ODE is solved.
    pub fn span(&self) -> [f64; 2] {
        [self.sigmas[0], self.sigmas[self.sigmas.len() - 1]]
    }

    /// ε̂ at x̄ and σ of up to a batch of images, and of each vᵀ (∂ε̂/∂x̄) v, on average over the probes.
    ///
    /// # Errors
    /// When the model has no such timestep between those it learned, its output is not finite, or the device was lost.
    pub async fn epsilon_and_trace(
        &self,
        x: &[f64],
        sigma: f64,
        probes: &[&[f32]],
        class_labels: &[f32],
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        let len: usize = self.image.iter().product();
        let count = x.len() / len;
        let timestep = sigma_to_timestep(&self.sigmas, sigma) as f32;
        self.pipeline.unet().check_timesteps(&[timestep])?;
        let signal = 1.0 / (1.0 + sigma * sigma).sqrt();
        let epsilon = predict_epsilon(self.prediction, preserving(signal * signal));
        let [channels, height, width] = self.image;
        let images = [self.batch, channels, height, width];
        let write = |name: &str, shape: &[usize], parts: Vec<&[f32]>| -> Result<()> {
            self.executor.write(name, &Tensor::new(shape, filled(&parts, self.batch))?.to_device()?)
        };
        let x_t: Vec<f32> = x.iter().map(|x| (signal * x) as f32).collect();
        write("sample", &images, x_t.chunks(len).collect())?;
        write("timestep", &[self.batch], vec![&[timestep]; count])?;
        if !class_labels.is_empty() {
            let shape = self.executor.plan().input("class_labels")?.shape.clone();
            write("class_labels", shape.dims(), class_labels.chunks(class_labels.len() / count).collect())?;
        }
        let mut traces = vec![0.0; count];
        let mut at = Vec::new();
        for probe in probes {
            write(names::PROBE, &images, probe.chunks(len).collect())?;
            self.executor.run(0).await?;
            let product = self.read(names::PRODUCT).await?;
            for (i, trace) in traces.iter_mut().enumerate() {
                let own = i * len..(i + 1) * len;
                let numbers = probe[own.clone()].iter().zip(&product[own]);
                // ∂ε̂/∂x̄ = signal · (what ε̂ has of x_t itself, and of the network's Jacobian).
                let sum = numbers.map(|(&v, &product)| {
                    let [v, product] = [v, product].map(f64::from);
                    v * (epsilon.x * v + epsilon.model * product)
                });
                *trace += signal * sum.sum::<f64>() / probes.len() as f64;
            }
            if at.is_empty() {
                let predicted = self.read(names::PREDICTION).await?;
                let of = |(&x, &model): (&f32, &f32)| epsilon.x * f64::from(x) + epsilon.model * f64::from(model);
                at = x_t.iter().zip(&predicted).map(of).collect();
            }
        }
        match at.iter().chain(&traces).all(|number| number.is_finite()) {
            true => Ok((at, traces)),
            false => Err(Error::Settings(format!(
                "At timestep {timestep:.1} the model's output is not finite. Its weights may be damaged, or the ODE needs more \
                 steps."
            ))),
        }
    }

    /// Follows images `[N, C, H, W]`, dequantised ones, to their noise. Each of `probes`, of which there is one at least, has
    /// their shape.
    ///
    /// # Errors
    /// When they do not fit together or the model, and as [`Likelihood::epsilon_and_trace`].
    pub async fn encode(
        &self,
        images: &Tensor,
        probes: &[Tensor],
        class_labels: &[f32],
        Solver { method, steps }: Solver,
        mut evaluated: impl FnMut(),
    ) -> Result<Encoded> {
        let [channels, height, width] = self.image;
        let count = match images.shape[..] {
            [count, c, h, w] if count > 0 && [c, h, w] == self.image => count,
            _ => {
                let expected = format!("[N, {channels}, {height}, {width}]");
                return Err(Error::shape("images", expected, format!("{:?}", images.shape)));
            }
        };
        // Half a level beyond, by dequantising.
        if let Some(x) = images.data.iter().find(|x| x.is_nan() || x.abs() > 1.004) {
            return Err(Error::Settings(format!("The images have {x}, which is not between -1 and 1.")));
        }
        if steps == 0 || probes.is_empty() {
            return Err(Error::Settings("The ODE needs a step and a probe at least.".into()));
        }
        if let Some(probe) = probes.iter().find(|probe| probe.shape != images.shape) {
            return Err(Error::shape("probe", format!("{:?}", images.shape), format!("{:?}", probe.shape)));
        }
        self.pipeline.unet().check_labels(class_labels, count)?;

        let len: usize = self.image.iter().product();
        let width = class_labels.len() / count;
        let [first, last] = self.span();
        let variance = 1.0 + last * last;
        let (mut x_t, mut bits_per_dim) = (Vec::new(), Vec::new());
        for begin in (0..count).step_by(self.batch) {
            let chunk = begin..count.min(begin + self.batch);
            let numbers = chunk.start * len..chunk.end * len;
            let probes: Vec<&[f32]> = probes.iter().map(|probe| &probe.data[numbers.clone()]).collect();
            let labels = &class_labels[chunk.start * width..chunk.end * width];
            // x̄ of all of them, and the integral of each one's trace.
            let state = images.data[numbers.clone()].iter().map(|&x| f64::from(x));
            let state = state.chain(std::iter::repeat_n(0.0, chunk.len())).collect();
            let slope = async |log_sigma: f64, state: &[f64]| {
                let sigma = libm::exp(log_sigma);
                let x = &state[..numbers.len()];
                let (epsilon, traces) = self.epsilon_and_trace(x, sigma, &probes, labels).await?;
                evaluated();
                Ok(epsilon.into_iter().chain(traces).map(|number| sigma * number).collect())
            };
            let end = integrate(method, [libm::log(first), libm::log(last)], steps, state, slope).await?;
            let (x, traces) = end.split_at(numbers.len());
            for (x, trace) in x.chunks_exact(len).zip(traces) {
                let squares = x.iter().map(|x| x * x).sum::<f64>();
                let prior = -0.5 * (len as f64 * (TAU * variance).ln() + squares / variance);
                bits_per_dim.push(-(prior + trace) / len as f64 / LN_2 + 127.5_f64.log2());
                x_t.extend(x.iter().map(|x| (x / variance.sqrt()) as f32));
            }
        }
        Ok(Encoded { x_t: Tensor::new(&images.shape, x_t)?, bits_per_dim })
    }

    /// An output of the plan.
    async fn read(&self, name: &str) -> Result<Vec<f32>> {
        let shape = &self.executor.plan().output(name)?.shape;
        Ok(Tensor::from_device(shape, &self.executor.read(name).await?)?.data)
    }
}
