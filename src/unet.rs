//! diffusers' `UNet2DModel` as a graph (`models/unets/unet_2d.py`, `unet_2d_blocks.py`, `resnet.py`,
//! `attention_processor.py`). The name of every layer is its path in the checkpoint.

mod naming;
mod parameters;
mod weights_file;

use parameters::{Parameters, Part};
pub use weights_file::WeightsFile;

use crate::config::{
    ClassEmbedType, DownBlockType, ResampleType, TimeEmbeddingType, TimeScaleShift, UNetConfig, UpBlockType,
    ncsnpp_groups,
};
use crate::graph::{Graph, ValueId};
use crate::op::{
    Activation, Add, Affine, Attention, AttentionScores, AttentionValues, Concat, Conv2d, Divide, Embedding, GroupNorm,
    Linear, Modulate, Moments, Narrow, ScaleShift, Softmax, Tiles, TimestepEmbedding, Upfirdn2d, Upsample, Widen,
};
use crate::tensor::padded;
use crate::weights::AwaitedTensor;
use crate::{Error, Precision, Result, Shape, Tensor};

/// A U-Net, ready to be laid out as a graph for any number of images. Its weights may come later.
pub struct UNet2DModel {
    config: UNetConfig,
    parameters: Parameters,
}

/// Where the network's inputs and output are in a graph.
#[derive(Clone, Copy, Debug)]
pub struct UNetValues {
    /// x_t: `[N, H, W, in_channels]`.
    pub sample: ValueId,
    /// t of each image: `[N]`.
    pub timestep: ValueId,
    /// The class label of each image, `[N]`, or for `class_embed_type: "identity"` its embedding,
    /// `[N, time_embed_dim]`; for a model with classes.
    pub class_labels: Option<ValueId>,
    /// What the model predicts: `[N, H, W, out_channels]`.
    pub output: ValueId,
}

