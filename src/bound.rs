//! The variational bound of a model: how many bits a number it takes at most to say an image with it.
//!
//! −log p_θ(x_0) ≤ L_T + Σ_{t>1} L_{t−1} + L_0 (Ho et al. 2020, equation 5): L_T is how far q(x_T | x_0) is from the noise that
//! sampling begins with, L_{t−1} how far p_θ(x_{t−1} | x_t) is from q(x_{t−1} | x_t, x_0), and L_0 is −log p_θ(x_0 | x_1) with a
//! number of an image one of 256 levels (equation 13). All are in bits a number, as in improved-diffusion's
//! `gaussian_diffusion.py` (Nichol and Dhariwal 2021; `_vb_terms_bpd`, `_prior_bpd`). Timesteps count from 0, so that the
//! term of timestep 0 is L_0.

mod estimate;
mod gradual;
mod strata;
mod terms;

pub use estimate::{Estimate, Mean, Point};
pub use gradual::{Drawn, Gradual};
pub use strata::{draw, length, strata};
pub use terms::Terms;

use std::ops::Deref;

use crate::backend::Executor;
use crate::config::SchedulerConfig;
use crate::graph::Graph;
use crate::passes::{Fusion, fuse};
use crate::plan::Plan;
use crate::{Backend, Error, Pipeline, Precision, Result, Tensor};

/// What the network gives, in the plan.
const OUTPUT: &str = "model_output";

/// DDPM as the model's scheduler file has it, with these changes.
///
/// # Errors
/// When DDPM does not sample the model, or cannot read the file.
pub fn scheduler(pipeline: &Pipeline, changes: &str) -> Result<SchedulerConfig> {
    pipeline.scheduler_file().ddpm(changes, |class| {
        format!(
            "DDPM does not sample models of {class}, so the variational bound, which is DDPM's, says nothing of them."
        )
    })
}

/// The terms of a model's bound, if it has one.
///
/// # Errors
/// As [`Terms::new`]; when the model takes a condition, or should say a variance and does not.
pub fn terms(pipeline: &Pipeline, config: &SchedulerConfig) -> Result<Terms> {
    let terms = Terms::new(config)?;
    let unet = pipeline.unet();
    let (channels, given) = (pipeline.channels(), unet.config().out_channels);
    let refuse = |problem: String| Err(Error::Config { file: "unet/config.json", problem });
    if pipeline.condition_channels() > 0 {
        return refuse(format!(
            "in_channels is {} for images of {channels}: the model takes a condition beside x_t. The bound is of models \
             without.",
            unet.config().in_channels
        ));
    }
    if terms.learns_variance() && given != 2 * channels {
        return refuse(format!(
            "out_channels is {given}, but variance_type says that the model says a variance too, for which it has to be {}. \
             Choose another variance_type.",
            2 * channels
        ));
    }
    Ok(terms)
}

/// A model on a device, to have its bound computed.
pub struct Bound<P> {
    pipeline: P,
    terms: Terms,
    executor: Executor,
    /// How many images the network is given at a time.
    batch: usize,
    /// Their shape, `[C, H, W]`.
    image: [usize; 3],
}

impl<P: Deref<Target = Pipeline>> Bound<P> {
    /// Makes a model ready for images of `size`, height and width, of which the network is given `batch` at a time, with
    /// the forward process, the prediction, the clipping and the variance of `config`.
    ///
    /// # Errors
    /// As [`terms`]; when the model cannot take images of this size, or the device has not enough memory.
    pub async fn new(
        backend: &Backend,
        pipeline: P,
        config: &SchedulerConfig,
        batch: usize,
        (height, width): (usize, usize),
    ) -> Result<Self> {
        let terms = terms(&pipeline, config)?;
        let (unet, channels) = (pipeline.unet(), pipeline.channels());
        if batch == 0 {
            return Err(Error::Settings("The network was to be given no images at a time; it takes 1 or more.".into()));
        }
        let mut graph = Graph::new();
        let values = unet.build(&mut graph, batch, height, width, Precision::F32)?;
        graph.output(OUTPUT, values.output);
        let plan = Plan::new(&fuse(&graph, Fusion::new(backend.tuning()))?);
        let executor = backend.compile(plan, &[OUTPUT], |_, _| {}).await?;
        Ok(Bound { pipeline, terms, executor, batch, image: [channels, height, width] })
    }

