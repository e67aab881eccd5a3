//! The K blocks (k-diffusion's): the time scales and shifts what every GroupNorm gives.

use super::builder::{Builder, Level, pop};
use crate::graph::ValueId;
use crate::op::{Add, Concat, Conv2d, Modulate, ScaleShift, Upfirdn2d};
use crate::tensor::padded;
use crate::{Result, Shape};

/// Channels of a group of their GroupNorms, whatever the configuration says.
const K_GROUP: usize = 32;

/// A value in every one of `len` channels, in device layout.
fn vector_of(value: f32, len: usize) -> (Shape, Vec<f32>) {
    let mut data = vec![value; len];
    data.resize(padded(len), 0.0);
    (Shape::new(&[len]), data)
}

impl Builder<'_> {
    /// `KDownBlock2D`: unlike the others, it gives no skip connection after the downsampling.
    pub(super) fn k_down(&mut self, level: &Level, mut x: ValueId, skips: &mut Vec<ValueId>) -> Result<ValueId> {
        let Level { path, out, last } = level;
        for j in 0..self.config.layers_per_block {
            x = self.k_resnet(&format!("{path}.resnets.{j}"), x, [*out, *out])?;
            skips.push(x);
        }
        match last {
            true => Ok(x),
            false => self.layers.graph.op(&format!("{path}.downsamplers.0"), Upfirdn2d::K_DOWN, &[x]),
        }
    }

    /// `KUpBlock2D`: its residual blocks are over the last of the skip connections that are its share, and the last one of them
    /// has the channels of the next level.
    pub(super) fn k_up(
        &mut self,
        Level { path, out, last }: &Level,
        next: usize,
        x: ValueId,
        skips: &mut Vec<ValueId>,
    ) -> Result<ValueId> {
        let (layers, out) = (self.config.layers_per_block, *out);
        let skip = pop(skips)?;
        for _ in 1..layers {
            pop(skips)?;
        }
        let mut x = self.layers.graph.op(&format!("{path}.concat"), Concat, &[x, skip])?;
        for j in 0..layers {
            let channels = [out, if j + 1 == layers { next } else { out }];
            x = self.k_resnet(&format!("{path}.resnets.{j}"), x, channels)?;
        }
        match last {
            true => Ok(x),
            false => self.layers.graph.op(&format!("{path}.upsamplers.0"), Upfirdn2d::K_UP, &[x]),
        }
    }

    /// `ResnetBlockCondNorm2D.forward`, as the K blocks have it: the time scales and shifts what both GroupNorms give.
    /// `width` is the channels that the block was made for, of which diffusers takes the groups of the second
    /// GroupNorm, and `out` the channels of the output.
    fn k_resnet(&mut self, path: &str, x: ValueId, [width, out]: [usize; 2]) -> Result<ValueId> {
        let channels = self.layers.graph.shape(x).channels();
        let h = self.ada_group_norm(&format!("{path}.norm1"), x, channels / K_GROUP)?;
        let h = self.layers.conv2d(&format!("{path}.conv1"), h, out, Conv2d::SAME)?;
        let h = self.ada_group_norm(&format!("{path}.norm2"), h, width / K_GROUP)?;
        let h = self.dropout(path, h)?;
        let h = self.layers.conv2d(&format!("{path}.conv2"), h, out, Conv2d::SAME)?;
        let x = match channels == out {
            true => x,
            false => {
                let bias = self.layers.graph.constant("no bias", vector_of(0.0, out));
                self.layers.conv2d_with(&format!("{path}.conv_shortcut"), x, out, Conv2d::POINTWISE, bias)?
            }
        };
        self.layers.graph.op(path, Add::PLAIN, &[x, h])
    }

    /// `AdaGroupNorm.forward` and the activation: a GroupNorm with nothing learned, whose result the time scales and
    /// shifts.
    fn ada_group_norm(&mut self, path: &str, x: ValueId, groups: usize) -> Result<ValueId> {
        let channels = self.layers.graph.shape(x).channels();
        let time = self.layers.scale_and_shift(&format!("{path}.linear"), self.embedding, channels)?;
        let weight = self.layers.graph.constant("no weight", vector_of(1.0, channels));
        let bias = self.layers.graph.constant("no bias", vector_of(0.0, channels));
        let affine = self.layers.normalised(path, x, groups, [weight, bias])?;
        let affine = self.layers.graph.op(&format!("{path}.modulate"), Modulate, &[affine, time])?;
        self.layers.graph.op(path, ScaleShift { activation: Some(self.config.act_fn) }, &[x, affine])
    }
}
