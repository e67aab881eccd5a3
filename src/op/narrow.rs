//! From 32 bits to the precision of activations.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, shader};
use crate::{Result, Shape};

/// x as activations are stored: what a network is given, which is `f32`, at its beginning.
#[derive(Debug)]
pub struct Narrow;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    pad: [u32; 3],
}

impl Op for Narrow {
    fn name(&self) -> &'static str {
        "narrow"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(inputs[0].clone())
    }

    fn stored(&self) -> &'static [usize] {
        &[2]
    }

    fn cpu(&self, inputs: &[View<'_>], output: ViewMut<'_>) {
        output.data.copy_from_slice(inputs[0].data);
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        Kernel::flat(shader!("narrow"), &Params { len: len as u32, pad: [0; 3] }, len)
    }
}