impl UNet2DModel {
    /// A network of this configuration with the weights of these files: all shards of its checkpoint, or the one file.
    ///
    /// # Errors
    /// When a file is damaged or of another network, or a tensor is missing or stands in two of them.
    pub fn new<'a>(config: UNetConfig, files: impl IntoIterator<Item = &'a [u8]>) -> Result<Self> {
        let mut model = Self::without_weights(config)?;
        model.read(files)?;
        Ok(model)
    }

    /// Reads all files of the checkpoint.
    ///
    /// # Errors
    /// As [`UNet2DModel::new`].
    pub fn read<'a>(&mut self, files: impl IntoIterator<Item = &'a [u8]>) -> Result<()> {
        for bytes in files {
            let mut file = WeightsFile::default();
            file.push(self, bytes)?;
            file.end()?;
        }
        self.finish()
    }

    /// A network whose weights are still to come, by [`UNet2DModel::receive`]. It can be laid out, counted and compiled, but
    /// not run.
    ///
    /// # Errors
    /// When the configuration contradicts itself.
    pub fn without_weights(config: UNetConfig) -> Result<Self> {
        let mut model = UNet2DModel { parameters: Parameters::default(), config };
        // Laying the network out once finds out what it is made of. K blocks cannot mirror a single pixel.
        let innermost = if model.config.up_block_types.contains(&UpBlockType::KUpBlock2D) { 2 } else { 1 };
        let side = innermost << (model.config.block_out_channels.len() - 1);
        match model.build(&mut Graph::new(), 1, side, side, Precision::F32) {
            Ok(_) => Ok(model),
            Err(error @ Error::Shape { .. }) => Err(Error::Config {
                file: "unet/config.json",
                problem: format!("its layers do not go together: {error}.{}", model.config.hint()),
            }),
            Err(error) => Err(error),
        }
    }

    /// Says of each tensor of a file under which path the network wants it, if it does: what a header promises.
    ///
    /// # Errors
    /// When the file has several networks, or one of another configuration.
    pub fn name<'a>(&mut self, tensors: impl IntoIterator<Item = &'a mut AwaitedTensor>) -> Result<()> {
        self.parameters.name(&mut tensors.into_iter())
    }

    /// Packs a tensor of the checkpoint. They may come in any order.
    ///
    /// # Errors
    /// When the network has no place for it, or one of another shape, or it has come before.
    pub fn receive(&mut self, path: &str, tensor: Tensor) -> Result<()> {
        self.parameters.receive(path, tensor)
    }

    /// What a person may want to know of how the weights were read: a prefix that was taken off, tensors left aside.
    pub fn notes(&self) -> &[String] {
        self.parameters.notes()
    }

    /// Takes back what came of these tensors, so that they can come again. What was made ready with them has to be told, by
    /// [`Prepared::outdate`](crate::Prepared::outdate).
    pub fn forget(&mut self, paths: &[String]) {
        self.parameters.forget(paths);
    }

    /// Checks that all tensors have come.
    ///
    /// # Errors
    /// When one is missing.
    pub fn finish(&mut self) -> Result<()> {
        self.parameters.finish()
    }

    /// The network's configuration.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// How many numbers were learned.
    pub fn parameters(&self) -> usize {
        self.parameters.count()
    }

    /// Checks what `count` images are told of their class: labels that exist, or as many finite numbers as the network
    /// takes; nothing for a model without classes.
    ///
    /// # Errors
    /// When there are too few or too many, or one does not exist.
    pub fn check_labels(&self, labels: &[f32], count: usize) -> Result<()> {
        let invalid = |problem: String| Err(Error::Settings(problem));
        let found = labels.len();
        match (self.config.class_width(), self.config.class_embed_type) {
            (None, _) if found == 0 => Ok(()),
            (None, _) => invalid("This model has no classes, so no class can be chosen.".into()),
            (Some(_), None) => {
                if found != count {
                    return invalid(format!("There are {found} class labels for {count} images."));
                }
                let classes = self.config.num_class_embeds.unwrap_or(0);
                let exists = |label: f32| label.fract() == 0.0 && label >= 0.0 && label < classes as f32;
                match labels.iter().find(|&&label| !exists(label)) {
                    Some(label) => {
                        invalid(format!("Class {label} does not exist; this model has 0 to {}.", classes - 1))
                    }
                    None => Ok(()),
                }
            }
            (Some(width), Some(_)) => {
                if Some(found) != count.checked_mul(width) {
                    return invalid(format!(
                        "There are {found} numbers for the classes of {count} images; this model takes {width} for each."
                    ));
                }
                match labels.iter().find(|label| !label.is_finite()) {
                    Some(label) => invalid(format!("Class {label} is not a finite number.")),
                    None => Ok(()),
                }
            }
        }
    }

    /// Checks that a model with a learned time embedding has a row for each of these timesteps.
    ///
    /// # Errors
    /// When it has not.
    pub fn check_timesteps(&self, timesteps: &[f32]) -> Result<()> {
        let rows = match self.config.time_embedding_type {
            TimeEmbeddingType::Learned => self.config.num_train_timesteps.unwrap_or(0),
            TimeEmbeddingType::Positional | TimeEmbeddingType::Fourier => return Ok(()),
        };
        let exists = |t: f32| t.fract() == 0.0 && t >= 0.0 && t < rows as f32;
        match timesteps.iter().find(|&&t| !exists(t)) {
            Some(t) => Err(Error::Settings(format!(
                "Timestep {t} does not exist; this model learned those from 0 to {}. Choose another sampler or spacing.",
                rows - 1
            ))),
            None => Ok(()),
        }
    }

    /// How many numbers of the checkpoint are in the constant of this name.
    pub(crate) fn parameters_of(&self, constant: &str) -> usize {
        self.parameters.count_of(constant)
    }

    /// Appends the network for `count` images of `height` × `width` pixels, and an input for them, to `graph`. The
    /// network's inputs and its output have 32 bits in either precision.
    ///
    /// # Errors
    /// When the network cannot take images of this size.
    pub fn build(
        &mut self,
        graph: &mut Graph,
        count: usize,
        height: usize,
        width: usize,
        precision: Precision,
    ) -> Result<UNetValues> {
        let sample = graph.input("sample", Shape::new(&[count, height, width, self.config.in_channels]))?;
        self.append(graph, sample, precision)
    }

    /// Appends the network to `graph`, on images that are there already.
    ///
    /// # Errors
    /// When the network cannot take images of this size.
    pub fn append(&mut self, graph: &mut Graph, sample: ValueId, precision: Precision) -> Result<UNetValues> {
        let config = &self.config;
        let [count, height, width, _] = graph.shape(sample).nhwc("sample")?;
        let divisor = 1 << (config.block_out_channels.len() - 1);
        if height == 0 || width == 0 || !height.is_multiple_of(divisor) || !width.is_multiple_of(divisor) {
            return Err(Error::Settings(format!(
                "The model halves its images {} times, so both sides must be multiples of {divisor}; found \
                 {height}×{width}.",
                config.block_out_channels.len() - 1
            )));
        }
        let timestep = graph.input("timestep", Shape::new(&[count]))?;
        let class_labels = match config.class_width() {
            None => None,
            Some(1) => Some(graph.input("class_labels", Shape::new(&[count]))?),
            Some(width) => Some(graph.input("class_labels", Shape::new(&[count, width]))?),
        };
        graph.set_precision(precision);
        let mut builder = Builder::new(graph, &mut self.parameters, config, precision, timestep, class_labels)?;
        let output = builder.unet(sample, timestep)?;
        graph.set_precision(Precision::F32);
        Ok(UNetValues { sample, timestep, class_labels, output })
    }
}

