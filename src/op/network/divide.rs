//! Division of each image by a number of its own.

use bytemuck::{Pod, Zeroable};

use super::{Backward, Differentiable, Kernel, Op, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Error, Result, Shape};

/// `x / t` for images x: `[N, H, W, C]` and one divisor an image, t: `[N]`.
///
/// A score network's last step: its output is divided by the noise level that it was given as time (Song et al. 2020,
/// "Score-Based Generative Modeling", appendix C).
#[derive(Debug)]
pub struct Divide;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// `vec4`s of an image.
    image: u32,
    pad: [u32; 2],
}

impl Op for Divide {
    fn name(&self) -> &'static str {
        "divide"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x, t] = *inputs else { unreachable!("divide has two inputs") };
        let [n, ..] = x.nhwc(self.name())?;
        if t.dims() != [n] {
            return Err(Error::shape(self.name(), format!("a divisor for each of {n} images"), t));
        }
        Ok(x.clone())
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("divide has one output") };
        let [x, t] = *inputs else { unreachable!("divide has two inputs") };
        let image = x.data.len() / x.shape.dims()[0];
        let images = output.data.chunks_exact_mut(image).zip(x.data.chunks_exact(image));
        for ((out, x), t) in images.zip(t.data) {
            for (out, x) in out.iter_mut().zip(x) {
                *out = x / t;
            }
        }
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let params = Params { len: len as u32, image: (len / inputs[0].dims()[0]) as u32, pad: [0; 2] };
        Kernel::flat(shader!("divide"), &params, len)
    }
}

impl Differentiable for Divide {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        // The divisor is the noise level that the network was given as time, of which nothing is learned.
        if !backward.wanted[0] {
            return Ok(vec![None, None]);
        }
        let name = format!("{}.gradient", backward.name);
        Ok(vec![Some(graph.op(&name, Divide, &[backward.gradient, backward.inputs[1]])?), None])
    }
}
