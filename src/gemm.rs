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
        // One panel of eight columns at a time, contiguous so that the inner loop streams it from the cache.
        let mut panel = vec![[0.0; COLUMNS]; self.taps.len() * self.depth];
        for first in (0..columns).step_by(COLUMNS) {
            let width = COLUMNS.min(columns - first);
            for (packed, row) in panel.iter_mut().zip(self.weight.chunks_exact(columns)) {
                packed[..width].copy_from_slice(&row[first..first + width]);
            }
            let mut bias = [0.0; COLUMNS];
            bias[..width].copy_from_slice(&self.bias[first..first + width]);

            let mut row = 0;
            while row + ROWS <= self.rows.len() {
                self.tile::<ROWS>(row, first, width, &panel, &bias, out);
                row += ROWS;
            }
            while row < self.rows.len() {
                self.tile::<1>(row, first, width, &panel, &bias, out);
                row += 1;
            }
        }
    }

    /// `R` rows from `row`, `width` columns from `first`.
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