/// How a residual block changes the size of its images.
#[derive(Clone, Copy)]
enum Resample {
    /// Twice the size, every pixel repeated.
    Nearest,
    /// Through a filter.
    Filter(Upfirdn2d),
}

/// What varies from one residual block to another.
#[derive(Clone, Copy)]
struct Resnet {
    /// Channels of the output.
    out: usize,
    /// Groups of the two GroupNorms.
    groups: [usize; 2],
    /// What the sum is divided by.
    factor: f64,
    /// How the size changes, if it does.
    resample: Option<Resample>,
    /// Whether there is a 1×1 convolution beside the block even if the channels do not change.
    shortcut: bool,
}

/// What NCSN++ divides its sums by.
const NCSNPP_FACTOR: f64 = std::f64::consts::SQRT_2;
/// The groups of NCSN++'s attention, whatever the configuration says.
const NCSNPP_ATTENTION_GROUPS: usize = 32;
/// Channels of a group of the K blocks' GroupNorms, whatever the configuration says.
const K_GROUP: usize = 32;

/// A value in every one of `len` channels, in device layout.
fn vector_of(value: f32, len: usize) -> (Shape, Vec<f32>) {
    let mut data = vec![value; len];
    data.resize(padded(len), 0.0);
    (Shape::new(&[len]), data)
}

/// The skip connection that is next on the way up.
fn pop(skips: &mut Vec<ValueId>) -> Result<ValueId> {
    skips.pop().ok_or_else(|| Error::Config {
        file: "unet/config.json",
        problem: "up_block_types take more skip connections than down_block_types give. KDownBlock2D and KUpBlock2D \
                  have fewer than other blocks, and go together."
            .into(),
    })
}

/// Lays out a network layer by layer.
struct Builder<'a> {
    graph: &'a mut Graph,
    parameters: &'a mut Parameters,
    config: &'a UNetConfig,
    precision: Precision,
    /// The time and the class: the sum of their embeddings, `[N, time_embed_dim]`.
    embedding: ValueId,
    /// What tells them to every residual block but those of the K blocks: the embedding after the activation.
    temb: ValueId,
}

impl<'a> Builder<'a> {
    /// A builder, with what the residual blocks need already laid out.
    fn new(
        graph: &'a mut Graph,
        parameters: &'a mut Parameters,
        config: &'a UNetConfig,
        precision: Precision,
        timestep: ValueId,
        class_labels: Option<ValueId>,
    ) -> Result<Self> {
        let mut builder = Builder { graph, parameters, config, precision, embedding: timestep, temb: timestep };
        builder.embedding = builder.time_and_class(timestep, class_labels)?;
        builder.temb = builder.graph.op("embedding.act", config.act_fn, &[builder.embedding])?;
        Ok(builder)
    }

