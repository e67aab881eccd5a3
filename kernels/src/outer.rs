//! The CPU's other matrix product, that of gradients: one whose depth is the rows of both factors.
//!
//! The gradient of a weight is `xᵀ g`, a sum of outer products, one a pixel. As in [`crate::gemm`] the rows of the left factor
//! are gathered by offset, so that a convolution's windows are never copied out as a whole.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::gemm::{COLUMNS, Panel, SMALL};
use crate::{parallel, scratch};

/// Rows of the output computed together, as in [`crate::gemm`].
const ROWS: usize = if cfg!(target_arch = "wasm32") { 4 } else { 6 };
/// Rows of the factors that are taken at once: so much of both stays in the cache.
const BLOCK: usize = 128;
/// Elements of the left factor's rows that are gathered together.
const WIDE: usize = 24;
/// Numbers of a strip, a block of rows of so many elements. A tile that begins within a row ends within the row after the last.
const STRIP: usize = (BLOCK + 1) * WIDE;

/// `out[split, tap, k, c] = Σ_r input[rows[r] + taps[tap] + k] · right[r, c]` over the rows r of a split.
pub struct OuterProducts<'a> {
    /// The elements that the left factor's rows are gathered from.
    pub input: &'a [f32],
    /// Where each row starts in `input`, before the tap's own offset.
    pub rows: &'a [usize],
    /// What each tap adds to a row's start.
    pub taps: &'a [usize],
    /// Elements of a run; a multiple of four.
    pub depth: usize,
    /// The right factor `[rows, columns]`, packed by [`crate::gemm::pack`].
    pub panels: &'a [Panel],
    /// How many columns there are.
    pub columns: usize,
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
            strip: &'a mut [f32],
            out: &'a mut [f32],
        }

        impl WithSimd for Share<'_> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                self.product.share(simd, self.rows, self.first, self.strip, self.out);
            }
        }

        scratch(STRIP, |strip| pulp::Arch::new().dispatch(Share { product: self, rows, first, strip, out }));
    }

    /// Adds the products of some rows to `out`, `[…, columns]`, whose first line is of the elements `first` behind where rows
    /// start. `strip` is for [`STRIP`] numbers of the left factor.
    #[inline(always)]
    fn share<S: Simd>(&self, simd: S, rows: Range<usize>, first: usize, strip: &mut [f32], out: &mut [f32]) {
        let lines = out.len() / self.columns;
        for begin in rows.clone().step_by(BLOCK) {
            let block = begin..rows.end.min(begin + BLOCK);
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
                    let height = height(width - line);
                    let strip = &strip[line..][..block.len() * WIDE];
                    let out = &mut out[(wide + line) * self.columns..][..height * self.columns];
                    for column in (0..self.columns).step_by(COLUMNS) {
                        let panel = column / COLUMNS * self.rows.len() + block.start;
                        let panel = &self.panels[panel..][..block.len()];
                        if height == 6 {
                            six_lines(simd, strip, panel, column, self.columns, out);
                        } else {
                            four_lines(simd, strip, panel, column, self.columns, out);
                        }
                    }
                    line += height;
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
}

/// How many of the lines that are left are computed together: eight are two fours, all other multiples of four sixes and perhaps
/// one four or two.
#[inline(always)]
fn height(left: usize) -> usize {
    if ROWS == 6 && left >= 6 && left != 8 { 6 } else { 4 }
}

/// A function that adds the products of the first elements of a strip's rows, `[rows, WIDE]`, and a panel to so many lines of
/// `out`, `[lines, columns]`.
macro_rules! tile {
    ($name:ident: $($index:literal $a:ident $b:ident),*) => {
        #[inline(always)]
        fn $name<S: Simd>(simd: S, strip: &[f32], panel: &[Panel], column: usize, columns: usize, out: &mut [f32]) {
            let lanes = 2 * S::F32_LANES;
            for pair in 0..COLUMNS / lanes {
                let column = column + pair * lanes;
                if column >= columns {
                    break;
                }
                $(let (mut $a, mut $b) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));)*
                for (run, right) in strip.as_chunks::<WIDE>().0.iter().zip(panel) {
                    let [a, b] = S::as_simd_f32s(right).0.as_chunks().0[pair];
                    $(
                        let x = simd.splat_f32s(run[$index]);
                        $a = simd.mul_add_e_f32s(x, a, $a);
                        $b = simd.mul_add_e_f32s(x, b, $b);
                    )*
                }
                $(add(simd, [$a, $b], &mut out[$index * columns..][column..columns.min(column + lanes)]);)*
            }
        }
    };
}

tile!(four_lines: 0 a0 b0, 1 a1 b1, 2 a2 b2, 3 a3 b3);
tile!(six_lines: 0 a0 b0, 1 a1 b1, 2 a2 b2, 3 a3 b3, 4 a4 b4, 5 a5 b5);

