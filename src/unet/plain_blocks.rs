//! The ordinary blocks of `unet_2d_blocks.py`, with or without attention, resampled by a convolution or a residual block.

use super::builder::{Builder, Level};
use super::layers::{Resample, Resnet};
use crate::Result;
use crate::config::{DownBlockType, ResampleType, UpBlockType};
use crate::graph::ValueId;
use crate::op::{Conv2d, Upfirdn2d, Upsample};

impl Builder<'_> {
    /// `DownBlock2D`, `AttnDownBlock2D` and `ResnetDownsampleBlock2D`.
    pub(super) fn plain_down(
        &mut self,
        Level { path, out, last }: &Level,
        block: DownBlockType,
        mut x: ValueId,
        skips: &mut Vec<ValueId>,
    ) -> Result<ValueId> {
        let (config, out) = (self.config, *out);
        for j in 0..config.layers_per_block {
            x = self.resnet(&format!("{path}.resnets.{j}"), x, self.plain_resnet(x, out))?;
            if block == DownBlockType::AttnDownBlock2D {
                x = self.attention(&format!("{path}.attentions.{j}"), x, Some(config.groups(out)), 1.0)?;
            }
            skips.push(x);
        }
        if *last {
            return Ok(x);
        }
        let by_resnet = block == DownBlockType::ResnetDownsampleBlock2D
            || block == DownBlockType::AttnDownBlock2D && config.downsample_type == Some(ResampleType::Resnet);
        let path = format!("{path}.downsamplers.0");
        x = if by_resnet {
            let resample = Some(Resample::Filter(Upfirdn2d::MEAN));
            let resnet = Resnet { resample, ..self.plain_resnet(x, out) };
            self.resnet(&path, x, resnet)?
        } else {
            let downsample = Conv2d { kernel: 3, stride: 2, pad_before: config.downsample_padding, pad_after: 1 };
            self.layers.conv2d(&format!("{path}.conv"), x, out, downsample)?
        };
        skips.push(x);
        Ok(x)
    }

    /// `UpBlock2D`, `AttnUpBlock2D` and `ResnetUpsampleBlock2D`.
    pub(super) fn plain_up(
        &mut self,
        Level { path, out, last }: &Level,
        block: UpBlockType,
        mut x: ValueId,
        skips: &mut Vec<ValueId>,
    ) -> Result<ValueId> {
        let (config, out) = (self.config, *out);
        for j in 0..=config.layers_per_block {
            x = self.with_skip(path, j, x, skips)?;
            x = self.resnet(&format!("{path}.resnets.{j}"), x, self.plain_resnet(x, out))?;
            if block == UpBlockType::AttnUpBlock2D {
                x = self.attention(&format!("{path}.attentions.{j}"), x, Some(config.groups(out)), 1.0)?;
            }
        }
        if *last {
            return Ok(x);
        }
        let by_resnet = block == UpBlockType::ResnetUpsampleBlock2D
            || block == UpBlockType::AttnUpBlock2D && config.upsample_type == Some(ResampleType::Resnet);
        let path = format!("{path}.upsamplers.0");
        if by_resnet {
            let resnet = Resnet { resample: Some(Resample::Nearest), ..self.plain_resnet(x, out) };
            return self.resnet(&path, x, resnet);
        }
        let large = self.layers.graph.op(&format!("{path}.nearest"), Upsample, &[x])?;
        self.layers.conv2d(&format!("{path}.conv"), large, out, Conv2d::SAME)
    }

    /// A residual block of the ordinary kind on x.
    pub(super) fn plain_resnet(&self, x: ValueId, out: usize) -> Resnet {
        let groups = [self.config.groups(self.layers.graph.shape(x).channels()), self.config.groups(out)];
        Resnet { out, groups, factor: 1.0, resample: None, shortcut: false }
    }
}
