//! The classifier from its input to its logits (guided-diffusion `unet.py`, `EncoderUNetModel`).

use crate::config::{ClassifierConfig, GROUPS, Pool};
use crate::graph::ValueId;
use crate::network::{Heads, Layers, PackedTensor};
use crate::op::{
    Activation, Add, Conv2d, Dropout, Linear, MixTokens, Modulate, ScaleShift, TimestepEmbedding, Upfirdn2d,
};
use crate::tensor::padded;
use crate::{Error, Result, Shape, Tensor};

/// Lays out a classifier layer by layer.
pub(super) struct Builder<'a> {
    layers: Layers<'a>,
    config: &'a ClassifierConfig,
    /// The time, as every residual block is told it: its embedding after the activation, `[N, time_embed_dim]`.
    time: ValueId,
    /// What the masks of dropout follow from, `[4]`, while the network learns.
    dropout_seed: Option<ValueId>,
    /// How many of them there are so far.
    dropouts: u32,
}

impl<'a> Builder<'a> {
    /// A builder, with the time already laid out.
    pub(super) fn new(
        mut layers: Layers<'a>,
        config: &'a ClassifierConfig,
        timestep: ValueId,
        dropout_seed: Option<ValueId>,
    ) -> Result<Self> {
        let (dim, width, precision) = (config.model_channels, config.time_embed_dim(), layers.precision);
        let frequencies = Tensor::new(&[dim / 2], TimestepEmbedding::frequencies(dim, 0.0))?;
        let frequencies = (frequencies.device_shape()?, frequencies.to_device()?);
        let frequencies = layers.graph.constant("time_embed.frequencies", frequencies);
        let op = TimestepEmbedding { dim, flip_sin_to_cos: true, fourier: false, precision };
        let time = layers.graph.op("timestep_embedding", op, &[timestep, frequencies])?;
        let time = layers.linear("time_embed.0", time, width)?;
        let time = layers.graph.op("time_embed.1", Activation::Silu, &[time])?;
        let time = layers.linear("time_embed.2", time, width)?;
        // Every block has it for itself; it is the same.
        let time = layers.graph.op("emb_layers.0", Activation::Silu, &[time])?;
        Ok(Builder { layers, config, time, dropout_seed, dropouts: 0 })
    }

    /// `EncoderUNetModel.forward`.
    pub(super) fn classifier(&mut self, x: ValueId) -> Result<ValueId> {
        let config = self.config;
        let channels = config.channels();
        let mut block = 0;
        let mut next = || {
            block += 1;
            format!("input_blocks.{}", block - 1)
        };
        let mut x = self.layers.conv2d(&format!("{}.0", next()), x, channels[0], Conv2d::SAME)?;
        for (level, &out) in channels.iter().enumerate() {
            for _ in 0..config.num_res_blocks {
                let path = next();
                x = self.res_block(&format!("{path}.0"), x, out, false)?;
                if config.attends(1 << level) {
                    x = self.attention_block(&format!("{path}.1"), x)?;
                }
            }
            if level + 1 < channels.len() {
                x = self.downsample(&format!("{}.0", next()), x)?;
            }
        }
        let out = self.channels(x);
        x = self.res_block("middle_block.0", x, out, false)?;
        x = self.attention_block("middle_block.1", x)?;
        x = self.res_block("middle_block.2", x, out, false)?;
        x = self.layers.group_norm("out.0", x, GROUPS, Some(Activation::Silu))?;
        match config.pool {
            Pool::Adaptive => self.mean_pool(x),
            Pool::Attention => self.attention_pool("out.2", x),
        }
    }

