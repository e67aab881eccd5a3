//! A linear layer.

use bytemuck::{Pod, Zeroable};

use super::{Backward, Differentiable, Kernel, Op, SumRows, TransposeKernel, View, ViewMut, WeightGradient, shader};
use crate::graph::{Graph, ValueId};
use crate::tensor::{padded, scatter};
use crate::{Error, Result, Shape, Tensor};
use kernels::gemm::{Gemm, Packing, Store};

/// `x · Wᵀ + b` (`torch.nn.Linear`) over the last dimension of x.
///
/// Inputs: x, the weight packed by [`Linear::pack`] `[in padded, out]`, the bias `[out]`.
#[derive(Debug)]
pub struct Linear;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    /// `vec4`s of an input row.
    depth: u32,
    /// `vec4`s of an output row.
    columns: u32,
    pad: u32,
}

/// Rows that one GPU invocation computes.
const STRIP: usize = 4;
/// Strips of rows, and blocks of eight columns, of a workgroup.
const WORKGROUP: usize = 8;

impl Linear {
    /// Repacks a PyTorch weight `[out, in]` to `[in padded, out padded]`.
    pub fn pack(weight: &Tensor) -> (Shape, Vec<f32>) {
        let [out, input] = *weight.shape else { unreachable!("linear weights are [out, in]") };
        let shape = Self::packed(out, input);
        let mut packed = vec![0.0; shape.len()];
        scatter(&weight.data, &mut packed, Self::place(out, input));
        (shape, packed)
    }

    /// The shape of a packed weight.
    pub(crate) fn packed(out: usize, input: usize) -> Shape {
        Shape::new(&[padded(input), out])
    }

    /// Where in it the i-th number of PyTorch's weight is.
    pub(crate) fn place(out: usize, input: usize) -> impl Fn(usize) -> usize {
        move |i| i % input * padded(out) + i / input
    }
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x, weight, bias] = *inputs else { unreachable!("linear has three inputs") };
        let out = bias.channels();
        if weight.dims() != [padded(x.channels()), out] || bias.dims().len() != 1 {
            return Err(Error::shape(self.name(), format!("a weight [{}, {out}]", padded(x.channels())), weight));
        }
        let mut dims = x.dims().to_vec();
        dims[x.dims().len() - 1] = out;
        Ok(Shape::new(&dims))
    }

    fn right_side(&self, _inputs: &[&Shape]) -> Option<(usize, Packing)> {
        Some((1, Packing::Plain))
    }

    fn stored(&self) -> Vec<usize> {
        vec![1, 2, 4]
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("linear has one output") };
        let [x, weight, bias] = *inputs else { unreachable!("linear has three inputs") };
        let depth = x.shape.stride();
        let rows: Vec<usize> = (0..x.shape.rows()).map(|row| row * depth).collect();
        let store = Store::biased(bias.data);
        weight.packed(Packing::Plain, |panels| {
            Gemm { input: x.data, rows: &rows, taps: &[0], depth, panels, store }.run(output.data);
        });
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let rows = output.rows();
        let columns = output.stride() / 4;
        let params =
            Params { rows: rows as u32, depth: (inputs[0].stride() / 4) as u32, columns: columns as u32, pad: 0 };
        let groups = [rows.div_ceil(STRIP * WORKGROUP) as u32, columns.div_ceil(2 * WORKGROUP) as u32, 1];
        Kernel::new(shader!("linear"), &params, groups)
    }

    fn macs(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        inputs[0].channels() as u64 * (output.rows() * output.channels()) as u64
    }
}

impl Differentiable for Linear {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let [x, weight, bias] = *backward.inputs else { unreachable!("linear has three inputs") };
        backward.each(graph, |graph, i, name| match i {
            0 => {
                let channels = graph.shape(x).channels();
                let weight = graph.op(&format!("{name}.weight"), TransposeKernel { channels }, &[weight])?;
                let shape = Shape::new(&[channels]);
                let zeros = vec![0.0; shape.len()];
                let bias = graph.constant(&format!("{name}.bias"), (shape, zeros));
                graph.op(name, Linear, &[backward.gradient, weight, bias])
            }
            1 => graph.op(name, WeightGradient::of(None), &[x, backward.gradient]),
            _ => {
                let shape = graph.shape(bias).clone();
                SumRows::append(graph, name, backward.gradient, 1, shape)
            }
        })
    }
}
