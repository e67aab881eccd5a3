//! The network from its input to its output, level by level; what a level is made of depends on its family of blocks.

use super::layers::Resnet;
use crate::config::{DownBlockType, TimeEmbeddingType, TimeScaleShift, UNetConfig, UpBlockType};
use crate::graph::{Graph, ValueId};
use crate::network::{Layers, ParametersOf};
use crate::op::{Activation, Add, Affine, Concat, Conv2d, Divide, Narrow, Widen};
use crate::{Error, Precision, Result};

/// What the class of each image is mixed with.
pub(super) struct ClassMix {
    /// The label of another one, `[N]`.
    pub(super) labels: ValueId,
    /// How much there is of the embedding of either in the mixture, `[N]` each.
    pub(super) shares: [ValueId; 2],
}

/// Lays out a network layer by layer.
pub(super) struct Builder<'a> {
    pub(super) layers: Layers<'a>,
    pub(super) config: &'a UNetConfig,
    /// The time and the class: the sum of their embeddings, `[N, time_embed_dim]`.
    pub(super) embedding: ValueId,
    /// What tells them to every residual block but those of the K blocks: the embedding after the activation.
    pub(super) temb: ValueId,
    /// What the masks of dropout follow from, `[4]`, while the network learns.
    pub(super) dropout_seed: Option<ValueId>,
    /// How many of them there are so far.
    pub(super) dropouts: u32,
}

/// A level of the network, on the way down or up.
pub(super) struct Level {
    /// Its path in the checkpoint.
    pub(super) path: String,
    /// Channels of its output.
    pub(super) out: usize,
    /// Whether it is the last on its way, and leaves the size as it is.
    pub(super) last: bool,
}

/// The skip connection that is next on the way up.
pub(super) fn pop(skips: &mut Vec<ValueId>) -> Result<ValueId> {
    skips.pop().ok_or_else(|| Error::Config {
        file: "unet/config.json",
        problem: "up_block_types take more skip connections than down_block_types give. KDownBlock2D and KUpBlock2D \
                  have fewer than other blocks, and go together."
            .into(),
    })
}

impl<'a> Builder<'a> {
    /// A builder, with what the residual blocks need already laid out.
    pub(super) fn new(
        graph: &'a mut Graph,
        parameters: ParametersOf<'a>,
        config: &'a UNetConfig,
        precision: Precision,
        timestep: ValueId,
        class_labels: Option<ValueId>,
        class_mix: Option<ClassMix>,
    ) -> Result<Self> {
        let (embedding, temb) = (timestep, timestep);
        let layers = Layers { graph, parameters, precision, norm_eps: config.norm_eps as f32 };
        let mut builder = Builder { layers, config, embedding, temb, dropout_seed: None, dropouts: 0 };
        builder.embedding = builder.time_and_class(timestep, class_labels, class_mix)?;
        builder.temb = builder.layers.graph.op("embedding.act", config.act_fn, &[builder.embedding])?;
        Ok(builder)
    }

    /// `UNet2DModel.forward`.
    pub(super) fn unet(&mut self, sample: ValueId, timestep: ValueId) -> Result<ValueId> {
        let config = self.config;
        let channels = &config.block_out_channels;
        let sample = match config.center_input_sample {
            true => self.layers.graph.op("center_input_sample", Affine { scale: 2.0, offset: -1.0 }, &[sample])?,
            false => sample,
        };
        let sample = self.narrow("sample.narrow", sample)?;

        let mut x = self.layers.conv2d("conv_in", sample, channels[0], Conv2d::SAME)?;
        let mut skips = vec![x];
        // What NCSN++ takes along on the way down, and adds up on the way back.
        let mut small = sample;
        for (i, &block) in config.down_block_types.iter().enumerate() {
            let level = Level { path: format!("down_blocks.{i}"), out: channels[i], last: i + 1 == channels.len() };
            x = match block {
                DownBlockType::DownBlock2D
                | DownBlockType::AttnDownBlock2D
                | DownBlockType::ResnetDownsampleBlock2D => self.plain_down(&level, block, x, &mut skips)?,
                DownBlockType::SkipDownBlock2D | DownBlockType::AttnSkipDownBlock2D => {
                    self.skip_down(&level, block, x, &mut skips, &mut small)?
                }
                DownBlockType::KDownBlock2D => self.k_down(&level, x, &mut skips)?,
            };
        }

        if config.mid_block_type.is_some() {
            x = self.mid(x)?;
        }

        let mut image = None;
        for (i, &block) in config.up_block_types.iter().enumerate() {
            let above = channels.len() - 1 - i;
            let level = Level { path: format!("up_blocks.{i}"), out: channels[above], last: above == 0 };
            x = match block {
                UpBlockType::UpBlock2D | UpBlockType::AttnUpBlock2D | UpBlockType::ResnetUpsampleBlock2D => {
                    self.plain_up(&level, block, x, &mut skips)?
                }
                UpBlockType::SkipUpBlock2D | UpBlockType::AttnSkipUpBlock2D => {
                    self.skip_up(&level, block, x, &mut skips, &mut image)?
                }
                UpBlockType::KUpBlock2D => self.k_up(&level, channels[above.saturating_sub(1)], x, &mut skips)?,
            };
        }

        x = self.layers.group_norm("conv_norm_out", x, config.groups(channels[0]), Some(Activation::Silu))?;
        x = self.layers.conv2d("conv_out", x, config.out_channels, Conv2d::SAME)?;
        if let Some(image) = image {
            x = self.layers.graph.op("skip_sample", Add::PLAIN, &[x, image])?;
        }
        if self.layers.precision == Precision::F16 {
            x = self.layers.graph.op("conv_out.widen", Widen, &[x])?;
        }
        if config.time_embedding_type == TimeEmbeddingType::Fourier {
            x = self.layers.graph.op("divide_by_time", Divide, &[x, timestep])?;
        }
        Ok(x)
    }

    /// x beside the skip connection that is next, as the `j`-th residual block of a level on the way up takes it.
    pub(super) fn with_skip(&mut self, path: &str, j: usize, x: ValueId, skips: &mut Vec<ValueId>) -> Result<ValueId> {
        let skip = pop(skips)?;
        self.layers.graph.op(&format!("{path}.concat.{j}"), Concat, &[x, skip])
    }

    /// An input as activations are kept.
    pub(super) fn narrow(&mut self, name: &str, input: ValueId) -> Result<ValueId> {
        match self.layers.precision {
            Precision::F32 => Ok(input),
            Precision::F16 => self.layers.graph.op(name, Narrow, &[input]),
        }
    }

    /// `UNetMidBlock2D.forward`.
    fn mid(&mut self, x: ValueId) -> Result<ValueId> {
        let config = self.config;
        let factor = config.mid_block_scale_factor;
        let out = self.layers.graph.shape(x).channels();
        let resnet = Resnet { factor, ..self.plain_resnet(x, out) };
        let mut x = self.resnet("mid_block.resnets.0", x, resnet)?;
        if config.add_attention {
            let inherited = (config.resnet_time_scale_shift == TimeScaleShift::Default).then(|| config.groups(out));
            x = self.attention("mid_block.attentions.0", x, config.attn_norm_num_groups.or(inherited), factor)?;
        }
        self.resnet("mid_block.resnets.1", x, resnet)
    }
}
