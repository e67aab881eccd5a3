//! The gradient of channel moments.

use std::rc::Rc;

use bytemuck::{Pod, Zeroable};
use kernels::{math, parallel};

use super::{Kernel, Op, Tiles, View, ViewMut, shader};
use crate::{Error, Result, Shape};

/// The gradient of [`super::Moments`] by x. A number of a tile of n counts for its mean with 1 / n, and for its M2 with twice
/// its deviation from the mean, so that is the mean's gradient / n + 2 (x − mean) · M2's gradient.
///
/// Inputs: x `[N, H, W, C]`; its moments, and the gradient by them, `[N, tiles, 2, C]`; and perhaps what it is added to. The
/// output is `[N, H, W, C]`.
#[derive(Clone, Copy, Debug)]
pub struct MomentsGradient {
    /// Whether it is added to the gradient by x of what else reads x.
    pub added: bool,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// Pixels of an image.
    pixels: u32,
    /// Tiles of an image.
    tiles: u32,
    /// `vec4`s of a run of channels.
    channels: u32,
}

impl Op for MomentsGradient {
    fn name(&self) -> &'static str {
        "moments_gradient"
    }

    fn adding(&self) -> Option<Rc<dyn Op>> {
        (!self.added).then(|| Rc::new(MomentsGradient { added: true }) as Rc<dyn Op>)
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x, moments, gradient, ref rest @ ..] = *inputs else { unreachable!("moments_gradient has three inputs") };
        let [_, h, w, _] = x.nhwc(self.name())?;
        let expected = Tiles::strips(h * w).shape(x);
        if *moments != expected || *gradient != expected {
            let found = format!("{moments} and {gradient}");
            return Err(Error::shape(self.name(), format!("moments {expected} and their gradient"), found));
        }
        assert_eq!(rest.len(), usize::from(self.added), "the fourth input is what it is added to");
        if let Some(rest) = rest.iter().find(|&&rest| rest != x) {
            return Err(Error::shape(self.name(), x, rest));
        }
        Ok(x.clone())
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("moments_gradient has one output") };
        let [x, moments, gradient, ref rest @ ..] = *inputs else { unreachable!("moments_gradient has three inputs") };
        let width = x.shape.stride();
        let pixels = x.shape.rows() / x.shape.dims()[0];
        let tiles = Tiles::strips(pixels);
        let image = pixels * width;
        let made = output.data.chunks_exact_mut(image).flat_map(|image| image.chunks_mut(Tiles::STRIP * width));
        let given = moments.data.chunks_exact(2 * width).zip(gradient.data.chunks_exact(2 * width));
        parallel::each(made.zip(given).enumerate().collect(), |(i, (out, (moments, gradient)))| {
            let n = tiles.size(i % tiles.count()) as f32;
            let first = i / tiles.count() * image + i % tiles.count() * Tiles::STRIP * width;
            let here = first..first + out.len();
            let (mean, [by_mean, by_m2]) = (&moments[..width], [0, 1].map(|part| &gradient[part * width..][..width]));
            let by_mean: Vec<f32> = by_mean.iter().map(|by_mean| by_mean / n).collect();
            let rest = rest.first().map(|rest| &rest.data[here.clone()]);
            math::moments_gradient(&x.data[here], mean, &by_mean, by_m2, rest, out);
        });
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let params = Params {
            len: len as u32,
            pixels: (output.rows() / output.dims()[0]) as u32,
            tiles: inputs[1].dims()[1] as u32,
            channels: (output.stride() / 4) as u32,
        };
        Kernel::flat(shader!("moments_gradient"), &params, len).with("added", u32::from(self.added))
    }
}
