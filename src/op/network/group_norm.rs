//! The second half of a GroupNorm: from channel moments to a scale and a shift for each channel.

use bytemuck::{Pod, Zeroable};

use super::{Backward, Differentiable, GroupNormGradient, Kernel, Op, SumRows, Tiles, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Error, Result, Shape};

/// GroupNorm (Wu and He 2018) as a scale and a shift a channel, `[N, 2, C]`, that [`super::ScaleShift`] applies:
/// scale = γ / √(σ² + ε) and shift = β − μ · scale, with μ and σ² over a group's channels and all pixels.
///
/// Inputs: the moments `[N, tiles, 2, C]` of one tensor, or of each of two that are normalised as one, C = C₁ + C₂; γ `[C]`
/// and β `[C]`. Moments are merged in pairs after Chan, Golub and LeVeque (1979): (n, μ, M2) of a union from those of its
/// halves, without cancellation.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    /// How many groups; must divide C.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
    /// How each tensor was cut for its moments.
    pub tiles: Vec<Tiles>,
    /// Whether each group is left to one invocation of the GPU.
    pub serial: bool,
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

/// How a tensor was cut for its moments.
#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
pub(in crate::op) struct Source {
    channels: u32,
    stride: u32,
    height: u32,
    width: u32,
    tile_height: u32,
    tile_width: u32,
    copies: u32,
    tiles: u32,
}

impl Source {
    pub(in crate::op) fn new(tiles: &Tiles, moments: &Shape) -> Self {
        Source {
            channels: moments.channels() as u32,
            stride: moments.stride() as u32,
            height: tiles.height as u32,
            width: tiles.width as u32,
            tile_height: tiles.tile_height as u32,
            tile_width: tiles.tile_width as u32,
            copies: tiles.copies as u32,
            tiles: tiles.count() as u32,
        }
    }
}

/// Invocations of a workgroup.
const THREADS: usize = 64;

/// Count, mean and M2 of a set of numbers.
#[derive(Clone, Copy, Default)]
pub(in crate::op) struct Moment {
    pub(in crate::op) count: f32,
    pub(in crate::op) mean: f32,
    pub(in crate::op) m2: f32,
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
        let (moments, [weight, bias]) = split(inputs);
        let mut channels = 0;
        for (&moments, tiles) in moments.iter().zip(&self.tiles) {
            let [_, t, 2, c] = *moments.dims() else {
                return Err(Error::shape(self.name(), "moments [N, tiles, 2, C]", moments));
            };
            if t != tiles.count() || moments.dims()[0] != inputs[0].dims()[0] {
                return Err(Error::shape(self.name(), format!("moments [N, {}, 2, C]", tiles.count()), moments));
            }
            channels += c;
        }
        if moments.len() != self.tiles.len() || weight.dims() != [channels] || bias.dims() != [channels] {
            let found = inputs.iter().map(|shape| shape.to_string()).collect::<Vec<_>>().join(", ");
            return Err(Error::shape(self.name(), format!("{} moments, [C] and [C]", self.tiles.len()), found));
        }
        if !channels.is_multiple_of(self.groups) {
            return Err(Error::shape(self.name(), format!("a multiple of {} channels", self.groups), channels));
        }
        Ok(Shape::new(&[inputs[0].dims()[0], 2, channels]))
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("group_norm has one output") };
        let (moments, [weight, bias]) = split(inputs);
        let (channels, width) = (output.shape.channels(), output.shape.stride());
        let size = channels / self.groups;
        for (image, out) in output.data.chunks_exact_mut(2 * width).enumerate() {
            out.fill(0.0);
            let groups = groups_of(moments, &self.tiles, self.groups, image);
            for channel in 0..channels {
                let all = groups[channel / size];
                let scale = weight.data[channel] / (all.m2 / all.count + self.eps).sqrt();
                out[channel] = scale;
                out[width + channel] = bias.data[channel] - all.mean * scale;
            }
        }
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let (moments, _) = split(inputs);
        let mut sources = [Source::default(); 2];
        for (source, (moments, tiles)) in sources.iter_mut().zip(moments.iter().zip(&self.tiles)) {
            *source = Source::new(tiles, moments);
        }
        let params = Params {
            sources,
            channels: output.channels() as u32,
            stride: output.stride() as u32,
            groups: self.groups as u32,
            eps: self.eps,
        };
        let groups = if self.serial { self.groups.div_ceil(THREADS) } else { self.groups };
        let groups = [groups as u32, output.dims()[0] as u32, 1];
        let defines = vec![("a", 1), ("b", u32::from(moments.len() == 2)), ("serial", u32::from(self.serial))];
        let source = shader!("group_norm");
        Kernel { defines, ..Kernel::new(source, &params, groups) }
    }
}

impl Differentiable for GroupNorm {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let (moments, [weight, bias]) = split(backward.inputs);
        let (of_moments, of_affine) = split(backward.wanted);
        let op = GroupNormGradient { groups: self.groups, eps: self.eps, tiles: self.tiles.clone() };
        let inputs = [moments, &[weight, backward.gradient][..]].concat();
        let name = format!("{}.gradient", backward.name);
        let first = graph.op(&name, op, &inputs)?;
        let outputs: Vec<ValueId> = [first].into_iter().chain(graph.further_outputs(first)).collect();
        let (by_moments, by_affine) = outputs.split_at(moments.len());
        let by_moments = by_moments.iter().zip(of_moments);
        let mut gradients: Vec<_> = by_moments.map(|(&gradient, wanted)| wanted.then_some(gradient)).collect();
        // Those by γ and β are still image by image.
        let parameters = [(weight, "weight"), (bias, "bias")].into_iter().zip(of_affine);
        for (&of_images, ((parameter, suffix), wanted)) in by_affine.iter().zip(parameters) {
            let shape = graph.shape(parameter).clone();
            let sum = wanted.then(|| SumRows::append(graph, &format!("{name}.{suffix}"), of_images, 1, shape));
            gradients.push(sum.transpose()?);
        }
        Ok(gradients)
    }
}

/// The moments of every group of an image, of those of its tensors' tiles and channels.
pub(in crate::op) fn groups_of(moments: &[View<'_>], tiles: &[Tiles], groups: usize, image: usize) -> Vec<Moment> {
    let size = moments.iter().map(|moments| moments.shape.channels()).sum::<usize>() / groups;
    let mut all = vec![Moment::default(); groups];
    let mut first = 0;
    for (moments, tiles) in moments.iter().zip(tiles) {
        let stride = moments.shape.stride();
        let own = &moments.data[image * tiles.count() * 2 * stride..][..tiles.count() * 2 * stride];
        for (tile, own) in own.chunks_exact(2 * stride).enumerate() {
            let count = tiles.size(tile) as f32;
            for channel in 0..moments.shape.channels() {
                let group = &mut all[(first + channel) / size];
                *group = group.merge(Moment { count, mean: own[channel], m2: own[stride + channel] });
            }
        }
        first += moments.shape.channels();
    }
    all
}

/// The moments, and γ and β.
fn split<T: Copy>(inputs: &[T]) -> (&[T], [T; 2]) {
    let Some((moments, &affine)) = inputs.split_last_chunk::<2>() else { unreachable!("checked by the graph") };
    (moments, affine)
}
