//! diffusers' `UNet2DModel` as a graph (`models/unets/unet_2d.py`, `unet_2d_blocks.py`, `resnet.py`,
//! `attention_processor.py`). The name of every layer is its path in the checkpoint.

use std::collections::HashMap;
use std::rc::Rc;

use crate::config::{DownBlockType, UNetConfig, UpBlockType};
use crate::graph::{Graph, ValueId};
use crate::op::{
    Add, AttentionScores, AttentionValues, Concat, Conv2d, Embedding, GroupNorm, Linear, Moments, ScaleShift, Silu,
    Softmax, TimestepEmbedding, Upsample,
};
use crate::tensor::padded;
use crate::{Error, Result, Shape, Tensor, Weights};

/// A U-Net with its parameters, ready to be laid out as a graph for any number of images.
pub struct UNet2DModel {
    config: UNetConfig,
    parameters: Parameters,
    count: usize,
}

/// Where the network's inputs and output are in a graph.
#[derive(Clone, Copy, Debug)]
pub struct UNetValues {
    /// x_t: `[N, H, W, in_channels]`.
    pub sample: ValueId,
    /// t of each image: `[N]`.
    pub timestep: ValueId,
    /// The class label of each image, `[N]`, for a model with classes.
    pub class_labels: Option<ValueId>,
    /// What the model predicts: `[N, H, W, out_channels]`.
    pub output: ValueId,
}

impl UNet2DModel {
    /// A network of this configuration with these weights.
    ///
    /// # Errors
    /// When a tensor is missing, has another shape, or has no place in the network.
    pub fn new(config: UNetConfig, weights: Weights) -> Result<Self> {
        let count = weights.parameters();
        let mut model =
            UNet2DModel { parameters: Parameters { weights: Some(weights), packed: HashMap::new() }, config, count };
        // Laying the network out once packs every weight and finds every misfit.
        let side = 1 << (model.config.block_out_channels.len() - 1);
        model.build(&mut Graph::new(), 1, side, side)?;
        if let Some(weights) = model.parameters.weights.take() {
            weights.finish()?;
        }
        Ok(model)
    }

    /// The network's configuration.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// How many numbers were learned.
    pub fn parameters(&self) -> usize {
        self.count
    }

    /// Appends the network for `count` images of `height` × `width` pixels to `graph`.
    ///
    /// # Errors
    /// When the network cannot take images of this size.
    pub fn build(&mut self, graph: &mut Graph, count: usize, height: usize, width: usize) -> Result<UNetValues> {
        let config = &self.config;
        let divisor = 1 << (config.block_out_channels.len() - 1);
        if height == 0 || width == 0 || !height.is_multiple_of(divisor) || !width.is_multiple_of(divisor) {
            return Err(Error::Settings(format!(
                "The model halves its images {} times, so both sides must be multiples of {divisor}; found \
                 {height}×{width}.",
                config.block_out_channels.len() - 1
            )));
        }
        let sample = graph.input("sample", Shape::new(&[count, height, width, config.in_channels]))?;
        let timestep = graph.input("timestep", Shape::new(&[count]))?;
        let class_labels =
            config.num_class_embeds.map(|_| graph.input("class_labels", Shape::new(&[count]))).transpose()?;
        let mut builder = Builder { graph, parameters: &mut self.parameters, config };
        let output = builder.unet(sample, timestep, class_labels)?;
        Ok(UNetValues { sample, timestep, class_labels, output })
    }
}

/// The network's constants in device layout, packed from the checkpoint's tensors the first time they are asked for.
struct Parameters {
    weights: Option<Weights>,
    packed: HashMap<String, (Shape, Rc<[f32]>)>,
}

impl Parameters {
    /// The constant `name`, which `pack` makes from the checkpoint.
    fn get(
        &mut self,
        name: &str,
        pack: impl FnOnce(&mut Weights) -> Result<(Shape, Vec<f32>)>,
    ) -> Result<(Shape, Rc<[f32]>)> {
        if let Some(packed) = self.packed.get(name) {
            return Ok(packed.clone());
        }
        let weights = self.weights.as_mut().expect("a network's first layout packs every constant of it");
        let (shape, data) = pack(weights)?;
        let packed = (shape, Rc::from(data));
        self.packed.insert(name.to_string(), packed.clone());
        Ok(packed)
    }
}

/// Lays out a network layer by layer.
struct Builder<'a> {
    graph: &'a mut Graph,
    parameters: &'a mut Parameters,
    config: &'a UNetConfig,
}

