//! The heads of attention, as the CPU's matrix products take them.

use std::ops::Range;

use super::View;
use crate::Shape;
use crate::tensor::padded;
use kernels::gemm::{Panel, pack_columns, pack_rows};

/// The heads of queries, keys and values that stand side by side, `[N, H, W, 3 · heads · padded(d)]`, or of one of the three,
/// `[N, H, W, heads · padded(d)]`, over S = H · W tokens. Heads of all images are counted one after another: a matrix is one.
#[derive(Clone, Copy)]
pub(in crate::op) struct Heads {
    heads: usize,
    /// Channels of a head, padding included.
    pub(in crate::op) width: usize,
    /// S.
    pub(in crate::op) tokens: usize,
    stride: usize,
}

/// Which of the three.
#[derive(Clone, Copy)]
pub(in crate::op) enum Part {
    /// The first, also where there is one.
    Queries,
    Keys,
    Values,
}

impl Heads {
    /// Those of d channels in a value of this shape.
    pub(in crate::op) fn new(heads: usize, head_dim: usize, shape: &Shape) -> Self {
        let [_, h, w, _] = *shape.dims() else { unreachable!("checked by output") };
        Heads { heads, width: padded(head_dim), tokens: h * w, stride: shape.stride() }
    }

    /// How many numbers an image has.
    pub(in crate::op) fn image(&self) -> usize {
        self.tokens * self.stride
    }

    /// Where a token's channels begin in the value.
    pub(in crate::op) fn at(&self, matrix: usize, part: Part, token: usize) -> usize {
        (matrix / self.heads * self.tokens + token) * self.stride
            + (part as usize * self.heads + matrix % self.heads) * self.width
    }

    /// Where those of some tokens begin: the rows of a left factor.
    pub(in crate::op) fn rows(&self, matrix: usize, part: Part, tokens: Range<usize>) -> Vec<usize> {
        tokens.map(|token| self.at(matrix, part, token)).collect()
    }

    /// `scale` times some tokens as a right factor: `[tokens, d]`.
    pub(in crate::op) fn right(
        &self,
        of: View<'_>,
        matrix: usize,
        part: Part,
        tokens: Range<usize>,
        scale: f32,
    ) -> Vec<Panel> {
        let run = |token| &of.data[self.at(matrix, part, token)..][..self.width];
        pack_rows(tokens.map(run), self.width, scale)
    }

    /// `scale` times all tokens, transposed, as a right factor: `[d, S padded]`.
    pub(in crate::op) fn transposed(&self, of: View<'_>, matrix: usize, part: Part, scale: f32) -> Vec<Panel> {
        let run = |token| match token < self.tokens {
            true => &of.data[self.at(matrix, part, token)..][..self.width],
            false => &[][..], // nothing in the padding
        };
        pack_columns((0..padded(self.tokens)).map(run), self.width, scale)
    }
}
