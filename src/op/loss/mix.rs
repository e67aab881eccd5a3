//! Sums of images with coefficients of their own.

use bytemuck::{Pod, Zeroable};

use super::{Backward, Differentiable, Kernel, Op, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Error, Result, Shape};

/// `aₙ · xₙ + bₙ · yₙ`, or `aₙ · xₙ` alone, with coefficients an image.
///
/// Of x_0 and ε it is what a network learns from: x_t = √ᾱ x_0 + √(1 − ᾱ) ε (Ho et al. 2020, equation 4) and, with other
/// coefficients, what it is to predict: ε, x_0, v = √ᾱ ε − √(1 − ᾱ) x_0 (Salimans and Ho 2022), or a flow's ε − x_0.
///
/// Inputs: x, and y if there is one, `[N, …]`; then their coefficients, a and b, `[N]`, of which nothing is learned.
#[derive(Clone, Copy, Debug)]
pub struct Mix;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// `vec4`s of an image.
    image: u32,
    pad: [u32; 2],
}

impl Op for Mix {
    fn name(&self) -> &'static str {
        "mix"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let (images, coefficients) = inputs.split_at(inputs.len() / 2);
        let fits = matches!(*inputs, [_, _] | [_, _, _, _])
            && images[0].dims().len() > 1
            && images.iter().all(|&image| image == images[0])
            && coefficients.iter().all(|of_images| of_images.dims() == &images[0].dims()[..1]);
        if !fits {
            let found = inputs.iter().map(|shape| shape.to_string()).collect::<Vec<_>>().join(", ");
            return Err(Error::shape(self.name(), "one or two of [N, …], and as many coefficients [N]", found));
        }
        Ok(images[0].clone())
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("mix has one output") };
        let (images, coefficients) = inputs.split_at(inputs.len() / 2);
        let image = output.data.len() / output.shape.dims()[0];
        output.data.fill(0.0);
        for (images, coefficients) in images.iter().zip(coefficients) {
            let pairs = output.data.chunks_exact_mut(image).zip(images.data.chunks_exact(image));
            for ((out, x), coefficient) in pairs.zip(coefficients.data) {
                out.iter_mut().zip(x).for_each(|(out, x)| *out += coefficient * x);
            }
        }
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let params = Params { len: len as u32, image: (len / output.dims()[0]) as u32, pad: [0; 2] };
        Kernel::flat(shader!("mix"), &params, len).with("two", u32::from(inputs.len() == 4))
    }
}

impl Differentiable for Mix {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let terms = backward.inputs.len() / 2;
        let mut gradients = vec![None; backward.inputs.len()];
        for term in (0..terms).filter(|&term| backward.wanted[term]) {
            let name = format!("{}.gradient.{term}", backward.name);
            gradients[term] = Some(graph.op(&name, Mix, &[backward.gradient, backward.inputs[terms + term]])?);
        }
        Ok(gradients)
    }
}
