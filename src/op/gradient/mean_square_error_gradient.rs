//! The gradient of the mean square error.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, MeanSquareError, Op, View, ViewMut, shader};
use crate::{Error, Result, Shape};

/// The gradient of a [`MeanSquareError`] by the prediction, `[N, …]`: 2 wₙ gₙ (prediction − target) / an image's numbers.
///
/// Inputs: the prediction and the target, `[N, …]`; the weights w and the gradient by the errors g, `[N]`.
#[derive(Clone, Copy, Debug)]
pub struct MeanSquareErrorGradient;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// `vec4`s of an image.
    image: u32,
    /// 2 / an image's numbers, padding excluded.
    scale: f32,
    pad: u32,
}

impl Op for MeanSquareErrorGradient {
    fn name(&self) -> &'static str {
        "mean_square_error_gradient"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [prediction, target, weights, gradient] = *inputs else {
            unreachable!("mean_square_error_gradient has four inputs")
        };
        let errors = MeanSquareError.output(&[prediction, target, weights])?;
        if *gradient != errors {
            return Err(Error::shape(self.name(), format!("a gradient {errors}"), gradient));
        }
        Ok(prediction.clone())
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("mean_square_error_gradient has one output") };
        let [prediction, target, weights, gradient] = *inputs else {
            unreachable!("mean_square_error_gradient has four inputs")
        };
        let scale = 2.0 / MeanSquareError::elements(prediction.shape) as f32;
        let image = prediction.data.len() / prediction.shape.dims()[0];
        for (n, out) in output.data.chunks_exact_mut(image).enumerate() {
            let scale = scale * weights.data[n] * gradient.data[n];
            let pairs = prediction.data[n * image..].iter().zip(&target.data[n * image..]);
            for (out, (prediction, target)) in out.iter_mut().zip(pairs) {
                *out = scale * (prediction - target);
            }
        }
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let scale = 2.0 / MeanSquareError::elements(output) as f32;
        let params = Params { len: len as u32, image: (len / inputs[0].dims()[0]) as u32, scale, pad: 0 };
        Kernel::flat(shader!("mean_square_error_gradient"), &params, len)
    }
}
