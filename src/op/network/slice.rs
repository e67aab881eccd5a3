//! Some of the channels.

use bytemuck::{Pod, Zeroable};

use super::{Backward, Differentiable, Kernel, Op, PadChannels, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Error, Result, Shape};

/// Channels `first` to `first + channels`: `[…, channels]`.
///
/// Input: `[…, C]`.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// The first channel.
    pub first: usize,
    /// How many there are.
    pub channels: usize,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// Elements of a pixel of the input, padding included.
    in_stride: u32,
    /// `vec4`s of a pixel of the output.
    out_stride: u32,
    first: u32,
    channels: u32,
    pad: [u32; 3],
}

impl Op for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let mut dims = inputs[0].dims().to_vec();
        if self.channels == 0 || self.first + self.channels > inputs[0].channels() {
            let expected = format!("at least {} channels", self.first + self.channels.max(1));
            return Err(Error::shape(self.name(), expected, inputs[0]));
        }
        if let Some(channels) = dims.last_mut() {
            *channels = self.channels;
        }
        Ok(Shape::new(&dims))
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("slice has one output") };
        output.write_rows(|row, out| {
            let (out, padding) = out.split_at_mut(self.channels);
            out.copy_from_slice(&inputs[0].row(row)[self.first..][..self.channels]);
            padding.fill(0.0);
        });
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let params = Params {
            len: len as u32,
            in_stride: inputs[0].stride() as u32,
            out_stride: (output.stride() / 4) as u32,
            first: self.first as u32,
            channels: self.channels as u32,
            pad: [0; 3],
        };
        Kernel::flat(shader!("slice"), &params, len)
    }
}

impl Differentiable for Slice {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let channels = graph.shape(backward.inputs[0]).channels();
        let op = PadChannels { first: self.first, channels };
        backward.each(graph, |graph, _, name| graph.op(name, op, &[backward.gradient]))
    }
}
