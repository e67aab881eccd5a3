//! The gradient of the second half of a GroupNorm.

use bytemuck::{Pod, Zeroable};

use super::network::group_norm::{Moment, Source, groups_of};
use super::{GroupNorm, Kernel, Op, Tiles, View, ViewMut, shader};
use crate::{Error, Result, Shape};

/// The gradients of a [`GroupNorm`], scale = γ r and shift = β − μ · scale with r = 1 / √(M2 / n + ε), by its moments, γ
/// and β.
///
/// Inputs: the moments `[N, tiles, 2, C]` of one tensor, or of each of two; γ `[C]`; the gradients by scale and shift, s and b,
/// `[N, 2, C]`. Outputs: those by each tensor's moments; and by γ and by β, image by image, `[N, C]`, which
/// [`super::SumRows`] adds up.
///
/// Of a group's numbers n, μ and M2, the gradients are Σ γ (s − μ b) by r, −r Σ γ b by μ, and by M2 the first times
/// −r³ / 2n, sums being over the group's channels. A channel's moments (n', μ', M2') over a tile count for the group's: μ' for
/// μ with n' / n and for M2 with 2 n' (μ' − μ), M2' for M2 with 1.
#[derive(Clone, Debug)]
pub struct GroupNormGradient {
    /// As the [`GroupNorm`]'s.
    pub groups: usize,
    /// As the [`GroupNorm`]'s.
    pub eps: f32,
    /// As the [`GroupNorm`]'s.
    pub tiles: Vec<Tiles>,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    sources: [Source; 2],
    channels: u32,
    /// Channels of a run, padding included.
    stride: u32,
    groups: u32,
    eps: f32,
}

impl Op for GroupNormGradient {
    fn name(&self) -> &'static str {
        "group_norm_gradient"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let (moments, [weight, gradient]) = split(inputs);
        let forward = GroupNorm { groups: self.groups, eps: self.eps, tiles: self.tiles.clone(), serial: false };
        let affine = forward.output(&[moments, &[weight, weight][..]].concat())?;
        if *gradient != affine {
            return Err(Error::shape(self.name(), format!("a gradient {affine}"), gradient));
        }
        Ok(moments[0].clone())
    }

    fn further_outputs(&self, inputs: &[&Shape], _output: &Shape) -> Vec<Shape> {
        let (moments, [_, gradient]) = split(inputs);
        let of_images = Shape::new(&[gradient.dims()[0], gradient.channels()]);
        let rest = moments[1..].iter().map(|&moments| moments.clone());
        rest.chain([of_images.clone(), of_images]).collect()
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let (moments, [weight, gradient]) = split(inputs);
        let Some((by_moments, [by_weight, by_bias])) = outputs.split_last_chunk_mut::<2>() else {
            unreachable!("group_norm_gradient has an output for each tensor, and two")
        };
        let (images, channels, width) = (gradient.shape.dims()[0], gradient.shape.channels(), gradient.shape.stride());
        let size = channels / self.groups;
        let zeroed = by_moments.iter_mut().map(|output| &mut *output.data);
        zeroed.chain([&mut *by_weight.data, &mut *by_bias.data]).for_each(|data| data.fill(0.0));
        for image in 0..images {
            let groups = groups_of(moments, &self.tiles, self.groups, image);
            let (by_scale, by_shift) = gradient.data[image * 2 * width..][..2 * width].split_at(width);
            // The gradients by each group's mean and M2.
            let mut by_group = Vec::new();
            for (group, &Moment { count, mean, m2 }) in groups.iter().enumerate() {
                let inverse = 1.0 / (m2 / count + self.eps).sqrt();
                let (mut by_inverse, mut by_mean) = (0.0, 0.0);
                for c in group * size..(group + 1) * size {
                    let centred = by_scale[c] - mean * by_shift[c];
                    by_inverse += weight.data[c] * centred;
                    by_mean -= inverse * weight.data[c] * by_shift[c];
                    by_weight.data[image * width + c] = inverse * centred;
                    by_bias.data[image * width + c] = by_shift[c];
                }
                by_group.push((by_mean, -0.5 * inverse * inverse * inverse * by_inverse / count));
            }
            let mut first = 0;
            for ((moments, tiles), output) in moments.iter().zip(&self.tiles).zip(by_moments.iter_mut()) {
                let stride = moments.shape.stride();
                for tile in 0..tiles.count() {
                    let start = (image * tiles.count() + tile) * 2 * stride;
                    let size_of_tile = tiles.size(tile) as f32;
                    for channel in 0..moments.shape.channels() {
                        let group = (first + channel) / size;
                        let (by_mean, by_m2) = by_group[group];
                        let deviation = moments.data[start + channel] - groups[group].mean;
                        output.data[start + channel] =
                            size_of_tile * (by_mean / groups[group].count + 2.0 * deviation * by_m2);
                        output.data[start + stride + channel] = by_m2;
                    }
                }
                first += moments.shape.channels();
            }
        }
    }

    fn kernel(&self, inputs: &[&Shape], _output: &Shape) -> Kernel {
        let (moments, [_, gradient]) = split(inputs);
        let mut sources = [Source::default(); 2];
        for (source, (moments, tiles)) in sources.iter_mut().zip(moments.iter().zip(&self.tiles)) {
            *source = Source::new(tiles, moments);
        }
        let params = Params {
            sources,
            channels: gradient.channels() as u32,
            stride: gradient.stride() as u32,
            groups: self.groups as u32,
            eps: self.eps,
        };
        let groups = [self.groups as u32, gradient.dims()[0] as u32, 1];
        let defines = vec![("a", 1), ("b", u32::from(moments.len() == 2))];
        let source = shader!("group_norm_gradient");
        Kernel { defines, ..Kernel::new(source, &params, groups) }
    }
}

/// The moments; and γ, and the gradient.
fn split<T: Copy>(inputs: &[T]) -> (&[T], [T; 2]) {
    let Some((moments, &rest)) = inputs.split_last_chunk::<2>() else { unreachable!("checked by the graph") };
    (moments, rest)
}
