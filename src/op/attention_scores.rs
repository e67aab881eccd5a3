//! The first step of attention: scaled products of queries and keys.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, shader};
use crate::tensor::padded;
use crate::{Error, Result, Shape};

/// `Q Kᵀ / √d` for every image and head (Vaswani et al. 2017, equation 1): `[N · heads, S, S]` over S tokens.
///
/// The input is `[N, H, W, 3 · heads · padded(d)]`, with the S = H · W pixels as tokens: queries, keys and values side by side, each head's `d` channels padded
/// with zeros to a multiple of four, which changes no product.
#[derive(Clone, Copy, Debug)]
pub struct AttentionScores {
    /// How many heads.
    pub heads: usize,
    /// d, channels of a head.
    pub head_dim: usize,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    heads: u32,
    tokens: u32,
    /// `vec4`s of a head.
    head: u32,
    /// `vec4`s of a row of scores.
    row: u32,
    scale: f32,
    pad: [u32; 3],
}

/// Queries, and keys, that one GPU invocation multiplies.
const TILE: usize = 4;
/// Tiles a side of a workgroup.
const WORKGROUP: usize = 8;

impl AttentionScores {
    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

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

    fn stored(&self) -> &'static [usize] {
        &[1]
    }

    fn cpu(&self, inputs: &[View<'_>], mut output: ViewMut<'_>) {
        let qkv = inputs[0];
        let tokens = output.shape.channels();
        let (width, head) = (qkv.shape.stride(), padded(self.head_dim));
        let scale = self.scale();
        for (i, row) in output.rows_mut().enumerate() {
            let (matrix, query) = (i / tokens, i % tokens);
            let (image, h) = (matrix / self.heads, matrix % self.heads);
            let at = |token: usize, part: usize| (image * tokens + token) * width + (part * self.heads + h) * head;
            let q = &qkv.data[at(query, 0)..][..head];
            row.fill(0.0);
            for (key, score) in row.iter_mut().take(tokens).enumerate() {
                let k = &qkv.data[at(key, 1)..][..head];
                // Four sums side by side: a float sum in one chain cannot be vectorised.
                let mut sums = [0.0; 4];
                for (q, k) in q.chunks_exact(4).zip(k.chunks_exact(4)) {
                    for lane in 0..4 {
                        sums[lane] += q[lane] * k[lane];
                    }
                }
                *score = sums.iter().sum::<f32>() * scale;
            }
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let tokens = output.channels();
        let params = Params {
            heads: self.heads as u32,
            tokens: tokens as u32,
            head: (padded(self.head_dim) / 4) as u32,
            row: (output.stride() / 4) as u32,
            scale: self.scale(),
            pad: [0; 3],
        };
        let side = tokens.div_ceil(TILE * WORKGROUP) as u32;
        Kernel::new(shader!("attention_scores"), &params, [side, side, output.dims()[0] as u32])
    }

    fn macs(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        self.head_dim as u64 * (output.rows() * output.channels()) as u64
    }
}
