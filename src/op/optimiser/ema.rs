//! The exponential moving average of parameters.

use super::{Kernel, Op, View, ViewMut, shader};
use crate::{Error, Result, Shape};
use kernels::parallel::{self, WORTHWHILE};

/// `shadow ← shadow − (1 − decay) (shadow − p)`, the moving average of parameters that samples are made with (Ho et al.
/// 2020, appendix B; diffusers `training_utils.py`, `EMAModel.step`).
///
/// Inputs: p; 1 − decay, `[1]`, which may change from step to step and whose digits decay itself would lose in 32 bits;
/// then the shadow, of p's shape, which the output replaces.
#[derive(Clone, Copy, Debug)]
pub struct Ema;

impl Op for Ema {
    fn name(&self) -> &'static str {
        "ema"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [p, rest, shadow] = *inputs else { unreachable!("ema has three inputs") };
        if rest.dims() != [1] || shadow != p {
            let found = format!("{p}, {rest} and {shadow}");
            return Err(Error::shape(self.name(), "a parameter, [1] and a shadow of the parameter's shape", found));
        }
        Ok(p.clone())
    }

    fn replaces(&self) -> usize {
        1
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [p, rest, ..] = inputs else { unreachable!("ema reads two inputs") };
        let [shadow] = outputs else { unreachable!("ema has one output") };
        let shares = shadow.data.chunks_mut(WORTHWHILE).zip(p.data.chunks(WORTHWHILE)).collect();
        parallel::each(shares, |(shadow, p): (&mut [f32], &[f32])| {
            shadow.iter_mut().zip(p).for_each(|(shadow, p)| *shadow -= rest.data[0] * (*shadow - p));
        });
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        Kernel::elementwise(shader!("ema"), output)
    }
}