    /// `UNet2DModel.forward`.
    fn unet(&mut self, sample: ValueId, timestep: ValueId) -> Result<ValueId> {
        let config = self.config;
        let channels = &config.block_out_channels;
        let levels = channels.len();
        let sample = match config.center_input_sample {
            true => self.graph.op("center_input_sample", Affine { scale: 2.0, offset: -1.0 }, &[sample])?,
            false => sample,
        };
        let sample = self.narrow("sample.narrow", sample)?;

        let mut x = self.conv2d("conv_in", sample, channels[0], Conv2d::SAME)?;
        let mut skips = vec![x];
        // NCSN++ takes a smaller and smaller copy of the image along, and adds up larger and larger ones.
        let mut image = sample;
        for (i, &block) in config.down_block_types.iter().enumerate() {
            let path = format!("down_blocks.{i}");
            let out = channels[i];
            let ncsnpp = matches!(block, DownBlockType::SkipDownBlock2D | DownBlockType::AttnSkipDownBlock2D);
            for j in 0..config.layers_per_block {
                let resnet = format!("{path}.resnets.{j}");
                x = match block {
                    DownBlockType::KDownBlock2D => self.k_resnet(&resnet, x, [out, out])?,
                    _ if ncsnpp => {
                        let groups = ncsnpp_groups(self.graph.shape(x).channels());
                        self.resnet(&resnet, x, self.ncsnpp_resnet(groups, out))?
                    }
                    _ => self.resnet(&resnet, x, self.plain_resnet(x, out))?,
                };
                let attention = format!("{path}.attentions.{j}");
                match block {
                    DownBlockType::AttnDownBlock2D => {
                        x = self.attention(&attention, x, Some(config.groups(out)), 1.0)?
                    }
                    DownBlockType::AttnSkipDownBlock2D => {
                        x = self.attention(&attention, x, Some(NCSNPP_ATTENTION_GROUPS), NCSNPP_FACTOR)?;
                    }
                    _ => {}
                }
                skips.push(x);
            }
            if i + 1 < levels && block == DownBlockType::KDownBlock2D {
                x = self.graph.op(&format!("{path}.downsamplers.0"), Upfirdn2d::K_DOWN, &[x])?;
            } else if i + 1 < levels {
                let by_resnet = block == DownBlockType::ResnetDownsampleBlock2D
                    || block == DownBlockType::AttnDownBlock2D && config.downsample_type == Some(ResampleType::Resnet);
                x = if ncsnpp {
                    let resnet = Resnet {
                        resample: Some(Resample::Filter(Upfirdn2d::FIR_DOWN)),
                        shortcut: true,
                        ..self.ncsnpp_resnet(ncsnpp_groups(out), out)
                    };
                    let h = self.resnet(&format!("{path}.resnet_down"), x, resnet)?;
                    image = self.graph.op(&format!("{path}.downsamplers.0"), Upfirdn2d::FIR_DOWN, &[image])?;
                    let skip = self.conv2d(&format!("{path}.skip_conv"), image, out, Conv2d::POINTWISE)?;
                    self.graph.op(&path, Add::PLAIN, &[skip, h])?
                } else if by_resnet {
                    let resample = Some(Resample::Filter(Upfirdn2d::MEAN));
                    let resnet = Resnet { resample, ..self.plain_resnet(x, out) };
                    self.resnet(&format!("{path}.downsamplers.0"), x, resnet)?
                } else {
                    let pad_before = config.downsample_padding;
                    let downsample = Conv2d { kernel: 3, stride: 2, pad_before, pad_after: 1 };
                    self.conv2d(&format!("{path}.downsamplers.0.conv"), x, out, downsample)?
                };
                skips.push(x);
            }
        }

        if config.mid_block_type.is_some() {
            x = self.mid(x)?;
        }

        let mut image = None;
        for (i, &block) in config.up_block_types.iter().enumerate() {
            let path = format!("up_blocks.{i}");
            let out = channels[levels - 1 - i];
            let last = i + 1 == levels;
            if block == UpBlockType::KUpBlock2D {
                let next = channels[(levels - 1 - i).saturating_sub(1)];
                x = self.k_up(&path, x, &mut skips, [out, next])?;
                if !last {
                    x = self.graph.op(&format!("{path}.upsamplers.0"), Upfirdn2d::K_UP, &[x])?;
                }
                continue;
            }
            let ncsnpp = matches!(block, UpBlockType::SkipUpBlock2D | UpBlockType::AttnSkipUpBlock2D);
            for j in 0..=config.layers_per_block {
                let skip = pop(&mut skips)?;
                let (a, b) = (self.graph.shape(x).channels(), self.graph.shape(skip).channels());
                x = self.graph.op(&format!("{path}.concat.{j}"), Concat, &[x, skip])?;
                let resnet = match block {
                    UpBlockType::SkipUpBlock2D => self.ncsnpp_resnet(ncsnpp_groups(a + b), out),
                    // As diffusers has it, without the brackets that the others have.
                    UpBlockType::AttnSkipUpBlock2D => self.ncsnpp_resnet((a + b / 4).min(32), out),
                    _ => self.plain_resnet(x, out),
                };
                x = self.resnet(&format!("{path}.resnets.{j}"), x, resnet)?;
                if block == UpBlockType::AttnUpBlock2D {
                    x = self.attention(&format!("{path}.attentions.{j}"), x, Some(config.groups(out)), 1.0)?;
                }
            }
            if block == UpBlockType::AttnSkipUpBlock2D {
                let attention = format!("{path}.attentions.0");
                x = self.attention(&attention, x, Some(NCSNPP_ATTENTION_GROUPS), NCSNPP_FACTOR)?;
            }
            if ncsnpp {
                if let Some(small) = image {
                    image = Some(self.graph.op(&format!("{path}.upsampler"), Upfirdn2d::FIR_UP, &[small])?);
                }
                if !last {
                    let s =
                        self.group_norm(&format!("{path}.skip_norm"), x, ncsnpp_groups(out), Some(Activation::Silu))?;
                    let s = self.conv2d(&format!("{path}.skip_conv"), s, config.out_channels, Conv2d::SAME)?;
                    image = Some(match image {
                        Some(image) => self.graph.op(&format!("{path}.skip"), Add::PLAIN, &[image, s])?,
                        None => s,
                    });
                    let resnet = Resnet {
                        resample: Some(Resample::Filter(Upfirdn2d::FIR_UP)),
                        shortcut: true,
                        ..self.ncsnpp_resnet(ncsnpp_groups(out), out)
                    };
                    x = self.resnet(&format!("{path}.resnet_up"), x, resnet)?;
                }
            } else if !last {
                let by_resnet = block == UpBlockType::ResnetUpsampleBlock2D
                    || block == UpBlockType::AttnUpBlock2D && config.upsample_type == Some(ResampleType::Resnet);
                let path = format!("{path}.upsamplers.0");
                x = if by_resnet {
                    let resnet = Resnet { resample: Some(Resample::Nearest), ..self.plain_resnet(x, out) };
                    self.resnet(&path, x, resnet)?
                } else {
                    let large = self.graph.op(&format!("{path}.nearest"), Upsample, &[x])?;
                    self.conv2d(&format!("{path}.conv"), large, out, Conv2d::SAME)?
                };
            }
        }

        x = self.group_norm("conv_norm_out", x, config.groups(channels[0]), Some(Activation::Silu))?;
        x = self.conv2d("conv_out", x, config.out_channels, Conv2d::SAME)?;
        if let Some(image) = image {
            x = self.graph.op("skip_sample", Add::PLAIN, &[x, image])?;
        }
        if self.precision == Precision::F16 {
            x = self.graph.op("conv_out.widen", Widen, &[x])?;
        }
        if config.time_embedding_type == TimeEmbeddingType::Fourier {
            x = self.graph.op("divide_by_time", Divide, &[x, timestep])?;
        }
        Ok(x)
    }

