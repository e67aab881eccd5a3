//! Images as bytes to be shown.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, is_row, row_shader};
use crate::{Error, Result, Shape};

/// Images `[N, H, W, C]` over [−1, 1] as RGBA8, one pixel's four bytes in the place of each `f32`: `[N · H · W]`.
///
/// A byte is `round(clamp(x / 2 + 1/2, 0, 1) · 255)`, ties to even, as diffusers' `VaeImageProcessor.numpy_to_pil`.
/// Three channels or more give red, green and blue; fewer give grey.
///
/// Inputs: the images; other images of that shape if there is a pair, whose bytes are the second output; and the row, a
/// [`crate::schedule::Coefficients`], if those are scaled.
#[derive(Debug, Default)]
pub struct Rgba8 {
    /// Whether it does the same for other images.
    pub pair: bool,
    /// Whether it does before what [`super::RowScale::Show`] does to those.
    pub scaled: bool,
}

impl Rgba8 {
    fn bytes(x: View<'_>, scale: f32, output: &mut ViewMut<'_>) {
        let byte = |x: f32| ((scale * x * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
        let [.., channels] = *x.shape.dims() else { unreachable!("checked by output") };
        let pixels: &mut [[u8; 4]] = bytemuck::cast_slice_mut(output.data);
        let (pixels, padding) = pixels.split_at_mut(x.shape.rows());
        for (out, pixel) in pixels.iter_mut().zip(x.rows()) {
            let (r, g, b) = if channels < 3 { (0, 0, 0) } else { (0, 1, 2) };
            *out = [byte(pixel[r]), byte(pixel[g]), byte(pixel[b]), 255];
        }
        padding.fill([0; 4]);
    }
}

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
        let fits = (!self.pair || inputs[1] == inputs[0]) && (!self.scaled || self.pair && is_row(inputs[2]));
        if !fits {
            let found = inputs.iter().map(|shape| shape.to_string()).collect::<Vec<_>>().join(", ");
            return Err(Error::shape(
                self.name(),
                "images, equal images if there is a pair, a row if those are scaled",
                found,
            ));
        }
        Ok(Shape::new(&[n * h * w]))
    }

    fn further_outputs(&self, _inputs: &[&Shape], output: &Shape) -> Vec<Shape> {
        self.pair.then(|| output.clone()).into_iter().collect()
    }

    fn gives_bytes(&self) -> bool {
        true
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output, others @ ..] = outputs else { unreachable!("rgba8 has an output") };
        Rgba8::bytes(inputs[0], 1.0, output);
        if let [other] = others {
            let scale = if self.scaled { super::row(inputs[2]).show_scale } else { 1.0 };
            Rgba8::bytes(inputs[1], scale, other);
        }
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let params = Params {
            len: output.channels() as u32,
            channels: (inputs[0].stride() / 4) as u32,
            grey: u32::from(inputs[0].channels() < 3),
            stride: output.len() as u32,
        };
        let kernel = Kernel::flat(row_shader!("rgba8"), &params, output.len());
        kernel.with("scaled", u32::from(self.scaled)).with("pair", u32::from(self.pair))
    }
}
