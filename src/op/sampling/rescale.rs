//! The second half of classifier-free guidance: its spread.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, is_row, shader};
use crate::{Error, Result, Shape};

/// `guided · (guidance_rescale · σ_class / σ_guided + 1 − guidance_rescale)`, where σ is the standard deviation of an image
/// (Lin et al. 2023, section 3.4; diffusers `rescale_noise_cfg`), with the factor of a row of the schedule.
///
/// Inputs: the guided output `[N, H, W, C]`, its centred [`super::Norm`] `[N, 1]`, that of the model's output
/// `[2 · N, 1]`, the class before the null class, and the row, a [`crate::schedule::Coefficients`].
#[derive(Debug)]
pub struct Rescale;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// `vec4`s of an image.
    image: u32,
    pad: [u32; 2],
}

impl Op for Rescale {
    fn name(&self) -> &'static str {
        "rescale"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [guided, guided_norm, model_norm, row] = *inputs else { unreachable!("rescale has four inputs") };
        let n = guided.dims()[0];
        let norms = (guided_norm.dims(), model_norm.dims());
        if norms != (&[n, 1][..], &[2 * n, 1][..]) || !is_row(row) {
            return Err(Error::shape(
                self.name(),
                "[N, H, W, C], [N, 1], [2 · N, 1] and a row",
                format!("{guided}, {guided_norm}, {model_norm} and {row}"),
            ));
        }
        Ok(guided.clone())
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("rescale has one output") };
        let [guided, guided_norm, model_norm, row] = *inputs else { unreachable!("rescale has four inputs") };
        let rescale = super::row(row).guidance_rescale;
        let image = output.data.len() / guided.shape.dims()[0];
        for (n, (out, guided)) in output.data.chunks_exact_mut(image).zip(guided.data.chunks_exact(image)).enumerate() {
            let ratio = model_norm.data[4 * n] / guided_norm.data[4 * n];
            // Where there is no spread there is none to give back.
            let ratio = if ratio.is_finite() { ratio } else { 1.0 };
            for (out, guided) in out.iter_mut().zip(guided) {
                *out = guided * (rescale * ratio + 1.0 - rescale);
            }
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let params = Params { len: len as u32, image: (len / output.dims()[0]) as u32, pad: [0; 2] };
        Kernel::flat(shader!("rescale"), &params, len)
    }
}
