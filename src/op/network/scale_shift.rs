//! The application of a normalisation: a scale and a shift a channel, then optionally an activation.

use bytemuck::{Pod, Zeroable};

use super::{Activation, Backward, Differentiable, Kernel, Op, ScaleShiftGradient, SumRows, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Error, Result, Shape};
use kernels::math::scale_shift;
use kernels::parallel;

/// `x · scale + shift` for x: `[N, H, W, C]`, with scale and shift the two rows of the second input, `[N, 2, C]`.
#[derive(Debug)]
pub struct ScaleShift {
    /// What follows.
    pub activation: Option<Activation>,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// `vec4`s of a run of channels.
    channels: u32,
    /// `vec4`s of an image.
    image: u32,
    activation: u32,
}

impl Op for ScaleShift {
    fn name(&self) -> &'static str {
        "scale_shift"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x, affine] = *inputs else { unreachable!("scale_shift has two inputs") };
        let [n, _, _, c] = x.nhwc(self.name())?;
        if affine.dims() != [n, 2, c] {
            return Err(Error::shape(self.name(), format!("a scale and a shift [{n}, 2, {c}]"), affine));
        }
        Ok(x.clone())
    }

    fn stored(&self) -> Vec<usize> {
        vec![1, 3]
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        /// Pixels that go through all steps before the next ones, and stay in the cache meanwhile.
        const TILE: usize = 32;

        let [output] = outputs else { unreachable!("scale_shift has one output") };
        let [x, affine] = *inputs else { unreachable!("scale_shift has two inputs") };
        let pixels = x.shape.rows() / x.shape.dims()[0];
        let width = x.shape.stride();
        let images = output.data.chunks_exact_mut(pixels * width).enumerate().collect();
        parallel::each(images, |(image, out): (usize, &mut [f32])| {
            let (scale, shift) = affine.data[image * 2 * width..][..2 * width].split_at(width);
            let x = &x.data[image * pixels * width..][..pixels * width];
            for (out, x) in out.chunks_mut(TILE * width).zip(x.chunks(TILE * width)) {
                out.copy_from_slice(x);
                scale_shift(out, scale, shift);
                if let Some(activation) = self.activation {
                    activation.apply(out);
                }
            }
        });
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let params = Params {
            len: len as u32,
            channels: (output.stride() / 4) as u32,
            image: (len / inputs[0].dims()[0]) as u32,
            activation: Activation::code(self.activation),
        };
        Kernel::flat(shader!("scale_shift"), &params, len)
    }
}

impl Differentiable for ScaleShift {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let &[x, affine] = backward.inputs else { unreachable!("scale_shift has two inputs") };
        let &[by_x, by_affine] = backward.wanted else { unreachable!("scale_shift has two inputs") };
        let name = format!("{}.gradient", backward.name);
        let op = ScaleShiftGradient { activation: self.activation };
        let gradient = graph.op(&name, op, &[x, affine, backward.gradient])?;
        let mut gradients = vec![by_x.then_some(gradient), None];
        if by_affine {
            let tiles = graph.further_outputs(gradient).next().expect("scale_shift_gradient has two outputs");
            let shape = graph.shape(affine).clone();
            let sums = SumRows::append(graph, &format!("{name}.affine"), tiles, shape.dims()[0], shape)?;
            gradients[1] = Some(sums);
        }
        Ok(gradients)
    }
}
