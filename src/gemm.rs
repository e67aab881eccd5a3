//! The CPU's matrix product: rows gathered by offset, times packed weights.
//!
//! A convolution over channels-last images is a matrix product whose left rows are not contiguous: for each tap of the
//! kernel a row is a run of channels somewhere in the image. Giving the product a list of offsets instead of a matrix
//! (an indirect GEMM) makes a convolution, a strided convolution and a linear layer the same loop, without ever
//! copying the image out.
//!
//! The loop is plain Rust over arrays that fit vector registers. Natively it is compiled once for each generation of
//! vectors, chosen when it runs, and its rows or columns are shared out to all cores; in wasm there is one of each.

/// Rows computed together. Six rows of two vectors are twelve accumulators, which with two weights and one input fit the
/// sixteen registers of AVX2, and of SSE and wasm's `simd128` on x86.
const ROWS: usize = 6;
/// Columns computed together: two vectors.
pub const COLUMNS: usize = if cfg!(target_arch = "wasm32") { 8 } else { 16 };
/// Rows whose inputs are meant to stay in the cache: some 600 of 64 channels are 150 KB.
const BLOCK: usize = 100 * ROWS;

/// `COLUMNS` neighbouring columns of a row of a weight, zeros beyond the last.
pub type Panel = [f32; COLUMNS];

/// A weight `[…, columns]` as panels, those of the first columns first, so that the inner loop streams them.
pub fn pack(weight: &[f32], columns: usize) -> Vec<Panel> {
    let mut panels = Vec::with_capacity(weight.len().div_ceil(COLUMNS));
    for first in (0..columns).step_by(COLUMNS) {
        panels.extend(weight.chunks_exact(columns).map(|row| padded(&row[first..])));
    }
    panels
}

/// A weight `[depth, columns]` as panels, element by element.
pub fn pack_with(depth: usize, columns: usize, element: impl Fn(usize, usize) -> f32) -> Vec<Panel> {
    let mut panels = Vec::with_capacity(depth * columns.div_ceil(COLUMNS));
    for first in (0..columns).step_by(COLUMNS) {
        let width = COLUMNS.min(columns - first);
        panels.extend((0..depth).map(|k| {
            let mut panel = [0.0; COLUMNS];
            panel[..width].iter_mut().enumerate().for_each(|(c, value)| *value = element(k, first + c));
            panel
        }));
    }
    panels
}

/// The first elements, with zeros in place of those that are missing.
fn padded(row: &[f32]) -> Panel {
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
    /// The weight `[taps, depth, columns]`, packed.
    pub panels: &'a [Panel],
    /// `[columns]`.
    pub bias: &'a [f32],
}

