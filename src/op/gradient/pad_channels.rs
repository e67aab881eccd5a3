//! Zeros before and after the channels.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, shader};
use crate::{Error, Result, Shape};

/// The channels of x from channel `first` on, and zeros in all others of `channels`: `[…, channels]` from `[…, C]`
/// (`torch.nn.functional.pad` of the channels). It is the gradient of a [`super::Slice`].
#[derive(Clone, Copy, Debug)]
pub struct PadChannels {
    /// Where the first channel of x goes.
    pub first: usize,
    /// How many channels there are then.
    pub channels: usize,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// Elements of a run of channels of the input, padding included.
    in_stride: u32,
    /// `vec4`s of a run of channels of the output.
    out_stride: u32,
    first: u32,
    /// Channels of the input, unpadded.
    channels: u32,
    pad: [u32; 3],
}

impl Op for PadChannels {
    fn name(&self) -> &'static str {
        "pad_channels"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let mut dims = inputs[0].dims().to_vec();
        match dims.last_mut() {
            Some(channels) if self.first + *channels <= self.channels => *channels = self.channels,
            _ => {
                let expected = format!("at most {} channels", self.channels.saturating_sub(self.first));
                return Err(Error::shape(self.name(), expected, inputs[0]));
            }
        }
        Ok(Shape::new(&dims))
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("pad_channels has one output") };
        let channels = inputs[0].shape.channels();
        for (out, pixel) in output.rows_mut().zip(inputs[0].rows()) {
            out.fill(0.0);
            out[self.first..][..channels].copy_from_slice(&pixel[..channels]);
        }
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let params = Params {
            len: len as u32,
            in_stride: inputs[0].stride() as u32,
            out_stride: (output.stride() / 4) as u32,
            first: self.first as u32,
            channels: inputs[0].channels() as u32,
            pad: [0; 3],
        };
        Kernel::flat(shader!("pad_channels"), &params, len)
    }
}