/// Adds the products of all rows of two factors, `[rows, depth]` and `[rows, columns]`, to `out`: `[depth, columns]`. The depth is
/// a multiple of four, and columns are whole pairs of vectors.
#[inline(always)]
pub(crate) fn add_products<S: Simd>(simd: S, left: &[f32], right: &[f32], depth: usize, out: &mut [f32]) {
    let columns = out.len() / depth;
    assert!(depth.is_multiple_of(4) && columns.is_multiple_of(2 * S::F32_LANES), "{depth} × {columns} in tiles");
    for column in (0..columns).step_by(2 * S::F32_LANES) {
        let mut line = 0;
        while line < depth {
            let height = height(depth - line);
            let out = &mut out[line * columns + column..];
            if height == 6 {
                six_rows(simd, &left[line..], depth, &right[column..], columns, out);
            } else {
                four_rows(simd, &left[line..], depth, &right[column..], columns, out);
            }
            line += height;
        }
    }
}

/// A function that adds the products of the first elements of all rows of two factors, rows being `depth` and `columns` apart,
/// to so many lines of `out`, two vectors of each.
macro_rules! rows {
    ($name:ident, $height:literal: $($index:literal $a:ident $b:ident),*) => {
        #[inline(always)]
        fn $name<S: Simd>(simd: S, left: &[f32], depth: usize, right: &[f32], columns: usize, out: &mut [f32]) {
            let lanes = 2 * S::F32_LANES;
            $(let (mut $a, mut $b) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));)*
            for (run, right) in left.chunks(depth).zip(right.chunks(columns)) {
                let (Some(run), [[a, b], ..]) =
                    (run.first_chunk::<$height>(), S::as_simd_f32s(&right[..lanes]).0.as_chunks().0)
                else {
                    break;
                };
                $(
                    let x = simd.splat_f32s(run[$index]);
                    $a = simd.mul_add_e_f32s(x, *a, $a);
                    $b = simd.mul_add_e_f32s(x, *b, $b);
                )*
            }
            $(add(simd, [$a, $b], &mut out[$index * columns..][..lanes]);)*
        }
    };
}

rows!(four_rows, 4: 0 a0 b0, 1 a1 b1, 2 a2 b2, 3 a3 b3);
rows!(six_rows, 6: 0 a0 b0, 1 a1 b1, 2 a2 b2, 3 a3 b3, 4 a4 b4, 5 a5 b5);

/// Adds two vectors to `out`, or as much of them as it takes.
#[inline(always)]
fn add<S: Simd>(simd: S, sums: [S::f32s; 2], out: &mut [f32]) {
    if let ([a, b], []) = S::as_mut_simd_f32s(out) {
        *a = simd.add_f32s(*a, sums[0]);
        *b = simd.add_f32s(*b, sums[1]);
        return;
    }
    out.iter_mut().zip(bytemuck::cast_slice(&sums)).for_each(|(out, sum): (_, &f32)| *out += sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::pack;
    use crate::numbers;

    /// Over rows that overlap, in whole and in parts.
    #[test]
    fn agrees_with_its_definition() {
        for (rows, depth, columns, splits) in
            [(1, 4, 4, 1), (7, 12, 20, 2), (300, 8, 16, 3), (130, 20, 36, 1), (140, 52, 8, 1)]
        {
            let taps = [0, 2];
            let starts: Vec<usize> = (0..rows).map(|row| row * 3).collect();
            let input = numbers(1, 3 * rows + depth + 2);
            let right = numbers(2, rows * columns);
            let panels = pack(&right, columns);
            let mut out = vec![f32::NAN; splits * taps.len() * depth * columns];
            OuterProducts { input: &input, rows: &starts, taps: &taps, depth, panels: &panels, columns, splits }
                .run(&mut out);
            let split = OuterProducts::split(rows, splits);
            for (i, &out) in out.iter().enumerate() {
                let (line, column) = (i / columns, i % columns);
                let (part, tap, k) = (line / depth / taps.len(), line / depth % taps.len(), line % depth);
                let of_part = part * split..rows.min((part + 1) * split);
                let sum: f32 =
                    of_part.map(|row| input[starts[row] + taps[tap] + k] * right[row * columns + column]).sum();
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
        let panels = pack(&right, columns);
        let product = |threads: usize| {
            let mut out = vec![0.0; depth * columns];
            let (input, rows, panels) = (&input[..], &starts[..], &panels[..]);
            let product = OuterProducts { input, rows, taps: &[0], depth, panels, columns, splits: 1 };
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| product.run(&mut out));
            out
        };
        assert_eq!(product(1), product(2));
        assert_eq!(product(1), product(5));
    }
}
