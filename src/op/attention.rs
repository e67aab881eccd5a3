//! Attention in one pass, for images whose scores would take too much memory.

use bytemuck::{Pod, Zeroable};

use super::{AttentionScores, AttentionValues, Kernel, Op, View, ViewMut, shader};
use crate::tensor::padded;
use crate::{Error, Result, Shape};

/// What [`AttentionScores`], [`super::Softmax`] and [`AttentionValues`] compute, softmax(Q Kᵀ / √d) V (Vaswani et al. 2017,
/// equation 1), without a score kept: `[N, H, W, heads · padded(d)]` from `[N, H, W, 3 · heads · padded(d)]`.
///
/// A GPU lets the keys pass by in tiles and scales down what it has summed up whenever a larger score turns up (Dao et
/// al. 2022); the CPU keeps the scores of one image and head at a time.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// How many heads.
    pub heads: usize,
    /// d, channels of a head.
    pub head_dim: usize,
    /// Whether an invocation of the GPU owns a query by itself, without shared memory.
    pub serial: bool,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    heads: u32,
    tokens: u32,
    /// `vec4`s of a head.
    head: u32,
    scale: f32,
    /// Where a dispatch in pieces begins.
    first: u32,
    pad: [u32; 3],
}

/// Queries of a workgroup, and keys of a tile.
const QUERIES: usize = 32;
/// Invocations of a workgroup without shared memory, and `vec4`s of d that each of them owns.
const THREADS: usize = 64;
const COLUMNS: usize = 8;

impl Attention {
    /// The most channels of a head for which an invocation has registers.
    pub(crate) const MOST: usize = 128;
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let width = self.heads * padded(self.head_dim);
        match *inputs[0].dims() {
            [n, h, w, c] if c == 3 * width && padded(self.head_dim) <= Attention::MOST => {
                Ok(Shape::new(&[n, h, w, width]))
            }
            _ => {
                let expected = format!("[N, H, W, {}] with heads of at most {}", 3 * width, Attention::MOST);
                Err(Error::shape(self.name(), expected, inputs[0]))
            }
        }
    }

    fn stored(&self) -> Vec<usize> {
        vec![1, 2]
    }

    fn cpu(&self, inputs: &[View<'_>], output: ViewMut<'_>) {
        let Attention { heads, head_dim, .. } = *self;
        let qkv = inputs[0];
        let [_, h, w, _] = *qkv.shape.dims() else { unreachable!("checked by output") };
        let (tokens, head, image) = (h * w, padded(head_dim), h * w * qkv.shape.stride());
        let (one, scores_shape) = (Shape::new(&[1, h, w, 3 * head]), Shape::new(&[1, tokens, tokens]));
        let (mut own, mut values) = (vec![0.0; one.len()], vec![0.0; tokens * head]);
        let (mut scores, mut weights) = (vec![0.0; scores_shape.len()], vec![0.0; scores_shape.len()]);
        let values_shape = Shape::new(&[1, h, w, head]);
        for (n, qkv) in qkv.data.chunks_exact(image).enumerate() {
            for matrix in 0..heads {
                let place = |token: usize| (token * heads + matrix) * head;
                for (i, part) in own.chunks_exact_mut(head).enumerate() {
                    part.copy_from_slice(&qkv[place(i)..][..head]);
                }
                let own = View::new(&one, &own);
                let scale = AttentionScores { heads: 1, head_dim };
                scale.cpu(&[own], ViewMut { shape: &scores_shape, data: &mut scores });
                let softmax = super::Softmax::default();
                softmax.cpu(&[View::new(&scores_shape, &scores)], ViewMut { shape: &scores_shape, data: &mut weights });
                let inputs = [View::new(&scores_shape, &weights), own];
                let product = AttentionValues { heads: 1, head_dim };
                product.cpu(&inputs, ViewMut { shape: &values_shape, data: &mut values });
                for (token, value) in values.chunks_exact(head).enumerate() {
                    output.data[n * tokens * heads * head + place(token)..][..head].copy_from_slice(value);
                }
            }
        }
    }

    fn kernel(&self, inputs: &[&Shape], _output: &Shape) -> Kernel {
        let [n, h, w, _] = *inputs[0].dims() else { unreachable!("checked by output") };
        let head = padded(self.head_dim) / 4;
        let params = Params {
            heads: self.heads as u32,
            tokens: (h * w) as u32,
            head: head as u32,
            scale: 1.0 / (self.head_dim as f32).sqrt(),
            first: 0,
            pad: [0; 3],
        };
        let (defines, groups) = if self.serial {
            (vec![("serial", 1)], [(h * w).div_ceil(THREADS), head.div_ceil(COLUMNS), n * self.heads])
        } else {
            // Of large heads an invocation would own more than it has registers for.
            let lanes = if head > 16 { 16 } else { 8 };
            let columns = head.div_ceil(lanes) as u32;
            let defines = vec![("columns", columns), ("lanes", lanes as u32), ("keys", (QUERIES / lanes) as u32)];
            (defines, [(h * w).div_ceil(QUERIES), 1, n * self.heads])
        };
        let first = Some(std::mem::offset_of!(Params, first));
        Kernel { defines, first, ..Kernel::new(shader!("attention"), &params, groups.map(|groups| groups as u32)) }
    }

    fn macs(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        let [n, h, w, _] = *inputs[0].dims() else { unreachable!("checked by output") };
        2 * (n * self.heads * h * w * h * w * self.head_dim) as u64
    }
}
