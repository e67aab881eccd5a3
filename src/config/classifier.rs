//! `classifier/config.json`: the shape of guided-diffusion's `EncoderUNetModel`, by the arguments that it is made with.

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::{Error, Result};

const FILE: &str = "classifier/config.json";

/// Groups of every GroupNorm (guided-diffusion `nn.py`, `normalization`).
pub(crate) const GROUPS: usize = 32;

/// How the features of an image become its logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// Their mean over all pixels.
    Adaptive,
    /// Attention of their mean to all pixels (`AttentionPool2d`).
    Attention,
}

/// At which levels there is attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttentionResolutions {
    /// A list: by what the image's side was divided there, as the network itself is told.
    Factors(Vec<usize>),
    /// A text, as `"32,16,8"`: the side that images have there, as guided-diffusion's scripts are told.
    Sides(Vec<usize>),
}

impl<'de> Deserialize<'de> for AttentionResolutions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Resolutions;

        impl<'de> Visitor<'de> for Resolutions {
            type Value = AttentionResolutions;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of factors, as [2, 4], or a text of sides, as \"16,8\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Self::Value, E> {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                let sides: Option<Vec<usize>> = parts.map(|part| part.parse().ok().filter(|&side| side > 0)).collect();
                sides
                    .map(AttentionResolutions::Sides)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Self::Value, A::Error> {
                let mut factors = Vec::new();
                while let Some(factor) = list.next_element()? {
                    factors.push(factor);
                }
                Ok(AttentionResolutions::Factors(factors))
            }
        }

        deserializer.deserialize_any(Resolutions)
    }
}

/// The arguments of `EncoderUNetModel.__init__` that this engine carries out, with its names and defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct ClassifierConfig {
    /// Height and width of the images.
    pub image_size: usize,
    /// Their channels.
    pub in_channels: usize,
    /// What the channels of each level are a multiple of.
    pub model_channels: usize,
    /// How many classes there are.
    pub out_channels: usize,
    /// Residual blocks a level.
    pub num_res_blocks: usize,
    /// At which levels there is attention.
    pub attention_resolutions: AttentionResolutions,
    /// What share of a residual block's values is dropped in training.
    pub dropout: f64,
    /// Channels of each level, from the image inwards, as multiples of `model_channels`.
    pub channel_mult: Vec<f64>,
    /// Whether the size is halved by a convolution, and not by a mean, where no residual block does it.
    pub conv_resample: bool,
    /// How many dimensions an image has.
    pub dims: usize,
    /// How many heads there are, if `num_head_channels` is −1.
    pub num_heads: usize,
    /// Channels of a head.
    pub num_head_channels: i64,
    /// Whether the time scales and shifts what the second GroupNorm of a residual block gives.
    pub use_scale_shift_norm: bool,
    /// Whether the size is halved by a residual block.
    pub resblock_updown: bool,
    /// Whether the checkpoint has the queries of all heads, then all keys and values; else head by head.
    pub use_new_attention_order: bool,
    /// How features become logits.
    pub pool: Pool,
    /// Fields of the file that the network does not have. They are passed over.
    #[serde(skip)]
    pub unknown_fields: Vec<String>,
}

impl Default for ClassifierConfig {
    /// The first six have no default there; a file must have them.
    fn default() -> Self {
        ClassifierConfig {
            image_size: 64,
            in_channels: 3,
            model_channels: 128,
            out_channels: 1000,
            num_res_blocks: 2,
            attention_resolutions: AttentionResolutions::Factors(vec![2, 4, 8]),
            dropout: 0.0,
            channel_mult: vec![1.0, 2.0, 4.0, 8.0],
            conv_resample: true,
            dims: 2,
            num_heads: 1,
            num_head_channels: -1,
            use_scale_shift_norm: false,
            resblock_updown: false,
            use_new_attention_order: false,
            pool: Pool::Adaptive,
            unknown_fields: Vec::new(),
        }
    }
}

/// Every argument of `EncoderUNetModel.__init__`. The last three change nothing of what it computes.
const KNOWN: &[&str] = &[
    "image_size",
    "in_channels",
    "model_channels",
    "out_channels",
    "num_res_blocks",
    "attention_resolutions",
    "dropout",
    "channel_mult",
    "conv_resample",
    "dims",
    "num_heads",
    "num_head_channels",
    "use_scale_shift_norm",
    "resblock_updown",
    "use_new_attention_order",
    "pool",
    "use_checkpoint",
    "use_fp16",
    "num_heads_upsample",
];

impl ClassifierConfig {
    /// Reads a `classifier/config.json`.
    ///
    /// # Errors
    /// When it is not valid JSON, contradicts itself, or asks for something that is not supported.
    pub fn from_json(json: &str) -> Result<Self> {
        check_class(json)?;
        let (mut config, unknown): (ClassifierConfig, _) = super::read(FILE, json, KNOWN, &[])?;
        config.unknown_fields = unknown;
        config.check()?;
        Ok(config)
    }

