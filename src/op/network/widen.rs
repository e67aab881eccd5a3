//! From the precision of activations to 32 bits.

use super::{Backward, Differentiable, Kernel, Narrow, Op, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Result, Shape};

/// x in `f32`: what a network computed, which is stored as activations are, at its end.
#[derive(Debug)]
pub struct Widen;

impl Op for Widen {
    fn name(&self) -> &'static str {
        "widen"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(inputs[0].clone())
    }

    fn stored(&self) -> Vec<usize> {
        vec![1]
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("widen has one output") };
        output.data.copy_from_slice(inputs[0].data);
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        Kernel::elementwise(shader!("widen"), output)
    }
}

impl Differentiable for Widen {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        backward.each(graph, |graph, _, name| graph.op(name, Narrow, &[backward.gradient]))
    }
}
