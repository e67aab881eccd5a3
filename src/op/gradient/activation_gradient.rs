//! The gradient of an activation.

use bytemuck::{Pod, Zeroable};

use super::{Activation, Kernel, Op, View, ViewMut, shader};
use crate::{Error, Result, Shape};

/// `g · f′(x)`, element by element: the gradient of a loss by x, from that by f(x), g. Of ReLU the derivative at 0 is 0, as
/// PyTorch has it.
///
/// Inputs: x and g, of the same shape.
#[derive(Clone, Copy, Debug)]
pub struct ActivationGradient {
    /// f.
    pub function: Activation,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    function: u32,
    pad: [u32; 2],
}

impl Op for ActivationGradient {
    fn name(&self) -> &'static str {
        "activation_gradient"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x, gradient] = *inputs else { unreachable!("activation_gradient has two inputs") };
        if gradient != x {
            return Err(Error::shape(self.name(), format!("a gradient {x}"), gradient));
        }
        Ok(x.clone())
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("activation_gradient has one output") };
        let [x, gradient] = *inputs else { unreachable!("activation_gradient has two inputs") };
        output.data.copy_from_slice(gradient.data);
        self.function.apply_derivative(x.data, output.data);
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let params = Params { len: len as u32, function: Activation::code(Some(self.function)), pad: [0; 2] };
        Kernel::flat(shader!("activation_gradient"), &params, len)
    }
}
