//! `unet/config.json`: the shape of a `UNet2DModel` (diffusers `models/unets/unet_2d.py`).

use serde::Deserialize;

use crate::op::Activation;
use crate::{Error, Result};

const FILE: &str = "unet/config.json";

/// A block of the contracting path: residual blocks, then half the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum DownBlockType {
    /// Halved by a strided convolution.
    #[serde(alias = "UNetResDownBlock2D")]
    DownBlock2D,
    /// With self-attention after each residual block; halved as `downsample_type` says.
    #[serde(alias = "UNetResAttnDownBlock2D")]
    AttnDownBlock2D,
    /// Halved by a residual block.
    #[serde(alias = "UNetResResnetDownsampleBlock2D")]
    ResnetDownsampleBlock2D,
    /// NCSN++: halved by a residual block with a FIR filter, with the image itself, halved too, added.
    #[serde(alias = "UNetResSkipDownBlock2D")]
    SkipDownBlock2D,
    /// [`DownBlockType::SkipDownBlock2D`] with self-attention after each residual block.
    #[serde(alias = "UNetResAttnSkipDownBlock2D")]
    AttnSkipDownBlock2D,
    /// Of the k-diffusion upscaler: residual blocks whose every GroupNorm the time scales and shifts, halved by a
    /// filter.
    #[serde(alias = "UNetResKDownBlock2D")]
    KDownBlock2D,
}

/// A block of the expanding path: residual blocks over skip connections, then twice the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum UpBlockType {
    /// Doubled by repeating pixels, then a convolution.
    #[serde(alias = "UNetResUpBlock2D")]
    UpBlock2D,
    /// With self-attention after each residual block; doubled as `upsample_type` says.
    #[serde(alias = "UNetResAttnUpBlock2D")]
    AttnUpBlock2D,
    /// Doubled by a residual block.
    #[serde(alias = "UNetResResnetUpsampleBlock2D")]
    ResnetUpsampleBlock2D,
    /// NCSN++: doubled by a residual block with a FIR filter, and adding up an image beside it.
    #[serde(alias = "UNetResSkipUpBlock2D")]
    SkipUpBlock2D,
    /// [`UpBlockType::SkipUpBlock2D`] with one self-attention after the residual blocks.
    #[serde(alias = "UNetResAttnSkipUpBlock2D")]
    AttnSkipUpBlock2D,
    /// [`DownBlockType::KDownBlock2D`] over one skip connection, with the next block's channels; doubled by a filter.
    #[serde(alias = "UNetResKUpBlock2D")]
    KUpBlock2D,
}

/// What the time is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeEmbeddingType {
    /// Sinusoids of t at fixed frequencies.
    Positional,
    /// Sinusoids of ln t at random frequencies, and a division of the output by t.
    Fourier,
    /// A learned row for each of `num_train_timesteps`.
    Learned,
}

/// How a class is told to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassEmbedType {
    /// A number, embedded as a time is.
    Timestep,
    /// A vector as long as the time embedding, as it is.
    Identity,
}

/// How the blocks with attention change the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResampleType {
    /// By a convolution.
    Conv,
    /// By a residual block.
    Resnet,
}

/// What a residual block does with the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeScaleShift {
    /// Adds it.
    Default,
    /// Lets it scale and shift what the second GroupNorm gives.
    ScaleShift,
}

