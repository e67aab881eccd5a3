//! The gradient of a classifier's loss.

use bytemuck::{Pod, Zeroable};

use super::{CrossEntropy, Kernel, Op, View, ViewMut, shader};
use crate::{Error, Result, Shape};

/// The gradient of a [`CrossEntropy`] by the logits, `[N, K]`: gₙ (softmax(logits) − 1 at the label).
///
/// Inputs: the logits `[N, K]`, the labels `[N]`, and the gradient by the losses, g, `[N]`.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropyGradient;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    classes: u32,
    /// `vec4`s of a row.
    row: u32,
    pad: u32,
}

impl Op for CrossEntropyGradient {
    fn name(&self) -> &'static str {
        "cross_entropy_gradient"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [logits, labels, gradient] = *inputs else { unreachable!("cross_entropy_gradient has three inputs") };
        let losses = CrossEntropy.output(&[logits, labels])?;
        if *gradient != losses {
            return Err(Error::shape(self.name(), format!("a gradient {losses}"), gradient));
        }
        Ok(logits.clone())
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("cross_entropy_gradient has one output") };
        let [logits, labels, gradient] = *inputs else { unreachable!("cross_entropy_gradient has three inputs") };
        let classes = logits.shape.channels();
        for (n, (out, row)) in output.rows_mut().zip(logits.rows()).enumerate() {
            let (out, padding) = out.split_at_mut(classes);
            padding.fill(0.0);
            out.copy_from_slice(&row[..classes]);
            kernels::math::softmax(out);
            out[(labels.data[n] as usize).min(classes - 1)] -= 1.0;
            out.iter_mut().for_each(|out| *out *= gradient.data[n]);
        }
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let params = Params {
            rows: output.rows() as u32,
            classes: inputs[0].channels() as u32,
            row: (output.stride() / 4) as u32,
            pad: 0,
        };
        Kernel::flat(shader!("cross_entropy_gradient"), &params, output.rows())
    }
}
