//! The CPU's other matrix product, that of gradients: one whose depth is the rows of both factors.
//!
//! The gradient of a weight is `xᵀ g`, a sum of outer products, one a pixel. As in [`crate::gemm`] the rows of the factors are
//! gathered by offset, so that neither a convolution's windows nor the heads of attention are ever copied out as a whole.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::gemm::{COLUMNS, Panel, SMALL};
use crate::tile::{height, second};
use crate::{parallel, scratch};

/// Rows of the factors that are taken at once: so much of both stays in the cache.
const BLOCK: usize = 128;
/// Elements of the left factor's rows that are gathered together.
const WIDE: usize = 24;
/// Numbers of a strip, a block of rows of so many elements. A tile that begins within a row ends within the row after the last.
const STRIP: usize = (BLOCK + 1) * WIDE;
/// Panels of the right factor's rows that are gathered together.
const PANELS: usize = 64 / COLUMNS;

/// `out[split, tap, k, c] = Σ_r input[rows[r] + taps[tap] + k] · scale · right[right_rows[r] + c]` over the rows r of a split.
pub struct OuterProducts<'a> {
    /// The elements that the left factor's rows are gathered from.
    pub input: &'a [f32],
    /// Where each row starts in `input`, before the tap's own offset.
    pub rows: &'a [usize],
    /// What each tap adds to a row's start.
    pub taps: &'a [usize],
    /// Elements of a run; a multiple of four.
    pub depth: usize,
    /// The elements that the right factor's rows are gathered from.
    pub right: &'a [f32],
    /// Where each row starts in `right`.
    pub right_rows: &'a [usize],
    /// Elements of one.
    pub columns: usize,
    /// What they are multiplied by.
    pub scale: f32,
    /// In how many parts the rows are summed up, [`OuterProducts::split`] in each.
    pub splits: usize,
}

