//! A picture of which a part is known, and the rest is made.

use super::{Noise, Settings};
use crate::backend::Executor;
use crate::pipeline::{Layout, StepKind, names};
use crate::schedule::Row;
use crate::{Error, Result, Shape, Tensor};

/// A picture of which a part is kept, whatever samples the rest: after every step the known part is put back, as noisy as
/// the step leaves x, and after the last it is the picture itself.
///
/// RePaint noises it with the noise of the step (Lugmayr et al. 2022, equation 8). With every other sampler it has the noise
/// that the run began with all the time (diffusers pipeline_stable_diffusion_inpaint.py): so it moves along one trajectory, as
/// samplers that keep earlier evaluations expect, and takes nothing from the generators.
#[derive(Clone, Debug)]
pub struct Inpainting {
    /// The picture over [−1, 1]: `[N, C, H, W]`, or `[1, C, H, W]` for all.
    pub original: Tensor,
    /// 1 where it is kept, 0 where it is made anew, and a mixture between: `[N or 1, C or 1, H, W]`.
    pub mask: Tensor,
}

impl Inpainting {
    /// Checks that it is of images of this shape.
    pub(super) fn check(&self, shape: [usize; 4]) -> Result<()> {
        let [count, channels, height, width] = shape;
        for (what, tensor, fewest) in [("The image", &self.original, channels), ("The mask", &self.mask, 1)] {
            let fits = matches!(*tensor.shape, [n, c, h, w]
                if [1, count].contains(&n) && [fewest, channels].contains(&c) && [h, w] == [height, width]);
            if !fits {
                let channels = if fewest == channels { channels.to_string() } else { format!("1 or {channels}") };
                let expected = format!("[1 or {count}, {channels}, {height}, {width}]");
                return Err(Error::shape(what, expected, format!("{:?}", tensor.shape)));
            }
        }
        if let Some(x) = self.original.data.iter().find(|x| !x.is_finite()) {
            return Err(Error::Settings(format!("The image has {x}, which is not a finite number.")));
        }
        if let Some(x) = self.mask.data.iter().find(|x| !(0.0..=1.0).contains(*x)) {
            return Err(Error::Settings(format!(
                "The mask has {x}; it is 1 where the image is kept and 0 where it is not."
            )));
        }
        Ok(())
    }
}

/// An [`Inpainting`] as the plan has it, in device layout.
pub(super) struct Known {
    original: Vec<f32>,
    mask: Vec<f32>,
    /// What the picture is noised with; RePaint's is that of each step.
    noise: Option<Vec<f32>>,
}

impl Known {
    /// What a run of these settings knows.
    pub(super) fn new(settings: &Settings, layout: &Layout, shape: &Shape) -> Result<Option<Self>> {
        let Some(Inpainting { original, mask }) = &settings.inpaint else { return Ok(None) };
        let [n, h, w, c] = shape.nhwc("Inpainting")?;
        let mut original = repeated(original, [n, c, h, w])?;
        if layout.step == StepKind::Langevin {
            // Its images are over [0, 1].
            original.data.iter_mut().for_each(|x| *x = 0.5 * *x + 0.5);
        }
        let noise = match layout.step {
            StepKind::RePaint => None,
            // Drawn once more from the seeds, so that a run that is resumed has it too, and the run's own generators are where
            // they would be without it.
            StepKind::Plain | StepKind::Langevin => Some(Noise::new(settings).first(settings, shape)?),
        };
        let (original, mask) = (original.to_device()?, repeated(mask, [n, c, h, w])?.to_device()?);
        Ok(Some(Known { original, mask, noise }))
    }

    /// Writes it to the inputs of the plan.
    pub(super) fn write(&self, executor: &Executor) -> Result<()> {
        executor.write(names::ORIGINAL, &self.original)?;
        executor.write(names::MASK, &self.mask)?;
        if let Some(noise) = &self.noise {
            executor.write(names::KNOWN_NOISE, noise)?;
        }
        Ok(())
    }

    /// Puts the known part in x as `row` expects it.
    pub(super) fn put(&self, x: &mut [f32], row: &Row) {
        let Some(noise) = &self.noise else { return };
        let (signal, deviation) = row.shares();
        let (signal, deviation) = (signal as f32, deviation as f32);
        for (((x, original), mask), noise) in x.iter_mut().zip(&self.original).zip(&self.mask).zip(noise) {
            *x = mask * (signal * original + deviation * noise) + (1.0 - mask) * *x;
        }
    }
}

/// A tensor `[N or 1, C or 1, H, W]` for every image and channel.
fn repeated(tensor: &Tensor, shape: [usize; 4]) -> Result<Tensor> {
    let ([n, c, h, w], [images, channels]) = (shape, [tensor.shape[0], tensor.shape[1]]);
    let plane = |i: usize| &tensor.data[((i / c % images) * channels + i % c % channels) * h * w..][..h * w];
    Tensor::new(&shape, (0..n * c).flat_map(plane).copied().collect())
}
