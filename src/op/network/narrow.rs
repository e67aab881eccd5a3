//! From 32 bits to the precision of activations.

use super::{Backward, Differentiable, Kernel, Op, View, ViewMut, Widen, shader};
use crate::graph::{Graph, ValueId};
use crate::{Precision, Result, Shape};

/// x as activations are stored: what a network is given, which is `f32`, at its beginning.
#[derive(Debug)]
pub struct Narrow;

impl Op for Narrow {
    fn name(&self) -> &'static str {
        "narrow"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(inputs[0].clone())
    }

    fn stored(&self) -> Vec<usize> {
        vec![2]
    }

    fn precision(&self) -> Option<Precision> {
        Some(Precision::F16)
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("narrow has one output") };
        output.data.copy_from_slice(inputs[0].data);
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        Kernel::elementwise(shader!("narrow"), output)
    }
}

impl Differentiable for Narrow {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        backward.each(graph, |graph, _, name| graph.op(name, Widen, &[backward.gradient]))
    }
}
