//! A weight as the gradient needs it.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, shader};
use crate::tensor::padded;
use crate::{Error, Result, Shape};

/// A convolution's weight with input and output exchanged and every kernel turned by half a turn: `[K, K, Cout padded, Cin]`
/// from `[K, K, Cin padded, Cout]`. With it the gradient by a convolution's input is a convolution too
/// (`torch.nn.ConvTranspose2d`). Of a linear layer `[out padded, in]` from `[in padded, out]`.
#[derive(Clone, Copy, Debug)]
pub struct TransposeKernel {
    /// Cin, which the weight has padded.
    pub channels: usize,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    taps: u32,
    /// Cin, unpadded.
    channels: u32,
    /// `vec4`s of a run of Cin.
    row: u32,
    /// Elements of a run of Cout, padding included: rows of a tap of the output.
    columns: u32,
    pad: [u32; 3],
}

/// How many kernel elements a weight has.
fn taps(weight: &Shape) -> usize {
    weight.dims().iter().rev().skip(2).product()
}

impl Op for TransposeKernel {
    fn name(&self) -> &'static str {
        "transpose_kernel"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let mut dims = inputs[0].dims().to_vec();
        match dims[..] {
            [.., input, out] if input == padded(self.channels) => {
                let rank = dims.len();
                dims[rank - 2..].copy_from_slice(&[padded(out), self.channels]);
                Ok(Shape::new(&dims))
            }
            _ => Err(Error::shape(self.name(), format!("a weight [.., {}, Cout]", padded(self.channels)), inputs[0])),
        }
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("transpose_kernel has one output") };
        let weight = inputs[0];
        let (input, out) = (padded(self.channels), weight.shape.stride());
        let taps = taps(weight.shape);
        output.write_rows(|i, row| {
            let (tap, o) = (taps - 1 - i / out, i % out);
            let column = weight.data[tap * input * out + o..].iter().step_by(out);
            row.iter_mut().zip(column).for_each(|(number, &element)| *number = element);
        });
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let params = Params {
            len: len as u32,
            taps: taps(inputs[0]) as u32,
            channels: self.channels as u32,
            row: (output.stride() / 4) as u32,
            columns: inputs[0].stride() as u32,
            pad: [0; 3],
        };
        Kernel::flat(shader!("transpose_kernel"), &params, len)
    }
}
