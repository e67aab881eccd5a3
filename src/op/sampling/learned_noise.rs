//! Noise of a learned variance.

use super::{Kernel, Op, View, ViewMut, is_row, shader};
use crate::{Error, Result, Shape};

/// σ(v) z, where v is what the model says of the variance: √v, or exp(½(f · max_log + (1 − f) · min_log)) with
/// f = (v + 1) / 2 (Nichol and Dhariwal 2021, equation 15), or 1, as a row of the schedule has it.
///
/// Inputs: the noise z, `[N, H, W, C]`, v, of which the first N images count (with guidance there are those of the null
/// class after them), and the row, a [`crate::schedule::Coefficients`].
#[derive(Debug)]
pub struct LearnedNoise;

impl Op for LearnedNoise {
    fn name(&self) -> &'static str {
        "learned_noise"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [noise, variance, row] = *inputs else { unreachable!("learned_noise has three inputs") };
        let fits = variance.dims()[1..] == noise.dims()[1..] && variance.len() >= noise.len();
        if !fits || !is_row(row) {
            let found = format!("{noise}, {variance} and {row}");
            return Err(Error::shape(self.name(), "[N, H, W, C], as much or more of it, and a row", found));
        }
        Ok(noise.clone())
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("learned_noise has one output") };
        let [noise, variance, row] = *inputs else { unreachable!("learned_noise has three inputs") };
        let row = super::row(row);
        for ((out, noise), v) in output.data.iter_mut().zip(noise.data).zip(variance.data) {
            let sigma = match row.learned_sigma {
                0.0 => 1.0,
                1.0 => v.max(0.0).sqrt(),
                _ => {
                    let part = (v + 1.0) / 2.0;
                    libm::expf(0.5 * (part * row.max_log + (1.0 - part) * row.min_log))
                }
            };
            *out = sigma * noise;
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        Kernel::elementwise(shader!("learned_noise"), output)
    }
}
