//! The gradient of attention's scores.

use super::network::heads::{Heads, Part, ScaledParams, scale};
use super::{Kernel, Op, View, ViewMut, shader};
use crate::tensor::padded;
use crate::{Error, Result, Shape};
use kernels::gemm::{Gemm, Store};
use kernels::outer::OuterProducts;
use kernels::{parallel, scratch};

/// The gradient of [`super::AttentionScores`] by queries and keys, from that by the scores, dS: `dS K / √d` and `dSᵀ Q / √d`,
/// where queries and keys are in `[N, H, W, 3 · heads · padded(d)]`, and zero in the place of the values.
///
/// Inputs: the queries, keys and values `[N, H, W, 3 · heads · padded(d)]`, and dS `[N · heads, S, S]` with S = H · W.
#[derive(Clone, Copy, Debug)]
pub struct AttentionScoresGradient {
    /// How many heads.
    pub heads: usize,
    /// d, channels of a head.
    pub head_dim: usize,
}

/// Tokens that one GPU invocation computes four channels of.
const STRIP: usize = 4;
/// Heads' `vec4`s, and strips of tokens, of a workgroup.
const WORKGROUP: usize = 8;

impl Op for AttentionScoresGradient {
    fn name(&self) -> &'static str {
        "attention_scores_gradient"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [qkv, scores] = *inputs else { unreachable!("attention_scores_gradient has two inputs") };
        let width = 3 * self.heads * padded(self.head_dim);
        match *qkv.dims() {
            [n, h, w, c] if c == width && scores.dims() == [n * self.heads, h * w, h * w] => Ok(qkv.clone()),
            _ => {
                let expected = format!("[N, H, W, {width}] and [N · {}, H · W, H · W]", self.heads);
                Err(Error::shape(self.name(), expected, format!("{qkv} and {scores}")))
            }
        }
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("attention_scores_gradient has one output") };
        let [qkv, scores] = *inputs else { unreachable!("attention_scores_gradient has two inputs") };
        let heads = Heads::new(self.heads, self.head_dim, qkv.shape);
        let (tokens, width, stride) = (heads.tokens, heads.width, scores.shape.stride());
        let scale = scale(self.head_dim);
        let images = output.data.chunks_exact_mut(heads.image()).enumerate().collect();
        let of_image = |(image, out): (usize, &mut [f32])| {
            out.fill(0.0);
            scratch((tokens + stride) * width, |sums| {
                let (queries, keys) = sums.split_at_mut(tokens * width);
                for head in 0..self.heads {
                    let matrix = image * self.heads + head;
                    let rows = heads.matrix_rows(matrix, stride);
                    let (input, taps) = (scores.data, &[0][..]);
                    let panels = heads.right(qkv, matrix, Part::Keys, 0..tokens, scale);
                    let store = Store::sums(width);
                    Gemm { input, rows: &rows, taps, depth: tokens, panels: &panels, store }.run(queries);
                    OuterProducts {
                        input,
                        rows: &rows,
                        taps,
                        depth: stride,
                        right: qkv.data,
                        right_rows: &heads.rows(matrix, Part::Queries, 0..tokens),
                        columns: width,
                        scale,
                        splits: 1,
                    }
                    .run(keys);
                    for token in 0..tokens {
                        let sums = token * width..(token + 1) * width;
                        out[heads.at(head, Part::Queries, token)..][..width].copy_from_slice(&queries[sums.clone()]);
                        out[heads.at(head, Part::Keys, token)..][..width].copy_from_slice(&keys[sums]);
                    }
                }
            });
        };
        parallel::each(images, of_image);
    }

    fn kernel(&self, inputs: &[&Shape], _output: &Shape) -> Kernel {
        let scores = inputs[1];
        let (tokens, head) = (scores.channels(), padded(self.head_dim) / 4);
        let params = ScaledParams::new(self.heads, self.head_dim, scores);
        // The three parts side by side.
        let groups = [(3 * head).div_ceil(WORKGROUP), tokens.div_ceil(STRIP * WORKGROUP), scores.dims()[0]];
        Kernel::new(shader!("attention_scores_gradient"), &params, groups.map(|groups| groups as u32))
    }

    fn macs(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        2 * self.head_dim as u64 * (inputs[1].rows() * inputs[1].channels()) as u64
    }
}
