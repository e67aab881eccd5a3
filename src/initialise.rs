//! The weights of a network before it has learned anything, as PyTorch draws them when diffusers makes the modules.
//!
//! `torch.manual_seed(0); UNet2DModel(**config)` draws every weight from one generator, in the order in which the modules are
//! made (diffusers `models/unets/unet_2d.py`, `unet_2d_blocks.py`, `resnet.py`, `attention_processor.py`, `embeddings.py`,
//! `normalization.py`), which is not the order in which they run: a level makes its residual blocks by turns with its
//! attention and what changes the size last, wherever they are used. This file is those constructors and nothing else.

mod classifier;
mod modules;

pub use classifier::initial_classifier_weights;
use modules::Modules;

use crate::config::{
    ClassEmbedType, DownBlockType, ResampleType, TimeEmbeddingType, TimeScaleShift, UNetConfig, UpBlockType,
};
use crate::random::Generator;
use crate::unet::UNet2DModel;
use crate::{Result, Weights};

/// The weights of a new network: with `Generator::new(seed)` those of `torch.manual_seed(seed); UNet2DModel(**config)`, by
/// their paths, in the order in which they are drawn. Uniform ones have PyTorch's bits, normal ones (embeddings) are
/// within 3e-7 of PyTorch's. The generator is left where PyTorch's default one is.
///
/// Where NCSN++'s blocks take or give images, diffusers has three channels whatever the configuration says; these have the
/// network's own.
///
/// # Errors
/// When the configuration contradicts itself.
pub fn initial_weights(config: &UNetConfig, generator: &mut Generator) -> Result<Weights> {
    UNet2DModel::without_weights(config.clone())?; // all sizes are such as a network can have
    let mut unet = UNet { config, modules: Modules { generator, tensors: Vec::new() } };
    unet.unet()?;
    Ok(Weights::from_tensors(unet.modules.tensors))
}

/// Makes modules, in diffusers' order.
struct UNet<'a> {
    config: &'a UNetConfig,
    modules: Modules<'a>,
}

