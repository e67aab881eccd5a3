//! A graph with fewer passes over memory: what stands around a convolution becomes part of it.
//!
//! The unfused graph is what a network is; the fused one computes the same with other ops ([`FusedConv2d`]), to which the
//! same rules apply: each has a CPU function, a shader and tests of its own.

use std::any::Any;
use std::rc::Rc;

use crate::graph::{Graph, Source, Value, ValueId, ValueMap, ValueSet};
use crate::op::{
    Add, Concat, Conv2d, FusedConv2d, GroupNorm, Linear, Moments, Op, ScaleShift, Softmax, Tiles, Upsample, Variant,
};
use crate::tuning::Tuning;
use crate::{Precision, Result, Shape};

/// What is fused, and how convolutions are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fusion {
    /// Whether a convolution normalises what it reads, and reads two tensors as one.
    pub normalise: bool,
    /// Whether a 1×1 shortcut, and an upsampling, become part of a convolution.
    pub combine: bool,
    /// Which variants of the ops are the fastest.
    pub tuning: Tuning,
}

impl Fusion {
    /// For GPUs.
    pub const STAGED: Fusion = Fusion { normalise: true, combine: true, tuning: Tuning::STAGED };
    /// For devices whose shared memory is slow.
    pub const DIRECT: Fusion = Fusion { tuning: Tuning::DIRECT, ..Fusion::STAGED };
    /// For the CPU, which packs a weight for one product.
    pub const CPU: Fusion = Fusion { combine: false, ..Fusion::STAGED };
}

/// `graph` with everything fused that `fusion` asks for.
///
/// # Errors
/// When the fused graph would not fit together, which is our mistake.
pub fn fuse(graph: &Graph, fusion: Fusion) -> Result<Graph> {
    let mut uses = vec![Vec::new(); graph.values.len()];
    for (index, value) in graph.values.iter().enumerate() {
        for input in inputs(value) {
            uses[input.0].push(ValueId(index));
        }
    }
    let mut kept = ValueSet::new();
    graph.outputs.iter().for_each(|&(_, id)| kept.insert(id, ()));
    graph.feedback.iter().flat_map(|&(a, b)| [a, b]).for_each(|id| kept.insert(id, ()));
    let mut fuser = Fuser {
        graph,
        fusion,
        uses,
        kept,
        chains: ValueMap::new(),
        inner: ValueSet::new(),
        fused: Graph::new(),
        ids: ValueMap::new(),
        moments: ValueMap::new(),
    };
    fuser.find_chains();
    fuser.emit()?;
    Ok(fuser.fused)
}

/// What a value is computed from.
fn inputs(value: &Value) -> &[ValueId] {
    match &value.source {
        Source::Op { inputs, .. } => inputs,
        Source::Aside(of) => std::slice::from_ref(of),
        Source::Input | Source::Part { .. } | Source::Constant(_) => &[],
    }
}

/// A convolution with the additions after it.
#[derive(Clone)]
struct Chain {
    /// The convolution or linear layer.
    conv: ValueId,
    /// The row that is added.
    row: Option<ValueId>,
    /// The tensor that is added.
    residual: Option<ValueId>,
    /// The 1×1 convolution that is added in its place.
    shortcut: Option<ValueId>,
    /// What the sum is multiplied by.
    scale: f32,
    /// How a GPU computes it.
    variant: Variant,
    /// Whether the upsampling before it becomes part of it.
    upsample: bool,
}

struct Fuser<'a> {
    graph: &'a Graph,
    fusion: Fusion,
    /// The values computed from each value, once for every time they read it.
    uses: Vec<Vec<ValueId>>,
    /// Values that are needed as they are.
    kept: ValueSet,
    /// By the last value of each.
    chains: ValueMap<Chain>,
    /// Values of chains that nobody sees any more.
    inner: ValueSet,
    fused: Graph,
    /// Values in the fused graph.
    ids: ValueMap<ValueId>,
    /// Moments in the fused graph, and how the values were cut for them.
    moments: ValueMap<(ValueId, Tiles)>,
}

