//! The gradient of attention by its values.

use super::network::heads::{Heads, MatrixParams, Part};
use super::{Kernel, Op, View, ViewMut, shader};
use crate::tensor::padded;
use crate::{Error, Result, Shape};
use kernels::outer::OuterProducts;
use kernels::{parallel, scratch};

/// `Pᵀ G` of every image and head: the gradient of [`super::AttentionValues`] by the values, from that by its output, G, where
/// the values are in `[N, H, W, 3 · heads · padded(d)]`, and zero in the place of queries and keys.
///
/// Inputs: P `[N · heads, S, S]` with S = H · W, and G `[N, H, W, heads · padded(d)]`.
#[derive(Clone, Copy, Debug)]
pub struct AttentionValuesGradient {
    /// How many heads.
    pub heads: usize,
    /// d, channels of a head.
    pub head_dim: usize,
}

/// Tokens that one GPU invocation computes four channels of.
const STRIP: usize = 4;
/// Heads' `vec4`s, and strips of tokens, of a workgroup.
const WORKGROUP: usize = 8;

impl Op for AttentionValuesGradient {
    fn name(&self) -> &'static str {
        "attention_values_gradient"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [weights, g] = *inputs else { unreachable!("attention_values_gradient has two inputs") };
        let width = self.heads * padded(self.head_dim);
        match *g.dims() {
            [n, h, w, c] if c == width && weights.dims() == [n * self.heads, h * w, h * w] => {
                Ok(Shape::new(&[n, h, w, 3 * width]))
            }
            _ => {
                let expected = format!("[N · {}, H · W, H · W] and [N, H, W, {width}]", self.heads);
                Err(Error::shape(self.name(), expected, format!("{weights} and {g}")))
            }
        }
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("attention_values_gradient has one output") };
        let [weights, g] = *inputs else { unreachable!("attention_values_gradient has two inputs") };
        let [of_g, heads] = [g.shape, output.shape].map(|shape| Heads::new(self.heads, self.head_dim, shape));
        let (tokens, stride) = (heads.tokens, weights.shape.stride());
        let images = output.data.chunks_exact_mut(heads.image()).enumerate().collect();
        let of_image = |(image, out): (usize, &mut [f32])| {
            out.fill(0.0);
            scratch(stride * heads.width, |values| {
                for head in 0..self.heads {
                    let matrix = image * self.heads + head;
                    let rows = heads.matrix_rows(matrix, stride);
                    let right_rows = &of_g.rows(matrix, Part::Queries, 0..tokens);
                    OuterProducts {
                        input: weights.data,
                        rows: &rows,
                        taps: &[0],
                        depth: stride,
                        right: g.data,
                        right_rows,
                        columns: heads.width,
                        scale: 1.0,
                        splits: 1,
                    }
                    .run(values);
                    for (token, value) in values.chunks_exact(heads.width).take(tokens).enumerate() {
                        out[heads.at(head, Part::Values, token)..][..heads.width].copy_from_slice(value);
                    }
                }
            });
        };
        parallel::each(images, of_image);
    }

    fn kernel(&self, inputs: &[&Shape], _output: &Shape) -> Kernel {
        let weights = inputs[0];
        let (tokens, head) = (weights.channels(), padded(self.head_dim) / 4);
        let params = MatrixParams::new(self.heads, self.head_dim, weights);
        let groups = [head.div_ceil(WORKGROUP), tokens.div_ceil(STRIP * WORKGROUP), weights.dims()[0]];
        Kernel::new(shader!("attention_values_gradient"), &params, groups.map(|groups| groups as u32))
    }

    fn macs(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        self.head_dim as u64 * (inputs[0].rows() * inputs[0].channels()) as u64
    }
}
