//! From the precision of activations to 32 bits.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, shader};
use crate::{Result, Shape};

/// x in `f32`: what a network computed, which is stored as activations are, at its end.
#[derive(Debug)]
pub struct Widen;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    pad: [u32; 3],
}

impl Op for Widen {
    fn name(&self) -> &'static str {
        "widen"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(inputs[0].clone())
    }

    fn stored(&self) -> &'static [usize] {
        &[1]
    }

    fn cpu(&self, inputs: &[View<'_>], output: ViewMut<'_>) {
        output.data.copy_from_slice(inputs[0].data);
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        Kernel::flat(shader!("widen"), &Params { len: len as u32, pad: [0; 3] }, len)
    }
}
