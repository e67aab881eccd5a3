//! The SiLU activation.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, shader};
use crate::math::silu;
use crate::{Result, Shape};

/// `x · sigmoid(x)`, element by element (`torch.nn.functional.silu`).
#[derive(Debug)]
pub struct Silu;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    pad: [u32; 3],
}

impl Op for Silu {
    fn name(&self) -> &'static str {
        "silu"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(inputs[0].clone())
    }

    fn cpu(&self, inputs: &[View<'_>], output: ViewMut<'_>) {
        for (out, &x) in output.data.iter_mut().zip(inputs[0].data) {
            *out = silu(x);
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        Kernel::flat(shader!("silu"), &Params { len: len as u32, pad: [0; 3] }, len)
    }
}
