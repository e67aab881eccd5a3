//! Softmax over rows.

use bytemuck::{Pod, Zeroable};

use super::{Backward, Differentiable, Kernel, Op, SoftmaxGradient, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Precision, Result, Shape};
use kernels::math::softmax;

/// `exp(x) / Σ exp(x)` over the last dimension (`torch.softmax(x, dim=-1)`), with the row's maximum taken out first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Softmax {
    /// Whether each row is left to one invocation of the GPU.
    pub serial: bool,
    /// In which the output is stored.
    pub precision: Precision,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    /// Elements of a row.
    len: u32,
    /// `vec4`s of a row.
    row: u32,
    pad: u32,
}

/// The most workgroups in x, one a row; further rows go to y.
const WIDTH: usize = 1 << 15;

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(inputs[0].clone())
    }

    fn stored(&self) -> Vec<usize> {
        vec![2]
    }

    fn precision(&self) -> Option<Precision> {
        Some(self.precision)
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("softmax has one output") };
        let len = inputs[0].shape.channels();
        output.write_rows(|row, out| {
            let (out, padding) = out.split_at_mut(len);
            padding.fill(0.0);
            out.copy_from_slice(&inputs[0].row(row)[..len]);
            softmax(out);
        });
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let rows = output.rows();
        let params =
            Params { rows: rows as u32, len: inputs[0].channels() as u32, row: (output.stride() / 4) as u32, pad: 0 };
        if self.serial {
            return Kernel::flat(shader!("softmax"), &params, rows).with("serial", 1);
        }
        let groups = [rows.min(WIDTH) as u32, rows.div_ceil(WIDTH) as u32, 1];
        Kernel::new(shader!("softmax"), &params, groups)
    }
}

impl Differentiable for Softmax {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let inputs = [backward.output, backward.gradient];
        backward.each(graph, |graph, _, name| graph.op(name, SoftmaxGradient, &inputs))
    }
}
