//! The first step of attention: scaled products of queries and keys.

use super::heads::{Heads, Part, ScaledParams, scale};
use super::{AttentionScoresGradient, Backward, Differentiable, Kernel, Op, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::tensor::padded;
use crate::{Error, Result, Shape};
use kernels::gemm::{Gemm, Store};
use kernels::parallel;

/// `Q Kᵀ / √d` for every image and head (Vaswani et al. 2017, equation 1): `[N · heads, S, S]` over S tokens.
///
/// The input is `[N, H, W, 3 · heads · padded(d)]`, with the S = H · W pixels as tokens: queries, keys and values side by side,
/// each head's `d` channels padded with zeros to a multiple of four, which changes no product.
#[derive(Clone, Copy, Debug)]
pub struct AttentionScores {
    /// How many heads.
    pub heads: usize,
    /// d, channels of a head.
    pub head_dim: usize,
}

/// Queries, and keys, that one GPU invocation multiplies.
const TILE: usize = 4;
/// Tiles a side of a workgroup.
const WORKGROUP: usize = 8;

impl Op for AttentionScores {
    fn name(&self) -> &'static str {
        "attention_scores"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let width = 3 * self.heads * padded(self.head_dim);
        match *inputs[0].dims() {
            [n, h, w, c] if c == width => Ok(Shape::new(&[n * self.heads, h * w, h * w])),
            _ => Err(Error::shape(self.name(), format!("queries, keys and values [N, H, W, {width}]"), inputs[0])),
        }
    }

    fn stored(&self) -> Vec<usize> {
        vec![1]
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("attention_scores has one output") };
        let qkv = inputs[0];
        let heads = Heads::new(self.heads, self.head_dim, qkv.shape);
        let (scale, stride) = (scale(self.head_dim), output.shape.stride());
        let matrices = output.data.chunks_exact_mut(heads.tokens * stride).enumerate().collect();
        parallel::each(matrices, |(matrix, out): (usize, &mut [f32])| {
            let rows = heads.rows(matrix, Part::Queries, 0..heads.tokens);
            let panels = heads.transposed(qkv, matrix, Part::Keys, scale);
            let store = Store::sums(stride);
            Gemm { input: qkv.data, rows: &rows, taps: &[0], depth: heads.width, panels: &panels, store }.run(out);
        });
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let tokens = output.channels();
        let params = ScaledParams::new(self.heads, self.head_dim, output);
        let side = tokens.div_ceil(TILE * WORKGROUP) as u32;
        Kernel::new(shader!("attention_scores"), &params, [side, side, output.dims()[0] as u32])
    }

    fn macs(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        self.head_dim as u64 * (output.rows() * output.channels()) as u64
    }
}

impl Differentiable for AttentionScores {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let op = AttentionScoresGradient { heads: self.heads, head_dim: self.head_dim };
        let inputs = [backward.inputs[0], backward.gradient];
        backward.each(graph, |graph, _, name| graph.op(name, op, &inputs))
    }
}
