//! The gradient of what a learned variance learns from.

use std::f64::consts::LN_2;

use bytemuck::{Pod, Zeroable};

use super::loss::variational_bound::Given;
use super::{Kernel, MeanSquareError, Op, VariationalBound, View, ViewMut, shader};
use crate::{Error, Result, Shape};

/// The gradient of a [`VariationalBound`] by what the network says of the variance, v, `[N, H, W, C]`.
///
/// Inputs: the [`VariationalBound`]'s, and the gradient by its terms, `[N]`.
#[derive(Clone, Copy, Debug)]
pub struct VariationalBoundGradient;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// `vec4`s of an image.
    image: u32,
    /// `vec4`s of a run of channels.
    row: u32,
    /// Channels, unpadded.
    channels: u32,
    /// 1 / (ln 2 · an image's numbers, padding excluded).
    scale: f32,
    pad: [u32; 3],
}

impl Op for VariationalBoundGradient {
    fn name(&self) -> &'static str {
        "variational_bound_gradient"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [given @ .., gradient] = inputs else { unreachable!("variational_bound_gradient has six inputs") };
        let terms = VariationalBound.output(given)?;
        if **gradient != terms {
            return Err(Error::shape(self.name(), format!("a gradient {terms}"), gradient));
        }
        Ok(given[0].clone())
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("variational_bound_gradient has one output") };
        let [prediction, target, v, x0, rows, gradient] = *inputs else {
            unreachable!("variational_bound_gradient has six inputs")
        };
        let (channels, stride) = (prediction.shape.channels(), prediction.shape.stride());
        let image = output.data.len() / prediction.shape.dims()[0];
        let scale = 1.0 / LN_2 / MeanSquareError::elements(prediction.shape) as f64;
        output.data.fill(0.0);
        for (n, row) in rows.rows().enumerate() {
            let given = Given::of(row);
            let scale = scale * f64::from(gradient.data[n]);
            for i in (n * image..(n + 1) * image).filter(|i| i % stride < channels) {
                let [_, slope] = given.loss([prediction, target, v, x0].map(|input| input.data[i]));
                output.data[i] = (scale * slope) as f32;
            }
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let params = Params {
            len: len as u32,
            image: (len / output.dims()[0]) as u32,
            row: (output.stride() / 4) as u32,
            channels: output.channels() as u32,
            scale: (1.0 / LN_2 / MeanSquareError::elements(output) as f64) as f32,
            pad: [0; 3],
        };
        let source = shader!("variational_bound_gradient");
        Kernel::flat(source, &params, len)
    }
}
