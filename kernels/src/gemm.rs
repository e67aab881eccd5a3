//! The CPU's matrix product: rows gathered by offset, times packed weights.
//!
//! A convolution over channels-last images is a matrix product whose left rows are not contiguous: for each tap of the
//! kernel a row is a run of channels somewhere in the image. Giving the product a list of offsets instead of a matrix
//! (an indirect GEMM) makes a convolution, a strided convolution and a linear layer the same loop, without ever
//! copying the image out.
//!
//! The loop is written with vectors, whatever they are: natively the widest there are, chosen when it runs, in wasm those
//! of `simd128`. Nothing in it is left to the compiler's own vectoriser or unroller, which do not work where the last
//! stage of compilation is for size, as it is for the page.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::tile::{ROWS, height, second};
use crate::{parallel, scratch, winograd};

/// Columns of a panel: two vectors of AVX2, or of wasm's `simd128`, or one of AVX-512.
pub const COLUMNS: usize = if cfg!(target_arch = "wasm32") { 8 } else { 16 };
/// Rows whose inputs are meant to stay in the cache: some 600 of 64 channels are 150 KB.
const BLOCK: usize = 600;

/// Multiply-adds that are done before another core has been woken.
pub(crate) const SMALL: usize = 1 << 18;

/// `COLUMNS` neighbouring columns of a row of a weight, zeros beyond the last.
pub type Panel = [f32; COLUMNS];

/// How a weight is laid out for the product that it is a factor of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packing {
    /// As it is, `[…, columns]`.
    Plain,
    /// `[3, 3, depth, columns]`, transformed for [`crate::winograd`].
    Winograd,
}

impl Packing {
    /// How many panels a weight of so many numbers and columns has.
    pub fn panels(self, weight: usize, columns: usize) -> usize {
        match self {
            Packing::Plain => weight / columns * columns.div_ceil(COLUMNS),
            Packing::Winograd => winograd::panels(weight, columns),
        }
    }

    /// Writes the panels of a weight of so many columns.
    pub fn pack_to(self, weight: &[f32], columns: usize, panels: &mut [Panel]) {
        match self {
            Packing::Plain => pack_to(weight, columns, panels),
            Packing::Winograd => winograd::pack_to(weight, columns, panels),
        }
    }

    /// Calls `multiply` with the panels of a weight of so many columns.
    pub fn packed(self, weight: &[f32], columns: usize, multiply: impl FnOnce(&[Panel])) {
        scratch(self.panels(weight.len(), columns) * COLUMNS, |panels| {
            let (panels, _) = panels.as_chunks_mut();
            self.pack_to(weight, columns, panels);
            multiply(panels);
        });
    }

    /// The panels of a weight of so many columns.
    pub fn pack(self, weight: &[f32], columns: usize) -> Vec<Panel> {
        let mut panels = vec![[0.0; COLUMNS]; self.panels(weight.len(), columns)];
        self.pack_to(weight, columns, &mut panels);
        panels
    }
}

/// A weight `[…, columns]` as panels.
pub fn pack(weight: &[f32], columns: usize) -> Vec<Panel> {
    Packing::Plain.pack(weight, columns)
}

/// A weight `[rows, columns]` as panels, those of the first columns first, so that the inner loop streams them.
fn pack_to(weight: &[f32], columns: usize, panels: &mut [Panel]) {
    /// Rows that are worth another core.
    const SHARE: usize = 1024;

    let rows = weight.len() / columns;
    if rows == 0 {
        return;
    }
    let shares = panels.chunks_exact_mut(rows).enumerate().flat_map(|(i, panels)| {
        let shares = panels.chunks_mut(SHARE).enumerate();
        shares.map(move |(share, panels)| (share * SHARE, i * COLUMNS, panels))
    });
    parallel::each(shares.collect(), |(row, first, panels)| {
        let width = COLUMNS.min(columns - first);
        for (row, panel) in weight[row * columns..].chunks_exact(columns).zip(panels) {
            match row[first..].first_chunk() {
                Some(run) => *panel = *run,
                None => {
                    *panel = [0.0; COLUMNS];
                    panel[..width].copy_from_slice(&row[first..][..width]);
                }
            }
        }
    });
}

/// `scale` times a weight of so many columns as panels, from its rows.
pub fn pack_rows<'a>(rows: impl ExactSizeIterator<Item = &'a [f32]>, columns: usize, scale: f32) -> Vec<Panel> {
    let depth = rows.len();
    let mut panels = vec![[0.0; COLUMNS]; depth * columns.div_ceil(COLUMNS)];
    for (k, row) in rows.enumerate() {
        for (block, run) in row.chunks(COLUMNS).enumerate() {
            panels[block * depth + k].iter_mut().zip(run).for_each(|(element, x)| *element = scale * x);
        }
    }
    panels
}