    /// An input as activations are kept.
    fn narrow(&mut self, name: &str, input: ValueId) -> Result<ValueId> {
        match self.precision {
            Precision::F32 => Ok(input),
            Precision::F16 => self.graph.op(name, Narrow, &[input]),
        }
    }

    /// `UNetMidBlock2D.forward`.
    fn mid(&mut self, x: ValueId) -> Result<ValueId> {
        let config = self.config;
        let factor = config.mid_block_scale_factor;
        let out = self.graph.shape(x).channels();
        let resnet = Resnet { factor, ..self.plain_resnet(x, out) };
        let mut x = self.resnet("mid_block.resnets.0", x, resnet)?;
        if config.add_attention {
            let inherited = (config.resnet_time_scale_shift == TimeScaleShift::Default).then(|| config.groups(out));
            x = self.attention("mid_block.attentions.0", x, config.attn_norm_num_groups.or(inherited), factor)?;
        }
        self.resnet("mid_block.resnets.1", x, resnet)
    }

    /// The sum of the embeddings of the time and the class, `[N, time_embed_dim]`.
    fn time_and_class(&mut self, timestep: ValueId, class_labels: Option<ValueId>) -> Result<ValueId> {
        let config = self.config;
        let width = config.time_embed_dim();
        let x = self.time_proj("time_proj", timestep)?;
        let mut embedding = self.time_embedding("time_embedding", x)?;
        if let Some(labels) = class_labels {
            let class = match (config.class_embed_type, config.num_class_embeds) {
                (Some(ClassEmbedType::Identity), _) => self.narrow("class_labels.narrow", labels)?,
                (Some(ClassEmbedType::Timestep), _) => {
                    let x = self.time_proj("class_proj", labels)?;
                    self.time_embedding("class_embedding", x)?
                }
                (None, classes) => {
                    let table = self.table("class_embedding.weight", classes.unwrap_or(0), width)?;
                    self.graph.op("class_embedding", Embedding, &[labels, table])?
                }
            };
            embedding = self.graph.op("embedding", Add::PLAIN, &[embedding, class])?;
        }
        Ok(embedding)
    }

    /// `time_proj` of the configured type: from `[N]` to features.
    fn time_proj(&mut self, name: &str, values: ValueId) -> Result<ValueId> {
        let config = self.config;
        let dim = config.block_out_channels[0];
        match config.time_embedding_type {
            TimeEmbeddingType::Positional => {
                let frequencies = Tensor::new(&[dim / 2], TimestepEmbedding::frequencies(dim, config.freq_shift))?;
                let frequencies = (frequencies.device_shape()?, frequencies.to_device()?);
                let frequencies = self.graph.constant("time_proj.frequencies", frequencies);
                let op = TimestepEmbedding { dim, flip_sin_to_cos: config.flip_sin_to_cos, fourier: false };
                self.graph.op(name, op, &[values, frequencies])
            }
            TimeEmbeddingType::Fourier => {
                let frequencies = self.vector("time_proj.weight", dim)?;
                let op = TimestepEmbedding { dim: 2 * dim, flip_sin_to_cos: false, fourier: true };
                self.graph.op(name, op, &[values, frequencies])
            }
            TimeEmbeddingType::Learned => {
                let table = self.table("time_proj.weight", config.num_train_timesteps.unwrap_or(0), dim)?;
                self.graph.op(name, Embedding, &[values, table])
            }
        }
    }

