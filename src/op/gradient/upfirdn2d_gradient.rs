//! The gradient of resampling with a filter.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, Upfirdn2d, View, ViewMut, shader};
use crate::{Error, Result, Shape};

/// The gradient of an [`Upfirdn2d`] by its input, `[N, H, W, C]`, from that by its output, `[N, H', W', C]`: each pixel
/// gathers from all outputs that it went into, through the same taps. Where the image was mirrored a pixel went into the
/// padding too.
#[derive(Clone, Copy, Debug)]
pub struct Upfirdn2dGradient {
    /// The resampling.
    pub filter: Upfirdn2d,
    /// H and W of the input.
    pub size: [usize; 2],
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    taps: [f32; 4],
    /// `vec4`s of the output.
    len: u32,
    /// `vec4`s of a run of channels.
    channels: u32,
    height: u32,
    width: u32,
    /// Of the gradient that is given.
    in_height: u32,
    in_width: u32,
    up: u32,
    down: u32,
    pad: u32,
    length: u32,
    reflect: u32,
    pad0: u32,
}

impl Upfirdn2dGradient {
    /// For each coordinate of one side, the coordinates that it went into, with their weights.
    fn targets(&self, size: usize, filtered: usize) -> Vec<Vec<(usize, f32)>> {
        let mut targets = vec![Vec::new(); size];
        for out in 0..filtered {
            for (at, weight) in self.filter.sources(size, out) {
                targets[at].push((out, weight));
            }
        }
        targets
    }
}

impl Op for Upfirdn2dGradient {
    fn name(&self) -> &'static str {
        "upfirdn2d_gradient"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [n, h, w, c] = inputs[0].nhwc(self.name())?;
        let output = Shape::new(&[n, self.size[0], self.size[1], c]);
        match self.filter.output(&[&output])?.dims() == [n, h, w, c] {
            true => Ok(output),
            false => Err(Error::shape(self.name(), format!("what becomes of {output}"), inputs[0])),
        }
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("upfirdn2d_gradient has one output") };
        let g = inputs[0];
        let [_, in_height, in_width, _] = *g.shape.dims() else { unreachable!("checked by output") };
        let [height, width] = self.size;
        let stride = g.shape.stride();
        let (lines, columns) = (self.targets(height, in_height), self.targets(width, in_width));
        for (i, out) in output.rows_mut().enumerate() {
            let (line, column) = (i / width, i % width);
            let image = line / height * in_height;
            out.fill(0.0);
            for &(y, line_weight) in &lines[line % height] {
                for &(x, weight) in &columns[column] {
                    let pixel = &g.data[((image + y) * in_width + x) * stride..][..stride];
                    for (out, g) in out.iter_mut().zip(pixel) {
                        *out += line_weight * weight * g;
                    }
                }
            }
        }
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let [_, in_height, in_width, _] = *inputs[0].dims() else { unreachable!("checked by output") };
        let len = output.len() / 4;
        let Upfirdn2d { up, down, taps, length, pad, reflect } = self.filter;
        let params = Params {
            taps,
            len: len as u32,
            channels: (output.stride() / 4) as u32,
            height: self.size[0] as u32,
            width: self.size[1] as u32,
            in_height: in_height as u32,
            in_width: in_width as u32,
            up: up as u32,
            down: down as u32,
            pad: pad[0] as u32,
            length: length as u32,
            reflect: u32::from(reflect),
            pad0: 0,
        };
        Kernel::flat(shader!("upfirdn2d_gradient"), &params, len)
    }
}
