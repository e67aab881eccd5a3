//! Resampling with a filter: upsample, filter, downsample.

use bytemuck::{Pod, Zeroable};

use super::{Backward, Differentiable, Kernel, Op, Upfirdn2dGradient, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Error, Result, Shape};

/// Pads the image, inserts `up − 1` zeros after each pixel, filters rows and columns with `taps`, and keeps every
/// `down`-th pixel: `[N, H', W', C]` (diffusers `models/upsampling.py`, `upfirdn2d_native`; Karras et al. 2018).
///
/// The filters here are symmetric, so flipping them, as the reference does, changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Upfirdn2d {
    /// Upsampling factor.
    pub up: usize,
    /// Downsampling factor.
    pub down: usize,
    /// The filter in one direction; those that are not used are zero.
    pub taps: [f32; 4],
    /// How many taps there are.
    pub length: usize,
    /// Padding before and after, counted in the upsampled image.
    pub pad: [usize; 2],
    /// Whether the padding is the image mirrored about its outermost pixels, and not zeros.
    pub reflect: bool,
}

impl Upfirdn2d {
    /// `FirDownsample2D`: half the size through the filter (1, 3, 3, 1).
    pub const FIR_DOWN: Upfirdn2d =
        Upfirdn2d { up: 1, down: 2, taps: [0.125, 0.375, 0.375, 0.125], length: 4, pad: [1, 1], reflect: false };
    /// `FirUpsample2D`: twice the size through the filter (1, 3, 3, 1).
    pub const FIR_UP: Upfirdn2d =
        Upfirdn2d { up: 2, down: 1, taps: [0.25, 0.75, 0.75, 0.25], length: 4, pad: [2, 1], reflect: false };
    /// The mean of every 2×2 pixels (`torch.nn.AvgPool2d(2)`).
    pub const MEAN: Upfirdn2d =
        Upfirdn2d { up: 1, down: 2, taps: [0.5, 0.5, 0.0, 0.0], length: 2, pad: [0, 0], reflect: false };
    /// The sum of every 2×2 pixels.
    pub const SUM: Upfirdn2d = Upfirdn2d { taps: [1.0, 1.0, 0.0, 0.0], ..Upfirdn2d::MEAN };
    /// `KDownsample2D`: [`Upfirdn2d::FIR_DOWN`] over a mirrored image.
    pub const K_DOWN: Upfirdn2d = Upfirdn2d { reflect: true, ..Upfirdn2d::FIR_DOWN };
    /// `KUpsample2D`: [`Upfirdn2d::FIR_UP`] over a mirrored image.
    pub const K_UP: Upfirdn2d = Upfirdn2d { reflect: true, ..Upfirdn2d::FIR_UP };

    /// Length of an output side for an input side of `size`.
    fn side(&self, size: usize) -> Option<usize> {
        let span = (size * self.up + self.pad[0] + self.pad[1]).checked_sub(self.length)?;
        Some(span / self.down + 1)
    }

    /// For each output coordinate, the input coordinates it is made of, with their weights.
    pub(in crate::op) fn sources(&self, size: usize, out: usize) -> Vec<(usize, f32)> {
        let (up, size) = (self.up as isize, size as isize);
        let tap = |k: usize| {
            let at = (out * self.down + k) as isize - self.pad[0] as isize;
            if at % up != 0 {
                return None; // an inserted zero
            }
            let at = match at / up {
                at if self.reflect && at < 0 => -at,
                at if self.reflect && at >= size => 2 * (size - 1) - at,
                at => at,
            };
            (0..size).contains(&at).then_some((at as usize, self.taps[k]))
        };
        (0..self.length).filter_map(tap).collect()
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    taps: [f32; 4],
    /// `vec4`s of the output.
    len: u32,
    /// `vec4`s of a run of channels.
    channels: u32,
    in_height: u32,
    in_width: u32,
    out_height: u32,
    out_width: u32,
    up: u32,
    down: u32,
    pad: u32,
    length: u32,
    reflect: u32,
    pad0: u32,
}

impl Op for Upfirdn2d {
    fn name(&self) -> &'static str {
        "upfirdn2d"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [n, h, w, c] = inputs[0].nhwc(self.name())?;
        match (self.side(h), self.side(w)) {
            // A single pixel has no neighbour to mirror.
            (Some(_), Some(_)) if self.reflect && h.min(w) < 2 => {
                Err(Error::shape(self.name(), "images of at least 2×2 pixels", inputs[0]))
            }
            (Some(h), Some(w)) => Ok(Shape::new(&[n, h, w, c])),
            _ => Err(Error::shape(self.name(), format!("images of at least {0}×{0} pixels", self.length), inputs[0])),
        }
    }

    fn stored(&self) -> Vec<usize> {
        vec![1, 2]
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("upfirdn2d has one output") };
        let x = inputs[0];
        let [_, in_height, in_width, _] = *x.shape.dims() else { unreachable!("checked by output") };
        let [_, out_height, out_width, _] = *output.shape.dims() else { unreachable!("checked by output") };
        let stride = x.shape.stride();
        let columns: Vec<_> = (0..out_width).map(|column| self.sources(in_width, column)).collect();
        let lines: Vec<_> = (0..out_height).map(|line| self.sources(in_height, line)).collect();
        output.write_rows(|i, out| {
            let (line, column) = (i / out_width, i % out_width);
            let image = line / out_height * in_height;
            out.fill(0.0);
            for &(y, line_weight) in &lines[line % out_height] {
                for &(column, weight) in &columns[column] {
                    let pixel = &x.data[((image + y) * in_width + column) * stride..][..stride];
                    for (out, x) in out.iter_mut().zip(pixel) {
                        *out += line_weight * weight * x;
                    }
                }
            }
        });
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let [_, in_height, in_width, _] = *inputs[0].dims() else { unreachable!("checked by output") };
        let [_, out_height, out_width, _] = *output.dims() else { unreachable!("checked by output") };
        let len = output.len() / 4;
        let params = Params {
            taps: self.taps,
            len: len as u32,
            channels: (output.stride() / 4) as u32,
            in_height: in_height as u32,
            in_width: in_width as u32,
            out_height: out_height as u32,
            out_width: out_width as u32,
            up: self.up as u32,
            down: self.down as u32,
            pad: self.pad[0] as u32,
            length: self.length as u32,
            reflect: u32::from(self.reflect),
            pad0: 0,
        };
        Kernel::flat(shader!("upfirdn2d"), &params, len)
    }
}

impl Differentiable for Upfirdn2d {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let [_, height, width, _] = graph.shape(backward.inputs[0]).nhwc(self.name())?;
        let op = Upfirdn2dGradient { filter: *self, size: [height, width] };
        backward.each(graph, |graph, _, name| graph.op(name, op, &[backward.gradient]))
    }
}
