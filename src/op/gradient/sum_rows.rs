//! Sums over rows.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Error, Result, Shape};
use kernels::parallel::{self, WORTHWHILE};

/// Sums of neighbouring runs of numbers: `[groups, tiles, run]` from `[groups, rows, run]`, of which each tile is the sum of
/// as many neighbouring rows, the last perhaps of fewer (`torch.sum(x, dim=1)` where there is one tile).
///
/// A bias' gradient is the sum over all pixels, in one group; that of a row which is added to every pixel of an image has a
/// group an image. Many rows are summed in two steps, tile by tile and then the tiles, so that a GPU has as many sums to take
/// as it has invocations, and always in the same order.
///
/// Input: anything with the numbers `[groups, rows, run]`, padding included.
#[derive(Clone, Debug)]
pub struct SumRows {
    /// How many sums there are of each number of a run, if there is one tile.
    pub groups: usize,
    /// In how many parts each of them is left.
    pub tiles: usize,
    /// What shape the sums have: one of the numbers `[groups, tiles, run]`.
    pub shape: Shape,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// `vec4`s of a run.
    run: u32,
    /// Rows of a group.
    rows: u32,
    /// Rows of a tile.
    tile: u32,
    tiles: u32,
    pad: [u32; 3],
}

impl SumRows {
    /// The most rows that are summed at once.
    const FEW: usize = 64;

    /// Appends the sums of `x`, `[groups, rows, run]`, in this shape, `[groups, run]`, to `graph`.
    pub(crate) fn append(graph: &mut Graph, name: &str, x: ValueId, groups: usize, shape: Shape) -> Result<ValueId> {
        let rows = graph.shape(x).len() / shape.len();
        let mut x = x;
        if rows > Self::FEW {
            let tiles = rows.div_ceil(rows.isqrt());
            let parts = Shape::new(&[groups, tiles, shape.len() / groups]);
            x = graph.op(&format!("{name}.tiles"), SumRows { groups, tiles, shape: parts }, &[x])?;
        }
        graph.op(name, SumRows { groups, tiles: 1, shape }, &[x])
    }

    /// Rows of a group, and numbers of a run.
    fn extent(&self, input: &Shape) -> (usize, usize) {
        let run = self.shape.len() / (self.groups * self.tiles);
        (input.len() / (self.groups * run), run)
    }
}

impl Op for SumRows {
    fn name(&self) -> &'static str {
        "sum_rows"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let (rows, run) = self.extent(inputs[0]);
        // With too many tiles the last ones would have no rows.
        let tiles = rows.div_ceil(rows.div_ceil(self.tiles).max(1));
        if run % 4 != 0 || tiles != self.tiles || self.groups * rows * run != inputs[0].len() {
            let expected = format!("{} groups of rows that sum up to {}", self.groups, self.shape);
            return Err(Error::shape(self.name(), expected, inputs[0]));
        }
        Ok(self.shape.clone())
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("sum_rows has one output") };
        let (rows, run) = self.extent(inputs[0].shape);
        let tile = rows.div_ceil(self.tiles);
        output.data.fill(0.0);
        let sum = |(tile, sums): (&[f32], &mut [f32])| {
            for row in tile.chunks_exact(run) {
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
        };
        let tiles: Vec<&[f32]> =
            inputs[0].data.chunks_exact(rows * run).flat_map(|group| group.chunks(tile * run)).collect();
        // As many of them as are worth another core.
        let share = (WORTHWHILE / (tile * run)).max(1);
        let shares = tiles.chunks(share).zip(output.data.chunks_mut(share * run)).collect();
        parallel::each(shares, |(tiles, sums): (&[&[f32]], &mut [f32])| {
            tiles.iter().copied().zip(sums.chunks_exact_mut(run)).for_each(sum);
        });
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let (rows, run) = self.extent(inputs[0]);
        let len = output.len() / 4;
        let params = Params {
            len: len as u32,
            run: (run / 4) as u32,
            rows: rows as u32,
            tile: rows.div_ceil(self.tiles) as u32,
            tiles: self.tiles as u32,
            pad: [0; 3],
        };
        Kernel::flat(shader!("sum_rows"), &params, len)
    }
}
