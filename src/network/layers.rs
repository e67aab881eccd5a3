//! The layers that networks have in common, each with its weights.

use super::{PackedTensor, Parameter, Parameters};
use crate::graph::{Graph, Source, ValueId, check_size};
use crate::op::{
    Activation, Attention, AttentionScores, AttentionValues, Conv2d, GroupNorm, Linear, Moments, ScaleShift, Softmax,
    Tiles,
};
use crate::tensor::padded;
use crate::{Precision, Result, Shape};

/// The frequencies of a Fourier projection, which diffusers draws once and does not train.
pub(crate) const FREQUENCIES: &str = "time_proj.weight";

/// The parameters of a network that is being laid out.
pub(crate) enum ParametersOf<'a> {
    /// Those that there are.
    Placed(&'a Parameters),
    /// Not known yet: each is noted, with its value in the graph, which is good for nothing else.
    Declared(&'a mut Vec<(ValueId, Parameter)>),
}

/// Lays out layers.
pub(crate) struct Layers<'a> {
    pub(crate) graph: &'a mut Graph,
    pub(crate) parameters: ParametersOf<'a>,
    pub(crate) precision: Precision,
    /// ε of every GroupNorm.
    pub(crate) norm_eps: f32,
}

/// The heads of an attention layer. In memory they lie side by side, each padded to whole `vec4`s, so that a shader never
/// straddles two.
#[derive(Clone, Copy)]
pub(crate) struct Heads {
    /// How many there are.
    pub(crate) count: usize,
    /// Channels of each.
    pub(crate) dim: usize,
}

impl Heads {
    /// Channels of all of them, padding included.
    pub(crate) fn row(self) -> usize {
        self.count * padded(self.dim)
    }

    /// Where among these the i-th channel of all heads is.
    pub(crate) fn place(self, i: usize) -> usize {
        i / self.dim * padded(self.dim) + i % self.dim
    }
}

