//! `unet/config.json`: the shape of a `UNet2DModel` (diffusers `models/unets/unet_2d.py`).

use serde::Deserialize;

use super::only;
use crate::{Error, Result};

const FILE: &str = "unet/config.json";

/// A block of the contracting path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum DownBlockType {
    /// Residual blocks, then a strided convolution.
    DownBlock2D,
    /// Residual blocks with self-attention after each, then a strided convolution.
    AttnDownBlock2D,
}

/// A block of the expanding path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum UpBlockType {
    /// Residual blocks over skip connections, then an upsampling convolution.
    UpBlock2D,
    /// Residual blocks over skip connections with self-attention after each, then an upsampling convolution.
    AttnUpBlock2D,
}

/// `sample_size`: one number for a square image, or height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a whole number, or height and width")]
enum SampleSize {
    Square(usize),
    HeightWidth(usize, usize),
}

/// The fields of `UNet2DModel.__init__` that this engine carries out, with diffusers' names and defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct UNetConfig {
    sample_size: Option<SampleSize>,
    /// Channels of x_t.
    pub in_channels: usize,
    /// Channels of the model's output.
    pub out_channels: usize,
    /// Length of the time embedding after its MLP; `None` is four times the first block's channels.
    pub time_embedding_dim: Option<usize>,
    /// Shift of the sinusoids' exponent: 1 spreads the frequencies to exactly 1/10000.
    pub freq_shift: f64,
    /// Whether the cosines come first.
    pub flip_sin_to_cos: bool,
    /// The contracting path, from the image inwards.
    pub down_block_types: Vec<DownBlockType>,
    /// The expanding path, from the innermost block outwards.
    pub up_block_types: Vec<UpBlockType>,
    /// Channels of each level, from the image inwards.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks a level of the contracting path; the expanding path has one more.
    pub layers_per_block: usize,
    /// Padding of the strided convolutions: 1 on every side, or 0, which pads right and bottom only.
    pub downsample_padding: usize,
    /// Channels a head; `None` is one head over all channels.
    pub attention_head_dim: Option<usize>,
    /// Groups of every GroupNorm.
    pub norm_num_groups: usize,
    /// ε of every GroupNorm.
    pub norm_eps: f64,
    /// Whether the middle block has attention.
    pub add_attention: bool,
    /// How many class labels there are; `None` for a model without classes.
    pub num_class_embeds: Option<usize>,

    // Fields with one supported value; `check` names any other.
    center_input_sample: bool,
    time_embedding_type: String,
    mid_block_type: Option<String>,
    mid_block_scale_factor: f64,
    downsample_type: String,
    upsample_type: String,
    act_fn: String,
    attn_norm_num_groups: Option<usize>,
    resnet_time_scale_shift: String,
    class_embed_type: Option<String>,
}

impl Default for UNetConfig {
    fn default() -> Self {
        use DownBlockType::*;
        use UpBlockType::*;
        UNetConfig {
            sample_size: None,
            in_channels: 3,
            out_channels: 3,
            time_embedding_dim: None,
            freq_shift: 0.0,
            flip_sin_to_cos: true,
            down_block_types: vec![DownBlock2D, AttnDownBlock2D, AttnDownBlock2D, AttnDownBlock2D],
            up_block_types: vec![AttnUpBlock2D, AttnUpBlock2D, AttnUpBlock2D, UpBlock2D],
            block_out_channels: vec![224, 448, 672, 896],
            layers_per_block: 2,
            downsample_padding: 1,
            attention_head_dim: Some(8),
            norm_num_groups: 32,
            norm_eps: 1e-5,
            add_attention: true,
            num_class_embeds: None,
            center_input_sample: false,
            time_embedding_type: "positional".into(),
            mid_block_type: Some("UNetMidBlock2D".into()),
            mid_block_scale_factor: 1.0,
            downsample_type: "conv".into(),
            upsample_type: "conv".into(),
            act_fn: "silu".into(),
            attn_norm_num_groups: None,
            resnet_time_scale_shift: "default".into(),
            class_embed_type: None,
        }
    }
}

/// Every field of `UNet2DModel.__init__`. `dropout` and `num_train_timesteps` do nothing when a model is only run.
const KNOWN: &[&str] = &[
    "sample_size",
    "in_channels",
    "out_channels",
    "center_input_sample",
    "time_embedding_type",
    "time_embedding_dim",
    "freq_shift",
    "flip_sin_to_cos",
    "down_block_types",
    "mid_block_type",
    "up_block_types",
    "block_out_channels",
    "layers_per_block",
    "mid_block_scale_factor",
    "downsample_padding",
    "downsample_type",
    "upsample_type",
    "dropout",
    "act_fn",
    "attention_head_dim",
    "norm_num_groups",
    "attn_norm_num_groups",
    "norm_eps",
    "resnet_time_scale_shift",
    "add_attention",
    "class_embed_type",
    "num_class_embeds",
    "num_train_timesteps",
];

