//! Dynamic thresholding.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, shader};
use crate::{Error, Result, Shape};

/// `clamp(x̂0, −s, s) / s` with an s for each image (Saharia et al. 2022, section 2.3; diffusers `_threshold_sample`).
///
/// Inputs: x̂0, `[N, H, W, C]`, and s, `[N, 1]`, of [`super::Quantile`].
#[derive(Debug)]
pub struct Threshold;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// `vec4`s of an image.
    image: u32,
    pad: [u32; 2],
}

impl Op for Threshold {
    fn name(&self) -> &'static str {
        "threshold"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x0, s] = *inputs else { unreachable!("threshold has two inputs") };
        if s.dims() != [x0.dims()[0], 1] {
            return Err(Error::shape(self.name(), "[N, H, W, C] and [N, 1]", format!("{x0} and {s}")));
        }
        Ok(x0.clone())
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("threshold has one output") };
        let [x0, s] = *inputs else { unreachable!("threshold has two inputs") };
        let image = output.data.len() / x0.shape.dims()[0];
        for (n, (out, x0)) in output.data.chunks_exact_mut(image).zip(x0.data.chunks_exact(image)).enumerate() {
            let s = s.data[4 * n];
            for (out, x0) in out.iter_mut().zip(x0) {
                *out = x0.max(-s).min(s) / s;
            }
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let params = Params { len: len as u32, image: (len / output.dims()[0]) as u32, pad: [0; 2] };
        Kernel::flat(shader!("threshold"), &params, len)
    }
}
