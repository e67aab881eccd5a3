//! The gradient of a table of learned rows.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, shader};
use crate::{Error, Result, Shape};

/// The gradient of an [`super::Embedding`] by its table, `[K, C]`: each row is the sum of the gradients of the outputs
/// that it was read for (`torch.nn.functional.embedding`'s, of a dense table).
///
/// Inputs: the labels `[N]`, and the gradient by the output, `[N, C]`. A label beyond the table read its last row.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingGradient {
    /// K.
    pub rows: usize,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// `vec4`s of a row.
    row: u32,
    /// Rows of the table.
    rows: u32,
    /// How many labels there are.
    labels: u32,
}

impl Op for EmbeddingGradient {
    fn name(&self) -> &'static str {
        "embedding_gradient"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [labels, gradient] = *inputs else { unreachable!("embedding_gradient has two inputs") };
        match (labels.dims(), gradient.dims()) {
            (&[n], &[rows, c]) if n == rows => Ok(Shape::new(&[self.rows, c])),
            _ => Err(Error::shape(self.name(), "labels [N] and a gradient [N, C]", format!("{labels} and {gradient}"))),
        }
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("embedding_gradient has one output") };
        let [labels, gradient] = *inputs else { unreachable!("embedding_gradient has two inputs") };
        let width = gradient.shape.stride();
        output.data.fill(0.0);
        for (&label, gradient) in labels.data.iter().zip(gradient.rows()) {
            let row = &mut output.data[(label as usize).min(self.rows - 1) * width..][..width];
            row.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
        }
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let params = Params {
            len: len as u32,
            row: (output.stride() / 4) as u32,
            rows: self.rows as u32,
            labels: inputs[0].channels() as u32,
        };
        Kernel::flat(shader!("embedding_gradient"), &params, len)
    }
}
