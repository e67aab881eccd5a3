//! 3×3 convolutions of stride 1 on the CPU with 2.25 times fewer multiplications.
//!
//! Winograd's F(2×2, 3×3) (Lavin and Gray 2016, section 4.1) computes tiles of 2×2 outputs Y from 4×4 inputs d as
//! Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A. The elementwise products, summed over channels, are sixteen matrix products of tiles by
//! channels with weights that are transformed once. Its matrices have only 0, ±1 and ±½, so rounding grows little.

use pulp::{Simd, WithSimd};

use crate::gemm::{self, Gemm, Panel, Store};
use crate::parallel;
use crate::scratch::scratch;

/// Elements of a transformed tile.
const POINTS: usize = 16;
/// Tiles that are meant to be computed together: their inputs and outputs fit the cache.
const TILES: usize = 64;
/// Elements between the points of a block: not a power of two, whose multiples all fall to the same few lines of a cache.
const GAP: usize = 16;

/// Whether it is the faster way for images of this size.
pub fn pays(height: usize, width: usize, depth: usize, columns: usize) -> bool {
    height.min(width) >= 8 && [depth, columns].iter().all(|channels| *channels >= 32 && channels.is_multiple_of(16))
}

/// The weight `[3, 3, depth, columns]` as G g Gᵀ, `[4, 4, depth, columns]`, each of the sixteen packed.
pub fn pack(weight: &[f32], columns: usize) -> Vec<Panel> {
    let plane = weight.len() / 9;
    let mut points = vec![0.0; POINTS * plane];
    let transform = |[a, b, c]: [f32; 3]| [a, 0.5 * (a + b + c), 0.5 * (a - b + c), c];
    for i in 0..plane {
        let columns = [0, 1, 2].map(|x| transform([0, 1, 2].map(|y| weight[(3 * y + x) * plane + i])));
        for y in 0..4 {
            let row = transform(columns.map(|column| column[y]));
            for x in 0..4 {
                points[(4 * y + x) * plane + i] = row[x];
            }
        }
    }
    points.chunks_exact(plane).flat_map(|point| gemm::pack(point, columns)).collect()
}

/// A 3×3 convolution of images.
pub struct Winograd<'a> {
    /// `[N, 2 · down + 2, 2 · across + 2, depth]`: the images with a zero before them and at least one behind.
    pub input: &'a [f32],
    /// Tiles from top to bottom.
    pub down: usize,
    /// Tiles from left to right.
    pub across: usize,
    /// Channels of the input.
    pub depth: usize,
    /// Height of the output.
    pub height: usize,
    /// Width of the output.
    pub width: usize,
    /// The weight, by [`pack`].
    pub panels: &'a [Panel],
    /// What becomes of the sums.
    pub store: Store<'a>,
}

impl Winograd<'_> {
    /// Computes `out`: `[N, height, width, columns]`.
    pub fn run(&self, out: &mut [f32]) {
        // A block is some rows of tiles of an image, or several images.
        let image = self.height * self.width * self.store.columns;
        let tiles = out.len() / image * self.down * self.across;
        let together = TILES.min(tiles.div_ceil(parallel::threads()));
        let images = (together / (self.down * self.across)).max(1);
        let lines = if images > 1 { images * self.down } else { (together / self.across).clamp(1, self.down) };
        let blocks = out.chunks_mut(images * image).enumerate().flat_map(|(i, out)| {
            let blocks = out.chunks_mut(lines * 2 * self.width * self.store.columns).enumerate();
            blocks.map(move |(j, out)| (i * images * self.down + j * lines, out))
        });
        parallel::each(blocks.collect(), |(line, out)| self.block(line, out));
    }

    /// The block `out`, which begins with the row of tiles `line` of all images.
    fn block(&self, line: usize, out: &mut [f32]) {
        let Winograd { depth, store: Store { columns, .. }, .. } = *self;
        let first_pixel = self.pixel(line);
        let last = first_pixel + out.len() / columns;
        let lines = (line..).take_while(|&line| self.pixel(line) < last).count();
        let tiles = lines * self.across;
        let gaps = (tiles * depth + GAP, tiles * columns + GAP);
        let rows: Vec<usize> = (0..tiles).map(|tile| tile * depth).collect();
        scratch(POINTS * (gaps.0 + gaps.1), |scratch| {
            let (inputs, outputs) = scratch.split_at_mut(POINTS * gaps.0);
            let block = Block { winograd: self, line, first_pixel, rows: &rows, gaps, inputs, outputs, out };
            pulp::Arch::new().dispatch(block);
        });
    }

    /// The first pixel of a row of tiles of all images.
    #[inline(always)]
    fn pixel(&self, line: usize) -> usize {
        (line / self.down * self.height + 2 * (line % self.down)) * self.width
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
    /// The pixels.
    out: &'a mut [f32],
}

