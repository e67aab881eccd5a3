//! What a learned variance learns from.

use std::f64::consts::LN_2;

use bytemuck::{Pod, Zeroable};

use super::{Backward, Differentiable, Kernel, MeanSquareError, Op, VariationalBoundGradient, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Error, Result, Shape};

/// The term of the variational lower bound of each image's timestep, in bits a number, `[N]`, from which a network learns a
/// variance σ² = exp(f ln β_t + (1 − f) ln β̃_t) with f = (v + 1) / 2 (Nichol and Dhariwal 2021, equations 14 to 16; their
/// `_vb_terms_bpd` with `clip_denoised=False`): KL(q(x_{t−1} | x_t, x_0) ‖ p(x_{t−1} | x_t)), both of them normal, or, of the first
/// timestep, −ln p(x_0 | x_1), with x_0 one of 256 levels.
///
/// Inputs: what the network predicted and its target; v; x_0, all `[N, H, W, C]`; and for each image ([`VariationalBound::row`])
/// `[N, 4]`. Of an image the two distributions' means are as far apart as prediction and target, times a factor: with c₁ the
/// posterior's coefficient of x_0, that is c₁ where x_0 is predicted, −c₁ √(1 − ᾱ) / √ᾱ where ε is, and −c₁ √(1 − ᾱ) where v is.
///
/// Only v learns from it: the mean, as in the paper, does not.
#[derive(Clone, Copy, Debug)]
pub struct VariationalBound;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of an image.
    image: u32,
    /// `vec4`s of a run of channels.
    row: u32,
    /// Channels, unpadded.
    channels: u32,
    images: u32,
    /// Images as they are padded.
    stride: u32,
    /// 1 / (ln 2 · an image's numbers, padding excluded).
    scale: f32,
    pad: [u32; 2],
}

/// What is given of an image.
#[derive(Clone, Copy)]
pub(in crate::op) struct Given {
    factor: f64,
    min_log: f64,
    range: f64,
    first: bool,
}

impl Given {
    /// That of a row of the last input.
    pub(in crate::op) fn of(row: &[f32]) -> Self {
        let [factor, min_log, range, first] = *row else { unreachable!("a row is four numbers") };
        let [factor, min_log, range] = [factor, min_log, range].map(f64::from);
        Given { factor, min_log, range, first: first == 1.0 }
    }

    /// The loss of a number in nats, and its derivative by v.
    pub(in crate::op) fn loss(self, [prediction, target, v, x0]: [f32; 4]) -> [f64; 2] {
        let distance = self.factor * f64::from(target - prediction);
        let part = 0.5 * (f64::from(v) + 1.0);
        let log_variance = self.min_log + part * self.range;
        let [loss, by_log_variance] = match self.first {
            true => level(f64::from(x0), distance, log_variance),
            false => divergence(distance, -part * self.range, log_variance),
        };
        [loss, 0.5 * self.range * by_log_variance]
    }
}

/// KL(N(μ, σ₁²) ‖ N(μ + distance, σ²)) in nats, with `ratio` = ln σ₁² − ln σ², and its derivative by the logarithm of σ²:
/// ½ (−1 + ln σ² − ln σ₁² + σ₁² / σ² + distance² / σ²).
pub(crate) fn divergence(distance: f64, ratio: f64, log_variance: f64) -> [f64; 2] {
    let square = distance * distance * (-log_variance).exp();
    [0.5 * (ratio.exp_m1() - ratio + square), -0.5 * (ratio.exp_m1() + square)]
}

