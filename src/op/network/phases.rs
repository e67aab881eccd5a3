//! A 3×3 convolution of an upsampled image as four of the image itself.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, shader};
use crate::{Error, Result, Shape};

/// The weights of the four 2×2 convolutions that a nearest-neighbour upsampling and a 3×3 convolution are together: from the
/// weight `[3, 3, Cin padded, Cout]`, `[2 · 2, 2, 2, Cin padded, Cout]` in rows, as [`super::FusedConv2d`] reads it.
///
/// Output pixel (2y + p, 2x + q) sees the pixels y + p − 1 and y + p, of which one is seen by two of the three rows of
/// taps; so for the columns.
#[derive(Debug)]
pub struct Phases;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// `vec4`s of a tap of either weight.
    tap: u32,
    pad: [u32; 2],
}

impl Op for Phases {
    fn name(&self) -> &'static str {
        "phases"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        match *inputs[0].dims() {
            [3, 3, depth, out] => Ok(Shape::new(&[16 * depth, out])),
            _ => Err(Error::shape(self.name(), "a weight [3, 3, Cin, Cout]", inputs[0])),
        }
    }

    fn stored(&self) -> Vec<usize> {
        vec![1, 2]
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("phases has one output") };
        let weight = inputs[0].data;
        let len = weight.len() / 9;
        output.data.fill(0.0);
        for phase in 0..4 {
            for tap in 0..9 {
                // Of three taps, at parity 0 the last two see the second pixel; at parity 1 the first two the first.
                let side = |tap: usize, parity: usize| (tap + 1 - parity) / 2;
                let (y, x) = (side(tap / 3, phase / 2), side(tap % 3, phase % 2));
                let sum = &mut output.data[(phase * 4 + y * 2 + x) * len..][..len];
                sum.iter_mut().zip(&weight[tap * len..]).for_each(|(sum, w)| *sum += w);
            }
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let params = Params { len: len as u32, tap: (len / 16) as u32, pad: [0; 2] };
        Kernel::flat(shader!("phases"), &params, len)
    }
}
