//! 3×3 convolutions of stride 1 on the CPU with 2.25 times fewer multiplications.
//!
//! Winograd's F(2×2, 3×3) (Lavin and Gray 2016, section 4.1) computes tiles of 2×2 outputs Y from 4×4 inputs d as
//! Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A. The elementwise products, summed over channels, are sixteen matrix products of tiles by
//! channels with weights that are transformed once. Its matrices have only 0, ±1 and ±½, so rounding grows little.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::gemm::{COLUMNS, Gemm, Panel, Store};
use crate::parallel;
use crate::scratch::scratch;

/// Elements of a transformed tile.
pub(crate) const POINTS: usize = 16;
/// Tiles that are meant to be computed together: their inputs and outputs fit the cache.
const TILES: usize = 64;
/// Elements between the points of a block: not a power of two, whose multiples all fall to the same few lines of a cache.
pub(crate) const GAP: usize = 16;

/// Whether it is the faster way for images of this size.
pub fn pays(height: usize, width: usize, depth: usize, columns: usize) -> bool {
    height.min(width) >= 8 && [depth, columns].iter().all(|channels| *channels >= 32 && channels.is_multiple_of(16))
}

/// The weight `[3, 3, depth, columns]` as G g Gᵀ, `[4, 4, depth, columns]`, each of the sixteen packed, to `panels`. There are
/// [`panels`] of them.
pub fn pack_to(weight: &[f32], columns: usize, panels: &mut [Panel]) {
    let depth = weight.len() / (9 * columns);
    // As in `gemm::pack`, the panels of a point's first columns come first.
    let point = depth * columns.div_ceil(COLUMNS);
    let mut lines: Vec<Vec<&mut [Panel]>> =
        (0..columns.div_ceil(COLUMNS)).map(|_| Vec::with_capacity(POINTS)).collect();
    for point in panels.chunks_exact_mut(point) {
        lines.iter_mut().zip(point.chunks_exact_mut(depth)).for_each(|(line, panels)| line.push(panels));
    }
    parallel::each(lines.into_iter().enumerate().collect(), |(i, points)| {
        let first = i * COLUMNS;
        let width = COLUMNS.min(columns - first);
        pulp::Arch::new().dispatch(Pack { weight, columns, first, width, points });
    });
}

/// How many panels a transformed weight has.
pub fn panels(weight: usize, columns: usize) -> usize {
    POINTS * (weight / (9 * columns)) * columns.div_ceil(COLUMNS)
}

/// Some columns of a weight.
struct Pack<'a> {
    weight: &'a [f32],
    columns: usize,
    /// The first of them.
    first: usize,
    /// How many.
    width: usize,
    /// Of each point `[depth]`.
    points: Vec<&'a mut [Panel]>,
}

impl WithSimd for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let plane = self.weight.len() / 9;
        for k in 0..plane / self.columns {
            let mut taps = [[0.0; COLUMNS]; 9];
            for (tap, panel) in taps.iter_mut().enumerate() {
                let run = &self.weight[tap * plane + k * self.columns + self.first..][..self.width];
                panel[..self.width].copy_from_slice(run);
            }
            for vector in 0..COLUMNS / S::F32_LANES {
                let tap = |tap: usize| S::as_simd_f32s(&taps[tap]).0[vector];
                let column0 = halve(simd, tap(0), tap(3), tap(6));
                let column1 = halve(simd, tap(1), tap(4), tap(7));
                let column2 = halve(simd, tap(2), tap(5), tap(8));
                let rows = [
                    halve(simd, column0.0, column1.0, column2.0),
                    halve(simd, column0.1, column1.1, column2.1),
                    halve(simd, column0.2, column1.2, column2.2),
                    halve(simd, column0.3, column1.3, column2.3),
                ];
                for (row, points) in rows.iter().zip(self.points.chunks_exact_mut(4)) {
                    for (point, value) in points.iter_mut().zip([row.0, row.1, row.2, row.3]) {
                        S::as_mut_simd_f32s(&mut point[k]).0[vector] = value;
                    }
                }
            }
        }
    }
}

/// G (a, b, c)ᵀ.
#[inline(always)]
fn halve<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> Four<S::f32s> {
    let half = simd.splat_f32s(0.5);
    let sum = simd.add_f32s(a, c);
    (a, simd.mul_f32s(half, simd.add_f32s(sum, b)), simd.mul_f32s(half, simd.sub_f32s(sum, b)), c)
}