/// −ln of the probability of a number within half a level of x_0, of which there are 256 from −1 to 1, where x_0 is `distance`
/// above the mean, and its derivative by the logarithm of the variance (`discretized_gaussian_log_likelihood`). The last
/// levels also have what lies beyond them. Probabilities below 1e-12 count as that, with no derivative.
pub(crate) fn level(x0: f64, distance: f64, log_variance: f64) -> [f64; 2] {
    let inverse = (-0.5 * log_variance).exp();
    let [above, below] = [distance + 1.0 / 255.0, distance - 1.0 / 255.0].map(|edge| inverse * edge);
    // By the logarithm of the variance, an edge changes by −½ of itself.
    let slope = |edge: f64| -0.5 * edge * normal_density(edge);
    let (probability, slope) = if x0 < -0.999 {
        (normal(above), slope(above))
    } else if x0 > 0.999 {
        (normal(-below), slope(-below))
    } else if distance > 0.0 {
        // Mirrored, since the function is exact only where it is small.
        (normal(-below) - normal(-above), slope(-below) - slope(-above))
    } else {
        (normal(above) - normal(below), slope(above) - slope(below))
    };
    [-probability.max(1e-12).ln(), if probability < 1e-12 { 0.0 } else { -slope / probability }]
}

/// √(2/π).
const ROOT: f64 = 0.797_884_560_802_865_4;

/// `approx_standard_normal_cdf`: ½ (1 + tanh h) with h = √(2/π) (x + 0.044715 x³), which is the logistic function of 2h.
fn normal(x: f64) -> f64 {
    1.0 / (1.0 + (-2.0 * ROOT * (x + 0.044715 * x * x * x)).exp())
}

/// Its derivative.
fn normal_density(x: f64) -> f64 {
    let p = normal(x);
    2.0 * ROOT * (1.0 + 3.0 * 0.044715 * x * x) * p * (1.0 - p)
}

impl VariationalBound {
    /// What is given of an image: the factor between predictions and means, the logarithms of β̃_t (that of the second timestep
    /// for the first, whose own is −∞) and of β_t, and whether its timestep is the first.
    pub fn row(factor: f64, min_log: f64, max_log: f64, first: bool) -> [f32; 4] {
        [factor as f32, min_log as f32, (max_log - min_log) as f32, f32::from(first)]
    }
}

impl Op for VariationalBound {
    fn name(&self) -> &'static str {
        "variational_bound"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [images @ .., rows] = inputs else { unreachable!("variational_bound has five inputs") };
        let [n, ..] = images[0].nhwc(self.name())?;
        if images.iter().any(|&image| image != images[0]) || rows.dims() != [n, 4] {
            let found = inputs.iter().map(|shape| shape.to_string()).collect::<Vec<_>>().join(", ");
            return Err(Error::shape(self.name(), "four of [N, H, W, C], and [N, 4]", found));
        }
        Ok(Shape::new(&[n]))
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("variational_bound has one output") };
        let [prediction, target, v, x0, rows] = *inputs else { unreachable!("variational_bound has five inputs") };
        let (channels, stride) = (prediction.shape.channels(), prediction.shape.stride());
        let elements = MeanSquareError::elements(prediction.shape);
        let image = prediction.data.len() / prediction.shape.dims()[0];
        output.data.fill(0.0);
        for (n, row) in rows.rows().enumerate() {
            let given = Given::of(row);
            let own = (n * image..(n + 1) * image).filter(|i| i % stride < channels);
            let losses = own.map(|i| given.loss([prediction, target, v, x0].map(|input| input.data[i]))[0]);
            output.data[n] = (losses.sum::<f64>() / elements as f64 / LN_2) as f32;
        }
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let images = output.channels();
        let params = Params {
            image: (inputs[0].len() / images / 4) as u32,
            row: (inputs[0].stride() / 4) as u32,
            channels: inputs[0].channels() as u32,
            images: images as u32,
            stride: output.stride() as u32,
            scale: (1.0 / LN_2 / MeanSquareError::elements(inputs[0]) as f64) as f32,
            pad: [0; 2],
        };
        let source = shader!("variational_bound");
        Kernel::new(source, &params, [images as u32, 1, 1])
    }
}

impl Differentiable for VariationalBound {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let mut gradients = vec![None; backward.inputs.len()];
        if backward.wanted[2] {
            let inputs = [backward.inputs, &[backward.gradient][..]].concat();
            let name = format!("{}.gradient", backward.name);
            gradients[2] = Some(graph.op(&name, VariationalBoundGradient, &inputs)?);
        }
        Ok(gradients)
    }
}
