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

    /// A row of pixels; beyond an image an empty one.
    #[inline(always)]
    pub(crate) fn row<S: Simd>(&self, _simd: S, image: usize, y: usize) -> &[S::f32s] {
        let len = self.width * self.channels;
        if y < self.height { S::as_simd_f32s(&self.data[(image * self.height + y) * len..][..len]).0 } else { &[] }
    }

    /// Bᵀ d B of some tiles of a row of tiles, `line` of those of all images, for some of their channels: to the sixteen
    /// `points`, `[tiles, channels]` each, which are `gap` apart. Tiles overlap, and reach one pixel beyond the image, where it
    /// counts as zero.
    #[inline(always)]
    pub(crate) fn transform<S: Simd>(
        &self,
        simd: S,
        line: usize,
        tiles: Range<usize>,
        channels: Range<usize>,
        points: &mut [f32],
        gap: usize,
    ) {
        let (image, y) = (line / self.down(), 2 * (line % self.down()));
        // Before the first row there is none: the number that stands for it is beyond the last.
        let rows = [y.wrapping_sub(1), y, y + 1, y + 2].map(|y| self.row(simd, image, y));
        let points = S::as_mut_simd_f32s(points).0;
        let [stride, first, depth, gap] =
            [self.channels, channels.start, channels.len(), gap].map(|numbers| numbers / S::F32_LANES);
        for c in 0..depth {
            // Neighbouring tiles have two columns in common.
            let zero = simd.splat_f32s(0.0);
            let mut column0 = (zero, zero, zero, zero);
            if tiles.start > 0 {
                column0 = column(simd, &rows, (2 * tiles.start - 1) * stride + first + c);
            }
            let mut column1 = column(simd, &rows, 2 * tiles.start * stride + first + c);
            for (i, x) in tiles.clone().enumerate() {
                let at = (2 * x + 1) * stride + first + c;
                let (column2, column3) = (column(simd, &rows, at), column(simd, &rows, at + stride));
                let at = i * depth + c;
                put(points, at, gap, spread(simd, column0.0, column1.0, column2.0, column3.0));
                put(points, at + 4 * gap, gap, spread(simd, column0.1, column1.1, column2.1, column3.1));
                put(points, at + 8 * gap, gap, spread(simd, column0.2, column1.2, column2.2, column3.2));
                put(points, at + 12 * gap, gap, spread(simd, column0.3, column1.3, column2.3, column3.3));
                (column0, column1) = (column2, column3);
            }
        }
    }
}

/// Bᵀ times the elements of four rows that are in the same place.
#[inline(always)]
fn column<S: Simd>(simd: S, [a, b, c, d]: &[&[S::f32s]; 4], at: usize) -> Four<S::f32s> {
    spread(simd, or_zero(simd, a, at), or_zero(simd, b, at), or_zero(simd, c, at), or_zero(simd, d, at))
}

/// An element of a row of pixels: beyond its end, which is the edge of the image, zero.
#[inline(always)]
pub(crate) fn or_zero<S: Simd>(simd: S, row: &[S::f32s], at: usize) -> S::f32s {
    row.get(at).copied().unwrap_or(simd.splat_f32s(0.0))
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
        scratch(POINTS * (gaps.0 + gaps.1), |scratch| {
            let (inputs, outputs) = scratch.split_at_mut(POINTS * gaps.0);
            let block = Block { winograd: self, lines: line..line + lines, rows: &rows, gaps, inputs, outputs, out };
            pulp::Arch::new().dispatch(block);
        });
    }
}

/// Neighbouring rows of tiles.
struct Block<'a> {
    winograd: &'a Winograd<'a>,
    /// Which of those of all images.
    lines: Range<usize>,
    /// Where the channels of each tile begin in a point of the inputs.
    rows: &'a [usize],
    /// Elements from a point to the next of inputs, and of outputs.
    gaps: (usize, usize),
    /// `[16, tiles, depth]`, with gaps.
    inputs: &'a mut [f32],
    /// `[16, tiles, columns]`, with gaps.
    outputs: &'a mut [f32],
    /// The pixels.
    out: &'a mut [f32],
}

impl WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Winograd { input: images, store: Store { columns, .. }, panels, .. } = *self.winograd;
        let (depth, across) = (images.channels, images.across());
        for (i, line) in self.lines.clone().enumerate() {
            images.transform(simd, line, 0..across, 0..depth, &mut self.inputs[i * across * depth..], self.gaps.0);
        }
        let points = panels.chunks_exact(panels.len() / POINTS);
        let inputs = self.inputs.chunks_exact(self.gaps.0);
        let outputs = self.outputs.chunks_exact_mut(self.gaps.1);
        for ((input, output), panels) in inputs.zip(outputs).zip(points) {
            let gemm = Gemm { input, rows: self.rows, taps: &[0], depth, panels, store: Store::sums(columns) };
            gemm.block(simd, 0, 0, columns, &mut output[..self.rows.len() * columns]);
        }
        for i in 0..self.lines.len() {
            self.complete(simd, i);
        }
    }
}

impl Block<'_> {
    /// Aᵀ M A of the tiles of a row, the first being 0, to their pixels.
    #[inline(always)]
    fn complete<S: Simd>(&mut self, simd: S, i: usize) {
        let Winograd { input: images, store, .. } = *self.winograd;
        let (line, across, columns) = (self.lines.start + i, images.across(), store.columns);
        let pixel = images.pixel(line);
        let [vectors, gap] = [columns, self.gaps.1].map(|numbers| numbers / S::F32_LANES);
        let points = S::as_simd_f32s(&self.outputs[i * across * columns..]).0;
        let out = &mut self.out[(pixel - images.pixel(self.lines.start)) * columns..];
        // Of an odd number of pixels the last tile has but one.
        let below = images.height - 2 * (line % images.down()) > 1;
        let (upper, lower) = out.split_at_mut(images.width * columns);
        let lower = &mut lower[..if below { images.width * columns } else { 0 }];
        let (upper, lower) = (S::as_mut_simd_f32s(upper).0, S::as_mut_simd_f32s(lower).0);
        for x in 0..across {
            for c in 0..vectors {
                let store = store.of_columns(simd, pixel, c * S::F32_LANES);
                let at = x * vectors + c;
                let row0 = gather(simd, get(points, at, gap));
                let row1 = gather(simd, get(points, at + 4 * gap, gap));
                let row2 = gather(simd, get(points, at + 8 * gap, gap));
                let row3 = gather(simd, get(points, at + 12 * gap, gap));
                let left = gather(simd, (row0.0, row1.0, row2.0, row3.0));
                let right = gather(simd, (row0.1, row1.1, row2.1, row3.1));
                let at = 2 * x * vectors + c;
                let pixel = pixel + 2 * x;
                upper[at] = store.complete(simd, pixel, left.0);
                if let Some(out) = upper.get_mut(at + vectors) {
                    *out = store.complete(simd, pixel + 1, right.0);
                }
                if let Some(out) = lower.get_mut(at) {
                    *out = store.complete(simd, pixel + images.width, left.1);
                }
                if let Some(out) = lower.get_mut(at + vectors) {
                    *out = store.complete(simd, pixel + images.width + 1, right.1);
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
