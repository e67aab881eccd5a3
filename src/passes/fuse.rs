//! A graph with fewer passes over memory: what stands around a convolution becomes part of it.
//!
//! The unfused graph is what a network is; the fused one computes the same with other ops ([`FusedConv2d`]), to which the
//! same rules apply: each has a CPU function, a shader and tests of its own.

mod absorb;

use std::any::Any;
use std::rc::Rc;

use crate::graph::{Graph, Source, Value, ValueId, ValueMap, ValueSet};
use crate::op::{
    Add, Attention, Beside, Concat, Conv2d, FusedConv2d, GroupNorm, Linear, Moments, Narrow, Op, Phases, ScaleShift,
    Softmax, Stack, SumSplits, Tiles, Upsample, Variant, Widen,
};
use crate::tuning::Tuning;
use crate::{Result, Shape};

/// What is fused, and how convolutions are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fusion {
    /// Whether a convolution normalises what it reads, and reads two tensors as one.
    pub normalise: bool,
    /// Whether it also does where somebody else, a gradient perhaps, needs the normalised values in memory anyway.
    pub renormalise: bool,
    /// Whether a 1×1 shortcut, and an upsampling, become part of a convolution.
    pub combine: bool,
    /// Whether convolutions of small maps, and gradients by weights, leave their sums in parts, so that more workgroups share
    /// them.
    pub split: bool,
    /// Which variants of the ops are the fastest.
    pub tuning: Tuning,
}

impl Fusion {
    /// For GPUs.
    pub const STAGED: Fusion =
        Fusion { normalise: true, renormalise: true, combine: true, split: true, tuning: Tuning::STAGED };
    /// For devices whose shared memory is slow.
    pub const DIRECT: Fusion = Fusion { tuning: Tuning::DIRECT, ..Fusion::STAGED };
    /// For those of them that have subgroups.
    pub const QUADS: Fusion = Fusion { tuning: Tuning::QUADS, ..Fusion::STAGED };
    /// For the CPU, which packs a weight for one product.
    ///
    /// A variant only says how images are cut for their moments there; it is the same for any number of images, so that
    /// each is, bit for bit, what it is by itself.
    pub const CPU: Fusion = Fusion {
        renormalise: false,
        combine: false,
        split: false,
        tuning: Tuning::all(Variant::LargeGemm),
        ..Fusion::STAGED
    };

    /// For a GPU that is quickest with these variants, or for the CPU, which has none.
    pub fn new(tuning: Option<Tuning>) -> Self {
        tuning.map_or(Fusion::CPU, |tuning| Fusion { tuning, ..Fusion::STAGED })
    }
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
        if let Source::Assembled(parts) = &value.source {
            parts.iter().for_each(|(part, _)| uses[part.0].push(ValueId(index)));
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
        absorbed: ValueMap::new(),
        fused: Graph::new(),
        ids: ValueMap::new(),
        moments: ValueMap::new(),
        affines: ValueMap::new(),
    };
    fuser.find_chains();
    fuser.find_absorbed();
    fuser.emit()?;
    Ok(fuser.fused)
}

