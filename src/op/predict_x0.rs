//! The model's prediction of the finished image.

use super::{Kernel, Op, View, ViewMut, is_row, row_shader};
use crate::{Error, Result, Shape};

/// `x̂0 = clip(x0_from_x · x_t + x0_from_model · model)`, with the coefficients of a row of the schedule.
///
/// Inputs: x_t and the model's output, both `[N, H, W, C]`, and the row, a [`crate::schedule::Coefficients`].
#[derive(Debug)]
pub struct PredictX0;

impl Op for PredictX0 {
    fn name(&self) -> &'static str {
        "predict_x0"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x, model, row] = *inputs else { unreachable!("predict_x0 has three inputs") };
        if model != x || !is_row(row) {
            let found = format!("{x}, {model} and {row}");
            return Err(Error::shape(self.name(), "two equal shapes and a row of coefficients", found));
        }
        Ok(x.clone())
    }

    fn cpu(&self, inputs: &[View<'_>], output: ViewMut<'_>) {
        let [x, model, row] = *inputs else { unreachable!("predict_x0 has three inputs") };
        let row = super::row(row);
        for ((out, x), model) in output.data.iter_mut().zip(x.data).zip(model.data) {
            *out = (row.x0_from_x * x + row.x0_from_model * model).clamp(-row.clip, row.clip);
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        Kernel::elementwise(row_shader!("predict_x0"), output)
    }
}
