//! The model's prediction of the finished image.

use super::{Guide, Kernel, Op, View, ViewMut, is_row, shader};
use crate::{Error, Result, Shape};

/// `x̂0 = clip(x0_from_x · x_t + x0_from_model · model)`, with the coefficients of a row of the schedule.
///
/// Inputs: x_t and the model's output, both `[N, H, W, C]`, and the row, a [`crate::schedule::Coefficients`]. If it guides,
/// the output is that of [`super::Guide`]'s input, `[2 · N, H, W, C]`, and what that makes of it is the second output.
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

    fn further_outputs(&self, _inputs: &[&Shape], output: &Shape) -> Vec<Shape> {
        self.guided.then(|| output.clone()).into_iter().collect()
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output, guided @ ..] = outputs else { unreachable!("predict_x0 has an output") };
        let [x, model, row] = *inputs else { unreachable!("predict_x0 has three inputs") };
        let row = super::row(row);
        let model = match guided {
            [] => model,
            guided => {
                Guide.cpu(&inputs[1..], guided);
                guided[0].view()
            }
        };
        for ((out, x), model) in output.data.iter_mut().zip(x.data).zip(model.data) {
            *out = (row.x0_from_x * x + row.x0_from_model * model).clamp(-row.clip, row.clip);
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        Kernel::elementwise(shader!("predict_x0"), output).with("guided", u32::from(self.guided))
    }
}
