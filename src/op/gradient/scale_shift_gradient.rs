//! The gradient of the application of a normalisation.

use bytemuck::{Pod, Zeroable};

use super::{Activation, Kernel, Op, View, ViewMut, shader};
use crate::{Error, Result, Shape};
use kernels::{math, parallel, scratch};

/// The gradients of a [`super::ScaleShift`], f(x · scale + shift), by x, and by scale and shift.
///
/// Inputs: x `[N, H, W, C]`; scale and shift `[N, 2, C]`; the gradient by the output, `[N, H, W, C]`, which times
/// f′(x · scale + shift) is that by f's argument, g. Outputs: that by x, g · scale, `[N, H, W, C]`; and those by scale and
/// shift, Σ g · x and Σ g, over tiles of 32 pixels, `[N, tiles, 2, C]`, which [`super::SumRows`] adds up.
#[derive(Clone, Copy, Debug)]
pub struct ScaleShiftGradient {
    /// f.
    pub activation: Option<Activation>,
}

/// Pixels of a tile: few, so that small images make enough of them for a GPU.
const TILE: usize = 32;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of channels in the tiles of all images.
    len: u32,
    /// Pixels of an image.
    pixels: u32,
    /// Tiles of an image.
    tiles: u32,
    /// `vec4`s of a run of channels.
    channels: u32,
    activation: u32,
    pad: [u32; 3],
}

/// Pixels of an image.
fn pixels(images: &Shape) -> usize {
    images.rows() / images.dims()[0]
}

/// A tile of x, of the gradient, and its image's scale and shift.
type Given<'a> = ((&'a [f32], &'a [f32]), &'a [f32]);

impl ScaleShiftGradient {
    /// The gradients of a tile of so many numbers a pixel: by x, and by scale and shift.
    fn of_tile(&self, width: usize, (by_x, by_affine): (&mut [f32], &mut [f32]), ((x, gradient), affine): Given<'_>) {
        let (scale, shift) = affine.split_at(width);
        by_x.copy_from_slice(gradient);
        if let Some(activation) = self.activation {
            scratch(x.len(), |argument| {
                argument.copy_from_slice(x);
                math::scale_shift(argument, scale, shift);
                activation.apply_derivative(argument, by_x);
            });
        }
        let (by_scale, by_shift) = by_affine.split_at_mut(width);
        math::scale_shift_gradient(by_x, x, scale, by_scale, by_shift);
    }
}

impl Op for ScaleShiftGradient {
    fn name(&self) -> &'static str {
        "scale_shift_gradient"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x, affine, gradient] = *inputs else { unreachable!("scale_shift_gradient has three inputs") };
        let [n, _, _, c] = x.nhwc(self.name())?;
        if affine.dims() != [n, 2, c] || gradient != x {
            let expected = format!("a scale and a shift [{n}, 2, {c}] and a gradient {x}");
            return Err(Error::shape(self.name(), expected, format!("{affine} and {gradient}")));
        }
        Ok(x.clone())
    }

    fn further_outputs(&self, _inputs: &[&Shape], output: &Shape) -> Vec<Shape> {
        vec![Shape::new(&[output.dims()[0], pixels(output).div_ceil(TILE), 2, output.channels()])]
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [by_x, by_affine] = outputs else { unreachable!("scale_shift_gradient has two outputs") };
        let [x, affine, gradient] = *inputs else { unreachable!("scale_shift_gradient has three inputs") };
        let (width, pixels) = (x.shape.stride(), pixels(x.shape));
        let image = pixels * width;
        // The last tile of an image may be smaller.
        let given = x.data.chunks_exact(image).zip(gradient.data.chunks_exact(image));
        let given = given.zip(affine.data.chunks_exact(2 * width)).flat_map(|((x, gradient), affine)| {
            let given = x.chunks(TILE * width).zip(gradient.chunks(TILE * width));
            given.map(move |given| (given, affine))
        });
        let made = by_x.data.chunks_exact_mut(image).flat_map(|image| image.chunks_mut(TILE * width));
        let made = made.zip(by_affine.data.chunks_exact_mut(2 * width));
        parallel::each(made.zip(given).collect(), |(made, given)| self.of_tile(width, made, given));
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let (pixels, channels) = (pixels(output), output.stride() / 4);
        let tiles = pixels.div_ceil(TILE);
        let len = output.dims()[0] * tiles * channels;
        let params = Params {
            len: len as u32,
            pixels: pixels as u32,
            tiles: tiles as u32,
            channels: channels as u32,
            activation: Activation::code(self.activation),
            pad: [0; 3],
        };
        Kernel::flat(shader!("scale_shift_gradient"), &params, len)
    }
}
