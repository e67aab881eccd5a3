//! The model's prediction of the finished image.

use super::{Guide, Kernel, Op, View, ViewMut, is_row, row_shader};
use crate::{Error, Result, Shape};

/// `x̂0 = clip(x0_from_x · x_t + x0_from_model · model)`, with the coefficients of a row of the schedule.
///
/// Inputs: x_t and the model's output, both `[N, H, W, C]`, and the row, a [`crate::schedule::Coefficients`]. If it guides,
/// the output is that of [`super::Guide`]'s input, `[2 · N, H, W, C]`, and what that makes of it is left beside.
#[derive(Debug, Default)]
pub struct PredictX0 {
    /// Whether it does what [`super::Guide`] does before.
    pub guided: bool,
}

impl Op for PredictX0 {
    fn name(&self) -> &'static str {
        "predict_x0"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x, model, row] = *inputs else { unreachable!("predict_x0 has three inputs") };
        let fits = if self.guided { Guide.output(&[model, row])? == *x } else { model == x && is_row(row) };
        if !fits {
            let found = format!("{x}, {model} and {row}");
            return Err(Error::shape(self.name(), "two equal shapes and a row of coefficients", found));
        }
        Ok(x.clone())
    }

    fn aside(&self, inputs: &[&Shape]) -> Option<Shape> {
        self.guided.then(|| inputs[0].clone())
    }

    fn cpu(&self, inputs: &[View<'_>], output: ViewMut<'_>) {
        let [x, model, row] = *inputs else { unreachable!("predict_x0 has three inputs") };
        let row = super::row(row);
        if self.guided {
            Guide.cpu(&inputs[1..], ViewMut { shape: output.shape, data: &mut *output.data });
        } else {
            output.data.copy_from_slice(model.data);
        }
        for (out, x) in output.data.iter_mut().zip(x.data) {
            *out = (row.x0_from_x * x + row.x0_from_model * *out).clamp(-row.clip, row.clip);
        }
    }

    fn cpu_aside(&self, inputs: &[View<'_>], _output: View<'_>, aside: ViewMut<'_>) {
        Guide.cpu(&inputs[1..], aside);
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        Kernel::elementwise(row_shader!("predict_x0"), output).with("guided", u32::from(self.guided))
    }
}