    /// `TimestepEmbedding.forward`: two linear layers with SiLU between them, whatever the network's activation.
    fn time_embedding(&mut self, path: &str, x: ValueId) -> Result<ValueId> {
        let width = self.config.time_embed_dim();
        let x = self.linear(&format!("{path}.linear_1"), x, width)?;
        let x = self.graph.op(&format!("{path}.act"), Activation::Silu, &[x])?;
        self.linear(&format!("{path}.linear_2"), x, width)
    }

    /// A residual block of the ordinary kind on x.
    fn plain_resnet(&self, x: ValueId, out: usize) -> Resnet {
        let groups = [self.config.groups(self.graph.shape(x).channels()), self.config.groups(out)];
        Resnet { out, groups, factor: 1.0, resample: None, shortcut: false }
    }

    /// A residual block of NCSN++.
    fn ncsnpp_resnet(&self, groups: usize, out: usize) -> Resnet {
        let groups = [groups, ncsnpp_groups(out)];
        Resnet { out, groups, factor: NCSNPP_FACTOR, resample: None, shortcut: false }
    }

    /// `ResnetBlock2D.forward`: x + conv(conv(x) + time), each convolution after a GroupNorm and the activation.
    fn resnet(&mut self, path: &str, x: ValueId, resnet: Resnet) -> Result<ValueId> {
        let activation = Some(self.config.act_fn);
        let Resnet { out, groups, factor, resample, shortcut } = resnet;
        let mut x = x;
        let mut h = self.group_norm(&format!("{path}.norm1"), x, groups[0], activation)?;
        if let Some(resample) = resample {
            h = self.resample(&format!("{path}.resample.h"), h, resample)?;
            x = self.resample(&format!("{path}.resample.x"), x, resample)?;
        }
        let h = self.conv2d(&format!("{path}.conv1"), h, out, Conv2d::SAME)?;
        let time = format!("{path}.time_emb_proj");
        let h = match self.config.resnet_time_scale_shift {
            TimeScaleShift::Default => {
                let time = self.linear(&time, self.temb, out)?;
                let h = self.graph.op(&format!("{path}.add_time"), Add::PLAIN, &[h, time])?;
                self.group_norm(&format!("{path}.norm2"), h, groups[1], activation)?
            }
            TimeScaleShift::ScaleShift => {
                let time = self.scale_and_shift(&time, self.temb, out)?;
                let norm = format!("{path}.norm2");
                let affine = self.group_norm_affine(&norm, h, groups[1])?;
                let affine = self.graph.op(&format!("{norm}.modulate"), Modulate, &[affine, time])?;
                self.graph.op(&norm, ScaleShift { activation }, &[h, affine])?
            }
        };
        let h = self.conv2d(&format!("{path}.conv2"), h, out, Conv2d::SAME)?;
        if shortcut || self.graph.shape(x).channels() != out {
            x = self.conv2d(&format!("{path}.conv_shortcut"), x, out, Conv2d::POINTWISE)?;
        }
        self.graph.op(path, Add { scale: (1.0 / factor) as f32 }, &[x, h])
    }

    /// The residual blocks of `KUpBlock2D`: over the last of the skip connections that are its share, and the last one
    /// with the channels of the next block.
    fn k_up(&mut self, path: &str, x: ValueId, skips: &mut Vec<ValueId>, channels: [usize; 2]) -> Result<ValueId> {
        let [out, next] = channels;
        let layers = self.config.layers_per_block;
        let skip = pop(skips)?;
        for _ in 1..layers {
            pop(skips)?;
        }
        let mut x = self.graph.op(&format!("{path}.concat"), Concat, &[x, skip])?;
        for j in 0..layers {
            let channels = [out, if j + 1 == layers { next } else { out }];
            x = self.k_resnet(&format!("{path}.resnets.{j}"), x, channels)?;
        }
        Ok(x)
    }

