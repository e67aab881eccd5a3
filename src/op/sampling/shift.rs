//! What a classifier's gradient changes.

use super::{Kernel, Op, View, ViewMut, is_row, shader};
use crate::{Error, Result, Shape};

/// `a + w · g`, where g is the gradient of a classifier's log-probability by x_t and w what a row of the schedule says
/// (Dhariwal and Nichol 2021).
///
/// Inputs: a and g, `[N, H, W, C]`, and the row, a [`crate::schedule::Coefficients`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// a is the model's output, and w such that ε̂ becomes ε̂ − s √(1 − ᾱ) g (Algorithm 2).
    Model,
    /// a is the noise that is added in a step, and w such that x_{t−1} becomes x_{t−1} + s Σ g (Algorithm 1).
    Noise,
}

impl Op for Shift {
    fn name(&self) -> &'static str {
        "shift"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [a, gradient, row] = *inputs else { unreachable!("shift has three inputs") };
        if a != gradient || !is_row(row) {
            let found = format!("{a}, {gradient} and {row}");
            return Err(Error::shape(self.name(), "[N, H, W, C], its gradient and a row", found));
        }
        Ok(a.clone())
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("shift has one output") };
        let [a, gradient, row] = *inputs else { unreachable!("shift has three inputs") };
        let row = super::row(row);
        let weight = match self {
            Shift::Model => row.model_from_gradient,
            Shift::Noise => row.noise_from_gradient,
        };
        for ((out, a), g) in output.data.iter_mut().zip(a.data).zip(gradient.data) {
            *out = a + weight * g;
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        Kernel::elementwise(shader!("shift"), output).with("noise", u32::from(*self == Shift::Noise))
    }
}