impl WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Winograd { depth, store: Store { columns, .. }, panels, .. } = *self.winograd;
        for tile in 0..self.rows.len() {
            self.transform(simd, tile);
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
    /// Bᵀ d B of a tile.
    #[inline(always)]
    fn transform<S: Simd>(&mut self, simd: S, tile: usize) {
        let Winograd { input, down, across, depth, .. } = *self.winograd;
        let (line, x) = (self.line + tile / across, tile % across);
        let (height, width) = (2 * down + 2, 2 * across + 2);
        let corner = (line / down * height + 2 * (line % down)) * width + 2 * x;
        // Rows of four pixels.
        let row = |y: usize| S::as_simd_f32s(&input[(corner + y * width) * depth..][..4 * depth]).0;
        let (row0, row1, row2, row3) = (row(0), row(1), row(2), row(3));
        let points = S::as_mut_simd_f32s(&mut self.inputs[tile * depth..]).0;
        let (depth, gap) = (depth / S::F32_LANES, self.gaps.0 / S::F32_LANES);
        for c in 0..depth {
            let (x0, x1, x2, x3) = (c, depth + c, 2 * depth + c, 3 * depth + c);
            let column0 = spread(simd, row0[x0], row1[x0], row2[x0], row3[x0]);
            let column1 = spread(simd, row0[x1], row1[x1], row2[x1], row3[x1]);
            let column2 = spread(simd, row0[x2], row1[x2], row2[x2], row3[x2]);
            let column3 = spread(simd, row0[x3], row1[x3], row2[x3], row3[x3]);
            put(points, c, gap, spread(simd, column0.0, column1.0, column2.0, column3.0));
            put(points, c + 4 * gap, gap, spread(simd, column0.1, column1.1, column2.1, column3.1));
            put(points, c + 8 * gap, gap, spread(simd, column0.2, column1.2, column2.2, column3.2));
            put(points, c + 12 * gap, gap, spread(simd, column0.3, column1.3, column2.3, column3.3));
        }
    }

    /// Aᵀ M A of a tile, to its pixels.
    #[inline(always)]
    fn complete<S: Simd>(&mut self, simd: S, tile: usize) {
        let Winograd { down, across, height, width, store, .. } = *self.winograd;
        let columns = store.columns;
        let (line, x) = (self.line + tile / across, 2 * (tile % across));
        let pixel = self.winograd.pixel(line) + x;
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

type Four<T> = (T, T, T, T);

/// Writes four elements `gap` apart.
#[inline(always)]
fn put<T>(points: &mut [T], at: usize, gap: usize, (a, b, c, d): Four<T>) {
    points[at] = a;
    points[at + gap] = b;
    points[at + 2 * gap] = c;
    points[at + 3 * gap] = d;
}

/// Reads four elements `gap` apart.
#[inline(always)]
fn get<T: Copy>(points: &[T], at: usize, gap: usize) -> Four<T> {
    (points[at], points[at + gap], points[at + 2 * gap], points[at + 3 * gap])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers;

    #[test]
    fn agrees_with_its_definition() {
        for (images, height, width, depth, columns) in
            [(1_usize, 8_usize, 8_usize, 16, 32), (2, 5, 7, 32, 16), (40, 2, 3, 16, 16)]
        {
            let (down, across) = (height.div_ceil(2), width.div_ceil(2));
            let (framed_height, framed_width) = (2 * down + 2, 2 * across + 2);
            let input = numbers(1, images * framed_height * framed_width * depth);
            let weight = numbers(2, 9 * depth * columns);
            let bias = numbers(3, columns);
            let panels = pack(&weight, columns);
            let store = Store::biased(&bias);
            let mut out = vec![f32::NAN; images * height * width * columns];
            Winograd { input: &input, down, across, depth, height, width, panels: &panels, store }.run(&mut out);
            let mut error = 0_f64;
            let mut size = 0_f64;
            for (i, &out) in out.iter().enumerate() {
                let (pixel, column) = (i / columns, i % columns);
                let (image, y, x) = (pixel / width / height, pixel / width % height, pixel % width);
                let mut sum = f64::from(bias[column]);
                for tap in 0..9 {
                    let at = ((image * framed_height + y + tap / 3) * framed_width + x + tap % 3) * depth;
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
