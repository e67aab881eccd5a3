//! The heads of attention: as the CPU's matrix products take them, and what shaders are told of them.

use std::mem::offset_of;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};

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

    /// Where the rows of a matrix of S × S begin, each of which takes `stride` numbers.
    pub(in crate::op) fn matrix_rows(&self, matrix: usize, stride: usize) -> Vec<usize> {
        (matrix * self.tokens..(matrix + 1) * self.tokens).map(|row| row * stride).collect()
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

/// What products of heads of d channels are multiplied by.
pub(in crate::op) fn scale(head_dim: usize) -> f32 {
    1.0 / (head_dim as f32).sqrt()
}

/// The parameters of shaders that have a matrix of S × S in memory.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(in crate::op) struct MatrixParams {
    heads: u32,
    tokens: u32,
    /// `vec4`s of a head.
    head: u32,
    /// `vec4`s of a row of the matrix.
    row: u32,
}

impl MatrixParams {
    /// Those of matrices `[N · heads, S, S]` of so many heads of d channels.
    pub(in crate::op) fn new(heads: usize, head_dim: usize, matrices: &Shape) -> Self {
        let (tokens, row, head) = (matrices.channels(), matrices.stride() / 4, padded(head_dim) / 4);
        let [heads, tokens, head, row] = [heads, tokens, head, row].map(|number| number as u32);
        MatrixParams { heads, tokens, head, row }
    }
}

/// The same of those that multiply by [`scale`].
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(in crate::op) struct ScaledParams {
    matrix: MatrixParams,
    scale: f32,
    pad: [u32; 3],
}

impl ScaledParams {
    /// As [`MatrixParams::new`].
    pub(in crate::op) fn new(heads: usize, head_dim: usize, matrices: &Shape) -> Self {
        ScaledParams { matrix: MatrixParams::new(heads, head_dim, matrices), scale: scale(head_dim), pad: [0; 3] }
    }
}

/// The parameters of shaders that have no such matrix. They can be dispatched in pieces.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(in crate::op) struct StreamParams {
    heads: u32,
    tokens: u32,
    /// `vec4`s of a head.
    head: u32,
    scale: f32,
    /// Where a dispatch in pieces begins.
    first: u32,
    /// Parts of a head that belong to different workgroups.
    blocks: u32,
    pad: [u32; 2],
}

impl StreamParams {
    /// Where in them the beginning of a piece is.
    pub(in crate::op) const FIRST: usize = offset_of!(StreamParams, first);

    /// Those of so many heads of d channels, over S tokens.
    pub(in crate::op) fn new(heads: usize, head_dim: usize, tokens: usize, blocks: usize) -> Self {
        let [heads, tokens, head, blocks] = [heads, tokens, padded(head_dim) / 4, blocks].map(|number| number as u32);
        StreamParams { heads, tokens, head, scale: scale(head_dim), first: 0, blocks, pad: [0; 2] }
    }
}
