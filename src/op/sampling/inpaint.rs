//! What is known of an image, put in its place.

use super::{Kernel, Op, View, ViewMut, is_row, shader};
use crate::{Error, Result, Shape};

/// `mask · (known_from_original · original + known_from_noise · z) + (1 − mask) · x_prev` (Lugmayr et al. 2022, equation 8;
/// diffusers scheduling_repaint.py, pipeline_stable_diffusion_inpaint.py), with the coefficients of a row of the schedule.
///
/// Inputs: x_prev, the original, the mask (1 where the original is kept) and the noise z, all `[N, H, W, C]`, and the
/// row, a [`crate::schedule::Coefficients`].
#[derive(Debug)]
pub struct Inpaint;

impl Op for Inpaint {
    fn name(&self) -> &'static str {
        "inpaint"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [prev, original, mask, noise, row] = *inputs else { unreachable!("inpaint has five inputs") };
        let equal = [original, mask, noise].iter().all(|&shape| shape == prev);
        if !equal || !is_row(row) {
            return Err(Error::shape(
                self.name(),
                "four equal shapes and a row",
                format!("{prev}, {original}, {mask}, {noise} and {row}"),
            ));
        }
        Ok(prev.clone())
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("inpaint has one output") };
        let [prev, original, mask, noise, row] = *inputs else { unreachable!("inpaint has five inputs") };
        let row = super::row(row);
        let given = prev.data.iter().zip(original.data).zip(mask.data).zip(noise.data);
        for (out, (((prev, original), mask), noise)) in output.data.iter_mut().zip(given) {
            let known = row.known_from_original * original + row.known_from_noise * noise;
            *out = mask * known + (1.0 - mask) * prev;
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        Kernel::elementwise(shader!("inpaint"), output)
    }
}