    /// `ResBlock.forward`, at half the size if it is to be `down`.
    fn res_block(&mut self, path: &str, mut x: ValueId, out: usize, down: bool) -> Result<ValueId> {
        let silu = Some(Activation::Silu);
        let mut h = self.layers.group_norm(&format!("{path}.in_layers.0"), x, GROUPS, silu)?;
        if down {
            h = self.layers.graph.op(&format!("{path}.h_upd"), Upfirdn2d::MEAN, &[h])?;
            x = self.layers.graph.op(&format!("{path}.x_upd"), Upfirdn2d::MEAN, &[x])?;
        }
        h = self.layers.conv2d(&format!("{path}.in_layers.2"), h, out, Conv2d::SAME)?;
        let (time, norm) = (format!("{path}.emb_layers.1"), format!("{path}.out_layers.0"));
        h = if self.config.use_scale_shift_norm {
            let time = self.layers.scale_and_shift(&time, self.time, out)?;
            let affine = self.layers.group_norm_affine(&norm, h, GROUPS)?;
            let affine = self.layers.graph.op(&format!("{norm}.modulate"), Modulate, &[affine, time])?;
            self.layers.graph.op(&norm, ScaleShift { activation: silu }, &[h, affine])?
        } else {
            let time = self.layers.linear(&time, self.time, out)?;
            let h = self.layers.graph.op(&format!("{path}.add_time"), Add::PLAIN, &[h, time])?;
            self.layers.group_norm(&norm, h, GROUPS, silu)?
        };
        if let Some(seed) = self.dropout_seed {
            let op = Dropout { probability: self.config.dropout, layer: self.dropouts };
            self.dropouts += 1;
            h = self.layers.graph.op(&format!("{path}.out_layers.2"), op, &[h, seed])?;
        }
        h = self.layers.conv2d(&format!("{path}.out_layers.3"), h, out, Conv2d::SAME)?;
        if self.channels(x) != out {
            x = self.layers.conv2d(&format!("{path}.skip_connection"), x, out, Conv2d::POINTWISE)?;
        }
        self.layers.graph.op(path, Add::PLAIN, &[x, h])
    }

    /// What halves the size between two levels.
    fn downsample(&mut self, path: &str, x: ValueId) -> Result<ValueId> {
        let out = self.channels(x);
        match (self.config.resblock_updown, self.config.conv_resample) {
            (true, _) => self.res_block(path, x, out, true),
            (false, true) => {
                let op = Conv2d { kernel: 3, stride: 2, pad_before: 1, pad_after: 1 };
                self.layers.conv2d(&format!("{path}.op"), x, out, op)
            }
            (false, false) => self.layers.graph.op(path, Upfirdn2d::MEAN, &[x]),
        }
    }

    /// `AttentionBlock.forward`: self-attention over the pixels of an image, with a residual connection.
    fn attention_block(&mut self, path: &str, x: ValueId) -> Result<ValueId> {
        let channels = self.channels(x);
        let heads = self.heads(channels);
        let h = self.layers.group_norm(&format!("{path}.norm"), x, GROUPS, None)?;
        // `QKVAttention` has the queries of all heads first, `QKVAttentionLegacy` those of one head, then its keys and values.
        let together = if self.config.use_new_attention_order { heads.count } else { 1 };
        let projections = projections(&format!("{path}.qkv"), channels, heads, together);
        let h = self.layers.self_attention(path, h, heads, projections)?;
        let h = self.layers.join_heads(&format!("{path}.proj_out"), h, heads, &[channels, channels, 1])?;
        self.layers.graph.op(path, Add::PLAIN, &[x, h])
    }

    /// The mean over all pixels, and a linear layer.
    fn mean_pool(&mut self, x: ValueId) -> Result<ValueId> {
        let (channels, classes) = (self.channels(x), self.config.out_channels);
        let [_, height, width, _] = self.layers.graph.shape(x).nhwc("out.2")?;
        let pixels = height * width;
        let mean = self.matrix("out.2.mean", &[1, pixels], vec![1.0 / pixels as f32; pixels])?;
        let x = self.layers.graph.op("out.2", MixTokens { transposed: false, size: None }, &[x, mean])?;
        self.layers.linear_of("out.3", x, &[classes, channels, 1, 1])
    }

