//! Concatenation of channels.

use bytemuck::{Pod, Zeroable};

use super::{Backward, Differentiable, Kernel, Op, Slice, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Error, Result, Shape};

/// The channels of `a`, then those of `b` (`torch.cat([a, b], dim=1)` of images).
#[derive(Debug)]
pub struct Concat;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// Channels, unpadded.
    a_channels: u32,
    b_channels: u32,
    /// `vec4`s of a run of channels.
    a_stride: u32,
    b_stride: u32,
    stride: u32,
    pad: [u32; 2],
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [a, b] = *inputs else { unreachable!("concat has two inputs") };
        let split = a.dims().len() - 1;
        if b.dims().len() != a.dims().len() || a.dims()[..split] != b.dims()[..split] {
            return Err(Error::shape(self.name(), format!("the size of {a}, whatever the channels"), b));
        }
        let mut dims = a.dims().to_vec();
        dims[split] += b.channels();
        Ok(Shape::new(&dims))
    }

    fn stored(&self) -> Vec<usize> {
        vec![1, 2, 3]
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("concat has one output") };
        let [a, b] = *inputs else { unreachable!("concat has two inputs") };
        let (a_channels, b_channels) = (a.shape.channels(), b.shape.channels());
        output.write_rows(|row, out| {
            out[..a_channels].copy_from_slice(&a.row(row)[..a_channels]);
            out[a_channels..a_channels + b_channels].copy_from_slice(&b.row(row)[..b_channels]);
            out[a_channels + b_channels..].fill(0.0);
        });
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let [a, b] = *inputs else { unreachable!("concat has two inputs") };
        let params = Params {
            len: (output.len() / 4) as u32,
            a_channels: a.channels() as u32,
            b_channels: b.channels() as u32,
            a_stride: (a.stride() / 4) as u32,
            b_stride: (b.stride() / 4) as u32,
            stride: (output.stride() / 4) as u32,
            pad: [0; 2],
        };
        Kernel::flat(shader!("concat"), &params, output.len() / 4)
    }
}

impl Differentiable for Concat {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let firsts = [0, graph.shape(backward.inputs[0]).channels()];
        backward.each(graph, |graph, i, name| {
            let channels = graph.shape(backward.inputs[i]).channels();
            graph.op(name, Slice { first: firsts[i], channels }, &[backward.gradient])
        })
    }
}
