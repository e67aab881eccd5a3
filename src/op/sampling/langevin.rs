//! A Langevin step.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, is_row, shader};
use crate::{Error, Result, Shape};

/// `x_prev + s · model + √(2 s) · z` with `s = 2 (langevin · ‖z‖ / ‖model‖)²`, where ‖·‖ is the mean of the norms of all
/// images and `langevin`, of a row of the schedule, the signal-to-noise ratio (Song et al. 2021, Algorithm 4; diffusers
/// scheduling_sde_ve.py, `step_correct`). A ratio of 0 leaves x_prev as it is.
///
/// Inputs: x_prev, the model's output and the noise z, all `[N, H, W, C]`, the [`super::Norm`]s of the latter two,
/// `[N, 1]`, and the row, a [`crate::schedule::Coefficients`].
#[derive(Debug)]
pub struct Langevin;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// Images of the batch.
    images: u32,
    pad: [u32; 2],
}

impl Op for Langevin {
    fn name(&self) -> &'static str {
        "langevin"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [prev, model, noise, model_norm, noise_norm, row] = *inputs else {
            unreachable!("langevin has six inputs")
        };
        let equal = model == prev && noise == prev && model_norm == noise_norm;
        if !equal || model_norm.dims() != [prev.dims()[0], 1] || !is_row(row) {
            return Err(Error::shape(
                self.name(),
                "three equal shapes, their norms and a row",
                format!("{prev}, {model}, {noise}, {model_norm}, {noise_norm} and {row}"),
            ));
        }
        Ok(prev.clone())
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("langevin has one output") };
        let [prev, model, noise, model_norm, noise_norm, row] = *inputs else {
            unreachable!("langevin has six inputs")
        };
        let mean = |norms: View<'_>| norms.data.iter().sum::<f32>() / norms.shape.dims()[0] as f32;
        let ratio = super::row(row).langevin * mean(noise_norm) / mean(model_norm);
        let step = if ratio.is_finite() { 2.0 * ratio * ratio } else { 0.0 };
        let given = prev.data.iter().zip(model.data).zip(noise.data);
        for (out, ((prev, model), noise)) in output.data.iter_mut().zip(given) {
            *out = prev + step * model + (2.0 * step).sqrt() * noise;
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let params = Params { len: len as u32, images: output.dims()[0] as u32, pad: [0; 2] };
        Kernel::flat(shader!("langevin"), &params, len)
    }
}