impl Fuser<'_> {
    /// The op of this kind that computes a value.
    fn op<T: Op>(&self, id: ValueId) -> Option<&T> {
        match &self.graph.values[id.0].source {
            Source::Op { op, .. } => (op.as_ref() as &dyn Any).downcast_ref(),
            _ => None,
        }
    }

    fn inputs(&self, id: ValueId) -> &[ValueId] {
        inputs(&self.graph.values[id.0])
    }

    /// The one value that is computed from this one, if it is needed for nothing else.
    fn only_use(&self, id: ValueId) -> Option<ValueId> {
        match self.uses[id.0][..] {
            [user] if !self.kept.contains(id) => Some(user),
            _ => None,
        }
    }

    /// The convolution that computes a value, if it is one of images.
    fn convolution(&self, id: ValueId) -> Option<Conv2d> {
        let images = self.graph.shape(id).dims().len() == 4;
        match self.op::<Linear>(id) {
            Some(_) => images.then_some(Conv2d::POINTWISE),
            None => self.op::<Conv2d>(id).copied(),
        }
    }

    /// The tensors that a value is the concatenation of, as far as a convolution can read them side by side.
    fn sources(&self, id: ValueId) -> Vec<ValueId> {
        match (self.op::<Concat>(id), self.inputs(id)) {
            (Some(_), &[a, b]) if self.graph.shape(a).channels().is_multiple_of(4) => vec![a, b],
            _ => vec![id],
        }
    }

    fn find_chains(&mut self) {
        for index in 0..self.graph.values.len() {
            let conv = ValueId(index);
            if self.convolution(conv).is_none() || self.inner.contains(conv) {
                continue;
            }
            let (variant, upsample) = self.variant(conv);
            let mut chain = Chain { conv, row: None, residual: None, shortcut: None, scale: 1.0, variant, upsample };
            let mut last = conv;
            if let Some((add, other, Add { scale: 1.0 })) = self.addition(last)
                && self.graph.shape(other).dims().len() == 2
            {
                self.inner.insert(last, ());
                (chain.row, last) = (Some(other), add);
            }
            if let Some((add, other, &Add { scale })) = self.addition(last)
                && self.graph.shape(other) == self.graph.shape(last)
            {
                self.inner.insert(last, ());
                (chain.scale, last) = (scale, add);
                let shortcut = self.fusion.combine && variant != Variant::Direct && self.is_shortcut(other);
                if shortcut {
                    self.inner.insert(other, ());
                    chain.shortcut = Some(other);
                } else {
                    chain.residual = Some(other);
                }
            }
            self.chains.insert(last, chain);
        }
    }

    /// How a convolution is computed, and whether the upsampling before it becomes part of it.
    fn variant(&self, id: ValueId) -> (Variant, bool) {
        let conv = self.convolution(id).expect("a chain begins with a convolution");
        let upsampled = self.op::<Upsample>(self.inputs(id)[0]).is_some();
        let upsample = self.fusion.combine && upsampled && conv == Conv2d::SAME;
        let op = FusedConv2d { upsample, ..FusedConv2d::plain(conv) };
        (self.fusion.tuning.variant(&op, self.graph.shape(id)), upsample)
    }

    /// The addition that alone reads a value, if no chain has it, and what else it reads.
    fn addition(&self, id: ValueId) -> Option<(ValueId, ValueId, &Add)> {
        let add = self.only_use(id)?;
        let op = self.op::<Add>(add)?;
        let &[a, b] = self.inputs(add) else { return None };
        (!self.chains.contains(add)).then_some((add, if a == id { b } else { a }, op))
    }

    /// Whether a value is a 1×1 convolution that can become part of another.
    fn is_shortcut(&self, id: ValueId) -> bool {
        let pointwise = self.op::<Conv2d>(id).is_some_and(|conv| *conv == Conv2d::POINTWISE);
        pointwise && self.only_use(id).is_some()
    }

    fn emit(&mut self) -> Result<()> {
        for (index, value) in self.graph.values.iter().enumerate() {
            let id = ValueId(index);
            if self.inner.contains(id) {
                continue;
            }
            let new = match &value.source {
                Source::Input => self.fused.push(&value.name, value.shape.clone(), value.precision, Source::Input),
                Source::Part { of, first } => {
                    let source = Source::Part { of: self.ids[*of], first: *first };
                    self.fused.push(&value.name, value.shape.clone(), value.precision, source)
                }
                Source::Constant(data) => {
                    self.fused.set_precision(value.precision);
                    self.fused.shared_weight(&value.name, (value.shape.clone(), data.clone()))
                }
                Source::Op { op, .. } => {
                    if let Some(chain) = self.chains.get(id).cloned() {
                        self.convolve(id, &chain)?
                    } else if let Some(op) = self.op::<GroupNorm>(id).cloned() {
                        self.group_norm(id, op)?
                    } else if self.op::<Softmax>(id).is_some() {
                        self.plain(id, Rc::new(Softmax { serial: self.fusion.tuning.serial }))?
                    } else {
                        self.plain(id, op.clone())?
                    }
                }
                Source::Aside(_) => unreachable!("only fused graphs leave anything beside their values"),
            };
            self.ids.insert(id, new);
        }
        let outputs = self.graph.outputs.iter();
        outputs.for_each(|(name, id)| self.fused.output(name, self.ids[*id]));
        self.graph.feedback.iter().for_each(|&(from, to)| self.fused.feedback(self.ids[from], self.ids[to]));
        Ok(())
    }

    /// An op as it was.
    fn plain(&mut self, id: ValueId, op: Rc<dyn Op>) -> Result<ValueId> {
        let value = &self.graph.values[id.0];
        let half = |id: &ValueId| self.graph.values[id.0].precision == Precision::F16;
        let precision = if self.inputs(id).iter().chain([&id]).any(half) { Precision::F16 } else { Precision::F32 };
        self.fused.set_precision(precision);
        let inputs: Vec<ValueId> = self.inputs(id).iter().map(|input| self.ids[*input]).collect();
        self.fused.shared_op(&value.name, op, &inputs)
    }

    /// A GroupNorm of the moments that convolutions left.
    fn group_norm(&mut self, id: ValueId, op: GroupNorm) -> Result<ValueId> {
        let &[moments, weight, bias] = self.inputs(id) else { unreachable!("unfused, it normalises one tensor") };
        if self.op::<Moments>(moments).is_none() {
            return self.plain(id, Rc::new(op));
        }
        let mut inputs = Vec::new();
        let mut tiles = Vec::new();
        for source in self.sources(self.inputs(moments)[0]) {
            let (moments, cut) = self.moments_of(source)?;
            inputs.push(moments);
            tiles.push(cut);
        }
        inputs.extend([self.ids[weight], self.ids[bias]]);
        self.fused.op(
            &self.graph.values[id.0].name,
            GroupNorm { tiles, serial: self.fusion.tuning.serial, ..op },
            &inputs,
        )
    }

    /// The moments of a value: what its convolution left, or those of a pass of their own.
    fn moments_of(&mut self, id: ValueId) -> Result<(ValueId, Tiles)> {
        if let Some(moments) = self.moments.get(id) {
            return Ok(*moments);
        }
        let value = &self.graph.values[id.0];
        let [_, height, width, _] = value.shape.nhwc(&value.name)?;
        self.fused.set_precision(value.precision);
        let moments = self.fused.op(&format!("{}.moments", value.name), Moments, &[self.ids[id]])?;
        self.moments.insert(id, (moments, Tiles::strips(height * width)));
        Ok(self.moments[id])
    }

    /// Whether a GroupNorm needs the moments of a value.
    fn normalised(&self, id: ValueId) -> bool {
        let moments = |&user: &ValueId| self.op::<Moments>(user).is_some();
        let joined = |&user: &ValueId| self.sources(user).len() == 2 && self.uses[user.0].iter().any(moments);
        self.uses[id.0].iter().any(|user| moments(user) || joined(user))
    }

    /// The fused convolution whose last value is `id`.
    fn convolve(&mut self, id: ValueId, chain: &Chain) -> Result<ValueId> {
        let &[input, weight, bias] = self.inputs(chain.conv) else { unreachable!("a convolution has three inputs") };
        let output = self.graph.shape(id).clone();
        let conv = self.convolution(chain.conv).expect("a chain begins with a convolution");
        let mut op = FusedConv2d {
            residual: chain.residual.is_some(),
            row: chain.row.is_some(),
            scale: chain.scale,
            moments: self.normalised(id),
            ..FusedConv2d::plain(conv)
        };
        // What is loaded.
        let mut input = input;
        let mut affine = None;
        let direct = chain.variant == Variant::Direct;
        if let (Some(norm), true, false) = (self.op::<ScaleShift>(input), self.fusion.normalise, direct) {
            (op.normalise, op.activation) = (true, norm.activation);
            affine = Some(self.inputs(input)[1]);
            input = self.inputs(input)[0];
        } else if chain.upsample {
            op.upsample = true;
            input = self.inputs(input)[0];
        }
        let sources = if direct { vec![input] } else { self.sources(input) };
        op.sources = sources.len();
        let shortcut = chain.shortcut.map(|conv| self.sources(self.inputs(conv)[0])).unwrap_or_default();
        op.shortcut = shortcut.len();
        op.variant = chain.variant;
        op.moments &= op.has(op.variant, &output);

        let precision = self.graph.values[chain.conv.0].precision;
        let (weight, bias) = self.weights(weight, bias, chain.shortcut, op.upsample, precision);
        let images = sources.iter().chain(&shortcut).chain(&chain.residual).chain(&chain.row).chain(&affine);
        let mut inputs: Vec<ValueId> = images.map(|image| self.ids[*image]).collect();
        inputs.extend([weight, bias]);
        self.fused.set_precision(precision);
        let new = self.fused.op(&self.graph.values[id.0].name, op, &inputs)?;
        if let Some(moments) = self.fused.aside(new) {
            self.moments.insert(id, (moments, op.tiles(&output)));
        }
        Ok(new)
    }

    /// The weight and the bias of a convolution, with those of the shortcut and of the upsampling.
    fn weights(
        &mut self,
        weight: ValueId,
        bias: ValueId,
        shortcut: Option<ValueId>,
        upsample: bool,
        precision: Precision,
    ) -> (ValueId, ValueId) {
        let constant = |id: ValueId| match &self.graph.values[id.0] {
            Value { source: Source::Constant(data), shape, name, .. } => (name.clone(), shape.clone(), data.clone()),
            _ => unreachable!("weights are constants"),
        };
        let (name, shape, data) = constant(weight);
        let mut combined: Option<(String, Shape, Vec<f32>)> = None;
        if upsample {
            let rows = shape.rows() / 9 * 16;
            let data = if data.is_empty() { Vec::new() } else { FusedConv2d::phases(&data) };
            combined = Some((format!("{name}.phases"), Shape::new(&[rows, shape.channels()]), data));
        }
        let mut new_bias = self.ids[bias];
        if let Some(shortcut) = shortcut {
            let &[_, other, other_bias] = self.inputs(shortcut) else { unreachable!("a convolution has three inputs") };
            let (_, other_shape, other_data) = constant(other);
            let (name, shape, data) = combined.unwrap_or_else(|| (name, shape, data.to_vec()));
            let rows = shape.rows() + other_shape.rows();
            let joined = [&data[..], &other_data].concat();
            combined = Some((format!("{name}+shortcut"), Shape::new(&[rows, shape.channels()]), joined));
            let (name, shape, data) = constant(bias);
            let (_, _, other_data) = constant(other_bias);
            let sum = data.iter().zip(&*other_data).map(|(a, b)| a + b).collect();
            new_bias = self.fused.constant(&format!("{name}+shortcut"), (shape, sum));
        }
        self.fused.set_precision(precision);
        let new_weight = match combined {
            Some((name, shape, data)) => self.fused.weight(&name, (shape, data)),
            None => self.ids[weight],
        };
        (new_weight, new_bias)
    }
}