/// What a value is computed from.
fn inputs(value: &Value) -> &[ValueId] {
    match &value.source {
        Source::Op { inputs, .. } => inputs,
        Source::Further { of } => std::slice::from_ref(of),
        Source::Range { of, .. } => std::slice::from_ref(of),
        Source::Input | Source::Constant(_) | Source::State(_) | Source::Assembled(_) => &[],
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
    /// Whether the narrowing before it does.
    wide_input: bool,
    /// Whether the widening after it does.
    wide_output: bool,
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
    /// Values that nobody sees any more, or that another op leaves beside its own.
    inner: ValueSet,
    /// By the value beside which it is left, what is.
    absorbed: ValueMap<ValueId>,
    fused: Graph,
    /// Values in the fused graph.
    ids: ValueMap<ValueId>,
    /// Moments in the fused graph, and how the values were cut for them.
    moments: ValueMap<(ValueId, Tiles)>,
    /// Scales and shifts of norms that were computed along with what they normalise.
    affines: ValueMap<ValueId>,
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
            let input = self.inputs(conv)[0];
            // A shortcut becomes part of another chain.
            let wide_input =
                self.op::<Narrow>(input).is_some() && self.only_use(input).is_some() && !self.is_shortcut(conv);
            if wide_input {
                self.inner.insert(input, ());
            }
            let mut chain = Chain {
                conv,
                row: None,
                residual: None,
                shortcut: None,
                scale: 1.0,
                variant,
                upsample,
                wide_input,
                wide_output: false,
            };
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
                let shortcut = self.fusion.combine && !variant.is_direct() && self.is_shortcut(other);
                if shortcut {
                    self.inner.insert(other, ());
                    chain.shortcut = Some(other);
                } else {
                    chain.residual = Some(other);
                }
            }
            if let Some(widen) = self.only_use(last).filter(|&user| self.op::<Widen>(user).is_some()) {
                self.inner.insert(last, ());
                (chain.wide_output, last) = (true, widen);
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
            if self.inner.contains(id) || self.ids.contains(id) {
                continue;
            }
            let new = match &value.source {
                Source::Input | Source::Constant(_) | Source::State(_) | Source::Range { .. } => self.given(id),
                Source::Op { op, .. } => {
                    if let Some(chain) = self.chains.get(id).cloned() {
                        self.convolve(id, &chain)?
                    } else if let Some(op) = self.op::<GroupNorm>(id).cloned() {
                        self.group_norm(id, op)?
                    } else if self.op::<Moments>(id).is_some() {
                        self.moments_in_strips(id)?
                    } else if let Some(&absorbed) = self.absorbed.get(id) {
                        self.absorbing(id, absorbed)?
                    } else if let Some(&attention) = self.op::<Attention>(id) {
                        self.plain(id, Rc::new(Attention { serial: self.fusion.tuning.serial, ..attention }))?
                    } else if self.op::<Softmax>(id).is_some() {
                        let (serial, precision) = (self.fusion.tuning.serial, value.precision);
                        self.plain(id, Rc::new(Softmax { serial, precision }))?
                    } else {
                        self.plain(id, op.clone())?
                    }
                }
                Source::Assembled(parts) => {
                    let parts = parts.iter().map(|&(part, first)| (self.ids[part], first)).collect();
                    self.fused.push(&value.name, value.shape.clone(), value.precision, Source::Assembled(parts))
                }
                Source::Further { of } => {
                    let which = index - of.0 - 1;
                    self.fused.further_outputs(self.ids[*of]).nth(which).expect("such an op is left as it was")
                }
            };
            self.ids.insert(id, new);
        }
        let outputs = self.graph.outputs.iter();
        outputs.for_each(|(name, id)| self.fused.output(name, self.ids[*id]));
        self.graph.feedback.iter().for_each(|&(from, to)| self.fused.feedback(self.ids[from], self.ids[to]));
        Ok(())
    }

    /// What a value is computed from, in the fused graph.
    fn fused_inputs(&self, id: ValueId) -> Vec<ValueId> {
        self.inputs(id).iter().map(|input| self.ids[*input]).collect()
    }

    /// An op as it was, or in parts where that keeps a GPU busy.
    fn plain(&mut self, id: ValueId, op: Rc<dyn Op>) -> Result<ValueId> {
        let inputs = self.fused_inputs(id);
        let Value { name, shape, .. } = &self.graph.values[id.0];
        let shapes: Vec<&Shape> = inputs.iter().map(|&input| self.fused.shape(input)).collect();
        match op.in_parts(&shapes, shape) {
            Some([parts, sum]) if self.fusion.split => {
                let parts = self.fused.shared_op(&format!("{name}.splits"), parts, &inputs)?;
                self.fused.shared_op(name, sum, &[parts])
            }
            _ => self.fused.shared_op(name, op, &inputs),
        }
    }

    /// A GroupNorm of the moments that convolutions left, if it was not computed along with them.
    fn group_norm(&mut self, id: ValueId, op: GroupNorm) -> Result<ValueId> {
        if let Some(affine) = self.affines.get(id) {
            return Ok(*affine);
        }
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
        let moments = self.fused.op(&format!("{}.moments", value.name), Moments, &[self.ids[id]])?;
        self.moments.insert(id, (moments, Tiles::strips(height * width)));
        Ok(self.moments[id])
    }

    /// Moments that somebody reads as they are, a gradient perhaps: those that the convolution left, if it cut images the same
    /// way.
    fn moments_in_strips(&mut self, id: ValueId) -> Result<ValueId> {
        let input = self.inputs(id)[0];
        let [_, height, width, _] = self.graph.shape(input).nhwc(&self.graph.values[input.0].name)?;
        let strips = Tiles::strips(height * width);
        match self.moments.get(input) {
            Some(&(moments, tiles)) if tiles == strips => Ok(moments),
            Some(_) => self.plain(id, Rc::new(Moments)),
            None => {
                let moments = self.plain(id, Rc::new(Moments))?;
                self.moments.insert(input, (moments, strips));
                Ok(moments)
            }
        }
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
            wide_input: chain.wide_input,
            wide_output: chain.wide_output,
            ..FusedConv2d::plain(conv)
        };
        // What is loaded.
        let mut input = input;
        let mut affine = None;
        let direct = chain.variant.is_direct();
        // The CPU reads normalised values that are in memory anyway. A GPU normalises while it loads, so that they need not be
        // there until a gradient reads them.
        let in_memory = self.only_use(input).is_none();
        let normalise = self.fusion.normalise && !direct && (self.fusion.renormalise || !in_memory);
        if let (Some(norm), true) = (self.op::<ScaleShift>(input), normalise) {
            (op.normalise, op.activation) = (true, norm.activation);
            affine = Some(self.inputs(input)[1]);
            input = self.inputs(input)[0];
        } else if chain.upsample || chain.wide_input {
            op.upsample = chain.upsample;
            input = self.inputs(input)[0];
        }
        let sources = if direct { vec![input] } else { self.sources(input) };
        op.sources = sources.len();
        let shortcut = chain.shortcut.map(|conv| self.sources(self.inputs(conv)[0])).unwrap_or_default();
        op.shortcut = shortcut.len();
        op.variant = chain.variant;
        op.moments &= op.has(op.variant, &output);

        let (weight, bias) = self.weights(weight, bias, chain.shortcut, op.upsample)?;
        let shapes = |ids: &[ValueId]| ids.iter().map(|&id| self.graph.shape(id)).collect::<Vec<_>>();
        // What adds the parts up gives activations, not the output of a network.
        let splits = match self.fusion.split && !chain.wide_output {
            true => op.worthwhile_splits(&output, &shapes(&sources), &shapes(&shortcut)),
            false => 1,
        };
        let fused = |ids: &mut dyn Iterator<Item = &ValueId>| ids.map(|id| self.ids[*id]).collect::<Vec<_>>();
        // What is added is for the sum of the parts, if there are parts.
        let added = fused(&mut chain.residual.iter().chain(&chain.row));
        let mut inputs = fused(&mut sources.iter().chain(&shortcut));
        if splits == 1 {
            inputs.extend(&added);
        }
        inputs.extend(fused(&mut affine.iter()));
        inputs.extend([weight, bias]);
        let name = &self.graph.values[id.0].name;
        if splits > 1 {
            let part = FusedConv2d { splits, residual: false, row: false, scale: 1.0, moments: false, ..op };
            let parts = self.fused.op(&format!("{name}.splits"), part, &inputs)?;
            return self.sum_splits(id, parts, op, splits, &added);
        }
        let new = self.fused.op(name, op, &inputs)?;
        if let Some(moments) = self.second_output(new) {
            self.moments.insert(id, (moments, op.tiles(&output)));
        }
        Ok(new)
    }

    /// The sum of the parts of a convolution that without them would be `whole`.
    fn sum_splits(
        &mut self,
        id: ValueId,
        parts: ValueId,
        whole: FusedConv2d,
        splits: usize,
        added: &[ValueId],
    ) -> Result<ValueId> {
        let norm = self.only_norm(id);
        let beside = match norm.and_then(|norm| self.op::<GroupNorm>(norm)) {
            Some(&GroupNorm { groups, eps, .. }) => Beside::Norm { groups, eps },
            None if self.normalised(id) => Beside::Moments,
            None => Beside::Nothing,
        };
        let mut inputs = vec![parts];
        inputs.extend(added);
        if let Some(norm) = norm {
            let &[_, weight, bias] = self.inputs(norm) else { unreachable!("unfused, it normalises one tensor") };
            inputs.extend([self.given(weight), self.given(bias)]);
        }
        let FusedConv2d { residual, row, scale, .. } = whole;
        let precision = self.graph.values[id.0].precision;
        let op = SumSplits { splits, residual, row, scale, beside, precision };
        let new = self.fused.op(&self.graph.values[id.0].name, op, &inputs)?;
        match (self.second_output(new), norm) {
            (Some(affine), Some(norm)) => self.affines.insert(norm, affine),
            (Some(moments), None) => self.moments.insert(id, (moments, SumSplits::tiles(self.graph.shape(id)))),
            (None, _) => {}
        }
        Ok(new)
    }

    /// The second output of the op that computes a value of the fused graph, if it has one.
    fn second_output(&self, id: ValueId) -> Option<ValueId> {
        self.fused.further_outputs(id).next()
    }

    /// The one GroupNorm of a value, of nothing else besides, if it has groups enough to be computed by group.
    fn only_norm(&self, id: ValueId) -> Option<ValueId> {
        /// Groups of all images that are enough workgroups.
        const GROUPS: usize = 8;

        let joined = |&user: &ValueId| self.sources(user).len() == 2 && self.normalised(user);
        let mut moments = self.uses[id.0].iter().filter(|&&user| self.op::<Moments>(user).is_some());
        let (&only, None) = (moments.next()?, moments.next()) else { return None };
        let norm = self.only_use(only)?;
        // A workgroup of the sum would own one of these groups.
        let shared = self.op::<GroupNorm>(norm)?.groups * self.graph.shape(id).dims()[0] >= GROUPS;
        (shared && !self.uses[id.0].iter().any(joined)).then_some(norm)
    }

    /// A value that no op computes in the fused graph, perhaps before its turn.
    fn given(&mut self, id: ValueId) -> ValueId {
        if let Some(&emitted) = self.ids.get(id) {
            return emitted;
        }
        let Value { name, shape, precision, source } = &self.graph.values[id.0];
        let source = match *source {
            Source::Range { of, first } => Source::Range { of: self.given(of), first },
            _ => source.clone(),
        };
        let emitted = self.fused.push(name, shape.clone(), *precision, source);
        self.ids.insert(id, emitted);
        emitted
    }

    /// The weight and the bias of a convolution, with those of the shortcut and of the upsampling.
    fn weights(
        &mut self,
        weight: ValueId,
        bias: ValueId,
        shortcut: Option<ValueId>,
        upsample: bool,
    ) -> Result<(ValueId, ValueId)> {
        let name = self.graph.values[weight.0].name.clone();
        let (mut new_weight, mut new_bias) = (self.ids[weight], self.ids[bias]);
        if upsample {
            new_weight = self.fused.op(&format!("{name}.phases"), Phases, &[new_weight])?;
        }
        if let Some(shortcut) = shortcut {
            let &[_, other, other_bias] = self.inputs(shortcut) else { unreachable!("a convolution has three inputs") };
            new_weight = self.fused.op(&format!("{name}+shortcut"), Stack, &[new_weight, self.ids[other]])?;
            let name = format!("{}+shortcut", self.graph.values[bias.0].name);
            new_bias = self.fused.op(&name, Add::PLAIN, &[new_bias, self.ids[other_bias]])?;
        }
        Ok((new_weight, new_bias))
    }
}