impl OuterProducts<'_> {
    /// How many rows a part has, the last ones perhaps fewer.
    pub fn split(rows: usize, splits: usize) -> usize {
        rows.div_ceil(splits)
    }

    /// Computes `out`: `[splits, taps, depth, columns]`.
    pub fn run(&self, out: &mut [f32]) {
        out.fill(0.0);
        self.add(out);
    }

    /// Adds to `out`: `[splits, taps, depth, columns]`. However many cores share the work, each number is summed up in the
    /// same order.
    pub fn add(&self, out: &mut [f32]) {
        assert!(self.depth.is_multiple_of(4), "runs are of whole vec4s");
        let (taps, wanted) = (self.splits * self.taps.len(), 2 * parallel::threads());
        // Where there are fewer taps than cores want, some of a tap's run each.
        let share = self.depth.div_ceil(wanted.div_ceil(taps)).next_multiple_of(4);
        let split = Self::split(self.rows.len(), self.splits);
        let mut shares = Vec::new();
        for (i, out) in out.chunks_exact_mut(self.depth * self.columns).enumerate() {
            let (part, tap) = (i / self.taps.len(), i % self.taps.len());
            let rows = (part * split).min(self.rows.len())..((part + 1) * split).min(self.rows.len());
            for (k, out) in out.chunks_mut(share * self.columns).enumerate() {
                shares.push((rows.clone(), self.taps[tap] + k * share, out));
            }
        }
        let share = |(rows, first, out): (Range<usize>, usize, &mut [f32])| self.vectorised(rows, first, out);
        if self.rows.len() * self.taps.len() * self.depth * self.columns < SMALL {
            return shares.into_iter().for_each(share);
        }
        parallel::each(shares, share);
    }

    /// [`OuterProducts::share`] with the widest vectors there are.
    fn vectorised(&self, rows: Range<usize>, first: usize, out: &mut [f32]) {
        /// A closure would not be inlined, and so not be compiled for those vectors.
        struct Share<'a> {
            product: &'a OuterProducts<'a>,
            rows: Range<usize>,
            first: usize,
            scratch: &'a mut [f32],
            out: &'a mut [f32],
        }

        impl WithSimd for Share<'_> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                let (strip, panels) = self.scratch.split_at_mut(STRIP);
                self.product.share(simd, self.rows, self.first, strip, panels.as_chunks_mut().0, self.out);
            }
        }

        scratch(STRIP + PANELS * BLOCK * COLUMNS, |scratch| {
            pulp::Arch::new().dispatch(Share { product: self, rows, first, scratch, out });
        });
    }

    /// Adds the products of some rows to `out`, `[…, columns]`, whose first line is of the elements `first` behind where rows
    /// start. `strip` is for [`STRIP`] numbers of the left factor, `panels` for [`PANELS`] of [`BLOCK`] rows of the right one.
    #[inline(always)]
    fn share<S: Simd>(
        &self,
        simd: S,
        rows: Range<usize>,
        first: usize,
        strip: &mut [f32],
        panels: &mut [Panel],
        out: &mut [f32],
    ) {
        let lines = out.len() / self.columns;
        for begin in rows.clone().step_by(BLOCK) {
            let block = begin..rows.end.min(begin + BLOCK);
            for left in (0..self.columns).step_by(PANELS * COLUMNS) {
                let right = self.columns.min(left + PANELS * COLUMNS);
                self.gather_right(block.clone(), left..right, panels);
                for wide in (0..lines).step_by(WIDE) {
                    let width = WIDE.min(lines - wide);
                    match width {
                        24 => self.gather::<24>(block.clone(), first + wide, strip),
                        20 => self.gather::<20>(block.clone(), first + wide, strip),
                        16 => self.gather::<16>(block.clone(), first + wide, strip),
                        12 => self.gather::<12>(block.clone(), first + wide, strip),
                        8 => self.gather::<8>(block.clone(), first + wide, strip),
                        _ => self.gather::<4>(block.clone(), first + wide, strip),
                    }
                    let mut line = 0;
                    while line < width {
                        let height = height::<S>(width - line);
                        let strip = &strip[line..][..block.len() * WIDE];
                        let out = &mut out[(wide + line) * self.columns..][..height * self.columns];
                        for column in (left..right).step_by(2 * S::F32_LANES) {
                            let vector = |column: usize| {
                                let panel = &panels[(column - left) / COLUMNS * BLOCK..][..block.len()];
                                (panel, column % COLUMNS / S::F32_LANES)
                            };
                            let vectors = [vector(column), vector(second::<S>(column, right))];
                            match height {
                                12 => twelve_lines(simd, strip, vectors, column, self.columns, out),
                                8 => eight_lines(simd, strip, vectors, column, self.columns, out),
                                6 => six_lines(simd, strip, vectors, column, self.columns, out),
                                _ => four_lines(simd, strip, vectors, column, self.columns, out),
                            }
                        }
                        line += height;
                    }
                }
            }
        }
    }

    /// Copies so many elements of some rows, from those `first` behind their starts on. How many there are is known when it is
    /// compiled, so that they are loads and stores and no calls.
    #[inline(always)]
    fn gather<const WIDTH: usize>(&self, rows: Range<usize>, first: usize, strip: &mut [f32]) {
        for (strip, row) in strip.as_chunks_mut::<WIDE>().0.iter_mut().zip(&self.rows[rows]) {
            strip[..WIDTH].copy_from_slice(&self.input[row + first..][..WIDTH]);
        }
    }

    /// Copies some columns of some rows of the right factor, multiplied by what it is to be, to panels of [`BLOCK`] rows.
    #[inline(always)]
    fn gather_right(&self, rows: Range<usize>, columns: Range<usize>, panels: &mut [Panel]) {
        for (column, panels) in columns.clone().step_by(COLUMNS).zip(panels.chunks_exact_mut(BLOCK)) {
            let width = COLUMNS.min(columns.end - column);
            for (panel, row) in panels.iter_mut().zip(&self.right_rows[rows.clone()]) {
                let run = &self.right[row + column..][..width];
                if let Some(run) = run.first_chunk::<COLUMNS>() {
                    *panel = run.map(|x| self.scale * x);
                } else {
                    *panel = [0.0; COLUMNS];
                    panel.iter_mut().zip(run).for_each(|(element, x)| *element = self.scale * x);
                }
            }
        }
    }
}

