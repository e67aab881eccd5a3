//! The length of an image as a vector.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, shader};
use crate::{Error, Result, Shape};

/// ‖x‖, or ‖x − mean‖, of each image: `[N, 1]`.
///
/// Input: `[N, H, W, C]`.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// Whether the image's mean is taken away first; then this is its standard deviation times √(its elements).
    pub centred: bool,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// Pixels of an image.
    pixels: u32,
    /// `vec4`s of a pixel.
    stride: u32,
    channels: u32,
    centred: u32,
}

impl Op for Norm {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [n, ..] = inputs[0].nhwc(self.name())?;
        match n {
            0 => Err(Error::shape(self.name(), "at least one image", inputs[0])),
            _ => Ok(Shape::new(&[n, 1])),
        }
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("norm has one output") };
        let x = inputs[0];
        let [n, h, w, channels] = *x.shape.dims() else { unreachable!("checked by output") };
        for (out, image) in output.rows_mut().zip(x.data.chunks_exact(x.data.len() / n)) {
            let elements = || image.chunks_exact(x.shape.stride()).flat_map(|pixel| &pixel[..channels]).copied();
            let sum: f64 = elements().map(f64::from).sum();
            let mean = if self.centred { sum / (h * w * channels) as f64 } else { 0.0 };
            let squares: f64 = elements().map(|x| (f64::from(x) - mean).powi(2)).sum();
            out.fill(0.0);
            out[0] = squares.sqrt() as f32;
        }
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let [n, h, w, channels] = *inputs[0].dims() else { unreachable!("checked by output") };
        let params = Params {
            pixels: (h * w) as u32,
            stride: (inputs[0].stride() / 4) as u32,
            channels: channels as u32,
            centred: u32::from(self.centred),
        };
        debug_assert_eq!(output.dims(), [n, 1]);
        Kernel::new(shader!("norm"), &params, [n as u32, 1, 1])
    }
}
