//! The first half of a GroupNorm: mean and squared deviations of each channel over tiles of pixels.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, shader};
use crate::{Result, Shape};

/// For x: `[N, H, W, C]`, the mean and the sum of squared deviations from it (M2) of every channel over tiles of
/// [`Moments::TILE`] pixels: `[N, tiles, 2, C]`.
///
/// A channel, not a group, so that a convolution can leave its own when it stores, and so that a group may straddle
/// two concatenated tensors. [`super::GroupNorm`] merges them.
#[derive(Debug)]
pub struct Moments;

impl Moments {
    /// Pixels of a tile; the last one of an image may have fewer.
    pub const TILE: usize = 64;
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
        let [n, h, w, c] = inputs[0].nhwc(self.name())?;
        Ok(Shape::new(&[n, (h * w).div_ceil(Self::TILE), 2, c]))
    }

    fn stored(&self) -> &'static [usize] {
        &[1]
    }

    fn cpu(&self, inputs: &[View<'_>], output: ViewMut<'_>) {
        let x = inputs[0];
        let width = x.shape.stride();
        let images = x.data.chunks_exact(x.data.len() / x.shape.dims()[0]);
        let tiles = images.flat_map(|image| image.chunks(Self::TILE * width));
        for (tile, out) in tiles.zip(output.data.chunks_exact_mut(2 * width)) {
            let (mean, m2) = out.split_at_mut(width);
            mean.fill(0.0);
            m2.fill(0.0);
            for pixel in tile.chunks_exact(width) {
                for (mean, x) in mean.iter_mut().zip(pixel) {
                    *mean += x;
                }
            }
            let scale = 1.0 / (tile.len() / width) as f32;
            for mean in mean.iter_mut() {
                *mean *= scale;
            }
            for pixel in tile.chunks_exact(width) {
                for ((m2, x), mean) in m2.iter_mut().zip(pixel).zip(&*mean) {
                    *m2 += (x - mean) * (x - mean);
                }
            }
        }
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
