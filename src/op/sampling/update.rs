//! The denoising update: one step of the reverse process.

use super::{Kernel, Op, REGISTERS, Remember, View, ViewMut, is_row, shader};
use crate::{Error, Result, Shape};

/// `x_prev = prev_from_x · x_t + prev_from_model · model + prev_from_x0 · x̂0 + prev_from_noise · z
/// + Σ prev_from_kept[r] · register r`, with the coefficients of a row of the schedule.
///
/// Ho et al. 2020, Algorithm 2, is the case of a model that predicts ε, without clipping: then
/// x_{t−1} = (x_t − β_t / √(1 − ᾱ_t) · ε) / √α_t + σ_t z. DDIM and predictions of x0 or v are other coefficients.
///
/// Inputs: x_t, the model's output, x̂0 and the noise z, all `[N, H, W, C]`, the registers `[REGISTERS · N, H, W, C]`
/// with what earlier evaluations kept, and the row, a [`crate::schedule::Coefficients`].
#[derive(Debug, Default)]
pub struct Update {
    /// Whether its second output is what [`super::Remember`] makes of the registers.
    pub keeps: bool,
}

impl Op for Update {
    fn name(&self) -> &'static str {
        "update"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x, model, x0, noise, kept, row] = *inputs else { unreachable!("update has six inputs") };
        let equal = [model, x0, noise].iter().all(|&shape| shape == x);
        if !equal || kept.len() != REGISTERS * x.len() || !is_row(row) {
            let found = format!("{x}, {model}, {x0}, {noise}, {kept} and {row}");
            return Err(Error::shape(self.name(), "four equal shapes, the registers and a row", found));
        }
        Ok(x.clone())
    }

    fn further_outputs(&self, inputs: &[&Shape], _output: &Shape) -> Vec<Shape> {
        self.keeps.then(|| inputs[4].clone()).into_iter().collect()
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output, registers @ ..] = outputs else { unreachable!("update has an output") };
        let [x, model, x0, noise, kept, row] = *inputs else { unreachable!("update has six inputs") };
        if self.keeps {
            Remember.cpu(&[x, model, x0, kept, row], registers);
        }
        let row = super::row(row);
        let given = x.data.iter().zip(model.data).zip(x0.data).zip(noise.data);
        for (out, (((x, model), x0), noise)) in output.data.iter_mut().zip(given) {
            *out =
                row.prev_from_x * x + row.prev_from_model * model + row.prev_from_x0 * x0 + row.prev_from_noise * noise;
        }
        for (register, weight) in kept.data.chunks_exact(x.data.len()).zip(row.prev_from_kept) {
            if weight != 0.0 {
                for (out, kept) in output.data.iter_mut().zip(register) {
                    *out += weight * kept;
                }
            }
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        Kernel::elementwise(shader!("update"), output).with("keeps", u32::from(self.keeps))
    }
}
