//! The gradient of a convolution or a linear layer by its weight.

use std::rc::Rc;

use bytemuck::{Pod, Zeroable};

use super::{Conv2d, Kernel, Op, SumRows, View, ViewMut, shader};
use crate::tensor::padded;
use crate::{Error, Result, Shape};
use kernels::outer::OuterProducts;
use kernels::winograd::{self, Images};
use kernels::winograd_gradient::WinogradGradient;

/// `xᵀ g`, summed over all pixels: the gradient by the weight of a [`Conv2d`], `[K, K, Cin padded, Cout]`, or of a
/// [`super::Linear`], `[in padded, out]`, packed as they are (`torch.nn.grad.conv2d_weight`).
///
/// Many pixels can be summed up in `splits` parts, which stand one after another: `[splits · K, …]` or
/// `[splits · in padded, out]`. So a GPU has enough to do where weights are small, and always adds in the same order.
///
/// Inputs: x `[N, H, W, Cin]` and the gradient by the output `[N, H', W', Cout]`, or `[…, in]` and `[…, out]`.
#[derive(Clone, Copy, Debug)]
pub struct WeightGradient {
    /// The convolution; none is a linear layer.
    pub conv: Option<Conv2d>,
    /// In how many parts.
    pub splits: usize,
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
    /// Pixels of the gradient in all images.
    pixels: u32,
    /// Pixels of a part.
    split: u32,
    pad0: u32,
}

/// Invocations a side of a workgroup.
const WORKGROUP: usize = 8;
/// `vec4`s of input channels, and of output channels, that an invocation owns.
const OWN: usize = 2;

impl WeightGradient {
    /// That of a convolution, or of a linear layer, in one part.
    pub(crate) fn of(conv: Option<Conv2d>) -> Self {
        WeightGradient { conv, splits: 1 }
    }

    /// In how many parts a GPU is to sum up the gradient by a weight of this shape, from that by so many pixels.
    fn worthwhile_splits(weight: &Shape, pixels: usize) -> usize {
        /// What a GPU should have to do at least, and pixels that make a part worth its sum.
        const INVOCATIONS: usize = 8192;
        const PIXELS: usize = 128;

        let invocations = weight.len() / (4 * OWN * 4 * OWN);
        (INVOCATIONS / invocations.max(1)).min(pixels / PIXELS).max(1)
    }

    /// Whether the CPU computes it as one of 3×3 with fewer multiplications.
    fn is_winograd(&self, x: &Shape, g: &Shape) -> bool {
        let [_, height, width, _] = *x.dims() else { return false };
        self.splits == 1 && self.conv == Some(Conv2d::SAME) && winograd::pays(height, width, x.stride(), g.stride())
    }

    /// The convolution that it is, and height and width of its input and of its output; those of a linear layer are of one
    /// image with all pixels in a row.
    fn images(&self, x: &Shape, g: &Shape) -> (Conv2d, [usize; 2], [usize; 2]) {
        let size = |shape: &Shape| match *shape.dims() {
            [_, h, w, _] if self.conv.is_some() => [h, w],
            _ => [1, shape.rows()],
        };
        (self.conv.unwrap_or(Conv2d::POINTWISE), size(x), size(g))
    }
}

impl Op for WeightGradient {
    fn name(&self) -> &'static str {
        "weight_gradient"
    }

    fn in_parts(&self, inputs: &[&Shape], output: &Shape) -> Option<[Rc<dyn Op>; 2]> {
        let splits = Self::worthwhile_splits(output, inputs[1].rows());
        let sum = SumRows { groups: 1, tiles: 1, shape: output.clone() };
        (self.splits == 1 && splits > 1)
            .then(|| [Rc::new(WeightGradient { splits, ..*self }) as Rc<dyn Op>, Rc::new(sum)])
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x, g] = *inputs else { unreachable!("weight_gradient has two inputs") };
        let (rows, columns) = (padded(x.channels()), g.channels());
        let (fits, dims) = match &self.conv {
            Some(conv) => {
                let [n, h, w, _] = x.nhwc(self.name())?;
                let sides = conv.side(h).zip(conv.side(w));
                let fits = sides.is_some_and(|(h, w)| g.dims() == [n, h, w, columns]);
                (fits, vec![self.splits * conv.kernel, conv.kernel, rows, columns])
            }
            None => {
                let all_but_last = |shape: &Shape| shape.dims()[..shape.dims().len() - 1].to_vec();
                (all_but_last(x) == all_but_last(g), vec![self.splits * rows, columns])
            }
        };
        match fits {
            true => Ok(Shape::new(&dims)),
            false => Err(Error::shape(self.name(), format!("the gradient by what becomes of {x}"), g)),
        }
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("weight_gradient has one output") };
        let [x, g] = *inputs else { unreachable!("weight_gradient has two inputs") };
        let (columns, splits) = (g.shape.stride(), self.splits);
        if self.is_winograd(x.shape, g.shape) {
            let [_, height, width, _] = *x.shape.dims() else { unreachable!("of images only") };
            let [input, gradient] =
                [x, g].map(|of| Images { data: of.data, height, width, channels: of.shape.stride() });
            return WinogradGradient { input, gradient }.run(output.data);
        }
        let depth = x.shape.stride();
        let right_rows: Vec<usize> = (0..g.shape.rows()).map(|row| row * columns).collect();
        let product = |input: &[f32], rows: &[usize], taps: &[usize], out: &mut [f32]| {
            let (right, right_rows) = (g.data, &right_rows[..]);
            OuterProducts { input, rows, taps, depth, right, right_rows, columns, scale: 1.0, splits }.run(out);
        };
        match &self.conv {
            Some(conv) if *conv != Conv2d::POINTWISE => {
                let windows = conv.windows(x, g.shape);
                product(&windows.framed, &windows.rows, &windows.taps, output.data);
            }
            _ => {
                let rows: Vec<usize> = (0..x.shape.rows()).map(|row| row * depth).collect();
                product(x.data, &rows, &[0], output.data);
            }
        }
    }

    fn kernel(&self, inputs: &[&Shape], _output: &Shape) -> Kernel {
        let [x, g] = *inputs else { unreachable!("weight_gradient has two inputs") };
        let (conv, [in_height, in_width], [out_height, out_width]) = self.images(x, g);
        let (in_channels, out_channels) = (x.stride() / 4, g.stride() / 4);
        let params = Params {
            in_height: in_height as u32,
            in_width: in_width as u32,
            in_channels: in_channels as u32,
            out_height: out_height as u32,
            out_width: out_width as u32,
            out_channels: out_channels as u32,
            kernel: conv.kernel as u32,
            stride: conv.stride as u32,
            pad: conv.pad_before as u32,
            pixels: g.rows() as u32,
            split: OuterProducts::split(g.rows(), self.splits) as u32,
            pad0: 0,
        };
        let rows = conv.kernel * conv.kernel * in_channels.div_ceil(OWN);
        let groups = [out_channels.div_ceil(OWN * WORKGROUP), rows.div_ceil(WORKGROUP), self.splits];
        Kernel::new(shader!("weight_gradient"), &params, groups.map(|groups| groups as u32))
    }

    fn macs(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        let kernel = self.conv.map_or(1, |conv| conv.kernel);
        (kernel * kernel * inputs[0].channels()) as u64 * (inputs[1].rows() * inputs[1].channels()) as u64
    }
}