    /// `AttentionPool2d.forward`: the pixels' mean and the pixels, each with what was learned of its place, attend to one another,
    /// and what the mean becomes counts.
    fn attention_pool(&mut self, path: &str, x: ValueId) -> Result<ValueId> {
        let (channels, classes) = (self.channels(x), self.config.out_channels);
        let heads = self.heads(channels);
        let [_, height, width, _] = self.layers.graph.shape(x).nhwc(path)?;
        let side = self.config.image_size >> (self.config.channel_mult.len() - 1);
        if [height, width] != [side, side] {
            return Err(Error::shape(path, format!("{side}×{side} pixels to attend to"), format!("{height}×{width}")));
        }
        let (pixels, tokens) = (side * side, side * side + 1);
        crate::graph::check_size(&format!("{path}.mean_and_pixels"), &Shape::new(&[tokens, pixels]))?;
        let mut numbers = vec![1.0 / pixels as f32; pixels];
        numbers.extend((0..pixels * pixels).map(|i| f32::from(u8::from(i / pixels == i % pixels))));
        let matrix = self.matrix(&format!("{path}.mean_and_pixels"), &[tokens, pixels], numbers)?;
        let embedding = format!("{path}.positional_embedding");
        let place = move |i: usize| i % tokens * padded(channels) + i / tokens;
        let part = PackedTensor::new(&embedding, &[channels, tokens], place);
        let embedding = self.layers.unrounded(&embedding, Shape::new(&[tokens, channels]), [part])?;
        let op = MixTokens { transposed: false, size: Some([1, tokens]) };
        let x = self.layers.graph.op(&format!("{path}.tokens"), op, &[x, matrix, embedding])?;
        let projections = projections(&format!("{path}.qkv_proj"), channels, heads, heads.count);
        let x = self.layers.self_attention(path, x, heads, projections)?;
        let mut first = vec![0.0; tokens];
        first[0] = 1.0;
        let first = self.matrix(&format!("{path}.first"), &[1, tokens], first)?;
        let op = MixTokens { transposed: false, size: None };
        let x = self.layers.graph.op(&format!("{path}.of_the_mean"), op, &[x, first])?;
        self.layers.join_heads(&format!("{path}.c_proj"), x, heads, &[classes, channels, 1])
    }

    fn channels(&self, x: ValueId) -> usize {
        self.layers.graph.shape(x).channels()
    }

    fn heads(&self, channels: usize) -> Heads {
        let count = self.config.heads(channels);
        Heads { count, dim: channels / count }
    }

    /// A constant matrix.
    fn matrix(&mut self, name: &str, shape: &[usize], numbers: Vec<f32>) -> Result<ValueId> {
        let matrix = Tensor::new(shape, numbers)?;
        let constant = (matrix.device_shape()?, matrix.to_device()?);
        Ok(self.layers.graph.constant(name, constant))
    }
}

/// The tensors of queries, keys and values: of one weight `[3C, C, 1]` and bias `[3C]`, in which the queries of so many heads stand
/// `together`, then as many keys and values, then those of the next heads.
fn projections(path: &str, channels: usize, heads: Heads, together: usize) -> [Vec<PackedTensor>; 2] {
    let (part, row) = (together * heads.dim, heads.row());
    let place = move |i: usize| {
        let (group, which, within) = (i / (3 * part), i / part % 3, i % part);
        which * row + heads.place(group * part + within)
    };
    let packed = Linear::place(3 * row, channels);
    let weight = PackedTensor::new(&format!("{path}.weight"), &[3 * channels, channels, 1], move |i| {
        packed(place(i / channels) * channels + i % channels)
    });
    let bias = PackedTensor::new(&format!("{path}.bias"), &[3 * channels], place);
    [vec![weight], vec![bias]]
}