/// `scale` times a weight of so many rows as panels, from its columns.
pub fn pack_columns<'a>(columns: impl ExactSizeIterator<Item = &'a [f32]>, depth: usize, scale: f32) -> Vec<Panel> {
    let mut panels = vec![[0.0; COLUMNS]; depth * columns.len().div_ceil(COLUMNS)];
    for (c, column) in columns.enumerate() {
        let block = &mut panels[c / COLUMNS * depth..][..depth];
        block.iter_mut().zip(column).for_each(|(panel, x)| panel[c % COLUMNS] = scale * x);
    }
    panels
}

/// `sum[r, c] = Σ_tap Σ_k input[rows[r] + taps[tap] + k] · weight[tap, k, c]`, completed by [`Store`].
pub struct Gemm<'a> {
    /// The elements that rows are gathered from.
    pub input: &'a [f32],
    /// Where each output row's runs start in `input`, before the tap's own offset.
    pub rows: &'a [usize],
    /// What each tap adds to a row's start.
    pub taps: &'a [usize],
    /// Elements of a run.
    pub depth: usize,
    /// The weight `[taps, depth, columns]`, packed.
    pub panels: &'a [Panel],
    /// What becomes of the sums.
    pub store: Store<'a>,
}

/// What is done to sums on their way to memory: `out[r, c] = (sum + bias[r / share, c] + residual[r, c]) · scale`.
#[derive(Clone, Copy)]
pub struct Store<'a> {
    /// How many columns there are.
    pub columns: usize,
    /// `[rows / share, columns]`; empty is none.
    pub bias: &'a [f32],
    /// Rows that share a row of the bias.
    pub share: usize,
    /// `[rows, columns]`; empty is none.
    pub residual: &'a [f32],
    /// What all is multiplied by.
    pub scale: f32,
}

impl<'a> Store<'a> {
    /// Nothing but the sums.
    pub fn sums(columns: usize) -> Self {
        Store { columns, bias: &[], share: usize::MAX, residual: &[], scale: 1.0 }
    }

    /// The sums and a bias `[columns]`.
    pub fn biased(bias: &'a [f32]) -> Self {
        Store { bias, ..Store::sums(bias.len()) }
    }

    /// Whether it leaves sums as they are.
    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.bias.is_empty() && self.residual.is_empty() && self.scale == 1.0
    }

    /// The completed sum of one row and column.
    pub fn complete(&self, row: usize, column: usize, sum: f32) -> f32 {
        let at = |data: &[f32], row: usize| if data.is_empty() { 0.0 } else { data[row * self.columns + column] };
        (sum + at(self.bias, row / self.share) + at(self.residual, row)) * self.scale
    }

    /// Completes two vectors of a row, from `column` on, or as much of them as `out` takes.
    #[inline(always)]
    fn put<S: Simd>(&self, simd: S, row: usize, column: usize, [a, b]: [S::f32s; 2], out: &mut [f32]) {
        let (out_a, out_b) = out.split_at_mut(out.len().min(S::F32_LANES));
        self.put_vector(simd, row, column, a, out_a);
        if !out_b.is_empty() {
            self.put_vector(simd, row, column + S::F32_LANES, b, out_b);
        }
    }

    /// Completes a vector of a row, or as much of it as `out` takes.
    #[inline(always)]
    fn put_vector<S: Simd>(&self, simd: S, row: usize, column: usize, sum: S::f32s, out: &mut [f32]) {
        if let ([out], []) = S::as_mut_simd_f32s(out) {
            *out = if self.is_plain() { sum } else { self.complete_vector(simd, row, column, sum) };
            return;
        }
        for (i, (out, sum)) in out.iter_mut().zip(bytemuck::cast_slice(&[sum])).enumerate() {
            *out = self.complete(row, column + i, *sum);
        }
    }

    /// The completed sums of a vector of columns.
    #[inline(always)]
    fn complete_vector<S: Simd>(&self, simd: S, row: usize, column: usize, sum: S::f32s) -> S::f32s {
        self.of_columns(simd, row, column).complete(simd, row, sum)
    }

    /// What is done to the sums of a vector of columns in all rows that share a row of the bias with this one.
    #[inline(always)]
    pub(crate) fn of_columns<S: Simd>(&self, simd: S, row: usize, column: usize) -> StoreColumns<'a, S> {
        let bias = match self.bias {
            [] => simd.splat_f32s(0.0),
            bias => S::as_simd_f32s(&bias[row / self.share * self.columns + column..][..S::F32_LANES]).0[0],
        };
        StoreColumns {
            bias,
            residual: self.residual,
            columns: self.columns,
            column,
            scale: simd.splat_f32s(self.scale),
        }
    }
}

