//! A table of learned rows.

use bytemuck::{Pod, Zeroable};

use super::{Backward, Differentiable, EmbeddingGradient, Kernel, Op, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Error, Result, Shape};

/// The rows of a table `[K, C]` that the labels `[N]` name: `[N, C]` (`torch.nn.Embedding`).
///
/// Labels are whole numbers held as floats. One beyond the table reads its last row; whoever writes labels checks them
/// first.
#[derive(Debug)]
pub struct Embedding;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// `vec4`s of a row.
    row: u32,
    /// Rows of the table.
    rows: u32,
    pad: u32,
}

impl Op for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [labels, table] = *inputs else { unreachable!("embedding has two inputs") };
        match (labels.dims(), table.dims()) {
            (&[n], &[_, c]) => Ok(Shape::new(&[n, c])),
            _ => Err(Error::shape(self.name(), "labels [N] and a table [K, C]", format!("{labels} and {table}"))),
        }
    }

    fn stored(&self) -> Vec<usize> {
        vec![2, 3]
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("embedding has one output") };
        let [labels, table] = *inputs else { unreachable!("embedding has two inputs") };
        let last = table.shape.rows() - 1;
        let width = table.shape.stride();
        for (out, &label) in output.rows_mut().zip(labels.data) {
            out.copy_from_slice(&table.data[(label as usize).min(last) * width..][..width]);
        }
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let params =
            Params { len: len as u32, row: (output.stride() / 4) as u32, rows: inputs[1].rows() as u32, pad: 0 };
        Kernel::flat(shader!("embedding"), &params, len)
    }
}

impl Differentiable for Embedding {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let &[labels, table] = backward.inputs else { unreachable!("embedding has two inputs") };
        // Nothing follows for the labels.
        if !backward.wanted[1] {
            return Ok(vec![None, None]);
        }
        let op = EmbeddingGradient { rows: graph.shape(table).rows() };
        let name = format!("{}.gradient", backward.name);
        Ok(vec![None, Some(graph.op(&name, op, &[labels, backward.gradient])?)])
    }
}
