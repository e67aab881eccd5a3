//! What a convolution summed up in several parts, as one.

use bytemuck::{Pod, Zeroable};

use super::{GroupNorm, Kernel, Op, Tiles, View, ViewMut, shader};
use crate::{Error, Precision, Result, Shape};

/// The sum of a [`super::FusedConv2d`]'s splits, which completes what that leaves undone: plus a row and a residual, times
/// a scale. It reads every pixel of an image, so it can do the first or both halves of a GroupNorm as well.
///
/// Inputs: the sums `[splits · N, H, W, C]`; the residual `[N, H, W, C]` and the row `[N, C]`, if there are; γ `[C]` and
/// β `[C]` if it normalises. The output is `[N, H, W, C]`.
#[derive(Clone, Copy, Debug)]
pub struct SumSplits {
    /// How many sums each number is of.
    pub splits: usize,
    /// Whether a tensor is added.
    pub residual: bool,
    /// Whether a row is added to every pixel.
    pub row: bool,
    /// What the sum is multiplied by.
    pub scale: f32,
    /// What is computed from the output.
    pub beside: Beside,
    /// In which the output is stored.
    pub precision: Precision,
}

/// The second output of a [`SumSplits`], which follows from the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// The moments of every channel over all pixels, `[N, 1, 2, C]`.
    Moments,
    /// Scale and shift of a [`GroupNorm`], `[N, 2, C]`.
    Norm {
        /// How many groups; must divide C.
        groups: usize,
        /// Added to the variance.
        eps: f32,
    },
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    splits: u32,
    images: u32,
    pixels: u32,
    channels: u32,
    stride: u32,
    size: u32,
    scale: f32,
    eps: f32,
}

impl SumSplits {
    /// How images are cut for their moments: not at all.
    pub fn tiles(output: &Shape) -> Tiles {
        let [_, height, width, _] = *output.dims() else { unreachable!("checked by output") };
        Tiles { height: 1, width: height * width, tile_height: 1, tile_width: height * width, copies: 1 }
    }

    fn norm(&self) -> Option<(usize, f32)> {
        match self.beside {
            Beside::Norm { groups, eps } => Some((groups, eps)),
            _ => None,
        }
    }

    /// The GroupNorm of the output's moments.
    fn group_norm(output: &Shape, groups: usize, eps: f32) -> GroupNorm {
        GroupNorm { groups, eps, tiles: vec![SumSplits::tiles(output)], serial: false }
    }

    /// The inputs after the sums: residual, row, γ and β.
    fn parts<'a, T: Copy>(&self, inputs: &'a [T]) -> (Option<T>, Option<T>, &'a [T]) {
        let mut rest = &inputs[1..];
        let mut take = |there: bool| {
            let (&first, others) = rest.split_first().filter(|_| there)?;
            rest = others;
            Some(first)
        };
        (take(self.residual), take(self.row), rest)
    }
}

impl Op for SumSplits {
    fn name(&self) -> &'static str {
        "sum_splits"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [n, h, w, c] = inputs[0].nhwc(self.name())?;
        let output = Shape::new(&[n / self.splits, h, w, c]);
        let (residual, row, affine) = self.parts(inputs);
        let fits = n.is_multiple_of(self.splits)
            && residual.is_none_or(|residual| *residual == output)
            && row.is_none_or(|row| row.dims() == [n / self.splits, c]);
        if !fits {
            let found = inputs.iter().map(|shape| shape.to_string()).collect::<Vec<_>>().join(", ");
            return Err(Error::shape(self.name(), format!("{} sums, and what fits them", self.splits), found));
        }
        if let (Some((groups, eps)), &[weight, bias]) = (self.norm(), affine) {
            let moments = SumSplits::tiles(&output).shape(&output);
            SumSplits::group_norm(&output, groups, eps).output(&[&moments, weight, bias])?;
        }
        Ok(output)
    }

    fn further_outputs(&self, _inputs: &[&Shape], output: &Shape) -> Vec<Shape> {
        match self.beside {
            Beside::Nothing => Vec::new(),
            Beside::Moments => vec![SumSplits::tiles(output).shape(output)],
            Beside::Norm { .. } => vec![Shape::new(&[output.dims()[0], 2, output.channels()])],
        }
    }

    fn precision(&self) -> Option<Precision> {
        Some(self.precision)
    }

    fn stored(&self) -> Vec<usize> {
        let read = usize::from(self.residual) + usize::from(self.row);
        let affine = 2 * usize::from(self.norm().is_some());
        (2..2 + read).chain([2 + read + affine]).collect()
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output, beside @ ..] = outputs else { unreachable!("sum_splits has an output") };
        let (residual, row, affine) = self.parts(inputs);
        let (len, stride) = (output.data.len(), output.shape.stride());
        let image = len / output.shape.dims()[0];
        for (i, out) in output.data.iter_mut().enumerate() {
            let sum: f32 = (0..self.splits).map(|split| inputs[0].data[split * len + i]).sum();
            let row = row.map_or(0.0, |row| row.data[i / image * stride + i % stride]);
            *out = (sum + row + residual.map_or(0.0, |residual| residual.data[i])) * self.scale;
        }
        let tiles = SumSplits::tiles(output.shape);
        match self.beside {
            Beside::Nothing => {}
            Beside::Moments => tiles.moments(output.view(), &mut beside[0]),
            Beside::Norm { groups, eps } => {
                let shape = tiles.shape(output.shape);
                let mut moments = vec![0.0; shape.len()];
                tiles.moments(output.view(), &mut ViewMut::new(&shape, &mut moments));
                let inputs = [View::new(&shape, &moments), affine[0], affine[1]];
                SumSplits::group_norm(output.shape, groups, eps).cpu(&inputs, beside);
            }
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        /// Channels of a workgroup that leaves their moments.
        const CHANNELS: usize = 4;

        let [images, height, width, channels] = *output.dims() else { unreachable!("checked by output") };
        let (groups, size) = match self.norm() {
            Some((groups, _)) => (groups, channels / groups),
            None => (output.stride() / CHANNELS, CHANNELS),
        };
        let params = Params {
            splits: self.splits as u32,
            images: images as u32,
            pixels: (height * width) as u32,
            // Moments are left of the padding too.
            channels: if self.norm().is_some() { channels } else { output.stride() } as u32,
            stride: output.stride() as u32,
            size: size as u32,
            scale: self.scale,
            eps: self.norm().map_or(0.0, |(_, eps)| eps),
        };
        let defines = vec![
            ("residual", u32::from(self.residual)),
            ("row", u32::from(self.row)),
            ("norm", u32::from(self.norm().is_some())),
            ("beside", u32::from(self.beside != Beside::Nothing)),
        ];
        let source = shader!("sum_splits");
        Kernel { defines, ..Kernel::new(source, &params, [groups as u32, images as u32, 1]) }
    }
}
