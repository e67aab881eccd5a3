//! The layers that blocks of every family are made of, each with its weights.

use super::builder::Builder;
use crate::config::TimeScaleShift;
use crate::graph::ValueId;
use crate::network::{Heads, PackedTensor};
use crate::op::{Add, Conv2d, Dropout, Linear, Modulate, ScaleShift, Upfirdn2d, Upsample};
use crate::{Error, Result};

/// How a residual block changes the size of its images.
#[derive(Clone, Copy)]
pub(super) enum Resample {
    /// Twice the size, every pixel repeated.
    Nearest,
    /// Through a filter.
    Filter(Upfirdn2d),
}

/// What varies from one residual block to another.
#[derive(Clone, Copy)]
pub(super) struct Resnet {
    /// Channels of the output.
    pub(super) out: usize,
    /// Groups of the two GroupNorms.
    pub(super) groups: [usize; 2],
    /// What the sum is divided by.
    pub(super) factor: f64,
    /// How the size changes, if it does.
    pub(super) resample: Option<Resample>,
    /// Whether there is a 1×1 convolution beside the block even if the channels do not change.
    pub(super) shortcut: bool,
}

impl Builder<'_> {
    /// `ResnetBlock2D.forward`: x + conv(conv(x) + time), each convolution after a GroupNorm and the activation.
    pub(super) fn resnet(&mut self, path: &str, x: ValueId, resnet: Resnet) -> Result<ValueId> {
        let activation = Some(self.config.act_fn);
        let Resnet { out, groups, factor, resample, shortcut } = resnet;
        let mut x = x;
        let mut h = self.layers.group_norm(&format!("{path}.norm1"), x, groups[0], activation)?;
        if let Some(resample) = resample {
            h = self.resample(&format!("{path}.resample.h"), h, resample)?;
            x = self.resample(&format!("{path}.resample.x"), x, resample)?;
        }
        let h = self.layers.conv2d(&format!("{path}.conv1"), h, out, Conv2d::SAME)?;
        let time = format!("{path}.time_emb_proj");
        let h = match self.config.resnet_time_scale_shift {
            TimeScaleShift::Default => {
                let time = self.layers.linear(&time, self.temb, out)?;
                let h = self.layers.graph.op(&format!("{path}.add_time"), Add::PLAIN, &[h, time])?;
                self.layers.group_norm(&format!("{path}.norm2"), h, groups[1], activation)?
            }
            TimeScaleShift::ScaleShift => {
                let time = self.layers.scale_and_shift(&time, self.temb, out)?;
                let norm = format!("{path}.norm2");
                let affine = self.layers.group_norm_affine(&norm, h, groups[1])?;
                let affine = self.layers.graph.op(&format!("{norm}.modulate"), Modulate, &[affine, time])?;
                self.layers.graph.op(&norm, ScaleShift { activation }, &[h, affine])?
            }
        };
        let h = self.dropout(path, h)?;
        let h = self.layers.conv2d(&format!("{path}.conv2"), h, out, Conv2d::SAME)?;
        if shortcut || self.layers.graph.shape(x).channels() != out {
            x = self.layers.conv2d(&format!("{path}.conv_shortcut"), x, out, Conv2d::POINTWISE)?;
        }
        self.layers.graph.op(path, Add { scale: (1.0 / factor) as f32 }, &[x, h])
    }

    /// What the second convolution of a residual block reads (`ResnetBlock2D.dropout`).
    pub(super) fn dropout(&mut self, path: &str, h: ValueId) -> Result<ValueId> {
        let Some(seed) = self.dropout_seed else { return Ok(h) };
        let op = Dropout { probability: self.config.dropout, layer: self.dropouts };
        self.dropouts += 1;
        self.layers.graph.op(&format!("{path}.dropout"), op, &[h, seed])
    }

    fn resample(&mut self, name: &str, x: ValueId, resample: Resample) -> Result<ValueId> {
        match resample {
            Resample::Nearest => self.layers.graph.op(name, Upsample, &[x]),
            Resample::Filter(filter) => self.layers.graph.op(name, filter, &[x]),
        }
    }

    /// `Attention.forward` with a residual connection: self-attention over the pixels of an image, after a GroupNorm of
    /// `groups` if there is one.
    pub(super) fn attention(&mut self, path: &str, x: ValueId, groups: Option<usize>, factor: f64) -> Result<ValueId> {
        let channels = self.layers.graph.shape(x).channels();
        let head_dim = self.config.head_dim(channels);
        let heads = channels / head_dim;
        if heads == 0 {
            return Err(Error::Config {
                file: "unet/config.json",
                problem: format!(
                    "attention_head_dim is {head_dim}, which is more than the {channels} channels of {path}."
                ),
            });
        }
        let heads = Heads { count: heads, dim: head_dim };
        let (inner, row) = (heads.count * head_dim, heads.row());
        let projections = [(0, "to_q"), (row, "to_k"), (2 * row, "to_v")];

        let h = match groups {
            Some(groups) => self.layers.group_norm(&format!("{path}.group_norm"), x, groups, None)?,
            None => x,
        };
        let weights = projections.map(|(first, name)| {
            let packed = Linear::place(3 * row, channels);
            let place = move |i: usize| packed((first + heads.place(i / channels)) * channels + i % channels);
            PackedTensor::new(&format!("{path}.{name}.weight"), &[inner, channels], place)
        });
        let biases = projections.map(|(first, name)| {
            PackedTensor::new(&format!("{path}.{name}.bias"), &[inner], move |i: usize| first + heads.place(i))
        });
        let values = self.layers.self_attention(path, h, heads, [weights.into(), biases.into()])?;
        let h = self.layers.join_heads(&format!("{path}.to_out.0"), values, heads, &[channels, inner])?;
        self.layers.graph.op(path, Add { scale: (1.0 / factor) as f32 }, &[h, x])
    }
}