/// What is done to the sums of a vector of columns.
pub(crate) struct StoreColumns<'a, S: Simd> {
    bias: S::f32s,
    residual: &'a [f32],
    columns: usize,
    column: usize,
    scale: S::f32s,
}

impl<S: Simd> StoreColumns<'_, S> {
    /// The completed sums of a row.
    #[inline(always)]
    pub(crate) fn complete(&self, simd: S, row: usize, sum: S::f32s) -> S::f32s {
        let mut sum = simd.add_f32s(sum, self.bias);
        if !self.residual.is_empty() {
            let residual = &self.residual[row * self.columns + self.column..][..S::F32_LANES];
            sum = simd.add_f32s(sum, S::as_simd_f32s(residual).0[0]);
        }
        simd.mul_f32s(sum, self.scale)
    }
}

impl Gemm<'_> {
    /// Computes `out`: `[rows, columns]`.
    pub fn run(&self, out: &mut [f32]) {
        let columns = self.store.columns;
        let threads = parallel::threads();
        let macs = self.rows.len() * self.taps.len() * self.depth * columns;
        if threads == 1 || macs < SMALL {
            return self.vectorised(0, 0, columns, out);
        }
        if self.rows.len() >= 4 * ROWS * threads {
            let share = self.rows.len().div_ceil(2 * threads).next_multiple_of(ROWS).min(BLOCK);
            let shares = out.chunks_mut(share * columns).enumerate().collect();
            return parallel::each(shares, |(i, out)| self.vectorised(i * share, 0, columns, out));
        }
        // Few rows, as at the bottom of a U-Net: each core takes some of the columns.
        let share = columns.div_ceil(2 * threads).next_multiple_of(COLUMNS);
        let width = |first: usize| share.min(columns - first);
        let part = |first: usize| (first, vec![0.0; self.rows.len() * width(first)]);
        let mut parts: Vec<(usize, Vec<f32>)> = (0..columns).step_by(share).map(part).collect();
        parallel::each(parts.iter_mut().collect(), |(first, part)| self.vectorised(0, *first, width(*first), part));
        for (first, part) in parts {
            for (row, part) in out.chunks_exact_mut(columns).zip(part.chunks_exact(width(first))) {
                row[first..][..width(first)].copy_from_slice(part);
            }
        }
    }

    /// [`Gemm::block`] with the widest vectors there are.
    fn vectorised(&self, row: usize, first: usize, width: usize, out: &mut [f32]) {
        /// A closure would not be inlined, and so not be compiled for those vectors.
        struct Block<'a> {
            gemm: &'a Gemm<'a>,
            row: usize,
            first: usize,
            width: usize,
            out: &'a mut [f32],
        }

        impl WithSimd for Block<'_> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                self.gemm.block(simd, self.row, self.first, self.width, self.out);
            }
        }

        pulp::Arch::new().dispatch(Block { gemm: self, row, first, width, out });
    }

    /// Rows from `row` on, as many as fill `out`, `[…, width]`, of the `width` columns from `first`, which begins a panel.
    #[inline(always)]
    pub fn block<S: Simd>(&self, simd: S, row: usize, first: usize, width: usize, out: &mut [f32]) {
        let depth = self.taps.len() * self.depth;
        // A block of rows stays in the cache while all columns of it are computed.
        for (i, out) in out.chunks_mut(BLOCK * width).enumerate() {
            let begin = row + i * BLOCK;
            for column in (0..width).step_by(2 * S::F32_LANES) {
                let vector = |column: usize| {
                    let column = first + column;
                    (&self.panels[column / COLUMNS * depth..][..depth], column % COLUMNS / S::F32_LANES)
                };
                // Where only one vector is left the other is the same once more, and is not stored.
                let vectors = [vector(column), vector(second::<S>(column, width))];
                let columns = column..width.min(column + 2 * S::F32_LANES);
                let mut place = Place { vectors, row: begin, column: first + column, columns };
                let mut out = &mut *out;
                while !out.is_empty() {
                    let done = match height::<S>(out.len() / width) {
                        12 => self.twelve(simd, &place, width, out),
                        8 => self.eight(simd, &place, width, out),
                        6 => self.six(simd, &place, width, out),
                        4 => self.four(simd, &place, width, out),
                        _ => self.one(simd, &place, width, out),
                    };
                    place.row += done;
                    out = &mut out[done * width..];
                }
            }
        }
    }
}

