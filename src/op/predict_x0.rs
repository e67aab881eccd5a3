//! The model's prediction of the finished image.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, row_shader};
use crate::schedule::Coefficients;
use crate::{Error, Result, Shape};

/// `x̂0 = clip(x0_from_x · x_t + x0_from_model · model)`, with the coefficients of a row of the schedule.
///
/// Inputs: x_t and the model's output, both `[N, H, W, C]`, and the row, a [`Coefficients`].
#[derive(Debug)]
pub struct PredictX0;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    pad: [u32; 3],
}

impl Op for PredictX0 {
    fn name(&self) -> &'static str {
        "predict_x0"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x, model, row] = *inputs else { unreachable!("predict_x0 has three inputs") };
        if model != x || row.dims() != [Coefficients::LEN] {
            let found = format!("{x}, {model} and {row}");
            return Err(Error::shape(self.name(), "two equal shapes and a row of coefficients", found));
        }
        Ok(x.clone())
    }

    fn cpu(&self, inputs: &[View<'_>], output: ViewMut<'_>) {
        let [x, model, row] = *inputs else { unreachable!("predict_x0 has three inputs") };
        let row: &Coefficients = bytemuck::from_bytes(bytemuck::cast_slice(row.data));
        for ((out, x), model) in output.data.iter_mut().zip(x.data).zip(model.data) {
            *out = (row.x0_from_x * x + row.x0_from_model * model).clamp(-row.clip, row.clip);
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        Kernel::flat(row_shader!("predict_x0"), &Params { len: len as u32, pad: [0; 3] }, len)
    }
}
