//! The loss of a classifier.

use bytemuck::{Pod, Zeroable};

use super::{Backward, CrossEntropyGradient, Differentiable, Kernel, Op, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Error, Result, Shape};

/// `−ln softmax(logits)[label]` of each row, `[N]` (`F.cross_entropy(logits, labels, reduction="none")`).
///
/// Inputs: the logits `[N, K]` and the labels `[N]`, whole numbers held as floats. One beyond the classes means the last;
/// whoever writes labels checks them first.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    /// Rows as they are padded.
    stride: u32,
    classes: u32,
    /// `vec4`s of a row.
    row: u32,
}

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [logits, labels] = *inputs else { unreachable!("cross_entropy has two inputs") };
        match (logits.dims(), labels.dims()) {
            (&[n, _], &[labels]) if n == labels => Ok(Shape::new(&[n])),
            _ => Err(Error::shape(self.name(), "logits [N, K] and labels [N]", format!("{logits} and {labels}"))),
        }
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("cross_entropy has one output") };
        let [logits, labels] = *inputs else { unreachable!("cross_entropy has two inputs") };
        let classes = logits.shape.channels();
        output.data.fill(0.0);
        for ((out, row), &label) in output.data.iter_mut().zip(logits.rows()).zip(labels.data) {
            let row = &row[..classes];
            let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = row.iter().map(|x| libm::expf(x - highest)).sum();
            *out = libm::logf(sum) + highest - row[(label as usize).min(classes - 1)];
        }
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let params = Params {
            rows: output.channels() as u32,
            stride: output.stride() as u32,
            classes: inputs[0].channels() as u32,
            row: (inputs[0].stride() / 4) as u32,
        };
        Kernel::flat(shader!("cross_entropy"), &params, output.stride())
    }
}

impl Differentiable for CrossEntropy {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let &[logits, labels] = backward.inputs else { unreachable!("cross_entropy has two inputs") };
        // Nothing follows for the labels.
        if !backward.wanted[0] {
            return Ok(vec![None, None]);
        }
        let name = format!("{}.gradient", backward.name);
        Ok(vec![Some(graph.op(&name, CrossEntropyGradient, &[logits, labels, backward.gradient])?), None])
    }
}
