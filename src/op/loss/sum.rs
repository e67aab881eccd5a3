//! The sum of a list.

use bytemuck::{Pod, Zeroable};

use super::{Backward, Differentiable, Kernel, Op, Spread, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Result, Shape};

/// The sum of all numbers times a scale, `[1]`: of the losses of N images with the scale 1 / N their mean
/// ([`Sum::mean`]), of the partial sums of a [`super::SquareNorm`] with the scale 1 the whole.
///
/// Input: of any shape. One workgroup adds them up, so they should be few.
#[derive(Clone, Copy, Debug)]
pub struct Sum {
    /// What the sum is multiplied by.
    pub scale: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the input.
    len: u32,
    scale: f32,
    pad: [u32; 2],
}

impl Sum {
    /// The sum alone.
    pub const PLAIN: Sum = Sum { scale: 1.0 };

    /// The mean of `len` numbers.
    pub fn mean(len: usize) -> Self {
        Sum { scale: 1.0 / len as f32 }
    }
}

impl Op for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn output(&self, _inputs: &[&Shape]) -> Result<Shape> {
        Ok(Shape::new(&[1]))
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("sum has one output") };
        // The padding is zero.
        let sum: f64 = inputs[0].data.iter().map(|&x| f64::from(x)).sum();
        output.data.fill(0.0);
        output.data[0] = (sum * f64::from(self.scale)) as f32;
    }

    fn kernel(&self, inputs: &[&Shape], _output: &Shape) -> Kernel {
        let params = Params { len: (inputs[0].len() / 4) as u32, scale: self.scale, pad: [0; 2] };
        Kernel::new(shader!("sum"), &params, [1, 1, 1])
    }
}

impl Differentiable for Sum {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        backward.each(graph, |graph, i, name| {
            let shape = graph.shape(backward.inputs[i]).clone();
            graph.op(name, Spread { shape, scale: self.scale }, &[backward.gradient])
        })
    }
}
