//! The second half of a GroupNorm: from channel moments to a scale and a shift for each channel.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Moments, Op, View, ViewMut, shader};
use crate::{Error, Result, Shape};

/// GroupNorm (Wu and He 2018) as a scale and a shift a channel, `[N, 2, C]`, that [`super::ScaleShift`] applies:
/// scale = γ / √(σ² + ε) and shift = β − μ · scale, with μ and σ² over a group's channels and all pixels.
///
/// Inputs: the [`Moments`] `[N, tiles, 2, C]`, γ `[C]` and β `[C]`. Moments are merged in pairs after Chan, Golub and
/// LeVeque (1979): (n, μ, M2) of a union from those of its halves, without cancellation.
#[derive(Debug)]
pub struct GroupNorm {
    /// How many groups; must divide C.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
    /// H · W of the normalised images: says how full the last tile is.
    pub pixels: usize,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    pixels: u32,
    tiles: u32,
    channels: u32,
    /// Channels of a run, padding included.
    stride: u32,
    groups: u32,
    eps: f32,
    pad: [u32; 2],
}

/// Count, mean and M2 of a set of numbers.
#[derive(Clone, Copy, Default)]
struct Moment {
    count: f32,
    mean: f32,
    m2: f32,
}

impl Moment {
    fn merge(self, other: Moment) -> Moment {
        let count = self.count + other.count;
        if count == 0.0 {
            return self;
        }
        let delta = other.mean - self.mean;
        let weight = other.count / count;
        Moment { count, mean: self.mean + delta * weight, m2: self.m2 + other.m2 + delta * delta * self.count * weight }
    }
}

impl Op for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [moments, weight, bias] = *inputs else { unreachable!("group_norm has three inputs") };
        let tiles = self.pixels.div_ceil(Moments::TILE);
        let [n, t, 2, c] = *moments.dims() else {
            return Err(Error::shape(self.name(), "moments [N, tiles, 2, C]", moments));
        };
        if t != tiles || weight.dims() != [c] || bias.dims() != [c] {
            let found = format!("{moments}, {weight} and {bias}");
            return Err(Error::shape(self.name(), format!("[N, {tiles}, 2, C], [C] and [C]"), found));
        }
        if !c.is_multiple_of(self.groups) {
            return Err(Error::shape(self.name(), format!("a multiple of {} channels", self.groups), c));
        }
        Ok(Shape::new(&[n, 2, c]))
    }

    fn cpu(&self, inputs: &[View<'_>], output: ViewMut<'_>) {
        let [moments, weight, bias] = *inputs else { unreachable!("group_norm has three inputs") };
        let [_, tiles, _, channels] = *moments.shape.dims() else { unreachable!("checked by output") };
        let width = moments.shape.stride();
        let size = channels / self.groups;
        let images = moments.data.chunks_exact(tiles * 2 * width);
        for (moments, out) in images.zip(output.data.chunks_exact_mut(2 * width)) {
            out.fill(0.0);
            for group in 0..self.groups {
                let members = group * size..(group + 1) * size;
                let mut all = Moment::default();
                for tile in 0..tiles {
                    let count = Moments::TILE.min(self.pixels - tile * Moments::TILE) as f32;
                    for channel in members.clone() {
                        let at = tile * 2 * width + channel;
                        all = all.merge(Moment { count, mean: moments[at], m2: moments[at + width] });
                    }
                }
                let inverse = 1.0 / (all.m2 / all.count + self.eps).sqrt();
                for channel in members {
                    let scale = weight.data[channel] * inverse;
                    out[channel] = scale;
                    out[width + channel] = bias.data[channel] - all.mean * scale;
                }
            }
        }
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let [images, tiles, _, channels] = *inputs[0].dims() else { unreachable!("checked by output") };
        let params = Params {
            pixels: self.pixels as u32,
            tiles: tiles as u32,
            channels: channels as u32,
            stride: output.stride() as u32,
            groups: self.groups as u32,
            eps: self.eps,
            pad: [0; 2],
        };
        Kernel::new(shader!("group_norm"), &params, [self.groups as u32, images as u32, 1])
    }
}