impl UNetConfig {
    /// Reads a `unet/config.json`.
    ///
    /// # Errors
    /// When it is not valid JSON, contradicts itself, or asks for something that is not supported.
    pub fn from_json(json: &str) -> Result<Self> {
        let config: UNetConfig = super::read(FILE, json, KNOWN)?;
        config.check()?;
        Ok(config)
    }

    /// Height and width of the images the model was trained on.
    ///
    /// # Errors
    /// When the configuration does not tell.
    pub fn sample_size(&self) -> Result<(usize, usize)> {
        match self.sample_size {
            Some(SampleSize::Square(size)) => Ok((size, size)),
            Some(SampleSize::HeightWidth(height, width)) => Ok((height, width)),
            None => Err(invalid("sample_size is missing; it must be the height (and width) of the images.")),
        }
    }

    /// Length of the time embedding after its MLP.
    pub fn time_embed_dim(&self) -> usize {
        self.time_embedding_dim.unwrap_or(4 * self.block_out_channels[0])
    }

    /// Channels of a head of an attention layer over `channels`. There are as many heads as fit.
    pub fn head_dim(&self, channels: usize) -> usize {
        self.attention_head_dim.unwrap_or(channels)
    }

    fn check(&self) -> Result<()> {
        only(FILE, "center_input_sample", &self.center_input_sample, &false)?;
        only(FILE, "time_embedding_type", &self.time_embedding_type.as_str(), &"positional")?;
        only(FILE, "mid_block_type", &self.mid_block_type.as_deref(), &Some("UNetMidBlock2D"))?;
        only(FILE, "mid_block_scale_factor", &self.mid_block_scale_factor, &1.0)?;
        only(FILE, "downsample_type", &self.downsample_type.as_str(), &"conv")?;
        only(FILE, "upsample_type", &self.upsample_type.as_str(), &"conv")?;
        only(FILE, "attn_norm_num_groups", &self.attn_norm_num_groups, &None)?;
        only(FILE, "resnet_time_scale_shift", &self.resnet_time_scale_shift.as_str(), &"default")?;
        only(FILE, "class_embed_type", &self.class_embed_type, &None)?;
        if !["silu", "swish"].contains(&self.act_fn.as_str()) {
            return Err(invalid(format!(
                "act_fn is {:?}; \"silu\" (also called \"swish\") is supported.",
                self.act_fn
            )));
        }
        if self.downsample_padding > 1 {
            return Err(invalid(format!("downsample_padding is {}; 0 and 1 are supported.", self.downsample_padding)));
        }

        let levels = self.block_out_channels.len();
        if levels == 0 || self.down_block_types.len() != levels || self.up_block_types.len() != levels {
            return Err(invalid(format!(
                "down_block_types ({}), up_block_types ({}) and block_out_channels ({levels}) must have the same \
                 number of entries, at least one.",
                self.down_block_types.len(),
                self.up_block_types.len()
            )));
        }
        if levels > 16 {
            return Err(invalid(format!("block_out_channels has {levels} entries; at most 16 are supported.")));
        }
        for &channels in &self.block_out_channels {
            in_range("block_out_channels", channels)?;
        }
        if self.sample_size.is_some() {
            let (height, width) = self.sample_size()?;
            in_range("sample_size", height)?;
            in_range("sample_size", width)?;
        }
        for (field, value) in [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("layers_per_block", self.layers_per_block),
            ("norm_num_groups", self.norm_num_groups),
            ("attention_head_dim", self.attention_head_dim.unwrap_or(1)),
            ("time_embedding_dim", self.time_embed_dim()),
            ("num_class_embeds", self.num_class_embeds.unwrap_or(1)),
        ] {
            in_range(field, value)?;
        }
        for &channels in &self.block_out_channels {
            if !channels.is_multiple_of(self.norm_num_groups) {
                return Err(invalid(format!(
                    "norm_num_groups is {}, which does not divide block_out_channels {channels}.",
                    self.norm_num_groups
                )));
            }
            let head_dim = self.attention_head_dim.unwrap_or(channels);
            if channels < head_dim {
                return Err(invalid(format!(
                    "attention_head_dim is {head_dim}, which is more than block_out_channels {channels}."
                )));
            }
        }
        // As f32, which is what it is used as.
        if !(self.norm_eps as f32 > 0.0 && (self.norm_eps as f32).is_finite()) {
            return Err(invalid(format!("norm_eps is {}; it must be positive.", self.norm_eps)));
        }
        if self.freq_shift < 0.0 || self.freq_shift >= (self.block_out_channels[0] / 2) as f64 {
            return Err(invalid(format!(
                "freq_shift is {}; it must be at least 0 and less than half of block_out_channels[0].",
                self.freq_shift
            )));
        }
        Ok(())
    }
}

/// Checks that a count is one a network can have. The bound keeps the products of sizes from overflowing.
fn in_range(field: &str, value: usize) -> Result<()> {
    if (1..=1 << 16).contains(&value) {
        return Ok(());
    }
    Err(invalid(format!("{field} is {value}; it must be between 1 and 65536.")))
}

fn invalid(problem: impl Into<String>) -> Error {
    Error::Config { file: FILE, problem: problem.into() }
}