    /// `ResnetBlockCondNorm2D.forward`, as the K blocks have it: the time scales and shifts what both GroupNorms give.
    /// `width` is the channels that the block was made for, of which diffusers takes the groups of the second
    /// GroupNorm, and `out` the channels of the output.
    fn k_resnet(&mut self, path: &str, x: ValueId, [width, out]: [usize; 2]) -> Result<ValueId> {
        let channels = self.graph.shape(x).channels();
        let h = self.ada_group_norm(&format!("{path}.norm1"), x, channels / K_GROUP)?;
        let h = self.conv2d(&format!("{path}.conv1"), h, out, Conv2d::SAME)?;
        let h = self.ada_group_norm(&format!("{path}.norm2"), h, width / K_GROUP)?;
        let h = self.conv2d(&format!("{path}.conv2"), h, out, Conv2d::SAME)?;
        let x = match channels == out {
            true => x,
            false => {
                let bias = self.graph.constant("no bias", vector_of(0.0, out));
                self.conv2d_with(&format!("{path}.conv_shortcut"), x, out, Conv2d::POINTWISE, bias)?
            }
        };
        self.graph.op(path, Add::PLAIN, &[x, h])
    }

    /// `AdaGroupNorm.forward` and the activation: a GroupNorm with nothing learned, whose result the time scales and
    /// shifts.
    fn ada_group_norm(&mut self, path: &str, x: ValueId, groups: usize) -> Result<ValueId> {
        let channels = self.graph.shape(x).channels();
        let time = self.scale_and_shift(&format!("{path}.linear"), self.embedding, channels)?;
        let weight = self.graph.constant("no weight", vector_of(1.0, channels));
        let bias = self.graph.constant("no bias", vector_of(0.0, channels));
        let affine = self.normalised(path, x, groups, [weight, bias])?;
        let affine = self.graph.op(&format!("{path}.modulate"), Modulate, &[affine, time])?;
        self.graph.op(path, ScaleShift { activation: Some(self.config.act_fn) }, &[x, affine])
    }

    fn resample(&mut self, name: &str, x: ValueId, resample: Resample) -> Result<ValueId> {
        match resample {
            Resample::Nearest => self.graph.op(name, Upsample, &[x]),
            Resample::Filter(filter) => self.graph.op(name, filter, &[x]),
        }
    }

    /// The time as scale and shift, `[N, 2 · padded out]`, each padded by itself.
    fn scale_and_shift(&mut self, path: &str, time: ValueId, out: usize) -> Result<ValueId> {
        let depth = self.graph.shape(time).channels();
        let place = move |i: usize| i / out * padded(out) + i % out;
        let columns = 2 * padded(out);
        let packed = Linear::place(columns, depth);
        let (weight, bias) = (format!("{path}.weight"), format!("{path}.bias"));
        let part = Part::new(&weight, &[2 * out, depth], move |i| packed(place(i / depth) * depth + i % depth));
        let weight = self.weight(&weight, Linear::packed(columns, depth), [part])?;
        let part = Part::new(&bias, &[2 * out], place);
        let bias = self.constant(&bias, Shape::new(&[columns]), [part])?;
        self.graph.op(path, Linear, &[time, weight, bias])
    }

    /// `Attention.forward` with a residual connection: self-attention over the pixels of an image, after a GroupNorm of
    /// `groups` if there is one.
    fn attention(&mut self, path: &str, x: ValueId, groups: Option<usize>, factor: f64) -> Result<ValueId> {
        let channels = self.graph.shape(x).channels();
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
        // Heads lie side by side, each padded to whole vec4s, so that a shader never straddles two.
        let (inner, row) = (heads * head_dim, heads * padded(head_dim));
        let place = move |i: usize| i / head_dim * padded(head_dim) + i % head_dim;
        let projections = [(0, "to_q"), (row, "to_k"), (2 * row, "to_v")];

        let h = match groups {
            Some(groups) => self.group_norm(&format!("{path}.group_norm"), x, groups, None)?,
            None => x,
        };
        let weights = projections.map(|(first, name)| {
            let packed = Linear::place(3 * row, channels);
            let place = move |i: usize| packed((first + place(i / channels)) * channels + i % channels);
            Part::new(&format!("{path}.{name}.weight"), &[inner, channels], place)
        });
        let weight = self.weight(&format!("{path}.qkv.weight"), Linear::packed(3 * row, channels), weights)?;
        let biases = projections
            .map(|(first, name)| Part::new(&format!("{path}.{name}.bias"), &[inner], move |i: usize| first + place(i)));
        let bias = self.constant(&format!("{path}.qkv.bias"), Shape::new(&[3 * row]), biases)?;
        let qkv = self.graph.op(&format!("{path}.qkv"), Linear, &[h, weight, bias])?;
        let tokens = self.graph.shape(x).dims()[1..3].iter().product();
        let values = if Attention::is_wanted(heads, tokens) {
            let attention = Attention { heads, head_dim, serial: false };
            self.graph.op(&format!("{path}.values"), attention, &[qkv])?
        } else {
            let scores = self.graph.op(&format!("{path}.scores"), AttentionScores { heads, head_dim }, &[qkv])?;
            let weights = self.graph.op(&format!("{path}.softmax"), Softmax::default(), &[scores])?;
            let values = AttentionValues { heads, head_dim };
            self.graph.op(&format!("{path}.values"), values, &[weights, qkv])?
        };
        let weight = format!("{path}.to_out.0.weight");
        let packed = Linear::place(channels, row);
        let part = Part::new(&weight, &[channels, inner], move |i| packed(i / inner * row + place(i % inner)));
        let weight = self.weight(&weight, Linear::packed(channels, row), [part])?;
        let bias = self.bias(&format!("{path}.to_out.0"), channels)?;
        let h = self.graph.op(&format!("{path}.to_out.0"), Linear, &[values, weight, bias])?;
        self.graph.op(path, Add { scale: (1.0 / factor) as f32 }, &[h, x])
    }

