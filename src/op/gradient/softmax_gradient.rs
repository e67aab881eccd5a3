//! The gradient of a softmax.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, shader};
use crate::{Error, Result, Shape};
use kernels::math;

/// `p · (g − Σ p g)`, the sum over the last dimension: the gradient of a [`super::Softmax`] by its input, from its output p and
/// the gradient g by that.
///
/// Inputs: p and g, of the same shape.
#[derive(Debug)]
pub struct SoftmaxGradient;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    /// `vec4`s of a row.
    row: u32,
    pad: [u32; 2],
}

/// The most workgroups in x, one a row; further rows go to y.
const WIDTH: usize = 1 << 15;

impl Op for SoftmaxGradient {
    fn name(&self) -> &'static str {
        "softmax_gradient"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [p, g] = *inputs else { unreachable!("softmax_gradient has two inputs") };
        if p == g { Ok(p.clone()) } else { Err(Error::shape(self.name(), p, g)) }
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("softmax_gradient has one output") };
        let [p, g] = *inputs else { unreachable!("softmax_gradient has two inputs") };
        output.write_rows(|row, out| math::softmax_gradient(p.row(row), g.row(row), out));
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let rows = output.rows();
        let params = Params { rows: rows as u32, row: (output.stride() / 4) as u32, pad: [0; 2] };
        let groups = [rows.min(WIDTH) as u32, rows.div_ceil(WIDTH) as u32, 1];
        Kernel::new(shader!("softmax_gradient"), &params, groups)
    }
}
