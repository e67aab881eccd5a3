//! One number in many places.

use bytemuck::{Pod, Zeroable};

use super::{Backward, Differentiable, Kernel, Op, Sum, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Error, Result, Shape};

/// A value all of whose numbers are the input, `[1]`, times a scale (`torch.Tensor.expand`): the gradient of a [`Sum`].
#[derive(Clone, Debug)]
pub struct Spread {
    /// Of the output.
    pub shape: Shape,
    /// What the number is multiplied by.
    pub scale: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// Channels, unpadded.
    channels: u32,
    /// `vec4`s of a run of channels.
    row: u32,
    scale: f32,
}

impl Op for Spread {
    fn name(&self) -> &'static str {
        "spread"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        if inputs[0].dims() != [1] {
            return Err(Error::shape(self.name(), "[1]", inputs[0]));
        }
        Ok(self.shape.clone())
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("spread has one output") };
        for row in output.rows_mut() {
            let (row, padding) = row.split_at_mut(self.shape.channels());
            row.fill(self.scale * inputs[0].data[0]);
            padding.fill(0.0);
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let (channels, row) = (output.channels() as u32, (output.stride() / 4) as u32);
        Kernel::flat(shader!("spread"), &Params { len: len as u32, channels, row, scale: self.scale }, len)
    }
}

impl Differentiable for Spread {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        backward.each(graph, |graph, _, name| graph.op(name, Sum { scale: self.scale }, &[backward.gradient]))
    }
}