/// What a tile computes.
struct Place<'a> {
    /// Where its two vectors of weights are: some panels, and which vector of each.
    vectors: [(&'a [Panel], usize); 2],
    /// The first row.
    row: usize,
    /// The first column.
    column: usize,
    /// Where its columns are in a row of what is written.
    columns: Range<usize>,
}

/// A method that computes so many rows of two vectors, the first rows of `out`, `[…, width]`. Returns their number.
///
/// Rows have names, since an array of sums would be kept in memory by a compiler that does not unroll the loop over it.
macro_rules! tile {
    ($name:ident: $($index:literal $run:ident $a:ident $b:ident),*) => {
        #[inline(always)]
        fn $name<S: Simd>(&self, simd: S, place: &Place<'_>, width: usize, out: &mut [f32]) -> usize {
            $(let (mut $a, mut $b) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));)*
            let [(panels_a, vector_a), (panels_b, vector_b)] = place.vectors;
            // Where a panel is as wide as the tile both are of the same one, and one pointer does.
            let is_one = COLUMNS == 2 * S::F32_LANES;
            let panels = panels_a.chunks_exact(self.depth).zip(panels_b.chunks_exact(self.depth));
            for (tap, (panels_a, panels_b)) in self.taps.iter().zip(panels) {
                $(let $run = &self.input[self.rows[place.row + $index] + tap..][..panels_a.len()];)*
                for (k, (a, b)) in panels_a.iter().zip(panels_b).enumerate() {
                    let (a, b) = (S::as_simd_f32s(a).0, S::as_simd_f32s(b).0);
                    let (a, b) = if is_one { (a[0], a[1]) } else { (a[vector_a], b[vector_b]) };
                    $(
                        let x = simd.splat_f32s($run[k]);
                        $a = simd.mul_add_e_f32s(x, a, $a);
                        $b = simd.mul_add_e_f32s(x, b, $b);
                    )*
                }
            }
            $(
                let columns = &mut out[$index * width..][..width][place.columns.clone()];
                self.store.put(simd, place.row + $index, place.column, [$a, $b], columns);
            )*
            [$($index),*].len()
        }
    };
}

impl Gemm<'_> {
    tile!(one: 0 run0 a0 b0);
    tile!(four: 0 run0 a0 b0, 1 run1 a1 b1, 2 run2 a2 b2, 3 run3 a3 b3);
    tile!(six: 0 run0 a0 b0, 1 run1 a1 b1, 2 run2 a2 b2, 3 run3 a3 b3, 4 run4 a4 b4, 5 run5 a5 b5);
    tile!(eight: 0 run0 a0 b0, 1 run1 a1 b1, 2 run2 a2 b2, 3 run3 a3 b3, 4 run4 a4 b4, 5 run5 a5 b5, 6 run6 a6 b6, 7 run7 a7 b7);
    tile!(twelve: 0 run0 a0 b0, 1 run1 a1 b1, 2 run2 a2 b2, 3 run3 a3 b3, 4 run4 a4 b4, 5 run5 a5 b5, 6 run6 a6 b6, 7 run7 a7 b7, 8 run8 a8 b8, 9 run9 a9 b9, 10 run10 a10 b10, 11 run11 a11 b11);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers;

    /// A product with everything, over rows that overlap.
    #[test]
    fn agrees_with_its_definition() {
        for (rows, depth, columns) in
            [(1, 4, 4), (7, 12, 20), (8, 5, 16), (9, 8, 36), (16, 4, 100), (29, 8, 48), (700, 4, 8)]
        {
            let (share, taps) = (3, [0, 2]);
            let starts: Vec<usize> = (0..rows).map(|row| row * 3).collect();
            let input = numbers(1, 3 * rows + depth + 2);
            let weight = numbers(2, taps.len() * depth * columns);
            let bias = numbers(3, rows.div_ceil(share) * columns);
            let residual = numbers(4, rows * columns);
            let mut out = vec![f32::NAN; rows * columns];
            let store = Store { columns, bias: &bias, share, residual: &residual, scale: 0.5 };
            let panels = pack(&weight, columns);
            Gemm { input: &input, rows: &starts, taps: &taps, depth, panels: &panels, store }.run(&mut out);
            for (i, &out) in out.iter().enumerate() {
                let (row, column) = (i / columns, i % columns);
                let run = taps.iter().flat_map(|tap| &input[starts[row] + tap..][..depth]);
                let sum: f32 = run.zip(weight[column..].iter().step_by(columns)).map(|(x, w)| x * w).sum();
                let expected = (sum + bias[row / share * columns + column] + residual[i]) * 0.5;
                assert!((out - expected).abs() < 1e-4, "{rows}×{depth}×{columns}: {out} at {i}, not {expected}");
            }
        }
    }
}
