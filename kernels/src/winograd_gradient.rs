//! The gradient of a 3×3 convolution of stride 1 by its weight, on the CPU with 2.25 times fewer multiplications.
//!
//! A tile of 2×2 outputs is Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A ([`crate::winograd`]), so the gradient by g from that by Y, dY, is
//! Gᵀ [Σ (Bᵀ d B) ⊙ (A dY Aᵀ)] G, summed over tiles. For all channels the elementwise products are sixteen sums of outer
//! products of a tile's inputs with its gradients.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::outer;
use crate::parallel;
use crate::scratch::scratch;
use crate::winograd::{Four, GAP, Images, POINTS, get, or_zero, put};

/// Tiles that are transformed before they are multiplied: both factors of a point, of 64 channels 8 KB each, stay in the L1
/// cache.
const TILES: usize = 32;
/// Parts of the tiles that are summed up by themselves, if there is but one share of the channels. Not as many as there are
/// cores: sums would depend on them.
const PARTS: usize = 16;
/// Tiles of a part that are worth sums of their own.
const PART: usize = 4 * TILES;
/// Channels of a share that are worth the transforms it has to do by itself.
const LEAST: usize = 16;
/// Sums of a share for each point: all of them, 256 KB, stay in the L2 cache.
const SUMS: usize = 1 << 12;

/// `out[tap, k, c] = Σ_pixel input[pixel + tap, k] · gradient[pixel, c]`, where the taps of a 3×3 kernel reach one pixel beyond
/// an image, and there is nothing.
pub struct WinogradGradient<'a> {
    /// What was convolved, of a multiple of sixteen channels.
    pub input: Images<'a>,
    /// The gradient by what became of it, of the same size, and of a multiple of sixteen channels.
    pub gradient: Images<'a>,
}

impl WinogradGradient<'_> {
    /// Computes `out`: `[3, 3, channels of the input, channels of the gradient]`. However many cores share the work, each
    /// number is summed up in the same order.
    pub fn run(&self, out: &mut [f32]) {
        let (depth, columns) = (self.input.channels, self.gradient.channels);
        let (mut rows, mut across) = (depth, columns);
        let shares = |rows: usize, across: usize| depth.div_ceil(rows) * columns.div_ceil(across);
        let halve = |rows: &mut usize, across: &mut usize| {
            let longer = if *rows >= *across { rows } else { across };
            *longer = longer.div_ceil(2).next_multiple_of(LEAST);
        };
        while rows * across > SUMS && rows.max(across) > LEAST {
            halve(&mut rows, &mut across);
        }
        // Each part of the tiles is transformed once, but each share of the channels transforms what it needs of all tiles.
        let tiles = self.tiles();
        let parts = (PARTS / shares(rows, across)).min(tiles / PART).max(1);
        let part = tiles.div_ceil(parts).next_multiple_of(TILES);
        while shares(rows, across) * parts < parallel::threads() && rows.max(across) > LEAST {
            halve(&mut rows, &mut across);
        }
        let mut sums = Vec::with_capacity(shares(rows, across) * parts);
        for first in (0..depth).step_by(rows) {
            for column in (0..columns).step_by(across) {
                for tile in (0..tiles).step_by(part) {
                    let (rows, columns) = (first..depth.min(first + rows), column..columns.min(column + across));
                    let numbers = vec![0.0; 9 * rows.len() * columns.len()];
                    sums.push((rows, columns, tile..tiles.min(tile + part), numbers));
                }
            }
        }
        parallel::each(sums.iter_mut().collect(), |(rows, columns, tiles, sums)| {
            self.share(rows.clone(), columns.clone(), tiles.clone(), sums);
        });
        for (rows, across, tiles, sums) in sums {
            for (i, line) in sums.chunks_exact(across.len()).enumerate() {
                let (tap, row) = (i / rows.len(), rows.start + i % rows.len());
                let out = &mut out[(tap * depth + row) * columns + across.start..][..line.len()];
                if tiles.start == 0 {
                    out.copy_from_slice(line);
                } else {
                    out.iter_mut().zip(line).for_each(|(out, sum)| *out += sum);
                }
            }
        }
    }

    /// How many tiles all images have.
    fn tiles(&self) -> usize {
        let Images { data, height, width, channels } = self.input;
        data.len() / (height * width * channels) * self.input.down() * self.input.across()
    }

    /// Computes `out`, `[3, 3, rows, columns]`, for some channels of the input, some of the gradient, and some tiles.
    fn share(&self, rows: Range<usize>, columns: Range<usize>, tiles: Range<usize>, out: &mut [f32]) {
        let gaps = (TILES * rows.len() + GAP, TILES * columns.len() + GAP);
        let sums = rows.len() * columns.len();
        scratch(POINTS * (gaps.0 + gaps.1 + sums), |scratch| {
            let (inputs, scratch) = scratch.split_at_mut(POINTS * gaps.0);
            let (gradients, sums) = scratch.split_at_mut(POINTS * gaps.1);
            sums.fill(0.0);
            let share = Share { product: self, rows, columns, tiles, gaps, inputs, gradients, sums, out };
            pulp::Arch::new().dispatch(share);
        });
    }
}