/// Images with channels last, `[N, height, width, channels]`.
#[derive(Clone, Copy)]
pub struct Images<'a> {
    /// The pixels.
    pub data: &'a [f32],
    /// Height of an image.
    pub height: usize,
    /// Width of an image.
    pub width: usize,
    /// Channels of a pixel; whole vectors of them.
    pub channels: usize,
}

impl Images<'_> {
    /// Rows of tiles of an image.
    #[inline(always)]
    pub fn down(&self) -> usize {
        self.height.div_ceil(2)
    }

    /// Tiles of such a row.
    #[inline(always)]
    pub fn across(&self) -> usize {
        self.width.div_ceil(2)
    }

    /// The first pixel of a row of tiles of all images.
    #[inline(always)]
    fn pixel(&self, line: usize) -> usize {
        (line / self.down() * self.height + 2 * (line % self.down())) * self.width
    }

    /// Bᵀ d B of a tile, of the row of tiles `line` of all images, for some of its channels: to `points`, the sixteen of which
    /// are `gap` apart. Tiles overlap, and reach one pixel beyond the image, where it counts as zero.
    ///
    /// `patch` is for the sixteen pixels of a tile.
    #[inline(always)]
    pub(crate) fn transform<S: Simd>(
        &self,
        simd: S,
        (line, x): (usize, usize),
        channels: Range<usize>,
        patch: &mut [f32],
        points: &mut [f32],
        gap: usize,
    ) {
        let depth = channels.len();
        let (image, y) = (line / self.down(), 2 * (line % self.down()));
        let x = 2 * x;
        let inside = y > 0 && x > 0 && y + 3 <= self.height && x + 3 <= self.width;
        let at = |y: usize, x: usize| ((image * self.height + y) * self.width + x) * self.channels + channels.start;
        let (tile, start, row, pixel) = if inside {
            (self.data, at(y - 1, x - 1), self.width * self.channels, self.channels)
        } else {
            for (i, pixel) in patch[..16 * depth].chunks_exact_mut(depth).enumerate() {
                let (y, x) = (y + i / 4, x + i % 4);
                if (1..=self.height).contains(&y) && (1..=self.width).contains(&x) {
                    pixel.copy_from_slice(&self.data[at(y - 1, x - 1)..][..depth]);
                } else {
                    pixel.fill(0.0);
                }
            }
            (&*patch, 0, 4 * depth, depth)
        };
        // A slice a pixel, all of one length: so it is known that no index is beyond it.
        let pixels = |y: usize| [0, 1, 2, 3].map(|x| S::as_simd_f32s(&tile[start + y * row + x * pixel..][..depth]).0);
        let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (pixels(0), pixels(1));
        let ([c0, c1, c2, c3], [d0, d1, d2, d3]) = (pixels(2), pixels(3));
        let points = S::as_mut_simd_f32s(points).0;
        let (depth, gap) = (depth / S::F32_LANES, gap / S::F32_LANES);
        for c in 0..depth {
            let column0 = spread(simd, a0[c], b0[c], c0[c], d0[c]);
            let column1 = spread(simd, a1[c], b1[c], c1[c], d1[c]);
            let column2 = spread(simd, a2[c], b2[c], c2[c], d2[c]);
            let column3 = spread(simd, a3[c], b3[c], c3[c], d3[c]);
            put(points, c, gap, spread(simd, column0.0, column1.0, column2.0, column3.0));
            put(points, c + 4 * gap, gap, spread(simd, column0.1, column1.1, column2.1, column3.1));
            put(points, c + 8 * gap, gap, spread(simd, column0.2, column1.2, column2.2, column3.2));
            put(points, c + 12 * gap, gap, spread(simd, column0.3, column1.3, column2.3, column3.3));
        }
    }
}

/// A 3×3 convolution that keeps the size of images.
pub struct Winograd<'a> {
    /// What is convolved.
    pub input: Images<'a>,
    /// The weight, by [`pack_to`].
    pub panels: &'a [Panel],
    /// What becomes of the sums.
    pub store: Store<'a>,
}

