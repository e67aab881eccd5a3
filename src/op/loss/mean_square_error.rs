//! The loss of a diffusion model.

use bytemuck::{Pod, Zeroable};

use super::network::affine::scaled;
use super::{Backward, Differentiable, Kernel, MeanSquareErrorGradient, Op, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Error, Result, Shape};

/// The mean square error of each image times a weight of its own, `[N]`: wₙ · mean (prediction − target)² (Ho et al. 2020,
/// equation 14; `F.mse_loss(prediction, target, reduction="none").mean(dim=[1, 2, 3])`). Weights are 1, or those of min-SNR-γ
/// (Hang et al. 2023).
///
/// Inputs: the prediction and the target, `[N, …]`, and the weights `[N]`, of which nothing is learned.
#[derive(Clone, Copy, Debug)]
pub struct MeanSquareError;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of an image.
    image: u32,
    images: u32,
    /// Images as they are padded.
    stride: u32,
    /// One part of an image's numbers, padding excluded.
    share: f32,
}

impl MeanSquareError {
    /// The numbers of an image, padding excluded.
    pub(in crate::op) fn elements(images: &Shape) -> usize {
        images.dims()[1..].iter().product()
    }
}

impl Op for MeanSquareError {
    fn name(&self) -> &'static str {
        "mean_square_error"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [prediction, target, weights] = *inputs else { unreachable!("mean_square_error has three inputs") };
        match *prediction.dims() {
            [n, _, ..] if target == prediction && weights.dims() == [n] => Ok(Shape::new(&[n])),
            _ => {
                let found = format!("{prediction}, {target} and {weights}");
                Err(Error::shape(self.name(), "a prediction [N, …], a target like it and weights [N]", found))
            }
        }
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("mean_square_error has one output") };
        let [prediction, target, weights] = *inputs else { unreachable!("mean_square_error has three inputs") };
        let elements = MeanSquareError::elements(prediction.shape) as f64;
        let image = prediction.data.len() / prediction.shape.dims()[0];
        let images = prediction.data.chunks_exact(image).zip(target.data.chunks_exact(image));
        output.data.fill(0.0);
        for ((out, (prediction, target)), &weight) in output.data.iter_mut().zip(images).zip(weights.data) {
            // The padding of both is zero.
            let squares = prediction.iter().zip(target).map(|(p, t)| f64::from(p - t).powi(2));
            *out = (f64::from(weight) * squares.sum::<f64>() / elements) as f32;
        }
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let images = output.channels();
        let params = Params {
            image: (inputs[0].len() / images / 4) as u32,
            images: images as u32,
            stride: output.stride() as u32,
            share: 1.0 / MeanSquareError::elements(inputs[0]) as f32,
        };
        Kernel::new(shader!("mean_square_error"), &params, [images as u32, 1, 1])
    }
}

impl Differentiable for MeanSquareError {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let &[prediction, target, weights] = backward.inputs else {
            unreachable!("mean_square_error has three inputs")
        };
        let &[by_prediction, by_target, _] = backward.wanted else {
            unreachable!("mean_square_error has three inputs")
        };
        if !by_prediction && !by_target {
            return Ok(vec![None; 3]);
        }
        let name = format!("{}.gradient", backward.name);
        let inputs = [prediction, target, weights, backward.gradient];
        let gradient = graph.op(&name, MeanSquareErrorGradient, &inputs)?;
        // It is the same but for the sign.
        let opposite = by_target.then(|| scaled(graph, &format!("{name}.target"), gradient, -1.0)).transpose()?;
        Ok(vec![by_prediction.then_some(gradient), opposite, None])
    }
}
