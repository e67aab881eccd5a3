//! A jump back towards the noise.

use super::{Kernel, Op, View, ViewMut, is_row, shader};
use crate::{Error, Result, Shape};

/// `undo_scale · x + noise` (Lugmayr et al. 2022, Algorithm 1, line 10), with the scale of a row of the schedule. The host
/// has weighed the noise.
///
/// Inputs: x and the noise, both `[N, H, W, C]`, and the row, a [`crate::schedule::Coefficients`].
#[derive(Debug)]
pub struct Renoise;

impl Op for Renoise {
    fn name(&self) -> &'static str {
        "renoise"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x, noise, row] = *inputs else { unreachable!("renoise has three inputs") };
        if noise != x || !is_row(row) {
            return Err(Error::shape(self.name(), "two equal shapes and a row", format!("{x}, {noise} and {row}")));
        }
        Ok(x.clone())
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("renoise has one output") };
        let [x, noise, row] = *inputs else { unreachable!("renoise has three inputs") };
        let scale = super::row(row).undo_scale;
        for ((out, x), noise) in output.data.iter_mut().zip(x.data).zip(noise.data) {
            *out = scale * x + noise;
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        Kernel::elementwise(shader!("renoise"), output)
    }
}