/// A function that adds the products of the first elements of a strip's rows, `[rows, WIDE]`, and two vectors of columns to so
/// many lines of `out`, `[lines, columns]`.
macro_rules! tile {
    ($name:ident: $($index:literal $a:ident $b:ident),*) => {
        #[inline(always)]
        fn $name<S: Simd>(
            simd: S,
            strip: &[f32],
            [(panels_a, vector_a), (panels_b, vector_b)]: [(&[Panel], usize); 2],
            column: usize,
            columns: usize,
            out: &mut [f32],
        ) {
            $(let (mut $a, mut $b) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));)*
            for (run, (a, b)) in strip.as_chunks::<WIDE>().0.iter().zip(panels_a.iter().zip(panels_b)) {
                let (a, b) = (S::as_simd_f32s(a).0[vector_a], S::as_simd_f32s(b).0[vector_b]);
                $(
                    let x = simd.splat_f32s(run[$index]);
                    $a = simd.mul_add_e_f32s(x, a, $a);
                    $b = simd.mul_add_e_f32s(x, b, $b);
                )*
            }
            let end = columns.min(column + 2 * S::F32_LANES);
            $(add(simd, [$a, $b], &mut out[$index * columns..][column..end]);)*
        }
    };
}

tile!(four_lines: 0 a0 b0, 1 a1 b1, 2 a2 b2, 3 a3 b3);
tile!(six_lines: 0 a0 b0, 1 a1 b1, 2 a2 b2, 3 a3 b3, 4 a4 b4, 5 a5 b5);
tile!(eight_lines: 0 a0 b0, 1 a1 b1, 2 a2 b2, 3 a3 b3, 4 a4 b4, 5 a5 b5, 6 a6 b6, 7 a7 b7);
tile!(twelve_lines: 0 a0 b0, 1 a1 b1, 2 a2 b2, 3 a3 b3, 4 a4 b4, 5 a5 b5, 6 a6 b6, 7 a7 b7, 8 a8 b8, 9 a9 b9, 10 a10 b10, 11 a11 b11);

/// Adds the products of all rows of two factors, `[rows, depth]` and `[rows, columns]`, to `out`: `[depth, columns]`. The depth is
/// a multiple of four, and columns are whole vectors.
#[inline(always)]
pub(crate) fn add_products<S: Simd>(simd: S, left: &[f32], right: &[f32], depth: usize, out: &mut [f32]) {
    let columns = out.len() / depth;
    assert!(depth.is_multiple_of(4) && columns.is_multiple_of(S::F32_LANES), "{depth} × {columns} in tiles");
    for column in (0..columns).step_by(2 * S::F32_LANES) {
        let mut line = 0;
        while line < depth {
            let (left, vectors) = (&left[line..], [&right[column..], &right[second::<S>(column, columns)..]]);
            let out = &mut out[line * columns..];
            let height = height::<S>(depth - line);
            match height {
                12 => twelve_rows(simd, left, depth, vectors, column, columns, out),
                8 => eight_rows(simd, left, depth, vectors, column, columns, out),
                6 => six_rows(simd, left, depth, vectors, column, columns, out),
                _ => four_rows(simd, left, depth, vectors, column, columns, out),
            }
            line += height;
        }
    }
}

/// A function that adds the products of the first elements of a factor's rows, which are `depth` apart, and two vectors of the
/// other's, `columns` apart, to so many lines of `out`, `[lines, columns]`.
macro_rules! rows {
    ($name:ident, $height:literal: $($index:literal $a:ident $b:ident),*) => {
        #[inline(always)]
        fn $name<S: Simd>(
            simd: S,
            left: &[f32],
            depth: usize,
            [a, b]: [&[f32]; 2],
            column: usize,
            columns: usize,
            out: &mut [f32],
        ) {
            $(let (mut $a, mut $b) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));)*
            for (run, (a, b)) in left.chunks(depth).zip(a.chunks(columns).zip(b.chunks(columns))) {
                let (Some(run), [a, ..], [b, ..]) =
                    (run.first_chunk::<$height>(), S::as_simd_f32s(a).0, S::as_simd_f32s(b).0)
                else {
                    break;
                };
                $(
                    let x = simd.splat_f32s(run[$index]);
                    $a = simd.mul_add_e_f32s(x, *a, $a);
                    $b = simd.mul_add_e_f32s(x, *b, $b);
                )*
            }
            let end = columns.min(column + 2 * S::F32_LANES);
            $(add(simd, [$a, $b], &mut out[$index * columns..][column..end]);)*
        }
    };
}