impl Winograd<'_> {
    /// Computes `out`: `[N, height, width, columns]`.
    pub fn run(&self, out: &mut [f32]) {
        let Images { height, width, .. } = self.input;
        let (down, across) = (self.input.down(), self.input.across());
        // A block is some rows of tiles of an image, or several images.
        let image = height * width * self.store.columns;
        let tiles = out.len() / image * down * across;
        let together = TILES.min(tiles.div_ceil(parallel::threads()));
        let images = (together / (down * across)).max(1);
        let lines = if images > 1 { images * down } else { (together / across).clamp(1, down) };
        let blocks = out.chunks_mut(images * image).enumerate().flat_map(|(i, out)| {
            let blocks = out.chunks_mut(lines * 2 * width * self.store.columns).enumerate();
            blocks.map(move |(j, out)| (i * images * down + j * lines, out))
        });
        parallel::each(blocks.collect(), |(line, out)| self.block(line, out));
    }

    /// The block `out`, which begins with the row of tiles `line` of all images.
    fn block(&self, line: usize, out: &mut [f32]) {
        let (depth, columns) = (self.input.channels, self.store.columns);
        let first_pixel = self.input.pixel(line);
        let last = first_pixel + out.len() / columns;
        let lines = (line..).take_while(|&line| self.input.pixel(line) < last).count();
        let tiles = lines * self.input.across();
        let gaps = (tiles * depth + GAP, tiles * columns + GAP);
        let rows: Vec<usize> = (0..tiles).map(|tile| tile * depth).collect();
        scratch(POINTS * (gaps.0 + gaps.1 + depth), |scratch| {
            let (inputs, scratch) = scratch.split_at_mut(POINTS * gaps.0);
            let (outputs, patch) = scratch.split_at_mut(POINTS * gaps.1);
            let block = Block { winograd: self, line, first_pixel, rows: &rows, gaps, inputs, outputs, patch, out };
            pulp::Arch::new().dispatch(block);
        });
    }
}

/// Neighbouring rows of tiles.
struct Block<'a> {
    winograd: &'a Winograd<'a>,
    /// The first row.
    line: usize,
    /// The first pixel of it.
    first_pixel: usize,
    /// Where the channels of each tile begin in a point of the inputs.
    rows: &'a [usize],
    /// Elements from a point to the next of inputs, and of outputs.
    gaps: (usize, usize),
    /// `[16, tiles, depth]`, with gaps.
    inputs: &'a mut [f32],
    /// `[16, tiles, columns]`, with gaps.
    outputs: &'a mut [f32],
    /// `[16, depth]`.
    patch: &'a mut [f32],
    /// The pixels.
    out: &'a mut [f32],
}

impl WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Winograd { input: images, store: Store { columns, .. }, panels, .. } = *self.winograd;
        let (depth, across) = (images.channels, images.across());
        for tile in 0..self.rows.len() {
            let place = (self.line + tile / across, tile % across);
            images.transform(simd, place, 0..depth, self.patch, &mut self.inputs[tile * depth..], self.gaps.0);
        }
        let points = panels.chunks_exact(panels.len() / POINTS);
        let inputs = self.inputs.chunks_exact(self.gaps.0);
        let outputs = self.outputs.chunks_exact_mut(self.gaps.1);
        for ((input, output), panels) in inputs.zip(outputs).zip(points) {
            let gemm = Gemm { input, rows: self.rows, taps: &[0], depth, panels, store: Store::sums(columns) };
            gemm.block(simd, 0, 0, columns, &mut output[..self.rows.len() * columns]);
        }
        for tile in 0..self.rows.len() {
            self.complete(simd, tile);
        }
    }
}