/// The block in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum MidBlockType {
    /// Two residual blocks with self-attention between them.
    #[serde(alias = "UNetResMidBlock2D")]
    UNetMidBlock2D,
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
    /// What share of a residual block's values is dropped in training.
    pub dropout: f64,
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
    /// Groups of every GroupNorm; `None`, for NCSN++, is a quarter of the channels and at most 32.
    pub norm_num_groups: Option<usize>,
    /// Groups of the middle attention's GroupNorm; `None` is as the others, or none with `scale_shift`.
    pub attn_norm_num_groups: Option<usize>,
    /// ε of every GroupNorm.
    pub norm_eps: f64,
    /// Whether the middle block has attention.
    pub add_attention: bool,
    /// What the middle block's sums are divided by.
    pub mid_block_scale_factor: f64,
    /// The middle block, if there is one.
    pub mid_block_type: Option<MidBlockType>,
    /// How many class labels there are; `None` for a model without learned classes.
    pub num_class_embeds: Option<usize>,
    /// How a class is told to the network; `None` is a learned row for each label.
    pub class_embed_type: Option<ClassEmbedType>,
    /// What the time is turned into.
    pub time_embedding_type: TimeEmbeddingType,
    /// How many rows a learned time embedding has.
    pub num_train_timesteps: Option<usize>,
    /// Whether x over [0, 1] is first spread to [−1, 1].
    pub center_input_sample: bool,
    /// How `AttnDownBlock2D` halves the size.
    pub downsample_type: Option<ResampleType>,
    /// How `AttnUpBlock2D` doubles the size.
    pub upsample_type: Option<ResampleType>,
    /// The activation of the residual blocks.
    pub act_fn: Activation,
    /// What a residual block does with the time.
    pub resnet_time_scale_shift: TimeScaleShift,
    /// Fields of the file that no `UNet2DModel` has. They are passed over, as diffusers does.
    #[serde(skip)]
    pub unknown_fields: Vec<String>,
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
            norm_num_groups: Some(32),
            attn_norm_num_groups: None,
            norm_eps: 1e-5,
            add_attention: true,
            num_class_embeds: None,
            class_embed_type: None,
            mid_block_scale_factor: 1.0,
            mid_block_type: Some(MidBlockType::UNetMidBlock2D),
            time_embedding_type: TimeEmbeddingType::Positional,
            num_train_timesteps: None,
            center_input_sample: false,
            downsample_type: Some(ResampleType::Conv),
            upsample_type: Some(ResampleType::Conv),
            act_fn: Activation::Silu,
            dropout: 0.0,
            resnet_time_scale_shift: TimeScaleShift::Default,
            unknown_fields: Vec::new(),
        }
    }
}

/// Every field of `UNet2DModel.__init__`. The three after `num_train_timesteps` never did anything but stand in old files, and the last ones are how diffusers' `EMAModel` made the
/// weights, which it writes into their configuration.
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
    "resnet_pre_norm",
    "upsample_padding",
    "variance_type",
    "decay",
    "min_decay",
    "optimization_step",
    "update_after_step",
    "use_ema_warmup",
    "inv_gamma",
    "power",
    "foreach",
];

/// What the oldest checkpoints call fields (diffusers `scripts/change_naming_configs_and_checkpoints.py`).
const OLD_NAMES: &[(&str, &str)] = &[
    ("image_size", "sample_size"),
    ("num_res_blocks", "layers_per_block"),
    ("block_channels", "block_out_channels"),
    ("down_blocks", "down_block_types"),
    ("up_blocks", "up_block_types"),
    ("downscale_freq_shift", "freq_shift"),
    ("resnet_num_groups", "norm_num_groups"),
    ("resnet_act_fn", "act_fn"),
    ("resnet_eps", "norm_eps"),
    ("num_head_channels", "attention_head_dim"),
];

