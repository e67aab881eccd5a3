//! What the model is given of x.

use super::{Kernel, Op, View, ViewMut, is_row, shader};
use crate::{Error, Result, Shape};

/// `input_scale · x`, with the scale of a row of the schedule.
///
/// Inputs: x, `[N, H, W, C]`, and the row, a [`crate::schedule::Coefficients`].
#[derive(Debug)]
pub struct InputScale;

impl Op for InputScale {
    fn name(&self) -> &'static str {
        "input_scale"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x, row] = *inputs else { unreachable!("input_scale has two inputs") };
        if !is_row(row) {
            return Err(Error::shape(self.name(), "a row of coefficients", row));
        }
        Ok(x.clone())
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("input_scale has one output") };
        let [x, row] = *inputs else { unreachable!("input_scale has two inputs") };
        let scale = super::row(row).input_scale;
        for (out, x) in output.data.iter_mut().zip(x.data) {
            *out = scale * x;
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        Kernel::elementwise(shader!("input_scale"), output)
    }
}
