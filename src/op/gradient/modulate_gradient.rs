//! The gradient of a normalisation's scale and shift under the time embedding's.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Modulate, Op, View, ViewMut, shader};
use crate::{Error, Result, Shape};

/// The gradients of [`Modulate`], s · (1 + scale) and b · (1 + scale) + shift, by its inputs.
///
/// Inputs: s and b, `[N, 2, C]`; scale and shift, `[N, 2 · padded C]`, each padded by itself; the gradients by the two
/// outputs, g and h, `[N, 2, C]`. Outputs: those by s and b, g · (1 + scale) and h · (1 + scale), `[N, 2, C]`; and those by
/// scale and shift, g · s + h · b and h, `[N, 2 · padded C]`.
#[derive(Clone, Copy, Debug)]
pub struct ModulateGradient;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of a run of channels, in all images.
    len: u32,
    /// `vec4`s of a run of channels.
    channels: u32,
    pad: [u32; 2],
}

impl Op for ModulateGradient {
    fn name(&self) -> &'static str {
        "modulate_gradient"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [affine, time, gradient] = *inputs else { unreachable!("modulate_gradient has three inputs") };
        let output = Modulate.output(&[affine, time])?;
        if *gradient != output {
            return Err(Error::shape(self.name(), format!("a gradient {output}"), gradient));
        }
        Ok(output)
    }

    fn further_outputs(&self, inputs: &[&Shape], _output: &Shape) -> Vec<Shape> {
        vec![inputs[1].clone()]
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [by_affine, by_time] = outputs else { unreachable!("modulate_gradient has two outputs") };
        let [affine, time, gradient] = *inputs else { unreachable!("modulate_gradient has three inputs") };
        let width = affine.shape.stride();
        let image = |image: usize| image * 2 * width..(image + 1) * 2 * width;
        for n in 0..affine.shape.dims()[0] {
            let (s, b) = affine.data[image(n)].split_at(width);
            let (scale, _shift) = time.data[image(n)].split_at(width);
            let (g, h) = gradient.data[image(n)].split_at(width);
            let (by_s, by_b) = by_affine.data[image(n)].split_at_mut(width);
            let (by_scale, by_shift) = by_time.data[image(n)].split_at_mut(width);
            for c in 0..width {
                by_s[c] = g[c] * (1.0 + scale[c]);
                by_b[c] = h[c] * (1.0 + scale[c]);
                by_scale[c] = g[c] * s[c] + h[c] * b[c];
                by_shift[c] = h[c];
            }
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let channels = output.stride() / 4;
        let len = output.dims()[0] * channels;
        let params = Params { len: len as u32, channels: channels as u32, pad: [0; 2] };
        Kernel::flat(shader!("modulate_gradient"), &params, len)
    }
}
