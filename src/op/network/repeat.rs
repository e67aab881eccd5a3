//! A batch after itself.

use bytemuck::{Pod, Zeroable};

use super::{Backward, Differentiable, Kernel, Op, SumRows, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Result, Shape};

/// The batch twice, one after the other: `[2 · N, …]`.
///
/// Input: `[N, …]`.
#[derive(Debug)]
pub struct Repeat;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// `vec4`s of the input.
    half: u32,
    pad: [u32; 2],
}

impl Op for Repeat {
    fn name(&self) -> &'static str {
        "repeat"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x] = *inputs else { unreachable!("repeat has one input") };
        let mut dims = x.dims().to_vec();
        dims[0] *= 2;
        Ok(Shape::new(&dims))
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("repeat has one output") };
        let [x] = *inputs else { unreachable!("repeat has one input") };
        let (first, second) = output.data.split_at_mut(x.data.len());
        first.copy_from_slice(x.data);
        second.copy_from_slice(x.data);
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let params = Params { len: len as u32, half: (inputs[0].len() / 4) as u32, pad: [0; 2] };
        Kernel::flat(shader!("repeat"), &params, len)
    }
}

impl Differentiable for Repeat {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let shape = graph.shape(backward.inputs[0]).clone();
        backward.each(graph, |graph, _, name| SumRows::append(graph, name, backward.gradient, 1, shape.clone()))
    }
}