    /// Each term by itself, and how many timesteps there are.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The term of each image's timestep, in bits a number. Images over [−1, 1], a multiple of 1/127.5 each, and the noise that
    /// leads to x_t are `[N, C, H, W]`; class labels are one an image, or as many numbers as the network takes, or none.
    ///
    /// # Errors
    /// When they do not fit together or the model, when the model's output is of no use, or the device was lost.
    pub async fn at(
        &self,
        images: &Tensor,
        noise: &Tensor,
        timesteps: &[usize],
        class_labels: &[f32],
    ) -> Result<Vec<f64>> {
        let count = self.check(images)?;
        if noise.shape != images.shape {
            return Err(Error::shape("noise", format!("{:?}", images.shape), format!("{:?}", noise.shape)));
        }
        if let Some(x) = noise.data.iter().find(|x| !x.is_finite()) {
            return Err(Error::Settings(format!("The noise has {x}, which is not a finite number.")));
        }
        if timesteps.len() != count {
            return Err(Error::shape("timestep", format!("{count} of them, one an image"), timesteps.len()));
        }
        if let Some(t) = timesteps.iter().find(|&&t| t >= self.terms.timesteps()) {
            let last = self.terms.timesteps() - 1;
            return Err(Error::Settings(format!("Timestep {t} does not exist; those of this model are 0 to {last}.")));
        }
        let unet = self.pipeline.unet();
        unet.check_labels(class_labels, count)?;
        unet.check_timesteps(&timesteps.iter().map(|&t| t as f32).collect::<Vec<_>>())?;

        let len = self.image.iter().product();
        let of = |tensor: &Tensor, i: usize| tensor.data[i * len..][..len].to_vec();
        let mut terms = Vec::with_capacity(count);
        for first in (0..count).step_by(self.batch) {
            let chunk = first..count.min(first + self.batch);
            let x_t: Vec<Vec<f32>> =
                chunk.clone().map(|i| self.terms.noisy(timesteps[i], &of(images, i), &of(noise, i))).collect();
            let width = class_labels.len() / count;
            let labels = &class_labels[chunk.start * width..chunk.end * width];
            let outputs = self.evaluate(&x_t, &timesteps[chunk.clone()], labels).await?;
            for ((i, x_t), output) in chunk.zip(&x_t).zip(&outputs) {
                terms.push(self.terms.image(timesteps[i], &of(images, i), x_t, output)?);
            }
        }
        Ok(terms)
    }

    /// L_T of each image, in bits a number.
    ///
    /// # Errors
    /// When the images do not fit the model.
    pub fn prior(&self, images: &Tensor) -> Result<Vec<f64>> {
        self.check(images)?;
        Ok(images.data.chunks_exact(self.image.iter().product()).map(|x0| self.terms.prior(x0)).collect())
    }

    /// The model's outputs for a batch of images, or fewer: then the last of them takes the places that are left.
    async fn evaluate(&self, x_t: &[Vec<f32>], timesteps: &[usize], class_labels: &[f32]) -> Result<Vec<Vec<f32>>> {
        let write = |name: &str, shape: &[usize], parts: Vec<&[f32]>| -> Result<()> {
            self.executor.write(name, &Tensor::new(shape, filled(&parts, self.batch))?.to_device()?)
        };
        let [channels, height, width] = self.image;
        write("sample", &[self.batch, channels, height, width], x_t.iter().map(Vec::as_slice).collect())?;
        let times: Vec<f32> = timesteps.iter().map(|&t| t as f32).collect();
        write("timestep", &[self.batch], times.chunks(1).collect())?;
        if !class_labels.is_empty() {
            let shape = self.executor.plan().input("class_labels")?.shape.clone();
            write("class_labels", shape.dims(), class_labels.chunks(class_labels.len() / x_t.len()).collect())?;
        }
        let frames = self.executor.run(0).await?;
        let output = Tensor::from_device(&self.executor.plan().output(OUTPUT)?.shape, &frames[0])?;
        let len = output.data.len() / self.batch;
        Ok(output.data.chunks_exact(len).take(x_t.len()).map(<[f32]>::to_vec).collect())
    }

    /// How many images there are, of the shape that the model was made ready for and over [−1, 1].
    fn check(&self, images: &Tensor) -> Result<usize> {
        let [channels, height, width] = self.image;
        let count = match images.shape[..] {
            [count, c, h, w] if count > 0 && [c, h, w] == self.image => count,
            _ => {
                let expected = format!("[N, {channels}, {height}, {width}]");
                return Err(Error::shape("images", expected, format!("{:?}", images.shape)));
            }
        };
        match images.data.iter().find(|x| !(-1.0..=1.0).contains(*x)) {
            Some(x) => Err(Error::Settings(format!("The images have {x}, which is not between -1 and 1."))),
            None => Ok(count),
        }
    }
}

/// What a batch is given of each of its images; where there are fewer, the last of them takes the places that are left.
pub(crate) fn filled(parts: &[&[f32]], batch: usize) -> Vec<f32> {
    let last = parts.last().copied().unwrap_or_default();
    let rest = std::iter::repeat_n(last, batch - parts.len());
    parts.iter().copied().chain(rest).flatten().copied().collect()
}
