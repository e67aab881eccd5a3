//! The layers that blocks of every family are made of, each with its weights.

use super::builder::{Builder, ParametersOf};
use super::parameters::{PackedTensor, Parameter};
use crate::config::TimeScaleShift;
use crate::graph::{Source, ValueId, check_size};
use crate::op::{
    Activation, Add, Attention, AttentionScores, AttentionValues, Conv2d, Dropout, GroupNorm, Linear, Modulate,
    Moments, ScaleShift, Softmax, Tiles, Upfirdn2d, Upsample,
};
use crate::tensor::padded;
use crate::{Error, Precision, Result, Shape};

/// The frequencies of a Fourier projection, which diffusers draws once and does not train.
pub(super) const FREQUENCIES: &str = "time_proj.weight";

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
        let h = self.dropout(path, h)?;
        let h = self.conv2d(&format!("{path}.conv2"), h, out, Conv2d::SAME)?;
        if shortcut || self.graph.shape(x).channels() != out {
            x = self.conv2d(&format!("{path}.conv_shortcut"), x, out, Conv2d::POINTWISE)?;
        }
        self.graph.op(path, Add { scale: (1.0 / factor) as f32 }, &[x, h])
    }

    /// What the second convolution of a residual block reads (`ResnetBlock2D.dropout`).
    pub(super) fn dropout(&mut self, path: &str, h: ValueId) -> Result<ValueId> {
        let Some(seed) = self.dropout_seed else { return Ok(h) };
        let op = Dropout { probability: self.config.dropout, layer: self.dropouts };
        self.dropouts += 1;
        self.graph.op(&format!("{path}.dropout"), op, &[h, seed])
    }

    fn resample(&mut self, name: &str, x: ValueId, resample: Resample) -> Result<ValueId> {
        match resample {
            Resample::Nearest => self.graph.op(name, Upsample, &[x]),
            Resample::Filter(filter) => self.graph.op(name, filter, &[x]),
        }
    }

    /// The time as scale and shift, `[N, 2 · padded out]`, each padded by itself.
    pub(super) fn scale_and_shift(&mut self, path: &str, time: ValueId, out: usize) -> Result<ValueId> {
        let depth = self.graph.shape(time).channels();
        let place = move |i: usize| i / out * padded(out) + i % out;
        let columns = 2 * padded(out);
        let packed = Linear::place(columns, depth);
        let (weight, bias) = (format!("{path}.weight"), format!("{path}.bias"));
        let part = PackedTensor::new(&weight, &[2 * out, depth], move |i| packed(place(i / depth) * depth + i % depth));
        let weight = self.weight(&weight, Linear::packed(columns, depth), [part])?;
        let part = PackedTensor::new(&bias, &[2 * out], place);
        let bias = self.unrounded(&bias, Shape::new(&[columns]), [part])?;
        self.graph.op(path, Linear, &[time, weight, bias])
    }

    /// `Attention.forward` with a residual connection: self-attention over the pixels of an image, after a GroupNorm of
    /// `groups` if there is one.
    pub(super) fn attention(&mut self, path: &str, x: ValueId, groups: Option<usize>, factor: f64) -> Result<ValueId> {
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
            PackedTensor::new(&format!("{path}.{name}.weight"), &[inner, channels], place)
        });
        let weight = self.weight(&format!("{path}.qkv.weight"), Linear::packed(3 * row, channels), weights)?;
        let biases = projections.map(|(first, name)| {
            PackedTensor::new(&format!("{path}.{name}.bias"), &[inner], move |i: usize| first + place(i))
        });
        let bias = self.unrounded(&format!("{path}.qkv.bias"), Shape::new(&[3 * row]), biases)?;
        let qkv = self.graph.op(&format!("{path}.qkv"), Linear, &[h, weight, bias])?;
        let tokens = self.graph.shape(x).dims()[1..3].iter().product();
        let values = if Attention::is_wanted(heads, tokens) {
            let attention = Attention { heads, head_dim, serial: false };
            self.graph.op(&format!("{path}.values"), attention, &[qkv])?
        } else {
            let scores = self.graph.op(&format!("{path}.scores"), AttentionScores { heads, head_dim }, &[qkv])?;
            let weights = self.graph.op(
                &format!("{path}.softmax"),
                Softmax { serial: false, precision: self.precision },
                &[scores],
            )?;
            let values = AttentionValues { heads, head_dim };
            self.graph.op(&format!("{path}.values"), values, &[weights, qkv])?
        };
        let weight = format!("{path}.to_out.0.weight");
        let packed = Linear::place(channels, row);
        let part = PackedTensor::new(&weight, &[channels, inner], move |i| packed(i / inner * row + place(i % inner)));
        let weight = self.weight(&weight, Linear::packed(channels, row), [part])?;
        let bias = self.bias(&format!("{path}.to_out.0"), channels)?;
        let h = self.graph.op(&format!("{path}.to_out.0"), Linear, &[values, weight, bias])?;
        self.graph.op(path, Add { scale: (1.0 / factor) as f32 }, &[h, x])
    }

    pub(super) fn conv2d(&mut self, path: &str, x: ValueId, out: usize, op: Conv2d) -> Result<ValueId> {
        let bias = self.bias(path, out)?;
        self.conv2d_with(path, x, out, op, bias)
    }

    /// A convolution with this bias, `[out]`.
    pub(super) fn conv2d_with(
        &mut self,
        path: &str,
        x: ValueId,
        out: usize,
        op: Conv2d,
        bias: ValueId,
    ) -> Result<ValueId> {
        let (channels, kernel) = (self.graph.shape(x).channels(), op.kernel);
        let weight = format!("{path}.weight");
        let place = Conv2d::place(out, channels, kernel);
        let part = PackedTensor::new(&weight, &[out, channels, kernel, kernel], place);
        let weight = self.weight(&weight, Conv2d::packed(out, channels, kernel), [part])?;
        self.graph.op(path, op, &[x, weight, bias])
    }

    pub(super) fn linear(&mut self, path: &str, x: ValueId, out: usize) -> Result<ValueId> {
        let channels = self.graph.shape(x).channels();
        let weight = format!("{path}.weight");
        let part = PackedTensor::new(&weight, &[out, channels], Linear::place(out, channels));
        let weight = self.weight(&weight, Linear::packed(out, channels), [part])?;
        let bias = self.bias(path, out)?;
        self.graph.op(path, Linear, &[x, weight, bias])
    }

    /// A GroupNorm and what follows it.
    pub(super) fn group_norm(
        &mut self,
        path: &str,
        x: ValueId,
        groups: usize,
        activation: Option<Activation>,
    ) -> Result<ValueId> {
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
    pub(super) fn normalised(
        &mut self,
        path: &str,
        x: ValueId,
        groups: usize,
        [weight, bias]: [ValueId; 2],
    ) -> Result<ValueId> {
        let [_, h, w, _] = self.graph.shape(x).nhwc(path)?;
        let op =
            GroupNorm { groups, eps: self.config.norm_eps as f32, tiles: vec![Tiles::strips(h * w)], serial: false };
        let moments = self.graph.op(&format!("{path}.moments"), Moments, &[x])?;
        self.graph.op(&format!("{path}.affine"), op, &[moments, weight, bias])
    }

    /// A table of learned rows.
    pub(super) fn table(&mut self, name: &str, rows: usize, width: usize) -> Result<ValueId> {
        let part = PackedTensor::new(name, &[rows, width], move |i| i / width * padded(width) + i % width);
        self.weight(name, Shape::new(&[rows, width]), [part])
    }

    fn bias(&mut self, path: &str, len: usize) -> Result<ValueId> {
        self.vector(&format!("{path}.bias"), len)
    }

    pub(super) fn vector(&mut self, name: &str, len: usize) -> Result<ValueId> {
        self.unrounded(name, Shape::new(&[len]), [PackedTensor::new(name, &[len], |i| i)])
    }

    /// A weight of the network that is packed from these tensors.
    fn weight(&mut self, name: &str, shape: Shape, tensors: impl Into<Vec<PackedTensor>>) -> Result<ValueId> {
        self.parameter(name, shape, tensors.into(), true)
    }

    /// The same of what is never a weight: a bias, or what a GroupNorm is made of.
    fn unrounded(&mut self, name: &str, shape: Shape, tensors: impl Into<Vec<PackedTensor>>) -> Result<ValueId> {
        self.parameter(name, shape, tensors.into(), false)
    }

    fn parameter(&mut self, name: &str, shape: Shape, tensors: Vec<PackedTensor>, is_weight: bool) -> Result<ValueId> {
        let precision = if is_weight { self.precision } else { Precision::F32 };
        match &mut self.parameters {
            ParametersOf::Placed(parameters) => {
                Ok(self.graph.parameter(name, precision, shape, parameters.place_of(name)))
            }
            ParametersOf::Declared(declared) => {
                check_size(name, &shape)?;
                let id = self.graph.push(name, shape.clone(), precision, Source::Constant([].into()));
                // The same layer may be laid out twice, as the time's projection is.
                if !declared.iter().any(|(_, declared)| declared.name == name) {
                    let (is_learned, name) = (is_weight || name != FREQUENCIES, name.into());
                    declared.push((id, Parameter { name, shape, is_weight, is_condition: false, is_learned, tensors }));
                }
                Ok(id)
            }
        }
    }
}
