//! The gradient of attention in one pass.

use super::network::heads::{Heads, Part, StreamParams, scale};
use super::{Kernel, Op, View, ViewMut, shader};
use crate::tensor::padded;
use crate::{Error, Result, Shape};
use kernels::gemm::{Gemm, Store};
use kernels::math;
use kernels::outer::OuterProducts;
use kernels::parallel;

/// The gradient of an [`super::Attention`] by queries, keys and values, `[N, H, W, 3 · heads · padded(d)]`, without keeping a
/// score (Dao et al. 2022, algorithm 4). Weights P are computed anew; with G, the gradient by the output, and dS = P · (G Vᵀ − D),
/// D being the third of [`super::AttentionRows`]' numbers, the queries' is dS K / √d, the keys' dSᵀ Q / √d, the values' Pᵀ G.
///
/// Inputs: the queries, keys and values; G `[N, H, W, heads · padded(d)]`; what [`super::AttentionRows`] gives,
/// `[N · heads, S, 3]` with S = H · W.
#[derive(Clone, Copy, Debug)]
pub struct AttentionGradient {
    /// How many heads.
    pub heads: usize,
    /// d, channels of a head.
    pub head_dim: usize,
}

/// Tokens of a workgroup, and `vec4`s of d that an invocation owns.
const THREADS: usize = 64;
const COLUMNS: usize = 8;

impl AttentionGradient {
    /// The gradients of one head of one image: `[3, S, padded(d)]`.
    fn head(&self, matrix: usize, [qkv, g, of_rows]: [View<'_>; 3]) -> Vec<f32> {
        /// Queries at a time.
        const BLOCK: usize = 96;

        let [heads, of_g] = [qkv, g].map(|of| Heads::new(self.heads, self.head_dim, of.shape));
        let (tokens, head, scale) = (heads.tokens, heads.width, scale(self.head_dim));
        let stride = padded(tokens);
        let by_keys = heads.transposed(qkv, matrix, Part::Keys, scale);
        let by_values = heads.transposed(qkv, matrix, Part::Values, 1.0);
        let of_keys = heads.right(qkv, matrix, Part::Keys, 0..tokens, scale);
        let (mut weights, mut changes) = (vec![0.0; BLOCK * stride], vec![0.0; BLOCK * stride]);
        let of_scores: Vec<usize> = (0..BLOCK).map(|query| query * stride).collect();
        let taps = &[0][..];
        let mut queries = vec![0.0; tokens * head];
        let (mut keys, mut values) = (vec![0.0; stride * head], vec![0.0; stride * head]);
        for (first, queries) in (0..tokens).step_by(BLOCK).zip(queries.chunks_mut(BLOCK * head)) {
            let block = first..tokens.min(first + BLOCK);
            let rows = heads.rows(matrix, Part::Queries, block.clone());
            let rows_of_g = of_g.rows(matrix, Part::Queries, block.clone());
            let (len, store) = (block.len(), Store::sums(stride));
            let (weights, changes) = (&mut weights[..len * stride], &mut changes[..len * stride]);
            Gemm { input: qkv.data, rows: &rows, taps, depth: head, panels: &by_keys, store }.run(weights);
            Gemm { input: g.data, rows: &rows_of_g, taps, depth: head, panels: &by_values, store }.run(changes);
            let lines = weights.chunks_exact_mut(stride).zip(changes.chunks_exact_mut(stride));
            for (query, (weights, changes)) in block.clone().zip(lines) {
                let numbers = &of_rows.data[(matrix * tokens + query) * of_rows.shape.stride()..];
                let [most, reciprocal, product] = [numbers[0], numbers[1], numbers[2]];
                math::softmax_again(&mut weights[..tokens], [most, reciprocal]);
                weights[tokens..].fill(0.0);
                for (weight, change) in weights.iter().zip(changes) {
                    *change = weight * (*change - product);
                }
            }
            let (of_scores, store) = (&of_scores[..len], Store::sums(head));
            Gemm { input: changes, rows: of_scores, taps, depth: tokens, panels: &of_keys, store }.run(queries);
            let add = |input: &[f32], right: &[f32], right_rows: &[usize], scale: f32, out: &mut [f32]| {
                let (rows, columns) = (of_scores, head);
                OuterProducts { input, rows, taps, depth: stride, right, right_rows, columns, scale, splits: 1 }
                    .add(out);
            };
            add(changes, qkv.data, &rows, scale, &mut keys);
            add(weights, g.data, &rows_of_g, 1.0, &mut values);
        }
        queries.extend_from_slice(&keys[..tokens * head]);
        queries.extend_from_slice(&values[..tokens * head]);
        queries
    }
}

impl Op for AttentionGradient {
    fn name(&self) -> &'static str {
        "attention_gradient"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [qkv, g, rows] = *inputs else { unreachable!("attention_gradient has three inputs") };
        let width = self.heads * padded(self.head_dim);
        match *qkv.dims() {
            [n, h, w, c]
                if c == 3 * width && g.dims() == [n, h, w, width] && rows.dims() == [n * self.heads, h * w, 3] =>
            {
                Ok(qkv.clone())
            }
            _ => {
                let expected =
                    format!("[N, H, W, {}], [N, H, W, {width}] and [N · {}, H · W, 3]", 3 * width, self.heads);
                Err(Error::shape(self.name(), expected, format!("{qkv}, {g} and {rows}")))
            }
        }
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("attention_gradient has one output") };
        let [qkv, g, rows] = *inputs else { unreachable!("attention_gradient has three inputs") };
        let [matrices, tokens, _] = *rows.shape.dims() else { unreachable!("checked by output") };
        let (head, width) = (padded(self.head_dim), qkv.shape.stride());
        let mut parts: Vec<Vec<f32>> = vec![Vec::new(); matrices];
        let shares = parts.iter_mut().enumerate().collect();
        parallel::each(shares, |(matrix, parts)| *parts = self.head(matrix, [qkv, g, rows]));
        for (matrix, parts) in parts.iter().enumerate() {
            let (image, h) = (matrix / self.heads, matrix % self.heads);
            for (i, part) in parts.chunks_exact(head).enumerate() {
                let (kind, token) = (i / tokens, i % tokens);
                let at = (image * tokens + token) * width + (kind * self.heads + h) * head;
                output.data[at..][..head].copy_from_slice(part);
            }
        }
    }

    fn kernel(&self, inputs: &[&Shape], _output: &Shape) -> Kernel {
        let [matrices, tokens, _] = *inputs[2].dims() else { unreachable!("checked by output") };
        let head = padded(self.head_dim) / 4;
        let blocks = head.div_ceil(COLUMNS);
        let params = StreamParams::new(self.heads, self.head_dim, tokens, blocks);
        // The queries' blocks, then those of keys and values.
        let groups = [tokens.div_ceil(THREADS), 2 * blocks, matrices].map(|groups| groups as u32);
        let first = Some(StreamParams::FIRST);
        Kernel { first, ..Kernel::new(shader!("attention_gradient"), &params, groups) }
    }

    fn macs(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        let rows = inputs[2];
        5 * self.head_dim as u64 * (rows.rows() * rows.dims()[1]) as u64
    }
}
