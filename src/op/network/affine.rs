//! A line through every element.

use bytemuck::{Pod, Zeroable};

use super::{Backward, Differentiable, Kernel, Op, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Result, Shape};

/// `scale · x + offset`, element by element.
#[derive(Debug)]
pub struct Affine {
    /// What x is multiplied by.
    pub scale: f32,
    /// What is added then.
    pub offset: f32,
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
    offset: f32,
    pad: [u32; 3],
}

impl Op for Affine {
    fn name(&self) -> &'static str {
        "affine"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(inputs[0].clone())
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("affine has one output") };
        let channels = inputs[0].shape.channels();
        for (out, x) in output.rows_mut().zip(inputs[0].rows()) {
            let (out, padding) = out.split_at_mut(channels);
            padding.fill(0.0);
            for (out, x) in out.iter_mut().zip(x) {
                *out = self.scale * x + self.offset;
            }
        }
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let params = Params {
            len: len as u32,
            channels: inputs[0].channels() as u32,
            row: (output.stride() / 4) as u32,
            scale: self.scale,
            offset: self.offset,
            pad: [0; 3],
        };
        Kernel::flat(shader!("affine"), &params, len)
    }
}

impl Differentiable for Affine {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        backward.each(graph, |graph, _, name| scaled(graph, name, backward.gradient, self.scale))
    }
}

/// `scale · x`, appended to `graph` unless it is x itself.
pub(in crate::op) fn scaled(graph: &mut Graph, name: &str, x: ValueId, scale: f32) -> Result<ValueId> {
    if scale == 1.0 { Ok(x) } else { graph.op(name, Affine { scale, offset: 0.0 }, &[x]) }
}