/// Some channels of both factors in some tiles.
struct Share<'a> {
    product: &'a WinogradGradient<'a>,
    /// Channels of the input.
    rows: Range<usize>,
    /// Channels of the gradient.
    columns: Range<usize>,
    /// Tiles of all images.
    tiles: Range<usize>,
    /// Elements from a point to the next of inputs, and of gradients.
    gaps: (usize, usize),
    /// `[16, TILES, rows]`, with gaps.
    inputs: &'a mut [f32],
    /// `[16, TILES, columns]`, with gaps.
    gradients: &'a mut [f32],
    /// `[16, rows, columns]`.
    sums: &'a mut [f32],
    /// `[3, 3, rows, columns]`.
    out: &'a mut [f32],
}

impl WithSimd for Share<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let WinogradGradient { input, gradient } = *self.product;
        let across = input.across();
        let (rows, columns) = (self.rows.len(), self.columns.len());
        for first in self.tiles.clone().step_by(TILES) {
            let tiles = TILES.min(self.tiles.end - first);
            // The first ones may be the end of a row of tiles, the last ones the beginning of another.
            let mut i = 0;
            while i < tiles {
                let (line, x) = ((first + i) / across, (first + i) % across);
                let run = x..across.min(x + tiles - i);
                let (inputs, gradients) = (&mut self.inputs[i * rows..], &mut self.gradients[i * columns..]);
                input.transform(simd, line, run.clone(), self.rows.clone(), inputs, self.gaps.0);
                expand(simd, &gradient, line, run.clone(), self.columns.clone(), gradients, self.gaps.1);
                i += run.len();
            }
            let points = self.inputs.chunks_exact(self.gaps.0).zip(self.gradients.chunks_exact(self.gaps.1));
            for ((left, right), sums) in points.zip(self.sums.chunks_exact_mut(rows * columns)) {
                outer::add_products(simd, &left[..tiles * rows], &right[..tiles * columns], rows, sums);
            }
        }
        self.complete(simd);
    }
}

/// A dY Aᵀ of some tiles of a row of tiles for some of their channels, to `points` as [`Images::transform`] does. Beyond the image
/// dY is zero.
#[inline(always)]
fn expand<S: Simd>(
    simd: S,
    images: &Images<'_>,
    line: usize,
    tiles: Range<usize>,
    channels: Range<usize>,
    points: &mut [f32],
    gap: usize,
) {
    let (image, y) = (line / images.down(), 2 * (line % images.down()));
    let (upper, lower) = (images.row(simd, image, y), images.row(simd, image, y + 1));
    let points = S::as_mut_simd_f32s(points).0;
    let [stride, first, depth, gap] =
        [images.channels, channels.start, channels.len(), gap].map(|numbers| numbers / S::F32_LANES);
    for c in 0..depth {
        for (i, x) in tiles.clone().enumerate() {
            let at = 2 * x * stride + first + c;
            let left = spread(simd, or_zero(simd, upper, at), or_zero(simd, lower, at));
            let right = spread(simd, or_zero(simd, upper, at + stride), or_zero(simd, lower, at + stride));
            let at = i * depth + c;
            put(points, at, gap, spread(simd, left.0, right.0));
            put(points, at + 4 * gap, gap, spread(simd, left.1, right.1));
            put(points, at + 8 * gap, gap, spread(simd, left.2, right.2));
            put(points, at + 12 * gap, gap, spread(simd, left.3, right.3));
        }
    }
}

/// A (a, b)ᵀ.
#[inline(always)]
fn spread<S: Simd>(simd: S, a: S::f32s, b: S::f32s) -> Four<S::f32s> {
    (a, simd.add_f32s(a, b), simd.sub_f32s(a, b), simd.neg_f32s(b))
}