impl Builder<'_> {
    /// `UNet2DModel.forward`.
    fn unet(&mut self, sample: ValueId, timestep: ValueId, class_labels: Option<ValueId>) -> Result<ValueId> {
        let config = self.config;
        let channels = &config.block_out_channels;
        let levels = channels.len();
        let temb = self.time_and_class(timestep, class_labels)?;

        let mut x = self.conv2d("conv_in", sample, channels[0], Conv2d::SAME)?;
        let mut skips = vec![x];
        for (i, block) in config.down_block_types.iter().enumerate() {
            let path = format!("down_blocks.{i}");
            for j in 0..config.layers_per_block {
                x = self.resnet(&format!("{path}.resnets.{j}"), x, temb, channels[i])?;
                if *block == DownBlockType::AttnDownBlock2D {
                    x = self.attention(&format!("{path}.attentions.{j}"), x)?;
                }
                skips.push(x);
            }
            if i + 1 < levels {
                let pad = config.downsample_padding;
                let downsample = Conv2d { kernel: 3, stride: 2, pad_before: pad, pad_after: 1 };
                x = self.conv2d(&format!("{path}.downsamplers.0.conv"), x, channels[i], downsample)?;
                skips.push(x);
            }
        }

        let innermost = channels[levels - 1];
        x = self.resnet("mid_block.resnets.0", x, temb, innermost)?;
        if config.add_attention {
            x = self.attention("mid_block.attentions.0", x)?;
        }
        x = self.resnet("mid_block.resnets.1", x, temb, innermost)?;

        for (i, block) in config.up_block_types.iter().enumerate() {
            let path = format!("up_blocks.{i}");
            let out = channels[levels - 1 - i];
            for j in 0..=config.layers_per_block {
                let skip = skips.pop().expect("the paths up and down have the same number of layers");
                let joined = self.graph.op(&format!("{path}.concat.{j}"), Concat, &[x, skip])?;
                x = self.resnet(&format!("{path}.resnets.{j}"), joined, temb, out)?;
                if *block == UpBlockType::AttnUpBlock2D {
                    x = self.attention(&format!("{path}.attentions.{j}"), x)?;
                }
            }
            if i + 1 < levels {
                let path = format!("{path}.upsamplers.0");
                x = self.graph.op(&format!("{path}.nearest"), Upsample, &[x])?;
                x = self.conv2d(&format!("{path}.conv"), x, out, Conv2d::SAME)?;
            }
        }

        x = self.group_norm("conv_norm_out", x, true)?;
        self.conv2d("conv_out", x, config.out_channels, Conv2d::SAME)
    }

    /// What tells every residual block the time and the class: SiLU of their embeddings' sum, `[N, time_embed_dim]`.
    fn time_and_class(&mut self, timestep: ValueId, class_labels: Option<ValueId>) -> Result<ValueId> {
        let config = self.config;
        let dim = config.block_out_channels[0];
        let width = config.time_embed_dim();

        let frequencies = Tensor::new(&[dim / 2], TimestepEmbedding::frequencies(dim, config.freq_shift))?;
        let frequencies = (frequencies.device_shape()?, frequencies.to_device()?);
        let frequencies = self.graph.constant("time_proj.frequencies", frequencies);
        let op = TimestepEmbedding { dim, flip_sin_to_cos: config.flip_sin_to_cos };
        let x = self.graph.op("time_proj", op, &[timestep, frequencies])?;
        let x = self.linear("time_embedding.linear_1", x, width)?;
        let x = self.graph.op("time_embedding.act", Silu, &[x])?;
        let mut embedding = self.linear("time_embedding.linear_2", x, width)?;
        if let (Some(labels), Some(classes)) = (class_labels, config.num_class_embeds) {
            let name = "class_embedding.weight";
            let table = self.parameters.get(name, |weights| {
                let table = weights.take(name, &[classes, width])?;
                Ok((table.device_shape()?, table.to_device()?))
            })?;
            let table = self.graph.shared_constant(name, table);
            let class = self.graph.op("class_embedding", Embedding, &[labels, table])?;
            embedding = self.graph.op("embedding", Add, &[embedding, class])?;
        }
        self.graph.op("embedding.act", Silu, &[embedding])
    }

    /// `ResnetBlock2D.forward`: x + conv(conv(x) + time), each convolution after a GroupNorm and SiLU.
    fn resnet(&mut self, path: &str, x: ValueId, temb: ValueId, out: usize) -> Result<ValueId> {
        let h = self.group_norm(&format!("{path}.norm1"), x, true)?;
        let h = self.conv2d(&format!("{path}.conv1"), h, out, Conv2d::SAME)?;
        let time = self.linear(&format!("{path}.time_emb_proj"), temb, out)?;
        let h = self.graph.op(&format!("{path}.add_time"), Add, &[h, time])?;
        let h = self.group_norm(&format!("{path}.norm2"), h, true)?;
        let h = self.conv2d(&format!("{path}.conv2"), h, out, Conv2d::SAME)?;
        let shortcut = if self.graph.shape(x).channels() == out {
            x
        } else {
            self.conv2d(&format!("{path}.conv_shortcut"), x, out, Conv2d::POINTWISE)?
        };
        self.graph.op(path, Add, &[shortcut, h])
    }

    /// `Attention.forward` with a residual connection: self-attention over the pixels of an image.
    fn attention(&mut self, path: &str, x: ValueId) -> Result<ValueId> {
        let channels = self.graph.shape(x).channels();
        let head_dim = self.config.head_dim(channels);
        let heads = channels / head_dim;
        // Heads lie side by side, each padded to whole vec4s, so that a shader never straddles two.
        let (inner, row) = (heads * head_dim, heads * padded(head_dim));
        let place = |i: usize| i / head_dim * padded(head_dim) + i % head_dim;

        let qkv_weight = self.parameters.get(&format!("{path}.qkv.weight"), |weights| {
            let mut joined = Tensor::new(&[3 * row, channels], vec![0.0; 3 * row * channels])?;
            for (part, name) in ["to_q", "to_k", "to_v"].iter().enumerate() {
                let weight = weights.take(&format!("{path}.{name}.weight"), &[inner, channels])?;
                for (i, line) in weight.data.chunks_exact(channels).enumerate() {
                    joined.data[(part * row + place(i)) * channels..][..channels].copy_from_slice(line);
                }
            }
            Ok(Linear::pack(&joined))
        })?;
        let qkv_bias = self.parameters.get(&format!("{path}.qkv.bias"), |weights| {
            let mut joined = vec![0.0; 3 * row];
            for (part, name) in ["to_q", "to_k", "to_v"].iter().enumerate() {
                let bias = weights.take(&format!("{path}.{name}.bias"), &[inner])?;
                for (i, &value) in bias.data.iter().enumerate() {
                    joined[part * row + place(i)] = value;
                }
            }
            Ok((Shape::new(&[3 * row]), joined))
        })?;
        let out_weight = self.parameters.get(&format!("{path}.to_out.0.weight"), |weights| {
            let weight = weights.take(&format!("{path}.to_out.0.weight"), &[channels, inner])?;
            let mut spread = Tensor::new(&[channels, row], vec![0.0; channels * row])?;
            for (i, &value) in weight.data.iter().enumerate() {
                spread.data[i / inner * row + place(i % inner)] = value;
            }
            Ok(Linear::pack(&spread))
        })?;

        let h = self.group_norm(&format!("{path}.group_norm"), x, false)?;
        let weight = self.graph.shared_constant(&format!("{path}.qkv.weight"), qkv_weight);
        let bias = self.graph.shared_constant(&format!("{path}.qkv.bias"), qkv_bias);
        let qkv = self.graph.op(&format!("{path}.qkv"), Linear, &[h, weight, bias])?;
        let scores = self.graph.op(&format!("{path}.scores"), AttentionScores { heads, head_dim }, &[qkv])?;
        let weights = self.graph.op(&format!("{path}.softmax"), Softmax, &[scores])?;
        let values = AttentionValues { heads, head_dim };
        let values = self.graph.op(&format!("{path}.values"), values, &[weights, qkv])?;
        let weight = self.graph.shared_constant(&format!("{path}.to_out.0.weight"), out_weight);
        let bias = self.bias(&format!("{path}.to_out.0"), channels)?;
        let h = self.graph.op(&format!("{path}.to_out.0"), Linear, &[values, weight, bias])?;
        self.graph.op(path, Add, &[h, x])
    }

    fn conv2d(&mut self, path: &str, x: ValueId, out: usize, op: Conv2d) -> Result<ValueId> {
        let shape = [out, self.graph.shape(x).channels(), op.kernel, op.kernel];
        let name = format!("{path}.weight");
        let weight = self.parameters.get(&name, |weights| Ok(Conv2d::pack(&weights.take(&name, &shape)?)))?;
        let weight = self.graph.shared_constant(&name, weight);
        let bias = self.bias(path, out)?;
        self.graph.op(path, op, &[x, weight, bias])
    }

    fn linear(&mut self, path: &str, x: ValueId, out: usize) -> Result<ValueId> {
        let shape = [out, self.graph.shape(x).channels()];
        let name = format!("{path}.weight");
        let weight = self.parameters.get(&name, |weights| Ok(Linear::pack(&weights.take(&name, &shape)?)))?;
        let weight = self.graph.shared_constant(&name, weight);
        let bias = self.bias(path, out)?;
        self.graph.op(path, Linear, &[x, weight, bias])
    }

    fn group_norm(&mut self, path: &str, x: ValueId, silu: bool) -> Result<ValueId> {
        let [_, h, w, channels] = self.graph.shape(x).nhwc(path)?;
        let op = GroupNorm { groups: self.config.norm_num_groups, eps: self.config.norm_eps as f32, pixels: h * w };
        let weight = self.vector(&format!("{path}.weight"), channels)?;
        let bias = self.bias(path, channels)?;
        let moments = self.graph.op(&format!("{path}.moments"), Moments, &[x])?;
        let affine = self.graph.op(&format!("{path}.affine"), op, &[moments, weight, bias])?;
        self.graph.op(path, ScaleShift { silu }, &[x, affine])
    }

    fn bias(&mut self, path: &str, len: usize) -> Result<ValueId> {
        self.vector(&format!("{path}.bias"), len)
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<ValueId> {
        let vector = self.parameters.get(name, |weights| {
            let vector = weights.take(name, &[len])?;
            Ok((vector.device_shape()?, vector.to_device()?))
        })?;
        Ok(self.graph.shared_constant(name, vector))
    }
}