impl UNet<'_> {
    /// `UNet2DModel.__init__`.
    fn unet(&mut self) -> Result<()> {
        let config = self.config;
        let channels = &config.block_out_channels;
        let levels = channels.len();
        self.modules.conv("conv_in", config.in_channels, channels[0], 3)?;
        self.time_and_class()?;
        for (i, &block) in config.down_block_types.iter().enumerate() {
            let level = Level {
                path: &format!("down_blocks.{i}"),
                before: channels[i.saturating_sub(1)],
                out: channels[i],
                skip: 0,
                last: i + 1 == levels,
            };
            self.down_block(&level, block)?;
        }
        let innermost = channels[levels - 1];
        if config.mid_block_type.is_some() {
            self.resnet("mid_block.resnets.0", innermost, innermost, false)?;
            if config.add_attention {
                let is_normalised =
                    config.attn_norm_num_groups.is_some() || config.resnet_time_scale_shift == TimeScaleShift::Default;
                self.attention("mid_block.attentions.0", innermost, is_normalised)?;
            }
            self.resnet("mid_block.resnets.1", innermost, innermost, false)?;
        }
        for (i, &block) in config.up_block_types.iter().enumerate() {
            let above = levels - 1 - i;
            let level = Level {
                path: &format!("up_blocks.{i}"),
                before: channels[(above + 1).min(levels - 1)],
                out: channels[above],
                skip: channels[above.saturating_sub(1)],
                last: above == 0,
            };
            self.up_block(&level, block)?;
        }
        self.modules.norm("conv_norm_out", channels[0])?;
        self.modules.conv("conv_out", channels[0], config.out_channels, 3)
    }

    /// What the time and the class become: `time_proj`, `time_embedding` and `class_embedding`.
    fn time_and_class(&mut self) -> Result<()> {
        let config = self.config;
        let (width, dim) = (config.block_out_channels[0], config.time_embed_dim());
        let features = match config.time_embedding_type {
            TimeEmbeddingType::Positional => width,
            TimeEmbeddingType::Fourier => {
                // GaussianFourierProjection draws its frequencies twice, and keeps the second ones.
                self.modules.generator.randn(width);
                let frequencies = self.modules.generator.randn(width).into_iter().map(|x| x * FOURIER_SCALE).collect();
                self.modules.put("time_proj.weight", &[width], frequencies)?;
                2 * width
            }
            TimeEmbeddingType::Learned => {
                self.modules.embedding("time_proj", config.num_train_timesteps.unwrap_or(0), width)?;
                width
            }
        };
        self.timestep_embedding("time_embedding", features, dim)?;
        match (config.class_embed_type, config.num_class_embeds) {
            (None, Some(classes)) => self.modules.embedding("class_embedding", classes, dim),
            (Some(ClassEmbedType::Timestep), _) => self.timestep_embedding("class_embedding", features, dim),
            (None, None) | (Some(ClassEmbedType::Identity), _) => Ok(()),
        }
    }

    /// A block of the contracting path.
    fn down_block(&mut self, level: &Level, block: DownBlockType) -> Result<()> {
        let &Level { path, before, out, last, .. } = level;
        for j in 0..self.config.layers_per_block {
            let channels = if j == 0 { before } else { out };
            let resnet = format!("{path}.resnets.{j}");
            match block {
                DownBlockType::KDownBlock2D => self.k_resnet(&resnet, channels, out)?,
                _ => self.resnet(&resnet, channels, out, false)?,
            }
            if matches!(block, DownBlockType::AttnDownBlock2D | DownBlockType::AttnSkipDownBlock2D) {
                self.attention(&format!("{path}.attentions.{j}"), out, true)?;
            }
        }
        if last {
            return Ok(());
        }
        let downsampler = format!("{path}.downsamplers.0");
        let by_resnet = self.config.downsample_type == Some(ResampleType::Resnet);
        match block {
            DownBlockType::ResnetDownsampleBlock2D => self.resnet(&downsampler, out, out, false),
            DownBlockType::AttnDownBlock2D if by_resnet => self.resnet(&downsampler, out, out, false),
            DownBlockType::DownBlock2D | DownBlockType::AttnDownBlock2D => {
                self.modules.conv(&format!("{downsampler}.conv"), out, out, 3)
            }
            DownBlockType::SkipDownBlock2D | DownBlockType::AttnSkipDownBlock2D => {
                self.resnet(&format!("{path}.resnet_down"), out, out, true)?;
                self.modules.conv(&format!("{path}.skip_conv"), self.config.in_channels, out, 1)
            }
            DownBlockType::KDownBlock2D => Ok(()),
        }
    }

    /// A block of the expanding path.
    fn up_block(&mut self, level: &Level, block: UpBlockType) -> Result<()> {
        let &Level { path, before, out, skip, last } = level;
        let layers = self.config.layers_per_block;
        if block == UpBlockType::KUpBlock2D {
            for j in 0..layers {
                let channels = if j == 0 { 2 * out } else { out };
                let next = if j + 1 == layers { skip } else { out };
                self.k_resnet(&format!("{path}.resnets.{j}"), channels, next)?;
            }
            return Ok(());
        }
        for j in 0..=layers {
            let channels = if j == 0 { before } else { out } + if j == layers { skip } else { out };
            self.resnet(&format!("{path}.resnets.{j}"), channels, out, false)?;
            if block == UpBlockType::AttnUpBlock2D {
                self.attention(&format!("{path}.attentions.{j}"), out, true)?;
            }
        }
        if block == UpBlockType::AttnSkipUpBlock2D {
            self.attention(&format!("{path}.attentions.0"), out, true)?;
        }
        if last {
            return Ok(());
        }
        let upsampler = format!("{path}.upsamplers.0");
        let by_resnet = self.config.upsample_type == Some(ResampleType::Resnet);
        match block {
            UpBlockType::ResnetUpsampleBlock2D => self.resnet(&upsampler, out, out, false),
            UpBlockType::AttnUpBlock2D if by_resnet => self.resnet(&upsampler, out, out, false),
            UpBlockType::UpBlock2D | UpBlockType::AttnUpBlock2D => {
                self.modules.conv(&format!("{upsampler}.conv"), out, out, 3)
            }
            UpBlockType::SkipUpBlock2D | UpBlockType::AttnSkipUpBlock2D => {
                self.resnet(&format!("{path}.resnet_up"), out, out, true)?;
                self.modules.conv(&format!("{path}.skip_conv"), out, self.config.out_channels, 3)?;
                self.modules.norm(&format!("{path}.skip_norm"), out)
            }
            UpBlockType::KUpBlock2D => Ok(()),
        }
    }

    /// `ResnetBlock2D.__init__`. Beside it is a 1×1 convolution where the channels change, or a `shortcut` is asked for.
    fn resnet(&mut self, path: &str, channels: usize, out: usize, shortcut: bool) -> Result<()> {
        let time = match self.config.resnet_time_scale_shift {
            TimeScaleShift::Default => out,
            TimeScaleShift::ScaleShift => 2 * out,
        };
        self.modules.norm(&format!("{path}.norm1"), channels)?;
        self.modules.conv(&format!("{path}.conv1"), channels, out, 3)?;
        self.modules.linear(&format!("{path}.time_emb_proj"), self.config.time_embed_dim(), time)?;
        self.modules.norm(&format!("{path}.norm2"), out)?;
        self.modules.conv(&format!("{path}.conv2"), out, out, 3)?;
        match shortcut || channels != out {
            true => self.modules.conv(&format!("{path}.conv_shortcut"), channels, out, 1),
            false => Ok(()),
        }
    }

    /// `ResnetBlockCondNorm2D.__init__` as the K blocks have it: the norms learn how the time scales and shifts, and the
    /// shortcut has no bias.
    fn k_resnet(&mut self, path: &str, channels: usize, out: usize) -> Result<()> {
        let time = self.config.time_embed_dim();
        self.modules.linear(&format!("{path}.norm1.linear"), time, 2 * channels)?;
        self.modules.conv(&format!("{path}.conv1"), channels, out, 3)?;
        self.modules.linear(&format!("{path}.norm2.linear"), time, 2 * out)?;
        self.modules.conv(&format!("{path}.conv2"), out, out, 3)?;
        match channels == out {
            true => Ok(()),
            false => self.modules.weight(&format!("{path}.conv_shortcut"), &[out, channels, 1, 1]),
        }
    }

    /// `Attention.__init__`, with or without a GroupNorm.
    fn attention(&mut self, path: &str, channels: usize, is_normalised: bool) -> Result<()> {
        let head_dim = self.config.head_dim(channels);
        let inner = channels / head_dim * head_dim;
        if is_normalised {
            self.modules.norm(&format!("{path}.group_norm"), channels)?;
        }
        for projection in ["to_q", "to_k", "to_v"] {
            self.modules.linear(&format!("{path}.{projection}"), channels, inner)?;
        }
        self.modules.linear(&format!("{path}.to_out.0"), inner, channels)
    }

    /// `TimestepEmbedding.__init__`.
    fn timestep_embedding(&mut self, path: &str, features: usize, dim: usize) -> Result<()> {
        self.modules.linear(&format!("{path}.linear_1"), features, dim)?;
        self.modules.linear(&format!("{path}.linear_2"), dim, dim)
    }
}

/// What the frequencies of `time_embedding_type: "fourier"` are multiplied by.
const FOURIER_SCALE: f32 = 16.0;

/// A level of the network, on the way down or up.
struct Level<'a> {
    /// Its path in the checkpoint.
    path: &'a str,
    /// Channels of what comes from the level before.
    before: usize,
    /// Channels of its output.
    out: usize,
    /// Channels of its last skip connection, on the way up: those of the next level's output.
    skip: usize,
    /// Whether it is the last on its way, and leaves the size as it is.
    last: bool,
}
