//! What an evaluation keeps for later ones.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, is_row, shader};
use crate::{Error, Result, Shape};

/// How many values earlier evaluations may keep for later ones.
pub const REGISTERS: usize = 5;

/// The registers with some of them replaced by `from_x · x_t + from_model · model + from_x0 · x̂0`; which, and the
/// coefficients, are in a row of the schedule.
///
/// Inputs: x_t, the model's output and x̂0, all `[N, H, W, C]`, the registers `[REGISTERS · N, H, W, C]`, and the row, a
/// [`crate::schedule::Coefficients`].
#[derive(Debug)]
pub struct Remember;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of all registers.
    len: u32,
    /// `vec4`s of one.
    image: u32,
    pad: [u32; 2],
}

impl Op for Remember {
    fn name(&self) -> &'static str {
        "remember"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x, model, x0, kept, row] = *inputs else { unreachable!("remember has five inputs") };
        let fits = model == x && x0 == x && kept.len() == REGISTERS * x.len() && is_row(row);
        if !fits {
            let found = format!("{x}, {model}, {x0}, {kept} and {row}");
            return Err(Error::shape(self.name(), "three equal shapes, the registers and a row", found));
        }
        Ok(kept.clone())
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("remember has one output") };
        let [x, model, x0, kept, row] = *inputs else { unreachable!("remember has five inputs") };
        let row = super::row(row);
        output.data.copy_from_slice(kept.data);
        for keep in row.keep.iter().filter(|keep| keep.to >= 0.0) {
            let register = &mut output.data[keep.to as usize * x.data.len()..][..x.data.len()];
            for (out, ((x, model), x0)) in register.iter_mut().zip(x.data.iter().zip(model.data).zip(x0.data)) {
                *out = keep.from_x * x + keep.from_model * model + keep.from_x0 * x0;
            }
        }
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let params = Params { len: len as u32, image: (inputs[0].len() / 4) as u32, pad: [0; 2] };
        Kernel::flat(shader!("remember"), &params, len)
    }
}