    /// Channels of each level, from the image inwards.
    pub fn channels(&self) -> Vec<usize> {
        self.channel_mult.iter().map(|mult| (mult * self.model_channels as f64) as usize).collect()
    }

    /// Length of the time embedding.
    pub fn time_embed_dim(&self) -> usize {
        4 * self.model_channels
    }

    /// Whether there is attention after the residual blocks of a level, where the image's side is divided by `factor`.
    pub fn attends(&self, factor: usize) -> bool {
        match &self.attention_resolutions {
            AttentionResolutions::Factors(factors) => factors.contains(&factor),
            // As the scripts divide.
            AttentionResolutions::Sides(sides) => sides.iter().any(|side| self.image_size / side == factor),
        }
    }

    /// How many heads an attention layer over `channels` has.
    pub fn heads(&self, channels: usize) -> usize {
        match usize::try_from(self.num_head_channels) {
            Ok(head) => channels / head.max(1),
            Err(_) => self.num_heads,
        }
    }

    fn check(&self) -> Result<()> {
        for (field, value) in [
            ("image_size", self.image_size),
            ("in_channels", self.in_channels),
            ("model_channels", self.model_channels),
            ("out_channels", self.out_channels),
            ("num_heads", self.num_heads),
        ] {
            if !(1..=1 << 16).contains(&value) {
                return Err(invalid(format!("{field} is {value}; it must be between 1 and 65536.")));
            }
        }
        if self.dims != 2 {
            return Err(invalid(format!("dims is {}; only images, with 2, are supported.", self.dims)));
        }
        if !(1..=64).contains(&self.num_res_blocks) {
            let found = self.num_res_blocks;
            return Err(invalid(format!("num_res_blocks is {found}; it must be between 1 and 64.")));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(invalid(format!("dropout is {}; it must be at least 0 and less than 1.", self.dropout)));
        }
        if !self.model_channels.is_multiple_of(2) {
            let found = self.model_channels;
            return Err(invalid(format!("model_channels is {found}; a time embedding takes an even number.")));
        }
        if self.num_head_channels == 0 || self.num_head_channels < -1 {
            let found = self.num_head_channels;
            return Err(invalid(format!(
                "num_head_channels is {found}; it must be positive, or -1 for num_heads heads."
            )));
        }
        let channels = self.channels();
        if !(1..=16).contains(&channels.len()) {
            return Err(invalid(format!("channel_mult has {} entries; it must have 1 to 16.", channels.len())));
        }
        let last = channels.len() - 1;
        for (level, &width) in channels.iter().enumerate() {
            if !(1..=1 << 16).contains(&width) || !width.is_multiple_of(GROUPS) {
                return Err(invalid(format!(
                    "channel_mult {} times model_channels {} makes {width} channels; it must be a multiple of {GROUPS}, the \
                     groups of a GroupNorm, and at most 65536.",
                    self.channel_mult[level], self.model_channels
                )));
            }
            let heads = self.heads(width);
            let divides = heads > 0
                && width.is_multiple_of(heads)
                && match usize::try_from(self.num_head_channels) {
                    Ok(head) => width.is_multiple_of(head),
                    Err(_) => true,
                };
            // In the middle there is attention in any case.
            if (self.attends(1 << level) || level == last) && !divides {
                return Err(invalid(format!(
                    "num_head_channels is {} and num_heads {}, which do not divide the {width} channels of a level with \
                     attention.",
                    self.num_head_channels, self.num_heads
                )));
            }
        }
        if self.image_size >> last == 0 {
            return Err(invalid(format!(
                "image_size is {}, which cannot be halved {last} times, as channel_mult has it.",
                self.image_size
            )));
        }
        if self.pool == Pool::Attention && self.num_head_channels == -1 {
            return Err(invalid("pool is attention, for which num_head_channels must be given."));
        }
        Ok(())
    }
}

/// Checks that a configuration is of the one class that is supported, if it says of which it is, and that it has what nobody
/// can do without.
fn check_class(json: &str) -> Result<()> {
    let object = super::object(FILE, json)?;
    if let Some(class) = object.get("_class_name").and_then(|class| class.as_str())
        && class != "EncoderUNetModel"
    {
        return Err(invalid(format!("_class_name is {class}; only guided-diffusion's EncoderUNetModel is supported.")));
    }
    if let Some(pool @ ("spatial" | "spatial_v2")) = object.get("pool").and_then(|pool| pool.as_str()) {
        return Err(invalid(format!("pool is {pool}; only attention and adaptive are supported.")));
    }
    match KNOWN[..6].iter().find(|field| !object.contains_key(**field)) {
        None => Ok(()),
        Some(field) => {
            let all = KNOWN[..6].join(", ");
            Err(invalid(format!("{field} is missing. It has the arguments of EncoderUNetModel: {all} and others.")))
        }
    }
}

fn invalid(problem: impl Into<String>) -> Error {
    Error::Config { file: FILE, problem: problem.into() }
}
