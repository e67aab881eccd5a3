//! Two-dimensional convolution.

use bytemuck::{Pod, Zeroable};

use super::{
    Backward, Conv2dInputGradient, Differentiable, Kernel, Op, SumRows, TransposeKernel, View, ViewMut, WeightGradient,
    shader,
};
use crate::graph::{Graph, ValueId};
use crate::tensor::{padded, scatter};
use crate::{Error, Result, Shape, Tensor};
use kernels::gemm::{Gemm, Packing, Store};

/// Convolution (`torch.nn.Conv2d`) of x: `[N, H, W, Cin]` with square kernels, stride and zero padding.
///
/// Inputs: x, the weight packed by [`Conv2d::pack`] `[K, K, Cin padded, Cout]`, the bias `[Cout]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2d {
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Step between the windows of neighbouring outputs.
    pub stride: usize,
    /// Zeros added at the top and left.
    pub pad_before: usize,
    /// Zeros added at the bottom and right. diffusers' `downsample_padding: 0` pads only there
    /// (`models/downsampling.py`, `Downsample2D`).
    pub pad_after: usize,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    in_height: u32,
    in_width: u32,
    /// `vec4`s of a run of input channels.
    in_channels: u32,
    out_height: u32,
    out_width: u32,
    /// `vec4`s of a run of output channels.
    out_channels: u32,
    kernel: u32,
    stride: u32,
    pad: u32,
    /// Strips of [`STRIP`] pixels in a row of the output.
    strips: u32,
    /// Strips in all images.
    len: u32,
    pad0: u32,
}

/// Output pixels of a row that one GPU invocation computes.
const STRIP: usize = 8;
/// Strips, and blocks of eight output channels, of a workgroup.
const WORKGROUP: usize = 8;

impl Conv2d {
    /// A 3×3 convolution that keeps the size.
    pub const SAME: Conv2d = Conv2d { kernel: 3, stride: 1, pad_before: 1, pad_after: 1 };
    /// A 1×1 convolution.
    pub const POINTWISE: Conv2d = Conv2d { kernel: 1, stride: 1, pad_before: 0, pad_after: 0 };

    /// Repacks a PyTorch weight `[Cout, Cin, K, K]` to `[K, K, Cin padded, Cout padded]`.
    pub fn pack(weight: &Tensor) -> (Shape, Vec<f32>) {
        let [out, input, kernel, _] = *weight.shape else { unreachable!("convolution weights are OIHW") };
        let shape = Self::packed(out, input, kernel);
        let mut packed = vec![0.0; shape.len()];
        scatter(&weight.data, &mut packed, Self::place(out, input, kernel));
        (shape, packed)
    }

    /// The shape of a packed weight.
    pub(crate) fn packed(out: usize, input: usize, kernel: usize) -> Shape {
        Shape::new(&[kernel, kernel, padded(input), out])
    }

    /// Where in it the i-th number of PyTorch's weight is.
    pub(crate) fn place(out: usize, input: usize, kernel: usize) -> impl Fn(usize) -> usize {
        let taps = kernel * kernel;
        move |i| {
            let (tap, channels) = (i % taps, i / taps);
            let (o, c) = (channels / input, channels % input);
            (tap * padded(input) + c) * padded(out) + o
        }
    }

    /// Length of an output side for an input side of `size`.
    pub(in crate::op) fn side(&self, size: usize) -> Option<usize> {
        let span = (size + self.pad_before + self.pad_after).checked_sub(self.kernel)?;
        Some(span / self.stride + 1)
    }

    /// The windows of `x` that become the pixels of `output`. Each image is copied into a frame of zeros, so that a
    /// product's inner loop has no edges.
    pub(in crate::op) fn windows(&self, x: View<'_>, output: &Shape) -> Windows {
        let [images, in_height, in_width, _] = *x.shape.dims() else { unreachable!("checked by output") };
        let [_, out_height, out_width, _] = *output.dims() else { unreachable!("checked by output") };
        let depth = x.shape.stride();
        let framed_width = in_width + self.pad_before + self.pad_after;
        let framed_height = in_height + self.pad_before + self.pad_after;
        let at = |y: usize, x: usize| (y * framed_width + x) * depth;
        let mut framed = vec![0.0; at(images * framed_height, 0)];
        for (i, line) in x.data.chunks_exact(in_width * depth).enumerate() {
            let (image, y) = (i / in_height, i % in_height);
            let start = at(image * framed_height + y + self.pad_before, self.pad_before);
            framed[start..][..line.len()].copy_from_slice(line);
        }
        let lines = (0..images).flat_map(|image| (0..out_height).map(move |y| image * framed_height + y * self.stride));
        let rows = lines.flat_map(|line| (0..out_width).map(move |x| at(line, x * self.stride))).collect();
        let taps = (0..self.kernel * self.kernel).map(|tap| at(tap / self.kernel, tap % self.kernel)).collect();
        Windows { framed, rows, taps }
    }

