//! Nearest-neighbour upsampling.

use bytemuck::{Pod, Zeroable};

use super::{Backward, Differentiable, Kernel, Op, Upfirdn2d, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Result, Shape};

/// Every pixel twice in each direction (`torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest")`).
#[derive(Debug)]
pub struct Upsample;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// `vec4`s of a run of channels.
    channels: u32,
    /// Pixels of a row of the input.
    width: u32,
    pad: u32,
}

impl Op for Upsample {
    fn name(&self) -> &'static str {
        "upsample"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [n, h, w, c] = inputs[0].nhwc(self.name())?;
        Ok(Shape::new(&[n, 2 * h, 2 * w, c]))
    }

    fn stored(&self) -> Vec<usize> {
        vec![1, 2]
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("upsample has one output") };
        let x = inputs[0];
        let channels = x.shape.stride();
        let line = x.shape.dims()[2] * channels;
        for (line_in, lines_out) in x.data.chunks_exact(line).zip(output.data.chunks_exact_mut(4 * line)) {
            let (first, second) = lines_out.split_at_mut(2 * line);
            for (pixel, pair) in line_in.chunks_exact(channels).zip(first.chunks_exact_mut(2 * channels)) {
                pair[..channels].copy_from_slice(pixel);
                pair[channels..].copy_from_slice(pixel);
            }
            second.copy_from_slice(first);
        }
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let params = Params {
            len: len as u32,
            channels: (output.stride() / 4) as u32,
            width: inputs[0].dims()[2] as u32,
            pad: 0,
        };
        Kernel::flat(shader!("upsample"), &params, len)
    }
}

impl Differentiable for Upsample {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        // A pixel went into the four of a square.
        backward.each(graph, |graph, _, name| graph.op(name, Upfirdn2d::SUM, &[backward.gradient]))
    }
}
