//! NCSN++'s blocks (Song et al. 2021): a smaller and smaller copy of the image is taken along on the way down, and larger and
//! larger ones are added up on the way back.

use super::builder::{Builder, Level};
use super::layers::{Resample, Resnet};
use crate::Result;
use crate::config::{DownBlockType, UpBlockType, ncsnpp_groups};
use crate::graph::ValueId;
use crate::op::{Activation, Add, Conv2d, Upfirdn2d};

/// What their sums are divided by.
const NCSNPP_FACTOR: f64 = std::f64::consts::SQRT_2;

/// The groups of their attention, whatever the configuration says.
const NCSNPP_ATTENTION_GROUPS: usize = 32;

impl Builder<'_> {
    /// `SkipDownBlock2D` and `AttnSkipDownBlock2D`. `image` is the copy, as large as x.
    pub(super) fn skip_down(
        &mut self,
        Level { path, out, last }: &Level,
        block: DownBlockType,
        mut x: ValueId,
        skips: &mut Vec<ValueId>,
        image: &mut ValueId,
    ) -> Result<ValueId> {
        let out = *out;
        for j in 0..self.config.layers_per_block {
            let groups = ncsnpp_groups(self.layers.graph.shape(x).channels());
            x = self.resnet(&format!("{path}.resnets.{j}"), x, self.ncsnpp_resnet(groups, out))?;
            if block == DownBlockType::AttnSkipDownBlock2D {
                let attention = format!("{path}.attentions.{j}");
                x = self.attention(&attention, x, Some(NCSNPP_ATTENTION_GROUPS), NCSNPP_FACTOR)?;
            }
            skips.push(x);
        }
        if *last {
            return Ok(x);
        }
        let h = self.resnet(&format!("{path}.resnet_down"), x, self.ncsnpp_resampled(Upfirdn2d::FIR_DOWN, out))?;
        *image = self.layers.graph.op(&format!("{path}.downsamplers.0"), Upfirdn2d::FIR_DOWN, &[*image])?;
        let skip = self.layers.conv2d(&format!("{path}.skip_conv"), *image, out, Conv2d::POINTWISE)?;
        x = self.layers.graph.op(path, Add::PLAIN, &[skip, h])?;
        skips.push(x);
        Ok(x)
    }

    /// `SkipUpBlock2D` and `AttnSkipUpBlock2D`. `image` is the sum of what the levels before made, if there were any.
    pub(super) fn skip_up(
        &mut self,
        Level { path, out, last }: &Level,
        block: UpBlockType,
        mut x: ValueId,
        skips: &mut Vec<ValueId>,
        image: &mut Option<ValueId>,
    ) -> Result<ValueId> {
        let (config, out) = (self.config, *out);
        for j in 0..=config.layers_per_block {
            let below = self.layers.graph.shape(x).channels();
            x = self.with_skip(path, j, x, skips)?;
            let channels = self.layers.graph.shape(x).channels();
            let groups = match block {
                // As diffusers has it, without the brackets that the others have.
                UpBlockType::AttnSkipUpBlock2D => (below + (channels - below) / 4).min(32),
                _ => ncsnpp_groups(channels),
            };
            x = self.resnet(&format!("{path}.resnets.{j}"), x, self.ncsnpp_resnet(groups, out))?;
        }
        if block == UpBlockType::AttnSkipUpBlock2D {
            let attention = format!("{path}.attentions.0");
            x = self.attention(&attention, x, Some(NCSNPP_ATTENTION_GROUPS), NCSNPP_FACTOR)?;
        }
        if let Some(small) = *image {
            *image = Some(self.layers.graph.op(&format!("{path}.upsampler"), Upfirdn2d::FIR_UP, &[small])?);
        }
        if *last {
            return Ok(x);
        }
        let s = self.layers.group_norm(&format!("{path}.skip_norm"), x, ncsnpp_groups(out), Some(Activation::Silu))?;
        let s = self.layers.conv2d(&format!("{path}.skip_conv"), s, config.out_channels, Conv2d::SAME)?;
        *image = Some(match *image {
            Some(image) => self.layers.graph.op(&format!("{path}.skip"), Add::PLAIN, &[image, s])?,
            None => s,
        });
        self.resnet(&format!("{path}.resnet_up"), x, self.ncsnpp_resampled(Upfirdn2d::FIR_UP, out))
    }

    /// A residual block whose first GroupNorm has these groups.
    fn ncsnpp_resnet(&self, groups: usize, out: usize) -> Resnet {
        let groups = [groups, ncsnpp_groups(out)];
        Resnet { out, groups, factor: NCSNPP_FACTOR, resample: None, shortcut: false }
    }

    /// The one that changes the size through a filter.
    fn ncsnpp_resampled(&self, filter: Upfirdn2d, out: usize) -> Resnet {
        let resample = Some(Resample::Filter(filter));
        Resnet { resample, shortcut: true, ..self.ncsnpp_resnet(ncsnpp_groups(out), out) }
    }
}
