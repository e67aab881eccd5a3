//! Images as bytes to be shown.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, shader};
use crate::{Result, Shape};

/// Images `[N, H, W, C]` over [−1, 1] as RGBA8, one pixel's four bytes in the place of each `f32`: `[N · H · W]`.
///
/// A byte is `round(clamp(x / 2 + 1/2, 0, 1) · 255)`, ties to even, as diffusers' `VaeImageProcessor.numpy_to_pil`.
/// Three channels or more give red, green and blue; fewer give grey.
#[derive(Debug)]
pub struct Rgba8;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// Pixels of all images.
    len: u32,
    /// `vec4`s of a run of channels.
    channels: u32,
    grey: u32,
    /// Pixels, padding included.
    stride: u32,
}

impl Op for Rgba8 {
    fn name(&self) -> &'static str {
        "rgba8"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [n, h, w, _] = inputs[0].nhwc(self.name())?;
        Ok(Shape::new(&[n * h * w]))
    }

    fn gives_bytes(&self) -> bool {
        true
    }

    fn cpu(&self, inputs: &[View<'_>], output: ViewMut<'_>) {
        let x = inputs[0];
        let byte = |x: f32| ((x * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
        let [.., channels] = *x.shape.dims() else { unreachable!("checked by output") };
        let pixels: &mut [[u8; 4]] = bytemuck::cast_slice_mut(output.data);
        let (pixels, padding) = pixels.split_at_mut(x.shape.rows());
        for (out, pixel) in pixels.iter_mut().zip(x.rows()) {
            let (r, g, b) = if channels < 3 { (0, 0, 0) } else { (0, 1, 2) };
            *out = [byte(pixel[r]), byte(pixel[g]), byte(pixel[b]), 255];
        }
        padding.fill([0; 4]);
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let params = Params {
            len: output.channels() as u32,
            channels: (inputs[0].stride() / 4) as u32,
            grey: u32::from(inputs[0].channels() < 3),
            stride: output.len() as u32,
        };
        Kernel::flat(shader!("rgba8"), &params, output.len())
    }
}
