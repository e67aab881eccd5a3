//! Attention in one pass, for images whose scores would take too much memory.

use super::heads::{Heads, Part, StreamParams, scale};
use super::{AttentionGradient, AttentionRows, Backward, Differentiable, Kernel, Op, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::tensor::padded;
use crate::{Error, Result, Shape};
use kernels::gemm::{Gemm, Store};
use kernels::{math, parallel, scratch};

/// What [`super::AttentionScores`], [`super::Softmax`] and [`super::AttentionValues`] compute, softmax(Q Kᵀ / √d) V (Vaswani
/// et al. 2017, equation 1), without keeping a score: `[N, H, W, heads · padded(d)]` from
/// `[N, H, W, 3 · heads · padded(d)]`.
///
/// A GPU lets the keys pass by in tiles and scales down what it has summed up whenever a larger score turns up (Milakov and
/// Gimelshein 2018; Dao et al. 2022); the CPU takes a few queries at a time.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// How many heads.
    pub heads: usize,
    /// d, channels of a head.
    pub head_dim: usize,
    /// Whether an invocation of the GPU owns a query by itself, without shared memory.
    pub serial: bool,
}

/// Queries of a workgroup, and keys of a tile.
const QUERIES: usize = 32;
/// Invocations of a workgroup without shared memory, and `vec4`s of d that each of them owns.
const THREADS: usize = 64;
const COLUMNS: usize = 8;

impl Attention {
    /// Whether the scores of so many heads and tokens would take more memory than they are worth: of one image 64 MB, or as
    /// many as there are of a 32×32 map.
    pub(crate) fn is_wanted(heads: usize, tokens: usize) -> bool {
        const TOKENS: usize = 1024;
        const SCORES: usize = 1 << 24;

        tokens > TOKENS || heads * tokens * tokens > SCORES
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let width = self.heads * padded(self.head_dim);
        match *inputs[0].dims() {
            [n, h, w, c] if c == 3 * width => Ok(Shape::new(&[n, h, w, width])),
            _ => {
                Err(Error::shape(self.name(), format!("queries, keys and values [N, H, W, {}]", 3 * width), inputs[0]))
            }
        }
    }

    fn stored(&self) -> Vec<usize> {
        vec![1, 2]
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("attention has one output") };
        /// Queries at a time.
        const BLOCK: usize = 48;

        let qkv = inputs[0];
        let heads = Heads::new(self.heads, self.head_dim, qkv.shape);
        let of_output = Heads::new(self.heads, self.head_dim, output.shape);
        let (tokens, width, scale) = (heads.tokens, heads.width, scale(self.head_dim));
        let stride = padded(tokens);
        let of_scores: Vec<usize> = (0..BLOCK).map(|query| query * stride).collect();
        let images = output.data.chunks_exact_mut(of_output.image()).enumerate().collect();
        let of_image = |(image, out): (usize, &mut [f32])| {
            scratch(BLOCK * (stride + width), |scratch| {
                for head in 0..self.heads {
                    let matrix = image * self.heads + head;
                    let keys = heads.transposed(qkv, matrix, Part::Keys, scale);
                    let panels = heads.right(qkv, matrix, Part::Values, 0..tokens, 1.0);
                    for first in (0..tokens).step_by(BLOCK) {
                        let rows = heads.rows(matrix, Part::Queries, first..tokens.min(first + BLOCK));
                        let (scores, values) = scratch.split_at_mut(BLOCK * stride);
                        let (scores, values) = (&mut scores[..rows.len() * stride], &mut values[..rows.len() * width]);
                        let store = Store::sums(stride);
                        Gemm { input: qkv.data, rows: &rows, taps: &[0], depth: width, panels: &keys, store }
                            .run(scores);
                        for row in scores.chunks_exact_mut(stride) {
                            math::softmax(&mut row[..tokens]);
                        }
                        let (rows, store) = (&of_scores[..rows.len()], Store::sums(width));
                        Gemm { input: scores, rows, taps: &[0], depth: tokens, panels: &panels, store }.run(values);
                        for (query, value) in (first..).zip(values.chunks_exact(width)) {
                            out[of_output.at(head, Part::Queries, query)..][..width].copy_from_slice(value);
                        }
                    }
                }
            });
        };
        parallel::each(images, of_image);
    }

    fn kernel(&self, inputs: &[&Shape], _output: &Shape) -> Kernel {
        let [n, h, w, _] = *inputs[0].dims() else { unreachable!("checked by output") };
        let head = padded(self.head_dim) / 4;
        let params = StreamParams::new(self.heads, self.head_dim, h * w, 1);
        let (defines, groups) = if self.serial {
            (vec![("serial", 1)], [(h * w).div_ceil(THREADS), head.div_ceil(COLUMNS), n * self.heads])
        } else {
            // Of large heads an invocation would own more than it has registers for; of still larger ones several workgroups
            // own a part each, and all of them compute the scores.
            let lanes = if head > 16 { 16 } else { 8 };
            let columns = head.div_ceil(lanes).min(2);
            let numbers = [columns, lanes, QUERIES / lanes].map(|number| number as u32);
            let defines = ["columns", "lanes", "keys"].into_iter().zip(numbers).collect();
            (defines, [(h * w).div_ceil(QUERIES), head.div_ceil(columns * lanes), n * self.heads])
        };
        let first = Some(StreamParams::FIRST);
        Kernel { defines, first, ..Kernel::new(shader!("attention"), &params, groups.map(|groups| groups as u32)) }
    }

    fn macs(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        let [n, h, w, _] = *inputs[0].dims() else { unreachable!("checked by output") };
        let tokens = (h * w) as u64;
        2 * tokens * tokens * (n * self.heads * self.head_dim) as u64
    }
}

impl Differentiable for Attention {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let Self { heads, head_dim, .. } = *self;
        let (qkv, gradient) = (backward.inputs[0], backward.gradient);
        backward.each(graph, |graph, _, name| {
            let inputs = [qkv, backward.output, gradient];
            let rows = graph.op(&format!("{name}.rows"), AttentionRows { heads, head_dim }, &inputs)?;
            graph.op(name, AttentionGradient { heads, head_dim }, &[qkv, gradient, rows])
        })
    }
}