    /// Appends the gradient by the input, `[N, H, W, Cin]`.
    fn input_gradient(&self, graph: &mut Graph, name: &str, backward: &Backward<'_>) -> Result<ValueId> {
        let [_, height, width, channels] = graph.shape(backward.inputs[0]).nhwc(self.name())?;
        let weight = graph.op(&format!("{name}.weight"), TransposeKernel { channels }, &backward.inputs[1..2])?;
        let rest = |pad: usize| (self.kernel - 1).checked_sub(pad);
        match (self.stride, rest(self.pad_before), rest(self.pad_after)) {
            // Every pixel went into as many windows as the kernel has elements, so it is gathered from a window too.
            (1, Some(pad_before), Some(pad_after)) => {
                let conv = Conv2d { pad_before, pad_after, ..*self };
                let shape = Shape::new(&[channels]);
                let zeros = vec![0.0; shape.len()];
                let bias = graph.constant(&format!("{name}.bias"), (shape, zeros));
                graph.op(name, conv, &[backward.gradient, weight, bias])
            }
            _ => {
                let op = Conv2dInputGradient { conv: *self, size: [height, width] };
                graph.op(name, op, &[backward.gradient, weight])
            }
        }
    }
}

/// The windows of images, for a product whose rows are gathered by offset.
pub(in crate::op) struct Windows {
    /// The images in frames of zeros.
    pub(in crate::op) framed: Vec<f32>,
    /// Where each pixel's window begins.
    pub(in crate::op) rows: Vec<usize>,
    /// Where in a window the pixel of each element of the kernel is.
    pub(in crate::op) taps: Vec<usize>,
}

impl Op for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x, weight, bias] = *inputs else { unreachable!("conv2d has three inputs") };
        let [n, h, w, c] = x.nhwc(self.name())?;
        let out = bias.channels();
        if weight.dims() != [self.kernel, self.kernel, padded(c), out] || bias.dims().len() != 1 {
            let expected = format!("a weight [{0}, {0}, {1}, {out}] for {x}", self.kernel, padded(c));
            return Err(Error::shape(self.name(), expected, weight));
        }
        match (self.side(h), self.side(w)) {
            (Some(h), Some(w)) => Ok(Shape::new(&[n, h, w, out])),
            _ => Err(Error::shape(self.name(), format!("images of at least {0}×{0} pixels", self.kernel), x)),
        }
    }

    fn right_side(&self, _inputs: &[&Shape]) -> Option<(usize, Packing)> {
        Some((1, Packing::Plain))
    }

    fn stored(&self) -> Vec<usize> {
        vec![1, 2, 4]
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("conv2d has one output") };
        let [x, weight, bias] = *inputs else { unreachable!("conv2d has three inputs") };
        let windows = self.windows(x, output.shape);
        let Windows { framed, rows, taps } = &windows;
        let (depth, store) = (x.shape.stride(), Store::biased(bias.data));
        weight.packed(Packing::Plain, |panels| {
            Gemm { input: framed, rows, taps, depth, panels, store }.run(output.data);
        });
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let [_, in_height, in_width, _] = *inputs[0].dims() else { unreachable!("checked by output") };
        let [images, out_height, out_width, _] = *output.dims() else { unreachable!("checked by output") };
        let out_channels = output.stride() / 4;
        let strips = out_width.div_ceil(STRIP);
        let len = images * out_height * strips;
        let params = Params {
            in_height: in_height as u32,
            in_width: in_width as u32,
            in_channels: (inputs[0].stride() / 4) as u32,
            out_height: out_height as u32,
            out_width: out_width as u32,
            out_channels: out_channels as u32,
            kernel: self.kernel as u32,
            stride: self.stride as u32,
            pad: self.pad_before as u32,
            strips: strips as u32,
            len: len as u32,
            pad0: 0,
        };
        let groups = [len.div_ceil(WORKGROUP) as u32, out_channels.div_ceil(2 * WORKGROUP) as u32, 1];
        Kernel::new(shader!("conv2d"), &params, groups)
    }

    fn macs(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        (self.kernel * self.kernel * inputs[0].channels()) as u64 * (output.rows() * output.channels()) as u64
    }
}

