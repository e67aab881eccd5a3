//! The bound of dynamic thresholding.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, is_row, shader};
use crate::{Error, Result, Shape};

/// s of each image, `[N, 1]`: the quantile `threshold_ratio` of |x̂0|, linear between two elements as `torch.quantile`, at
/// least 1 and at most `threshold_max`, of a row of the schedule (diffusers `_threshold_sample`).
///
/// Inputs: x̂0, `[N, H, W, C]`, and the row, a [`crate::schedule::Coefficients`].
#[derive(Debug)]
pub struct Quantile;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// Pixels of an image.
    pixels: u32,
    /// `vec4`s of a pixel.
    stride: u32,
    channels: u32,
    pad: u32,
}

impl Op for Quantile {
    fn name(&self) -> &'static str {
        "quantile"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x0, row] = *inputs else { unreachable!("quantile has two inputs") };
        match x0.nhwc(self.name())? {
            [n, ..] if n > 0 && is_row(row) => Ok(Shape::new(&[n, 1])),
            _ => Err(Error::shape(self.name(), "images and a row", format!("{x0} and {row}"))),
        }
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("quantile has one output") };
        let [x0, row] = *inputs else { unreachable!("quantile has two inputs") };
        let row = super::row(row);
        let [n, .., channels] = *x0.shape.dims() else { unreachable!("checked by output") };
        for (out, image) in output.rows_mut().zip(x0.data.chunks_exact(x0.data.len() / n)) {
            let pixels = image.chunks_exact(x0.shape.stride());
            let mut sizes: Vec<f32> = pixels.flat_map(|pixel| &pixel[..channels]).map(|x| x.abs()).collect();
            sizes.sort_unstable_by(f32::total_cmp);
            let last = sizes.len() - 1;
            let place = row.threshold_ratio * last as f32;
            // The last place of a very large image is rounded up to one that does not exist.
            let (low, high) = (sizes[last.min(place.floor() as usize)], sizes[last.min(place.ceil() as usize)]);
            let quantile = low + (high - low) * place.fract();
            out.fill(0.0);
            out[0] = quantile.max(1.0).min(row.threshold_max);
        }
    }

    fn kernel(&self, inputs: &[&Shape], _output: &Shape) -> Kernel {
        let [n, h, w, channels] = *inputs[0].dims() else { unreachable!("checked by output") };
        let stride = (inputs[0].stride() / 4) as u32;
        let params = Params { pixels: (h * w) as u32, stride, channels: channels as u32, pad: 0 };
        Kernel::new(shader!("quantile"), &params, [n as u32, 1, 1])
    }
}
