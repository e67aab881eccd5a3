//! The CPU's matrix product: rows gathered by offset, times packed weights.
//!
//! A convolution over channels-last images is a matrix product whose left rows are not contiguous: for each tap of the
//! kernel a row is a run of channels somewhere in the image. Giving the product a list of offsets instead of a matrix
//! (an indirect GEMM) makes a convolution, a strided convolution and a linear layer the same loop, without ever
//! copying the image out.

/// Rows computed together. Six rows of eight columns are twelve 128-bit accumulators, which with two weights and one
/// input fit the sixteen registers of SSE and of wasm's `simd128` on x86.
const ROWS: usize = 6;
/// Columns computed together.
const COLUMNS: usize = 8;
/// Rows whose inputs are meant to stay in the cache: some 600 of 64 channels are 150 KB.
const BLOCK: usize = 100 * ROWS;

/// The first eight elements, with zeros in place of those that are missing.
fn padded(row: &[f32]) -> [f32; COLUMNS] {
    std::array::from_fn(|i| row.get(i).copied().unwrap_or(0.0))
}

/// `out[r, c] = bias[c] + Σ_tap Σ_k input[rows[r] + taps[tap] + k] · weight[tap, k, c]`.
pub struct Gemm<'a> {
    /// The elements that rows are gathered from.
    pub input: &'a [f32],
    /// Where each output row's runs start in `input`, before the tap's own offset.
    pub rows: &'a [usize],
    /// What each tap adds to a row's start.
    pub taps: &'a [usize],
    /// Elements of a run.
    pub depth: usize,
    /// `[taps, depth, columns]`.
    pub weight: &'a [f32],
    /// `[columns]`.
    pub bias: &'a [f32],
}

impl Gemm<'_> {
    /// Computes `out`: `[rows, columns]`.
    pub fn run(&self, out: &mut [f32]) {
        let columns = self.bias.len();
        let panels = self.pack();
        // A block of rows stays in the cache while all columns of it are computed.
        for block in (0..self.rows.len()).step_by(BLOCK) {
            let end = self.rows.len().min(block + BLOCK);
            for (first, panel) in (0..columns).step_by(COLUMNS).zip(panels.chunks_exact(self.taps.len() * self.depth)) {
                let bias = padded(&self.bias[first..]);
                let width = COLUMNS.min(columns - first);
                let mut row = block;
                while row + ROWS <= end {
                    self.tile::<ROWS>(row, first, width, panel, &bias, out);
                    row += ROWS;
                }
                while row < end {
                    self.tile::<1>(row, first, width, panel, &bias, out);
                    row += 1;
                }
            }
        }
    }

    /// The weight as panels of eight columns, each contiguous so that the inner loop streams it.
    fn pack(&self) -> Vec<[f32; COLUMNS]> {
        let columns = self.bias.len();
        let mut panels = Vec::with_capacity(self.taps.len() * self.depth * columns.div_ceil(COLUMNS));
        for first in (0..columns).step_by(COLUMNS) {
            panels.extend(self.weight.chunks_exact(columns).map(|row| padded(&row[first..])));
        }
        panels
    }

    /// `R` rows from `row`, `width` columns from `first`. The bias comes as an array: built in here it would keep the sums
    /// out of registers, which makes the whole product three times slower in wasm.
    #[inline]
    fn tile<const R: usize>(
        &self,
        row: usize,
        first: usize,
        width: usize,
        panel: &[[f32; COLUMNS]],
        bias: &[f32; COLUMNS],
        out: &mut [f32],
    ) {
        let mut sums = [*bias; R];
        for (tap, panel) in self.taps.iter().zip(panel.chunks_exact(self.depth)) {
            let runs: [&[f32]; R] = std::array::from_fn(|r| &self.input[self.rows[row + r] + tap..][..panel.len()]);
            for (k, weights) in panel.iter().enumerate() {
                for (sum, run) in sums.iter_mut().zip(&runs) {
                    let x = run[k];
                    for (sum, weight) in sum.iter_mut().zip(weights) {
                        *sum += x * weight;
                    }
                }
            }
        }
        let columns = self.bias.len();
        for (r, sum) in sums.iter().enumerate() {
            out[(row + r) * columns + first..][..width].copy_from_slice(&sum[..width]);
        }
    }
}
