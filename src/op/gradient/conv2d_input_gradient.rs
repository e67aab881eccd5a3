//! The gradient of a convolution with a stride by its input.

use bytemuck::{Pod, Zeroable};

use super::{Conv2d, Kernel, Op, View, ViewMut, shader};
use crate::tensor::padded;
use crate::{Error, Result, Shape};
use kernels::gemm::{self, Gemm, Store};

/// The gradient of a [`Conv2d`] by its input, `[N, H, W, Cin]`, from that by its output (`torch.nn.grad.conv2d_input`), with
/// any stride: a pixel gathers from the windows that it lay in. Which elements of the kernel it met there only depends on its
/// coordinates' remainders by the stride, so that pixels of equal remainders are a convolution with fewer elements.
///
/// Inputs: the gradient by the output `[N, H', W', Cout]`, and the weight as [`super::TransposeKernel`] gives it,
/// `[K, K, Cout padded, Cin]`.
#[derive(Clone, Copy, Debug)]
pub struct Conv2dInputGradient {
    /// The convolution.
    pub conv: Conv2d,
    /// H and W of the input.
    pub size: [usize; 2],
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// Of the gradient that is given.
    in_height: u32,
    in_width: u32,
    /// `vec4`s of its runs of channels.
    in_channels: u32,
    height: u32,
    width: u32,
    /// `vec4`s of a run of channels of the output.
    channels: u32,
    kernel: u32,
    stride: u32,
    pad: u32,
    /// Strips of a row of the output.
    strips: u32,
    /// Strips in all images.
    len: u32,
    pad0: u32,
}

/// Pixels of a strip, a stride apart: those that one GPU invocation computes.
const STRIP: usize = 4;
/// Strips, and blocks of eight channels, of a workgroup.
const WORKGROUP: usize = 8;

/// Of one side, the pixels of equal remainder.
struct Phase {
    /// The first of them.
    first: usize,
    /// The window that the first one meets with its first kernel element; each further pixel's is the next one.
    window: usize,
    /// The first kernel element that they meet, in windows; the others are a stride apart, each in the window before.
    tap: usize,
}

impl Conv2dInputGradient {
    /// The pixels of a side of `size`, by remainders.
    fn phases(&self, size: usize) -> impl Iterator<Item = Phase> {
        let Conv2d { stride, pad_before, .. } = self.conv;
        (0..stride.min(size)).map(move |first| {
            let at = first + pad_before;
            Phase { first, window: at / stride, tap: at % stride }
        })
    }
}

impl Op for Conv2dInputGradient {
    fn name(&self) -> &'static str {
        "conv2d_input_gradient"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [g, weight] = *inputs else { unreachable!("conv2d_input_gradient has two inputs") };
        let [n, h, w, c] = g.nhwc(self.name())?;
        let ([height, width], kernel) = (self.size, self.conv.kernel);
        if weight.dims()[..weight.dims().len() - 1] != [kernel, kernel, padded(c)] {
            let expected = format!("a weight [{kernel}, {kernel}, {}, Cin] for {g}", padded(c));
            return Err(Error::shape(self.name(), expected, weight));
        }
        match (self.conv.side(height), self.conv.side(width)) == (Some(h), Some(w)) {
            true => Ok(Shape::new(&[n, height, width, weight.channels()])),
            false => Err(Error::shape(self.name(), format!("what becomes of {height}×{width} pixels"), g)),
        }
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("conv2d_input_gradient has one output") };
        let [g, weight] = *inputs else { unreachable!("conv2d_input_gradient has two inputs") };
        let [images, in_height, in_width, _] = *g.shape.dims() else { unreachable!("checked by output") };
        let ([height, width], Conv2d { kernel, stride, pad_before, .. }) = (self.size, self.conv);
        let (depth, columns) = (g.shape.stride(), output.shape.stride());

        // The windows that pixels ask for reach from `before` windows before the first one to the one at which the last pixel
        // meets the kernel's first element: the gradient lies in a frame of zeros that holds all of them.
        let before = kernel.div_ceil(stride) - 1;
        let framed = |size: usize, windows: usize| before + windows.max((size - 1 + pad_before) / stride + 1);
        let (framed_height, framed_width) = (framed(height, in_height), framed(width, in_width));
        let at = |y: usize, x: usize| (y * framed_width + x) * depth;
        let mut frame = vec![0.0; at(images * framed_height, 0)];
        for (i, line) in g.data.chunks_exact(in_width * depth).enumerate() {
            let (image, y) = (i / in_height, i % in_height);
            frame[at(image * framed_height + y + before, before)..][..line.len()].copy_from_slice(line);
        }

        for y in self.phases(height) {
            for x in self.phases(width) {
                let pixels = |image: usize| {
                    let lines = (y.first..height).step_by(stride).zip(y.window..);
                    lines.flat_map(move |(line, from)| {
                        let columns = (x.first..width).step_by(stride).zip(x.window..);
                        columns.map(move |(column, at)| ((image * height + line) * width + column, [image, from, at]))
                    })
                };
                let (places, windows): (Vec<usize>, Vec<[usize; 3]>) = (0..images).flat_map(pixels).unzip();
                let rows: Vec<usize> = windows.iter().map(|&[image, y, x]| at(image * framed_height + y, x)).collect();
                let elements = |phase: &Phase| (phase.tap..kernel).step_by(stride).enumerate();
                let (mut taps, mut weights) = (Vec::new(), Vec::new());
                for ((i, ky), (j, kx)) in elements(&y).flat_map(|y| elements(&x).map(move |x| (y, x))) {
                    taps.push(at(before - i, before - j));
                    // The kernel is turned.
                    let turned = kernel * kernel - 1 - (ky * kernel + kx);
                    weights.extend_from_slice(&weight.data[turned * depth * columns..][..depth * columns]);
                }
                let mut sums = vec![0.0; rows.len() * columns];
                let panels = gemm::pack(&weights, columns);
                let store = Store::sums(columns);
                Gemm { input: &frame, rows: &rows, taps: &taps, depth, panels: &panels, store }.run(&mut sums);
                for (place, sums) in places.into_iter().zip(sums.chunks_exact(columns)) {
                    output.data[place * columns..][..columns].copy_from_slice(sums);
                }
            }
        }
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let [images, in_height, in_width, _] = *inputs[0].dims() else { unreachable!("checked by output") };
        let ([height, width], Conv2d { kernel, stride, pad_before, .. }) = (self.size, self.conv);
        let channels = output.stride() / 4;
        let strips = stride * width.div_ceil(STRIP * stride);
        let len = images * height * strips;
        let params = Params {
            in_height: in_height as u32,
            in_width: in_width as u32,
            in_channels: (inputs[0].stride() / 4) as u32,
            height: height as u32,
            width: width as u32,
            channels: channels as u32,
            kernel: kernel as u32,
            stride: stride as u32,
            pad: pad_before as u32,
            strips: strips as u32,
            len: len as u32,
            pad0: 0,
        };
        let groups = [len.div_ceil(WORKGROUP) as u32, channels.div_ceil(2 * WORKGROUP) as u32, 1];
        Kernel::new(shader!("conv2d_input_gradient"), &params, groups)
    }

    fn macs(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        (self.conv.kernel * self.conv.kernel * output.channels()) as u64
            * (inputs[0].rows() * inputs[0].channels()) as u64
    }
}
