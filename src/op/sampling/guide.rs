//! Classifier-free guidance.

use super::{Kernel, Op, View, ViewMut, is_row, shader};
use crate::{Error, Result, Shape};

/// `null + guidance · (class − null)` (Ho and Salimans 2022, equation 6, in the convention of diffusers: at 1 the null class
/// has no part in it), with the scale of a row of the schedule.
///
/// Inputs: the model's output for the class and after it for the null class, `[2 · N, H, W, C]`, and the row, a
/// [`crate::schedule::Coefficients`]. Output: `[N, H, W, C]`.
#[derive(Debug)]
pub struct Guide;

impl Op for Guide {
    fn name(&self) -> &'static str {
        "guide"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [model, row] = *inputs else { unreachable!("guide has two inputs") };
        match *model.dims() {
            [n, h, w, c] if n.is_multiple_of(2) && is_row(row) => Ok(Shape::new(&[n / 2, h, w, c])),
            _ => Err(Error::shape(self.name(), "[2 · N, H, W, C] and a row", format!("{model} and {row}"))),
        }
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("guide has one output") };
        let [model, row] = *inputs else { unreachable!("guide has two inputs") };
        let guidance = super::row(row).guidance;
        let (class, null) = model.data.split_at(output.data.len());
        for ((out, class), null) in output.data.iter_mut().zip(class).zip(null) {
            *out = null + guidance * (class - null);
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        Kernel::elementwise(shader!("guide"), output)
    }
}