    fn conv2d(&mut self, path: &str, x: ValueId, out: usize, op: Conv2d) -> Result<ValueId> {
        let bias = self.bias(path, out)?;
        self.conv2d_with(path, x, out, op, bias)
    }

    /// A convolution with this bias, `[out]`.
    fn conv2d_with(&mut self, path: &str, x: ValueId, out: usize, op: Conv2d, bias: ValueId) -> Result<ValueId> {
        let (channels, kernel) = (self.graph.shape(x).channels(), op.kernel);
        let weight = format!("{path}.weight");
        let place = Conv2d::place(out, channels, kernel);
        let part = Part::new(&weight, &[out, channels, kernel, kernel], place);
        let weight = self.weight(&weight, Conv2d::packed(out, channels, kernel), [part])?;
        self.graph.op(path, op, &[x, weight, bias])
    }

    fn linear(&mut self, path: &str, x: ValueId, out: usize) -> Result<ValueId> {
        let channels = self.graph.shape(x).channels();
        let weight = format!("{path}.weight");
        let part = Part::new(&weight, &[out, channels], Linear::place(out, channels));
        let weight = self.weight(&weight, Linear::packed(out, channels), [part])?;
        let bias = self.bias(path, out)?;
        self.graph.op(path, Linear, &[x, weight, bias])
    }

    /// A GroupNorm and what follows it.
    fn group_norm(&mut self, path: &str, x: ValueId, groups: usize, activation: Option<Activation>) -> Result<ValueId> {
        let affine = self.group_norm_affine(path, x, groups)?;
        self.graph.op(path, ScaleShift { activation }, &[x, affine])
    }

    /// A GroupNorm as a scale and a shift a channel, `[N, 2, C]`.
    fn group_norm_affine(&mut self, path: &str, x: ValueId, groups: usize) -> Result<ValueId> {
        let channels = self.graph.shape(x).channels();
        let weight = self.vector(&format!("{path}.weight"), channels)?;
        let bias = self.bias(path, channels)?;
        self.normalised(path, x, groups, [weight, bias])
    }

    /// A GroupNorm with this weight and bias, `[C]`, as a scale and a shift a channel, `[N, 2, C]`.
    fn normalised(&mut self, path: &str, x: ValueId, groups: usize, [weight, bias]: [ValueId; 2]) -> Result<ValueId> {
        let [_, h, w, _] = self.graph.shape(x).nhwc(path)?;
        let op =
            GroupNorm { groups, eps: self.config.norm_eps as f32, tiles: vec![Tiles::strips(h * w)], serial: false };
        let moments = self.graph.op(&format!("{path}.moments"), Moments, &[x])?;
        self.graph.op(&format!("{path}.affine"), op, &[moments, weight, bias])
    }

    /// A table of learned rows.
    fn table(&mut self, name: &str, rows: usize, width: usize) -> Result<ValueId> {
        let part = Part::new(name, &[rows, width], move |i| i / width * padded(width) + i % width);
        self.weight(name, Shape::new(&[rows, width]), [part])
    }

    fn bias(&mut self, path: &str, len: usize) -> Result<ValueId> {
        self.vector(&format!("{path}.bias"), len)
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<ValueId> {
        self.constant(name, Shape::new(&[len]), [Part::new(name, &[len], |i| i)])
    }

    /// A weight of the network that is packed from these tensors.
    fn weight(&mut self, name: &str, shape: Shape, parts: impl IntoIterator<Item = Part>) -> Result<ValueId> {
        let constant = self.parameters.get(name, shape, parts)?;
        Ok(self.graph.weight(name, constant))
    }

    /// The same of what is never a weight: a bias, or what a GroupNorm is made of.
    fn constant(&mut self, name: &str, shape: Shape, parts: impl IntoIterator<Item = Part>) -> Result<ValueId> {
        let constant = self.parameters.get(name, shape, parts)?;
        Ok(self.graph.constant(name, constant))
    }
}
