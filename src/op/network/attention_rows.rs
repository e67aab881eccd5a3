//! What the gradient of attention needs of each row of scores.

use super::heads::{Heads, Part, StreamParams, scale};
use super::{Kernel, Op, View, ViewMut, shader};
use crate::tensor::padded;
use crate::{Error, Result, Shape};
use kernels::gemm::{Gemm, Store};
use kernels::{math, parallel};

/// Of every query of every head: its largest score m, the reciprocal of Σ exp(s − m) over its scores s, and Σ O · G over the
/// channels of the head, `[N · heads, S, 3]` over S = H · W tokens. From them any weight and any score's gradient can be
/// computed anew, so that [`super::AttentionGradient`] need not be given one (Dao et al. 2022, algorithm 4).
///
/// Inputs: the queries, keys and values `[N, H, W, 3 · heads · padded(d)]`; the output of [`super::Attention`], O, and the
/// gradient by it, G, `[N, H, W, heads · padded(d)]`.
#[derive(Clone, Copy, Debug)]
pub struct AttentionRows {
    /// How many heads.
    pub heads: usize,
    /// d, channels of a head.
    pub head_dim: usize,
}

/// Queries of a workgroup.
const THREADS: usize = 64;

impl Op for AttentionRows {
    fn name(&self) -> &'static str {
        "attention_rows"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [qkv, out, g] = *inputs else { unreachable!("attention_rows has three inputs") };
        let width = self.heads * padded(self.head_dim);
        match *qkv.dims() {
            [n, h, w, c] if c == 3 * width && out.dims() == [n, h, w, width] && out == g => {
                Ok(Shape::new(&[n * self.heads, h * w, 3]))
            }
            _ => {
                let expected = format!("[N, H, W, {}] and twice [N, H, W, {width}]", 3 * width);
                Err(Error::shape(self.name(), expected, format!("{qkv}, {out} and {g}")))
            }
        }
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("attention_rows has one output") };
        /// Queries at a time.
        const BLOCK: usize = 48;

        let [qkv, out, g] = *inputs else { unreachable!("attention_rows has three inputs") };
        let [heads, of_out] = [qkv, out].map(|of| Heads::new(self.heads, self.head_dim, of.shape));
        let (tokens, head, scale) = (heads.tokens, heads.width, scale(self.head_dim));
        let (stride, width) = (padded(tokens), output.shape.stride());
        let shares = output.data.chunks_exact_mut(tokens * width).enumerate().collect();
        parallel::each(shares, |(matrix, numbers): (usize, &mut [f32])| {
            let mut scores = vec![0.0; BLOCK * stride];
            let keys = heads.transposed(qkv, matrix, Part::Keys, scale);
            for (block, numbers) in numbers.chunks_mut(BLOCK * width).enumerate() {
                let first = block * BLOCK;
                let rows = heads.rows(matrix, Part::Queries, first..tokens.min(first + BLOCK));
                let (scores, store) = (&mut scores[..rows.len() * stride], Store::sums(stride));
                Gemm { input: qkv.data, rows: &rows, taps: &[0], depth: head, panels: &keys, store }.run(scores);
                let scores = scores.chunks_exact_mut(stride);
                for ((query, scores), numbers) in (first..).zip(scores).zip(numbers.chunks_exact_mut(width)) {
                    let [most, reciprocal] = math::softmax(&mut scores[..tokens]);
                    let run = of_out.at(matrix, Part::Queries, query);
                    let product = out.data[run..][..head].iter().zip(&g.data[run..][..head]).map(|(o, g)| o * g).sum();
                    numbers.copy_from_slice(&[most, reciprocal, product, 0.0]);
                }
            }
        });
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let [matrices, tokens, _] = *output.dims() else { unreachable!("given by output") };
        let params = StreamParams::new(self.heads, self.head_dim, tokens, 1);
        let groups = [tokens.div_ceil(THREADS) as u32, 1, matrices as u32];
        let first = Some(StreamParams::FIRST);
        Kernel { first, ..Kernel::new(shader!("attention_rows"), &params, groups) }
    }

    fn macs(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        self.head_dim as u64 * (output.rows() * output.dims()[1]) as u64
    }
}
