//! The first half of a GroupNorm: mean and squared deviations of each channel over tiles of pixels.

use bytemuck::{Pod, Zeroable};
use kernels::math::moments;
use kernels::parallel;

use super::{Backward, Differentiable, Kernel, MomentsGradient, Op, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Result, Shape};

/// For x: `[N, H, W, C]`, the mean and the sum of squared deviations from it (M2) of every channel over tiles of
/// 64 pixels: `[N, tiles, 2, C]`.
///
/// A channel, not a group, so that a convolution can leave its own when it stores, and so that a group may straddle
/// two concatenated tensors. [`super::GroupNorm`] merges them.
#[derive(Debug)]
pub struct Moments;

/// How images are cut into tiles, of which each channel's moments are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// Pixels of an image from top to bottom.
    pub height: usize,
    /// Pixels of an image from left to right.
    pub width: usize,
    /// Pixels of a tile from top to bottom; the last ones may have fewer.
    pub tile_height: usize,
    /// Pixels of a tile from left to right; the last ones may have fewer.
    pub tile_width: usize,
    /// Images that were interleaved to the one that is meant, in both directions: 1, or 4 of a quarter of the pixels
    /// each. Tiles lie in the order of the images' own, and those of all copies together.
    pub copies: usize,
}

impl Tiles {
    /// Pixels of a tile of [`Tiles::strips`].
    pub(in crate::op) const STRIP: usize = 64;

    /// Images of this many pixels, in whatever rows, cut into strips.
    pub fn strips(pixels: usize) -> Self {
        Tiles { height: 1, width: pixels, tile_height: 1, tile_width: Self::STRIP.min(pixels), copies: 1 }
    }

    /// Tiles side by side.
    pub fn across(&self) -> usize {
        self.width.div_ceil(self.tile_width)
    }

    /// Tiles of an image.
    pub fn count(&self) -> usize {
        self.across() * self.height.div_ceil(self.tile_height) * self.copies
    }

    /// Pixels of an image.
    pub fn pixels(&self) -> usize {
        self.height * self.width * self.copies
    }

    /// Pixels of a tile.
    pub fn size(&self, tile: usize) -> usize {
        let (y, x) = (tile / self.copies / self.across(), tile / self.copies % self.across());
        let left = |whole: usize, tile: usize, before: usize| tile.min(whole - tile * before);
        left(self.height, self.tile_height, y) * left(self.width, self.tile_width, x)
    }

    /// The shape of the moments of images of this shape: `[N, tiles, 2, C]`.
    pub fn shape(&self, images: &Shape) -> Shape {
        Shape::new(&[images.dims()[0], self.count(), 2, images.channels()])
    }

    /// Which tile a pixel of an image of `width` pixels a row is in.
    fn tile_of(&self, pixel: usize, width: usize) -> usize {
        let (y, x, copy) = match self.copies {
            1 => (pixel / self.width, pixel % self.width, 0),
            _ => (pixel / width / 2, pixel % width / 2, pixel / width % 2 * 2 + pixel % width % 2),
        };
        (y / self.tile_height * self.across() + x / self.tile_width) * self.copies + copy
    }

    /// The moments of x: `[N, H, W, C]`.
    pub(crate) fn moments(&self, x: View<'_>, output: &mut ViewMut<'_>) {
        let (stride, width) = (x.shape.stride(), x.shape.dims()[2]);
        let tiles: Vec<usize> = (0..self.pixels()).map(|pixel| self.tile_of(pixel, width)).collect();
        let sizes: Vec<usize> = (0..self.count()).map(|tile| self.size(tile)).collect();
        let images = x.data.chunks_exact(self.pixels() * stride);
        let images = images.zip(output.data.chunks_exact_mut(self.count() * 2 * stride)).collect();
        parallel::each(images, |(image, out): (&[f32], &mut [f32])| moments(image, stride, &tiles, &sizes, out));
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    images: u32,
    pixels: u32,
    tiles: u32,
    /// `vec4`s of a run of channels.
    channels: u32,
}

impl Op for Moments {
    fn name(&self) -> &'static str {
        "moments"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [_, h, w, _] = inputs[0].nhwc(self.name())?;
        Ok(Tiles::strips(h * w).shape(inputs[0]))
    }

    fn stored(&self) -> Vec<usize> {
        vec![1]
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("moments has one output") };
        let x = inputs[0];
        Tiles::strips(x.shape.rows() / x.shape.dims()[0]).moments(x, output);
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let [images, tiles, _, _] = *output.dims() else { unreachable!("moments are [N, tiles, 2, C]") };
        let params = Params {
            images: images as u32,
            pixels: (inputs[0].rows() / images) as u32,
            tiles: tiles as u32,
            channels: (output.stride() / 4) as u32,
        };
        Kernel::flat(shader!("moments"), &params, images * tiles * output.stride() / 4)
    }
}

impl Differentiable for Moments {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let (x, moments) = (backward.inputs[0], backward.output);
        backward.each(graph, |graph, _, name| {
            graph.op(name, MomentsGradient { added: false }, &[x, moments, backward.gradient])
        })
    }
}