impl UNetConfig {
    /// Reads a `unet/config.json`.
    ///
    /// # Errors
    /// When it is not valid JSON, contradicts itself, or asks for something that is not supported.
    pub fn from_json(json: &str) -> Result<Self> {
        check_class(json)?;
        let (mut config, unknown): (UNetConfig, _) = super::read(FILE, json, KNOWN, OLD_NAMES)?;
        config.unknown_fields = unknown;
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

    /// How long the description of a class is that the network takes: `None` for a model without classes, 1 for a label
    /// or a number, more for a vector.
    pub fn class_width(&self) -> Option<usize> {
        match (self.class_embed_type, self.num_class_embeds) {
            (None, None) => None,
            (Some(ClassEmbedType::Identity), _) => Some(self.time_embed_dim()),
            (Some(ClassEmbedType::Timestep), _) | (None, Some(_)) => Some(1),
        }
    }

    /// Groups of a GroupNorm over `channels`.
    pub fn groups(&self, channels: usize) -> usize {
        self.norm_num_groups.unwrap_or_else(|| ncsnpp_groups(channels))
    }

    fn check(&self) -> Result<()> {
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
            ("norm_num_groups", self.norm_num_groups.unwrap_or(1)),
            ("attn_norm_num_groups", self.attn_norm_num_groups.unwrap_or(1)),
            ("num_train_timesteps", self.num_train_timesteps.unwrap_or(1)),
            ("attention_head_dim", self.attention_head_dim.unwrap_or(1)),
            ("time_embedding_dim", self.time_embed_dim()),
            ("num_class_embeds", self.num_class_embeds.unwrap_or(1)),
        ] {
            in_range(field, value)?;
        }
        if !(1..=MOST_LAYERS).contains(&self.layers_per_block) {
            let found = self.layers_per_block;
            return Err(invalid(format!("layers_per_block is {found}; it must be between 1 and {MOST_LAYERS}.")));
        }
        for &channels in &self.block_out_channels {
            if !channels.is_multiple_of(self.groups(channels)) {
                return Err(invalid(format!(
                    "norm_num_groups is {}, which does not divide block_out_channels {channels}.",
                    self.groups(channels)
                )));
            }
        }
        // As f32, which is what it is used as.
        if !(self.norm_eps as f32 > 0.0 && (self.norm_eps as f32).is_finite()) {
            return Err(invalid(format!("norm_eps is {}; it must be positive.", self.norm_eps)));
        }
        if !(self.mid_block_scale_factor as f32 > 0.0 && (self.mid_block_scale_factor as f32).is_finite()) {
            let found = self.mid_block_scale_factor;
            return Err(invalid(format!("mid_block_scale_factor is {found}; it must be positive.")));
        }
        if self.time_embedding_type == TimeEmbeddingType::Learned && self.num_train_timesteps.is_none() {
            return Err(invalid("time_embedding_type is \"learned\", but num_train_timesteps is missing."));
        }
        if self.block_out_channels[0] < 2 {
            return Err(invalid("block_out_channels begins with 1; a time embedding takes at least 2."));
        }
        if self.freq_shift < 0.0 || self.freq_shift >= (self.block_out_channels[0] / 2) as f64 {
            return Err(invalid(format!(
                "freq_shift is {}; it must be at least 0 and less than half of block_out_channels[0].",
                self.freq_shift
            )));
        }
        Ok(())
    }

    /// A sentence on what may be the reason why the layers do not go together.
    pub(crate) fn hint(&self) -> &'static str {
        let down = self.down_block_types.contains(&DownBlockType::KDownBlock2D);
        let up = self.up_block_types.contains(&UpBlockType::KUpBlock2D);
        match down == up {
            true => "",
            false => " KDownBlock2D and KUpBlock2D have fewer skip connections than other blocks, and want each other.",
        }
    }
}

/// Checks that a configuration is of the one class that is supported, before its fields are looked at: they mean something
/// for their own class only.
fn check_class(json: &str) -> Result<()> {
    // The last three are what the oldest versions of diffusers called it.
    const CLASSES: [&str; 4] = ["UNet2DModel", "UNetUnconditionalModel", "UNetModel", "NCSNpp"];
    let object = super::object(FILE, json)?;
    let class = object.get("_class_name").and_then(|class| class.as_str());
    match class.filter(|class| !CLASSES.contains(class)) {
        Some(class) => Err(invalid(format!("_class_name is {class}; only UNet2DModel is supported."))),
        None => Ok(()),
    }
}

/// Groups of a GroupNorm in NCSN++.
pub(crate) fn ncsnpp_groups(channels: usize) -> usize {
    (channels / 4).clamp(1, 32)
}

/// The most layers of a block: more than any model has, and few enough for a network to be laid out in no time.
const MOST_LAYERS: usize = 64;

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