impl Differentiable for Conv2d {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let [x, _, bias] = *backward.inputs else { unreachable!("conv2d has three inputs") };
        backward.each(graph, |graph, i, name| match i {
            0 => self.input_gradient(graph, name, backward),
            1 => graph.op(name, WeightGradient::of(Some(*self)), &[x, backward.gradient]),
            _ => {
                let shape = graph.shape(bias).clone();
                SumRows::append(graph, name, backward.gradient, 1, shape)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Generator;

    impl Conv2d {
        /// What a convolution is, one number after another: what the CPU's products, Winograd's and the shaders must agree with.
        fn definition(&self, [x, weight, bias]: [View<'_>; 3], output: &Shape) -> Vec<f64> {
            let ([images, height, width, channels], [_, out_height, out_width, out_channels]) =
                (x.shape.nhwc("x").unwrap(), output.nhwc("output").unwrap());
            let (stride, out_stride) = (x.shape.stride(), output.stride());
            let mut out = vec![0.0; output.len()];
            for (image, y, x_) in each([images, out_height, out_width]) {
                for o in 0..out_channels {
                    let mut sum = f64::from(bias.data[o]);
                    for (ky, kx, c) in each([self.kernel, self.kernel, channels]) {
                        // Pixels beyond the image are zero.
                        let (Some(y), Some(x_)) = (
                            (y * self.stride + ky).checked_sub(self.pad_before).filter(|&y| y < height),
                            (x_ * self.stride + kx).checked_sub(self.pad_before).filter(|&x| x < width),
                        ) else {
                            continue;
                        };
                        let pixel = x.data[((image * height + y) * width + x_) * stride + c];
                        let element = weight.data[((ky * self.kernel + kx) * stride + c) * out_stride + o];
                        sum += f64::from(pixel) * f64::from(element);
                    }
                    out[((image * out_height + y) * out_width + x_) * out_stride + o] = sum;
                }
            }
            out
        }
    }

    /// All indices into three dimensions.
    fn each([a, b, c]: [usize; 3]) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..a * b * c).map(move |i| (i / (b * c), i / c % b, i % c))
    }

    #[test]
    fn the_fast_ways_agree_with_the_definition() {
        let mut generator = Generator::new(3);
        for (conv, [n, h, w], channels, out) in [
            (Conv2d::SAME, [2, 5, 7], 6, 9),
            (Conv2d::SAME, [1, 9, 12], 32, 48), // Winograd's
            (Conv2d::POINTWISE, [2, 3, 5], 12, 4),
            (Conv2d { kernel: 3, stride: 2, pad_before: 0, pad_after: 1 }, [1, 8, 9], 20, 16),
            (Conv2d { kernel: 4, stride: 3, pad_before: 2, pad_after: 1 }, [1, 7, 6], 3, 5),
        ] {
            let x = Tensor::new(&[n, channels, h, w], generator.randn(n * channels * h * w)).unwrap();
            let taps = conv.kernel * conv.kernel;
            let weight =
                Tensor::new(&[out, channels, conv.kernel, conv.kernel], generator.randn(out * channels * taps));
            let bias = Tensor::new(&[out], generator.randn(out)).unwrap();
            let (weight_shape, weight) = Conv2d::pack(&weight.unwrap());
            let (x_shape, x) = (x.device_shape().unwrap(), x.to_device().unwrap());
            let (bias_shape, bias) = (bias.device_shape().unwrap(), bias.to_device().unwrap());
            let views = [View::new(&x_shape, &x), View::new(&weight_shape, &weight), View::new(&bias_shape, &bias)];
            let shape = conv.output(&[&x_shape, &weight_shape, &bias_shape]).unwrap();
            let expected = conv.definition(views, &shape);
            let fused = super::super::FusedConv2d::plain(conv);
            for op in [&conv as &dyn Op, &fused] {
                let mut out = vec![f32::NAN; shape.len()];
                op.cpu(&views, &mut [ViewMut::new(&shape, &mut out)]);
                let squares = |of: &mut dyn Iterator<Item = f64>| of.map(|x| x * x).sum::<f64>().sqrt();
                let error = squares(&mut out.iter().zip(&expected).map(|(&out, expected)| f64::from(out) - expected));
                let error = error / squares(&mut expected.iter().copied());
                assert!(error < 1e-6, "{} of {conv:?}: {error:e}", op.name());
            }
        }
    }
}