impl Gemm<'_> {
    /// Computes `out`: `[rows, columns]`.
    #[cfg(target_arch = "wasm32")]
    pub fn run(&self, out: &mut [f32]) {
        self.block(Arrays, 0, 0, self.bias.len(), out);
    }

    /// Computes `out`: `[rows, columns]`.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run(&self, out: &mut [f32]) {
        use rayon::prelude::*;

        /// Multiply-adds that are done before another core has been woken.
        const SMALL: usize = 1 << 18;

        let columns = self.bias.len();
        let threads = rayon::current_num_threads();
        let macs = self.rows.len() * self.taps.len() * self.depth * columns;
        if threads == 1 || macs < SMALL {
            return self.vectorised(0, 0, columns, out);
        }
        if self.rows.len() >= 4 * ROWS * threads {
            let share = self.rows.len().div_ceil(2 * threads).next_multiple_of(ROWS).min(BLOCK);
            let shares = out.par_chunks_mut(share * columns).enumerate();
            return shares.for_each(|(i, out)| self.vectorised(i * share, 0, columns, out));
        }
        // Few rows, as at the bottom of a U-Net: each core takes some of the columns.
        let share = columns.div_ceil(2 * threads).next_multiple_of(COLUMNS);
        let starts: Vec<usize> = (0..columns).step_by(share).collect();
        let compute = |&first: &usize| {
            let width = share.min(columns - first);
            let mut part = vec![0.0; self.rows.len() * width];
            self.vectorised(0, first, width, &mut part);
            part
        };
        let parts: Vec<Vec<f32>> = starts.par_iter().map(compute).collect();
        for (first, part) in starts.into_iter().zip(parts) {
            let width = share.min(columns - first);
            for (row, part) in out.chunks_exact_mut(columns).zip(part.chunks_exact(width)) {
                row[first..][..width].copy_from_slice(part);
            }
        }
    }

    /// [`Gemm::block`] with the widest vectors there are.
    #[cfg(not(target_arch = "wasm32"))]
    fn vectorised(&self, row: usize, first: usize, width: usize, out: &mut [f32]) {
        /// A closure would not be inlined, and so not be compiled for those vectors.
        struct Block<'a> {
            gemm: &'a Gemm<'a>,
            row: usize,
            first: usize,
            width: usize,
            out: &'a mut [f32],
        }

        impl pulp::WithSimd for Block<'_> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: pulp::Simd>(self, simd: S) {
                self.gemm.block(Vectors(simd), self.row, self.first, self.width, self.out);
            }
        }

        match pulp::Arch::new() {
            pulp::Arch::Scalar => self.block(Arrays, row, first, width, out),
            arch => arch.dispatch(Block { gemm: self, row, first, width, out }),
        }
    }

    /// Rows from `row` on, as many as fill `out`, `[…, width]`, of the `width` columns from `first`, which begins a panel.
    #[inline(always)]
    fn block(&self, kernel: impl Kernel, row: usize, first: usize, width: usize, out: &mut [f32]) {
        let depth = self.taps.len() * self.depth;
        // A block of rows stays in the cache while all columns of it are computed.
        for (i, out) in out.chunks_mut(BLOCK * width).enumerate() {
            let (begin, rows) = (row + i * BLOCK, out.len() / width);
            for column in (0..width).step_by(COLUMNS) {
                let panel = &self.panels[(first + column) / COLUMNS * depth..][..depth];
                let bias = padded(&self.bias[first + column..]);
                let columns = column..width.min(column + COLUMNS);
                let mut r = 0;
                while r + ROWS <= rows {
                    let sums = self.tile::<ROWS>(kernel, begin + r, panel, &bias);
                    for (sum, out) in sums.iter().zip(out[r * width..].chunks_exact_mut(width)) {
                        out[columns.clone()].copy_from_slice(&sum[..columns.len()]);
                    }
                    r += ROWS;
                }
                while r < rows {
                    let [sum] = self.tile::<1>(kernel, begin + r, panel, &bias);
                    out[r * width..][columns.clone()].copy_from_slice(&sum[..columns.len()]);
                    r += 1;
                }
            }
        }
    }

    /// `R` rows from `row` on, of a panel's columns. The bias comes as an array: built in here it would keep the sums out of
    /// registers, which makes the whole product three times slower in wasm.
    #[inline(always)]
    fn tile<const R: usize>(&self, kernel: impl Kernel, row: usize, panel: &[Panel], bias: &Panel) -> [Panel; R] {
        let mut sums = [*bias; R];
        for (tap, panel) in self.taps.iter().zip(panel.chunks_exact(self.depth)) {
            let mut runs: [&[f32]; R] = [&[]; R];
            for (run, row) in runs.iter_mut().zip(&self.rows[row..]) {
                *run = &self.input[row + tap..][..panel.len()];
            }
            kernel.accumulate(&mut sums, &runs, panel);
        }
        sums
    }
}

/// The innermost loop.
trait Kernel: Copy {
    /// `sums[r, c] += Σ_k runs[r][k] · panel[k][c]`.
    fn accumulate<const R: usize>(self, sums: &mut [Panel; R], runs: &[&[f32]; R], panel: &[Panel]);
}

/// Written over arrays, for the compiler to find vectors in.
#[derive(Clone, Copy)]
struct Arrays;

impl Kernel for Arrays {
    #[inline(always)]
    fn accumulate<const R: usize>(self, sums: &mut [Panel; R], runs: &[&[f32]; R], panel: &[Panel]) {
        for (k, weights) in panel.iter().enumerate() {
            for (sum, run) in sums.iter_mut().zip(runs) {
                let x = run[k];
                for (sum, weight) in sum.iter_mut().zip(weights) {
                    *sum += x * weight;
                }
            }
        }
    }
}

/// Written with vectors that multiply and add in one instruction.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Copy)]
struct Vectors<S>(S);

#[cfg(not(target_arch = "wasm32"))]
impl<S: pulp::Simd> Kernel for Vectors<S> {
    #[inline(always)]
    fn accumulate<const R: usize>(self, sums: &mut [Panel; R], runs: &[&[f32]; R], panel: &[Panel]) {
        let simd = self.0;
        let lanes = S::F32_LANES;
        // A pair of vectors at a time: what fits the registers with R rows.
        for first in (0..COLUMNS).step_by(2 * lanes) {
            let pair = |row: &Panel| {
                let (a, b) = row[first..].split_at(lanes);
                (simd.partial_load_f32s(a), simd.partial_load_f32s(&b[..lanes]))
            };
            let mut accumulators = [pair(&sums[0]); R];
            for (accumulator, sum) in accumulators.iter_mut().zip(sums.iter()) {
                *accumulator = pair(sum);
            }
            for (k, weights) in panel.iter().enumerate() {
                let (a, b) = pair(weights);
                for (accumulator, run) in accumulators.iter_mut().zip(runs) {
                    let x = simd.splat_f32s(run[k]);
                    accumulator.0 = simd.mul_add_f32s(x, a, accumulator.0);
                    accumulator.1 = simd.mul_add_f32s(x, b, accumulator.1);
                }
            }
            for (accumulator, sum) in accumulators.iter().zip(sums.iter_mut()) {
                simd.partial_store_f32s(&mut sum[first..][..lanes], accumulator.0);
                simd.partial_store_f32s(&mut sum[first + lanes..][..lanes], accumulator.1);
            }
        }
    }
}