impl Layers<'_> {
    /// Self-attention of the tokens x, `[N, H, W, C]`: softmax(Q Kᵀ / √d) V of every head, `[N, H, W, row]`. `projections` are
    /// the tensors of the weight `[3 · row, C]` and of the bias `[3 · row]` of queries, keys and values side by side, where
    /// [`Heads::place`] has them.
    pub(crate) fn self_attention(
        &mut self,
        path: &str,
        x: ValueId,
        heads: Heads,
        projections: [Vec<PackedTensor>; 2],
    ) -> Result<ValueId> {
        let (channels, row) = (self.graph.shape(x).channels(), heads.row());
        let [weights, biases] = projections;
        let weight = self.weight(&format!("{path}.qkv.weight"), Linear::packed(3 * row, channels), weights)?;
        let bias = self.unrounded(&format!("{path}.qkv.bias"), Shape::new(&[3 * row]), biases)?;
        let qkv = self.graph.op(&format!("{path}.qkv"), Linear, &[x, weight, bias])?;
        let tokens = self.graph.shape(x).dims()[1..3].iter().product();
        let Heads { count: heads, dim: head_dim } = heads;
        if Attention::is_wanted(heads, tokens) {
            let attention = Attention { heads, head_dim, serial: false };
            return self.graph.op(&format!("{path}.values"), attention, &[qkv]);
        }
        let scores = self.graph.op(&format!("{path}.scores"), AttentionScores { heads, head_dim }, &[qkv])?;
        let softmax = Softmax { serial: false, precision: self.precision };
        let weights = self.graph.op(&format!("{path}.softmax"), softmax, &[scores])?;
        self.graph.op(&format!("{path}.values"), AttentionValues { heads, head_dim }, &[weights, qkv])
    }

    /// The linear layer at `path` over all heads' channels, of which the checkpoint has the weight in this shape, `[out, in, …]`.
    pub(crate) fn join_heads(&mut self, path: &str, x: ValueId, heads: Heads, shape: &[usize]) -> Result<ValueId> {
        let (out, inner, row) = (shape[0], heads.count * heads.dim, heads.row());
        let weight = format!("{path}.weight");
        let packed = Linear::place(out, row);
        let part = PackedTensor::new(&weight, shape, move |i| packed(i / inner * row + heads.place(i % inner)));
        let weight = self.weight(&weight, Linear::packed(out, row), [part])?;
        let bias = self.bias(path, out)?;
        self.graph.op(path, Linear, &[x, weight, bias])
    }

    /// The time as scale and shift, `[N, 2 · padded out]`, each padded by itself.
    pub(crate) fn scale_and_shift(&mut self, path: &str, time: ValueId, out: usize) -> Result<ValueId> {
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

    pub(crate) fn conv2d(&mut self, path: &str, x: ValueId, out: usize, op: Conv2d) -> Result<ValueId> {
        let bias = self.bias(path, out)?;
        self.conv2d_with(path, x, out, op, bias)
    }

    /// A convolution with this bias, `[out]`.
    pub(crate) fn conv2d_with(
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

    pub(crate) fn linear(&mut self, path: &str, x: ValueId, out: usize) -> Result<ValueId> {
        let channels = self.graph.shape(x).channels();
        self.linear_of(path, x, &[out, channels])
    }

    /// A linear layer of which the checkpoint has the weight in this shape, `[out, in, …]`: that of a convolution of 1, or of 1×1.
    pub(crate) fn linear_of(&mut self, path: &str, x: ValueId, shape: &[usize]) -> Result<ValueId> {
        let (out, channels) = (shape[0], self.graph.shape(x).channels());
        let weight = format!("{path}.weight");
        let part = PackedTensor::new(&weight, shape, Linear::place(out, channels));
        let weight = self.weight(&weight, Linear::packed(out, channels), [part])?;
        let bias = self.bias(path, out)?;
        self.graph.op(path, Linear, &[x, weight, bias])
    }

    /// A GroupNorm and what follows it.
    pub(crate) fn group_norm(
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
    pub(crate) fn group_norm_affine(&mut self, path: &str, x: ValueId, groups: usize) -> Result<ValueId> {
        let channels = self.graph.shape(x).channels();
        let weight = self.vector(&format!("{path}.weight"), channels)?;
        let bias = self.bias(path, channels)?;
        self.normalised(path, x, groups, [weight, bias])
    }

    /// A GroupNorm with this weight and bias, `[C]`, as a scale and a shift a channel, `[N, 2, C]`.
    pub(crate) fn normalised(
        &mut self,
        path: &str,
        x: ValueId,
        groups: usize,
        [weight, bias]: [ValueId; 2],
    ) -> Result<ValueId> {
        let [_, h, w, _] = self.graph.shape(x).nhwc(path)?;
        let op = GroupNorm { groups, eps: self.norm_eps, tiles: vec![Tiles::strips(h * w)], serial: false };
        let moments = self.graph.op(&format!("{path}.moments"), Moments, &[x])?;
        self.graph.op(&format!("{path}.affine"), op, &[moments, weight, bias])
    }

    /// A table of learned rows.
    pub(crate) fn table(&mut self, name: &str, rows: usize, width: usize) -> Result<ValueId> {
        let part = PackedTensor::new(name, &[rows, width], move |i| i / width * padded(width) + i % width);
        self.weight(name, Shape::new(&[rows, width]), [part])
    }

    pub(crate) fn bias(&mut self, path: &str, len: usize) -> Result<ValueId> {
        self.vector(&format!("{path}.bias"), len)
    }

    pub(crate) fn vector(&mut self, name: &str, len: usize) -> Result<ValueId> {
        self.unrounded(name, Shape::new(&[len]), [PackedTensor::new(name, &[len], |i| i)])
    }

    /// A weight of the network that is packed from these tensors.
    fn weight(&mut self, name: &str, shape: Shape, tensors: impl Into<Vec<PackedTensor>>) -> Result<ValueId> {
        self.parameter(name, shape, tensors.into(), true)
    }

    /// The same of what is never a weight: a bias, or what a GroupNorm is made of.
    pub(crate) fn unrounded(
        &mut self,
        name: &str,
        shape: Shape,
        tensors: impl Into<Vec<PackedTensor>>,
    ) -> Result<ValueId> {
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
