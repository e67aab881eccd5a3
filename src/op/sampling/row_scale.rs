//! A product with one coefficient of the schedule's row.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, is_row, shader};
use crate::schedule::Coefficients;
use crate::{Error, Result, Shape};

/// x times one coefficient of a row of the schedule.
///
/// Inputs: x, `[N, H, W, C]`, and the row, a [`Coefficients`].
#[derive(Clone, Copy, Debug)]
pub enum RowScale {
    /// `input_scale`: what the model is given of x.
    Input,
    /// `show_scale`: x_prev at the size that pictures have.
    Show,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// Which coefficient of the row.
    coefficient: u32,
    pad: [u32; 2],
}

impl RowScale {
    /// The place of the coefficient in the row.
    fn index(self) -> usize {
        let bytes = match self {
            RowScale::Input => std::mem::offset_of!(Coefficients, input_scale),
            RowScale::Show => std::mem::offset_of!(Coefficients, show_scale),
        };
        bytes / size_of::<f32>()
    }
}

impl Op for RowScale {
    fn name(&self) -> &'static str {
        "row_scale"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x, row] = *inputs else { unreachable!("row_scale has two inputs") };
        if !is_row(row) {
            return Err(Error::shape(self.name(), "a row of coefficients", row));
        }
        Ok(x.clone())
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("row_scale has one output") };
        let [x, row] = *inputs else { unreachable!("row_scale has two inputs") };
        let scale = row.data[self.index()];
        for (out, x) in output.data.iter_mut().zip(x.data) {
            *out = scale * x;
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        Kernel::flat(
            shader!("row_scale"),
            &Params { len: len as u32, coefficient: self.index() as u32, pad: [0; 2] },
            len,
        )
    }
}