/// Gᵀ (a, b, c, d)ᵀ.
#[inline(always)]
fn gather<S: Simd>(simd: S, (a, b, c, d): Four<S::f32s>) -> (S::f32s, S::f32s, S::f32s) {
    let half = simd.splat_f32s(0.5);
    let (sum, difference) = (simd.mul_f32s(half, simd.add_f32s(b, c)), simd.mul_f32s(half, simd.sub_f32s(b, c)));
    (simd.add_f32s(a, sum), difference, simd.add_f32s(sum, d))
}

impl Share<'_> {
    /// Gᵀ U G of all sums.
    #[inline(always)]
    fn complete<S: Simd>(&mut self, simd: S) {
        let vectors = self.rows.len() * self.columns.len() / S::F32_LANES;
        let (sums, out) = (S::as_simd_f32s(self.sums).0, S::as_mut_simd_f32s(self.out).0);
        for i in 0..vectors {
            let row0 = gather(simd, get(sums, i, vectors));
            let row1 = gather(simd, get(sums, i + 4 * vectors, vectors));
            let row2 = gather(simd, get(sums, i + 8 * vectors, vectors));
            let row3 = gather(simd, get(sums, i + 12 * vectors, vectors));
            let column0 = gather(simd, (row0.0, row1.0, row2.0, row3.0));
            let column1 = gather(simd, (row0.1, row1.1, row2.1, row3.1));
            let column2 = gather(simd, (row0.2, row1.2, row2.2, row3.2));
            let taps = [
                [column0.0, column1.0, column2.0],
                [column0.1, column1.1, column2.1],
                [column0.2, column1.2, column2.2],
            ];
            for (tap, value) in taps.as_flattened().iter().enumerate() {
                out[i + tap * vectors] = *value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers;

    #[test]
    fn agrees_with_its_definition() {
        for (images, height, width, depth, columns) in [
            (1_usize, 8_usize, 8_usize, 16_usize, 32_usize),
            (2, 5, 7, 48, 16),
            (40, 2, 3, 16, 16),
            (1, 9, 16, 32, 80),
            (3, 32, 31, 16, 16),
        ] {
            let input = numbers(1, images * height * width * depth);
            let gradient = numbers(2, images * height * width * columns);
            let of = |data, channels| Images { data, height, width, channels };
            let mut out = vec![f32::NAN; 9 * depth * columns];
            WinogradGradient { input: of(&input, depth), gradient: of(&gradient, columns) }.run(&mut out);
            let mut expected = vec![0.0; out.len()];
            for (pixel, gradient) in gradient.chunks_exact(columns).enumerate() {
                let (image, y, x) = (pixel / width / height, pixel / width % height, pixel % width);
                for tap in 0..9 {
                    let (y, x) = (y + tap / 3, x + tap % 3);
                    if !(1..=height).contains(&y) || !(1..=width).contains(&x) {
                        continue;
                    }
                    let input = &input[((image * height + y - 1) * width + x - 1) * depth..][..depth];
                    let out = &mut expected[tap * depth * columns..][..depth * columns];
                    for (out, &x) in out.chunks_exact_mut(columns).zip(input) {
                        out.iter_mut().zip(gradient).for_each(|(out, &g)| *out += f64::from(x) * f64::from(g));
                    }
                }
            }
            let squares = |of: &mut dyn Iterator<Item = f64>| of.map(|x| x * x).sum::<f64>().sqrt();
            let error = squares(&mut out.iter().zip(&expected).map(|(&out, expected)| f64::from(out) - expected));
            let error = error / squares(&mut expected.iter().copied());
            assert!(error < 1e-6, "{height}×{width}: {error}");
        }
    }

    #[cfg(not(target_arch = "wasm32"))] // where there is one core
    #[test]
    fn any_number_of_cores_gives_the_same_bits() {
        let (height, width, depth, columns) = (40, 32, 48, 32);
        let (input, gradient) = (numbers(1, height * width * depth), numbers(2, height * width * columns));
        let product = |threads: usize| {
            let mut out = vec![0.0; 9 * depth * columns];
            let of = |data, channels| Images { data, height, width, channels };
            let product = WinogradGradient { input: of(&input, depth), gradient: of(&gradient, columns) };
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| product.run(&mut out));
            out
        };
        assert_eq!(product(1), product(2));
        assert_eq!(product(1), product(7));
    }
}