impl Block<'_> {
    /// Aᵀ M A of a tile, to its pixels.
    #[inline(always)]
    fn complete<S: Simd>(&mut self, simd: S, tile: usize) {
        let Winograd { input: images, store, .. } = *self.winograd;
        let Images { height, width, .. } = images;
        let (down, across, columns) = (images.down(), images.across(), store.columns);
        let (line, x) = (self.line + tile / across, 2 * (tile % across));
        let pixel = images.pixel(line) + x;
        // Of an odd number of pixels the last tile has but one.
        let (below, beside) = (height - 2 * (line % down) > 1, width - x > 1);
        let points = S::as_simd_f32s(&self.outputs[tile * columns..]).0;
        let out = S::as_mut_simd_f32s(self.out).0;
        let (vectors, gap) = (columns / S::F32_LANES, self.gaps.1 / S::F32_LANES);
        for c in 0..vectors {
            let row0 = gather(simd, get(points, c, gap));
            let row1 = gather(simd, get(points, c + 4 * gap, gap));
            let row2 = gather(simd, get(points, c + 8 * gap, gap));
            let row3 = gather(simd, get(points, c + 12 * gap, gap));
            let left = gather(simd, (row0.0, row1.0, row2.0, row3.0));
            let right = gather(simd, (row0.1, row1.1, row2.1, row3.1));
            let column = c * S::F32_LANES;
            let at = (pixel - self.first_pixel) * vectors + c;
            out[at] = store.complete_vector(simd, pixel, column, left.0);
            if beside {
                out[at + vectors] = store.complete_vector(simd, pixel + 1, column, right.0);
            }
            if below {
                let at = at + width * vectors;
                out[at] = store.complete_vector(simd, pixel + width, column, left.1);
                if beside {
                    out[at + vectors] = store.complete_vector(simd, pixel + width + 1, column, right.1);
                }
            }
        }
    }
}

/// Bᵀ (a, b, c, d)ᵀ.
#[inline(always)]
fn spread<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s, d: S::f32s) -> Four<S::f32s> {
    (simd.sub_f32s(a, c), simd.add_f32s(b, c), simd.sub_f32s(c, b), simd.sub_f32s(b, d))
}

/// Aᵀ (a, b, c, d)ᵀ.
#[inline(always)]
fn gather<S: Simd>(simd: S, (a, b, c, d): Four<S::f32s>) -> (S::f32s, S::f32s) {
    (simd.add_f32s(a, simd.add_f32s(b, c)), simd.sub_f32s(simd.sub_f32s(b, c), d))
}

pub(crate) type Four<T> = (T, T, T, T);

/// Writes four elements `gap` apart.
#[inline(always)]
pub(crate) fn put<T>(points: &mut [T], at: usize, gap: usize, (a, b, c, d): Four<T>) {
    points[at] = a;
    points[at + gap] = b;
    points[at + 2 * gap] = c;
    points[at + 3 * gap] = d;
}

/// Reads four elements `gap` apart.
#[inline(always)]
pub(crate) fn get<T: Copy>(points: &[T], at: usize, gap: usize) -> Four<T> {
    (points[at], points[at + gap], points[at + 2 * gap], points[at + 3 * gap])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::Packing;
    use crate::numbers;

    #[test]
    fn agrees_with_its_definition() {
        for (images, height, width, depth, columns) in
            [(1_usize, 8_usize, 8_usize, 16, 32), (2, 5, 7, 32, 16), (40, 2, 3, 16, 16)]
        {
            let input = numbers(1, images * height * width * depth);
            let weight = numbers(2, 9 * depth * columns);
            let bias = numbers(3, columns);
            let panels = Packing::Winograd.pack(&weight, columns);
            let store = Store::biased(&bias);
            let mut out = vec![f32::NAN; images * height * width * columns];
            let of_input = Images { data: &input, height, width, channels: depth };
            Winograd { input: of_input, panels: &panels, store }.run(&mut out);
            let mut error = 0_f64;
            let mut size = 0_f64;
            for (i, &out) in out.iter().enumerate() {
                let (pixel, column) = (i / columns, i % columns);
                let (image, y, x) = (pixel / width / height, pixel / width % height, pixel % width);
                let mut sum = f64::from(bias[column]);
                for tap in 0..9 {
                    let (y, x) = (y + tap / 3, x + tap % 3);
                    if !(1..=height).contains(&y) || !(1..=width).contains(&x) {
                        continue;
                    }
                    let at = ((image * height + y - 1) * width + x - 1) * depth;
                    for k in 0..depth {
                        sum += f64::from(input[at + k]) * f64::from(weight[(tap * depth + k) * columns + column]);
                    }
                }
                error += (f64::from(out) - sum).powi(2);
                size += sum.powi(2);
            }
            assert!((error / size).sqrt() < 5e-7, "{height}×{width}: {}", (error / size).sqrt());
        }
    }
}
