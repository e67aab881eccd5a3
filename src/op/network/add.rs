//! Addition, of equal shapes or of a row a channel to every pixel of an image.

use bytemuck::{Pod, Zeroable};

use super::affine::scaled;
use super::{Backward, Differentiable, Kernel, Op, SumRows, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Error, Result, Shape};

/// `(a + b) · scale`, where `b` has the shape of `a`, or is `[N, C]` and is added to every pixel of `a`: `[N, H, W, C]`.
#[derive(Debug)]
pub struct Add {
    /// What the sum is multiplied by.
    pub scale: f32,
}

impl Add {
    /// The sum itself.
    pub const PLAIN: Add = Add { scale: 1.0 };
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// `vec4`s of a run of channels.
    channels: u32,
    /// `vec4`s of `a` that share a run of channels of `b`.
    share: u32,
    scale: f32,
}

/// How many rows of `a` share a row of `b`.
fn share(a: &Shape, b: &Shape) -> usize {
    (a.rows() / b.rows().max(1)).max(1)
}

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [a, b] = *inputs else { unreachable!("add has two inputs") };
        let row_of = |dims: &[usize]| matches!(dims, [n, _, _, c] if b.dims() == [*n, *c]);
        if a != b && !row_of(a.dims()) {
            return Err(Error::shape("add", format!("{a}, or a row for each image of it"), b));
        }
        Ok(a.clone())
    }

    fn stored(&self) -> Vec<usize> {
        vec![1, 2, 3]
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("add has one output") };
        let [a, b] = *inputs else { unreachable!("add has two inputs") };
        let share = share(a.shape, b.shape);
        output.write_rows(|row, out| {
            for ((out, a), b) in out.iter_mut().zip(a.row(row)).zip(b.row(row / share)) {
                *out = (a + b) * self.scale;
            }
        });
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let channels = output.stride() / 4;
        let share = share(inputs[0], inputs[1]) * channels;
        let params = Params { len: len as u32, channels: channels as u32, share: share as u32, scale: self.scale };
        Kernel::flat(shader!("add"), &params, len)
    }
}

impl Differentiable for Add {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        backward.each(graph, |graph, i, name| {
            let shape = graph.shape(backward.inputs[i]).clone();
            let mut gradient = backward.gradient;
            // A row is added to every pixel.
            if shape != *graph.shape(gradient) {
                gradient = SumRows::append(graph, &format!("{name}.sum"), gradient, shape.rows(), shape)?;
            }
            scaled(graph, name, gradient, self.scale)
        })
    }
}