rows!(four_rows, 4: 0 a0 b0, 1 a1 b1, 2 a2 b2, 3 a3 b3);
rows!(six_rows, 6: 0 a0 b0, 1 a1 b1, 2 a2 b2, 3 a3 b3, 4 a4 b4, 5 a5 b5);
rows!(eight_rows, 8: 0 a0 b0, 1 a1 b1, 2 a2 b2, 3 a3 b3, 4 a4 b4, 5 a5 b5, 6 a6 b6, 7 a7 b7);
rows!(twelve_rows, 12: 0 a0 b0, 1 a1 b1, 2 a2 b2, 3 a3 b3, 4 a4 b4, 5 a5 b5, 6 a6 b6, 7 a7 b7, 8 a8 b8, 9 a9 b9, 10 a10 b10, 11 a11 b11);

/// Adds two vectors to `out`, or as much of them as it takes.
#[inline(always)]
fn add<S: Simd>(simd: S, [a, b]: [S::f32s; 2], out: &mut [f32]) {
    let (out_a, out_b) = out.split_at_mut(out.len().min(S::F32_LANES));
    add_vector(simd, a, out_a);
    if !out_b.is_empty() {
        add_vector(simd, b, out_b);
    }
}

/// Adds a vector to `out`, or as much of it as it takes.
#[inline(always)]
fn add_vector<S: Simd>(simd: S, sum: S::f32s, out: &mut [f32]) {
    if let ([out], []) = S::as_mut_simd_f32s(out) {
        *out = simd.add_f32s(*out, sum);
        return;
    }
    out.iter_mut().zip(bytemuck::cast_slice(&[sum])).for_each(|(out, sum): (_, &f32)| *out += sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers;

    /// Over rows that overlap, in whole and in parts.
    #[test]
    fn agrees_with_its_definition() {
        for (rows, depth, columns, splits) in
            [(1, 4, 4, 1), (7, 12, 20, 2), (300, 8, 16, 3), (130, 20, 36, 1), (140, 52, 8, 1), (150, 12, 132, 1)]
        {
            let taps = [0, 2];
            let starts: Vec<usize> = (0..rows).map(|row| row * 3).collect();
            let input = numbers(1, 3 * rows + depth + 2);
            // The right factor's rows have something between them.
            let right_rows: Vec<usize> = (0..rows).map(|row| row * (columns + 1)).collect();
            let right = numbers(2, rows * (columns + 1));
            let mut out = vec![f32::NAN; splits * taps.len() * depth * columns];
            let (input, rows_of, right, right_rows) = (&input[..], &starts[..], &right[..], &right_rows[..]);
            let product = OuterProducts {
                input,
                rows: rows_of,
                taps: &taps,
                depth,
                right,
                right_rows,
                columns,
                scale: 0.5,
                splits,
            };
            product.run(&mut out);
            let split = OuterProducts::split(rows, splits);
            for (i, &out) in out.iter().enumerate() {
                let (line, column) = (i / columns, i % columns);
                let (part, tap, k) = (line / depth / taps.len(), line / depth % taps.len(), line % depth);
                let of_part = part * split..rows.min((part + 1) * split);
                let sum: f32 =
                    of_part.map(|row| input[starts[row] + taps[tap] + k] * 0.5 * right[right_rows[row] + column]).sum();
                assert!((out - sum).abs() < 1e-4, "{rows}×{depth}×{columns}: {out} at {i}, not {sum}");
            }
        }
    }

    #[cfg(not(target_arch = "wasm32"))] // where there is one core
    #[test]
    fn any_number_of_cores_gives_the_same_bits() {
        let (rows, depth, columns) = (1000, 20, 20);
        let starts: Vec<usize> = (0..rows).map(|row| row * depth).collect();
        let (input, right) = (numbers(1, rows * depth), numbers(2, rows * columns));
        let product = |threads: usize| {
            let mut out = vec![0.0; depth * columns];
            let (input, right, rows) = (&input[..], &right[..], &starts[..]);
            let right_rows = rows;
            let product =
                OuterProducts { input, rows, taps: &[0], depth, right, right_rows, columns, scale: 1.0, splits: 1 };
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| product.run(&mut out));
            out
        };
        assert_eq!(product(1), product(2));
        assert_eq!(product(1), product(5));
    }
}
