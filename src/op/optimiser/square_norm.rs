//! The squared length of a long vector, in parts.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, shader};
use crate::{Result, Shape};
use kernels::parallel;

/// The sums of squares of neighbouring runs of all numbers, `[runs]`, which [`super::Sum`] adds up to ‖x‖²: an optimiser
/// clips by that of all gradients (`torch.nn.utils.clip_grad_norm_`). There are up to 1,024 runs, so that a GPU has enough to
/// do, and every sum is taken in the same order.
///
/// Input: of any shape.
#[derive(Clone, Copy, Debug)]
pub struct SquareNorm;

/// Invocations of a workgroup.
const THREADS: usize = 256;
/// The most runs.
const RUNS: usize = 1024;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the input.
    len: u32,
    /// `vec4`s of a run; the last ones may have fewer.
    run: u32,
    runs: u32,
    /// Runs as they are padded.
    stride: u32,
}

impl SquareNorm {
    /// `vec4`s of a run.
    fn run(input: &Shape) -> usize {
        (input.len() / 4).div_ceil(RUNS).max(THREADS)
    }
}

impl Op for SquareNorm {
    fn name(&self) -> &'static str {
        "square_norm"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(Shape::new(&[(inputs[0].len() / 4).div_ceil(SquareNorm::run(inputs[0]))]))
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("square_norm has one output") };
        output.data.fill(0.0);
        // The padding is zero.
        let shares = output.data.iter_mut().zip(inputs[0].data.chunks(4 * SquareNorm::run(inputs[0].shape))).collect();
        parallel::each(shares, |(out, run): (&mut f32, &[f32])| {
            *out = run.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() as f32;
        });
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let params = Params {
            len: (inputs[0].len() / 4) as u32,
            run: SquareNorm::run(inputs[0]) as u32,
            runs: output.channels() as u32,
            stride: output.stride() as u32,
        };
        Kernel::new(shader!("square_norm"), &params, [output.channels() as u32, 1, 1])
    }
}
