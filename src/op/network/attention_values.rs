//! The last step of attention: values weighted by the softmax of the scores.

use super::heads::{Heads, MatrixParams, Part};
use super::{
    AttentionValuesGradient, AttentionWeightsGradient, Backward, Differentiable, Kernel, Op, View, ViewMut, shader,
};
use crate::graph::{Graph, ValueId};
use crate::tensor::padded;
use crate::{Error, Result, Shape};
use kernels::gemm::{Gemm, Store};
use kernels::{parallel, scratch};

/// `P V` for every image and head: `[N, H, W, heads · padded(d)]` from P: `[N · heads, S, S]` with S = H · W, and the
/// queries, keys and values `[N, H, W, 3 · heads · padded(d)]` that [`super::AttentionScores`] took.
#[derive(Clone, Copy, Debug)]
pub struct AttentionValues {
    /// How many heads.
    pub heads: usize,
    /// d, channels of a head.
    pub head_dim: usize,
}

/// Queries that one GPU invocation computes four channels of.
const STRIP: usize = 4;
/// Heads' `vec4`s, and strips of queries, of a workgroup.
const WORKGROUP: usize = 8;

impl Op for AttentionValues {
    fn name(&self) -> &'static str {
        "attention_values"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [weights, qkv] = *inputs else { unreachable!("attention_values has two inputs") };
        let width = self.heads * padded(self.head_dim);
        match *qkv.dims() {
            [n, h, w, c] if c == 3 * width && weights.dims() == [n * self.heads, h * w, h * w] => {
                Ok(Shape::new(&[n, h, w, width]))
            }
            _ => {
                let expected = format!("[N · {}, H · W, H · W] and [N, H, W, {}]", self.heads, 3 * width);
                Err(Error::shape(self.name(), expected, format!("{weights} and {qkv}")))
            }
        }
    }

    fn stored(&self) -> Vec<usize> {
        vec![1, 2, 3]
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("attention_values has one output") };
        let [weights, qkv] = *inputs else { unreachable!("attention_values has two inputs") };
        let heads = Heads::new(self.heads, self.head_dim, qkv.shape);
        let of_output = Heads::new(self.heads, self.head_dim, output.shape);
        let (tokens, stride) = (heads.tokens, weights.shape.stride());
        let images = output.data.chunks_exact_mut(of_output.image()).enumerate().collect();
        let of_image = |(image, out): (usize, &mut [f32])| {
            scratch(tokens * heads.width, |values| {
                for head in 0..self.heads {
                    let matrix = image * self.heads + head;
                    let rows = heads.matrix_rows(matrix, stride);
                    let panels = heads.right(qkv, matrix, Part::Values, 0..tokens, 1.0);
                    let (input, store) = (weights.data, Store::sums(heads.width));
                    Gemm { input, rows: &rows, taps: &[0], depth: tokens, panels: &panels, store }.run(values);
                    for (token, value) in values.chunks_exact(heads.width).enumerate() {
                        out[of_output.at(head, Part::Queries, token)..][..heads.width].copy_from_slice(value);
                    }
                }
            });
        };
        parallel::each(images, of_image);
    }

    fn kernel(&self, inputs: &[&Shape], _output: &Shape) -> Kernel {
        let weights = inputs[0];
        let tokens = weights.channels();
        let head = padded(self.head_dim) / 4;
        let params = MatrixParams::new(self.heads, self.head_dim, weights);
        let groups =
            [head.div_ceil(WORKGROUP) as u32, tokens.div_ceil(STRIP * WORKGROUP) as u32, weights.dims()[0] as u32];
        Kernel::new(shader!("attention_values"), &params, groups)
    }

    fn macs(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        self.head_dim as u64 * (inputs[0].rows() * inputs[0].channels()) as u64
    }
}

impl Differentiable for AttentionValues {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let Self { heads, head_dim } = *self;
        let [weights, qkv] = *backward.inputs else { unreachable!("attention_values has two inputs") };
        backward.each(graph, |graph, i, name| match i {
            0 => graph.op(name, AttentionWeightsGradient { heads, head_dim }, &[qkv, backward.gradient]),
            _ => graph.op(name, AttentionValuesGradient { heads, head_dim }, &[weights, backward.gradient]),
        })
    }
}
