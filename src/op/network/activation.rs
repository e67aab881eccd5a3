//! Activation functions.

use bytemuck::{Pod, Zeroable};
use serde::Deserialize;

use super::{ActivationGradient, Backward, Differentiable, Kernel, Op, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Result, Shape};
use kernels::math::{exp, silu_all, silu_derivative_all};

/// A function applied element by element (diffusers `models/activations.py`, `get_activation`). Each keeps 0 at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Activation {
    /// x · sigmoid(x), also called swish (Ramachandran et al. 2017).
    Silu,
    /// x · tanh(ln(1 + eˣ)) (Misra 2019).
    Mish,
    /// x · Φ(x), with the error function and not its tanh approximation (Hendrycks and Gimpel 2016).
    Gelu,
    /// max(x, 0).
    Relu,
}

impl Activation {
    /// Applies the function to every element in place.
    pub(crate) fn apply(self, data: &mut [f32]) {
        // One loop a function: a choice within the loop would keep it from being vectorised.
        match self {
            Activation::Silu => silu_all(data),
            Activation::Mish => data.iter_mut().for_each(|x| *x = mish(*x)),
            Activation::Gelu => {
                data.iter_mut().for_each(|x| *x *= 0.5 * (1.0 + libm::erff(*x * std::f32::consts::FRAC_1_SQRT_2)));
            }
            Activation::Relu => data.iter_mut().for_each(|x| *x = x.max(0.0)),
        }
    }

    /// Multiplies every element of `data` by the function's derivative at the element of `x` in the same place.
    pub(crate) fn apply_derivative(self, x: &[f32], data: &mut [f32]) {
        use std::f32::consts::{FRAC_1_SQRT_2, PI};

        let pairs = data.iter_mut().zip(x);
        match self {
            Activation::Silu => silu_derivative_all(x, data),
            Activation::Mish => pairs.for_each(|(data, &x)| *data *= mish_derivative(x)),
            Activation::Gelu => pairs.for_each(|(data, &x)| {
                let density = libm::expf(-0.5 * x * x) / (2.0 * PI).sqrt();
                *data *= 0.5 * (1.0 + libm::erff(x * FRAC_1_SQRT_2)) + x * density;
            }),
            Activation::Relu => pairs.for_each(|(data, &x)| *data = if x > 0.0 { *data } else { 0.0 }),
        }
    }

    /// The number by which shaders know the function; 0 is none.
    pub(crate) fn code(function: Option<Activation>) -> u32 {
        match function {
            None => 0,
            Some(Activation::Silu) => 1,
            Some(Activation::Mish) => 2,
            Some(Activation::Gelu) => 3,
            Some(Activation::Relu) => 4,
        }
    }
}

impl TryFrom<String> for Activation {
    type Error = String;

    fn try_from(name: String) -> std::result::Result<Self, String> {
        match name.to_ascii_lowercase().as_str() {
            "silu" | "swish" => Ok(Activation::Silu),
            "mish" => Ok(Activation::Mish),
            "gelu" => Ok(Activation::Gelu),
            "relu" => Ok(Activation::Relu),
            _ => Err("expected silu, swish, mish, gelu or relu".into()),
        }
    }
}

/// tanh(ln(1 + eˣ)) is n / (n + 2) with n = eˣ(eˣ + 2).
fn mish(x: f32) -> f32 {
    let e = exp(x.min(20.0)); // beyond, the quotient is 1
    let n = e * (e + 2.0);
    x * n / (n + 2.0)
}

/// With t = tanh(ln(1 + eˣ)) = n / (n + 2): t + x · sigmoid(x) · (1 − t²), where 1 − t² is 4 (eˣ + 1)² / (n + 2)².
fn mish_derivative(x: f32) -> f32 {
    let e = exp(x.min(20.0)); // beyond, the derivative is 1
    let n = e * (e + 2.0);
    n / (n + 2.0) + 4.0 * x * (e / (n + 2.0)) * ((e + 1.0) / (n + 2.0))
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    function: u32,
    pad: [u32; 2],
}

impl Op for Activation {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(inputs[0].clone())
    }

    fn stored(&self) -> Vec<usize> {
        vec![1, 2]
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("activation has one output") };
        output.data.copy_from_slice(inputs[0].data);
        self.apply(output.data);
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let params = Params { len: len as u32, function: Activation::code(Some(*self)), pad: [0; 2] };
        Kernel::flat(shader!("activation"), &params, len)
    }
}

impl Differentiable for Activation {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let op = ActivationGradient { function: *self };
        backward.each(graph, |graph, _, name| graph.op(name, op, &[backward.inputs[0], backward.gradient]))
    }
}
