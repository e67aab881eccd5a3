//! One weight below another.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, shader};
use crate::{Error, Result, Shape};

/// The rows of `a`, then those of `b`, which are as long: `[rows of a + rows of b, C]`. A convolution that adds a shortcut
/// reads its weight and the shortcut's so.
#[derive(Debug)]
pub struct Stack;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// `vec4`s of `a`.
    first: u32,
    pad: [u32; 2],
}

impl Op for Stack {
    fn name(&self) -> &'static str {
        "stack"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [a, b] = *inputs else { unreachable!("stack has two inputs") };
        if a.channels() != b.channels() {
            return Err(Error::shape(self.name(), format!("rows of {} numbers, as {a}", a.channels()), b));
        }
        Ok(Shape::new(&[a.rows() + b.rows(), a.channels()]))
    }

    fn stored(&self) -> Vec<usize> {
        vec![1, 2, 3]
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("stack has one output") };
        let (first, second) = output.data.split_at_mut(inputs[0].data.len());
        first.copy_from_slice(inputs[0].data);
        second.copy_from_slice(inputs[1].data);
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let params = Params { len: len as u32, first: (inputs[0].len() / 4) as u32, pad: [0; 2] };
        Kernel::flat(shader!("stack"), &params, len)
    }
}
