//! The gradient of attention by the weights of its values.

use super::network::heads::{Heads, MatrixParams, Part};
use super::{Kernel, Op, View, ViewMut, shader};
use crate::tensor::padded;
use crate::{Error, Result, Shape};
use kernels::gemm::{Gemm, Store};
use kernels::parallel;

/// `G Vᵀ` of every image and head, `[N · heads, S, S]` over S tokens: the gradient of [`super::AttentionValues`] by P, from that
/// by its output, G.
///
/// Inputs: the queries, keys and values `[N, H, W, 3 · heads · padded(d)]`, and G `[N, H, W, heads · padded(d)]`.
#[derive(Clone, Copy, Debug)]
pub struct AttentionWeightsGradient {
    /// How many heads.
    pub heads: usize,
    /// d, channels of a head.
    pub head_dim: usize,
}

/// Queries, and keys, that one GPU invocation multiplies.
const TILE: usize = 4;
/// Tiles a side of a workgroup.
const WORKGROUP: usize = 8;

impl Op for AttentionWeightsGradient {
    fn name(&self) -> &'static str {
        "attention_weights_gradient"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [qkv, g] = *inputs else { unreachable!("attention_weights_gradient has two inputs") };
        let width = self.heads * padded(self.head_dim);
        match *qkv.dims() {
            [n, h, w, c] if c == 3 * width && g.dims() == [n, h, w, width] => {
                Ok(Shape::new(&[n * self.heads, h * w, h * w]))
            }
            _ => {
                let expected = format!("[N, H, W, {}] and [N, H, W, {width}]", 3 * width);
                Err(Error::shape(self.name(), expected, format!("{qkv} and {g}")))
            }
        }
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("attention_weights_gradient has one output") };
        let [qkv, g] = *inputs else { unreachable!("attention_weights_gradient has two inputs") };
        let [heads, of_g] = [qkv, g].map(|of| Heads::new(self.heads, self.head_dim, of.shape));
        let stride = output.shape.stride();
        let matrices = output.data.chunks_exact_mut(heads.tokens * stride).enumerate().collect();
        parallel::each(matrices, |(matrix, out): (usize, &mut [f32])| {
            let rows = of_g.rows(matrix, Part::Queries, 0..heads.tokens);
            let panels = heads.transposed(qkv, matrix, Part::Values, 1.0);
            let store = Store::sums(stride);
            Gemm { input: g.data, rows: &rows, taps: &[0], depth: heads.width, panels: &panels, store }.run(out);
        });
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let tokens = output.channels();
        let params = MatrixParams::new(self.heads, self.head_dim, output);
        let side = tokens.div_ceil(TILE * WORKGROUP) as u32;
        Kernel::new(shader!("attention_weights_gradient"), &params, [side, side, output.dims()[0] as u32])
    }

    fn macs(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        self.head_dim as u64 * (output.rows() * output.channels()) as u64
    }
}
