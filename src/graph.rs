//! What is computed: a list of operations on values, without a device or a buffer.

use std::rc::Rc;

use crate::numbers::Numbers;
use crate::op::Op;
use crate::{Error, Precision, Result, Shape};

/// A value of a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub(crate) usize);

/// Something of each of some values of a graph. Values are numbered from 0, so it is a list.
#[derive(Clone, Debug)]
pub(crate) struct ValueMap<T>(Vec<Option<T>>);

/// Some values of a graph.
pub(crate) type ValueSet = ValueMap<()>;

impl<T> ValueMap<T> {
    pub(crate) fn new() -> Self {
        ValueMap(Vec::new())
    }

    pub(crate) fn insert(&mut self, id: ValueId, value: T) {
        if self.0.len() <= id.0 {
            self.0.resize_with(id.0 + 1, || None);
        }
        self.0[id.0] = Some(value);
    }

    pub(crate) fn get(&self, id: ValueId) -> Option<&T> {
        self.0.get(id.0)?.as_ref()
    }

    pub(crate) fn contains(&self, id: ValueId) -> bool {
        self.get(id).is_some()
    }
}

impl<T> std::ops::Index<ValueId> for ValueMap<T> {
    type Output = T;

    fn index(&self, id: ValueId) -> &T {
        self.get(id).expect("values are computed before they are read")
    }
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Written from outside before a run of the plan.
    Input,
    /// The same in every run: a weight, in device layout.
    Constant(Numbers),
    /// Computed from other values.
    Op { op: Rc<dyn Op>, inputs: Vec<ValueId> },
    /// Another output of the op that computes `of`, where it is the first: the values after that are these, in order.
    Further { of: ValueId },
    /// The numbers of an input from `first` on.
    Part { of: ValueId, first: usize },
}

/// A value: its name (for a layer, the path it has in the checkpoint), shape, precision and origin.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub name: String,
    pub shape: Shape,
    pub precision: Precision,
    pub source: Source,
}

/// The most numbers that one value may have: 1 GiB of `f32`s. Sizes come from users' files; beyond this their products
/// would overflow, first in wasm.
pub const LARGEST: usize = 1 << 28;

/// Checks that a value of this shape has elements, and not more than [`LARGEST`].
pub(crate) fn check_size(name: &str, shape: &Shape) -> Result<()> {
    match shape.checked_len() {
        Some(1..=LARGEST) => Ok(()),
        Some(0) => Err(Error::shape(name, "at least one element", shape)),
        _ => Err(Error::Settings(format!(
            "{name} would have the shape {shape}, which is more than 1 GiB. Generate fewer or smaller images at a time."
        ))),
    }
}

/// Where parts of these lengths begin in one input, and its length. Bindings must begin at multiples of 256 bytes.
pub(crate) fn parts(lengths: impl Iterator<Item = usize>) -> (Vec<usize>, usize) {
    let mut end = 0;
    let mut place = |length: usize| {
        let begin = end;
        // 256 bytes in 16 bits.
        end = (end + length).next_multiple_of(128);
        begin
    };
    let offsets = lengths.map(&mut place).collect();
    (offsets, end)
}

/// Values in an order in which they can be computed.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub(crate) values: Vec<Value>,
    pub(crate) outputs: Vec<(String, ValueId)>,
    pub(crate) feedback: Vec<(ValueId, ValueId)>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Graph::default()
    }

    /// A value that is written from outside, in `f32`.
    ///
    /// # Errors
    /// When it would be larger than [`LARGEST`].
    pub fn input(&mut self, name: &str, shape: Shape) -> Result<ValueId> {
        check_size(name, &shape)?;
        Ok(self.push(name, shape, Precision::F32, Source::Input))
    }

    /// A value that never changes, in device layout and `f32`: a bias, or a table of numbers.
    pub fn constant(&mut self, name: &str, (shape, numbers): (Shape, impl Into<Numbers>)) -> ValueId {
        self.push(name, shape, Precision::F32, Source::Constant(numbers.into()))
    }

    /// A weight, in device layout. What is computed with it has its precision.
    pub fn weight(
        &mut self,
        name: &str,
        precision: Precision,
        (shape, numbers): (Shape, impl Into<Numbers>),
    ) -> ValueId {
        self.push(name, shape, precision, Source::Constant(numbers.into()))
    }

    /// The value that `op` computes from `inputs`; its outputs after the first are [`Graph::further_outputs`].
    ///
    /// # Errors
    /// When the inputs' shapes or precisions do not fit the op, or a value would be larger than [`LARGEST`]; the
    /// error says so of `name`.
    pub fn op(&mut self, name: &str, op: impl Op + 'static, inputs: &[ValueId]) -> Result<ValueId> {
        self.shared_op(name, Rc::new(op), inputs)
    }

    /// As [`Graph::op`], of an op that other graphs may share.
    pub(crate) fn shared_op(&mut self, name: &str, op: Rc<dyn Op>, inputs: &[ValueId]) -> Result<ValueId> {
        let shapes: Vec<&Shape> = inputs.iter().map(|&id| self.shape(id)).collect();
        let shape = op.output(&shapes).map_err(|error| match error {
            Error::Shape { op, expected, found } => Error::Shape { op: format!("{name} ({op})"), expected, found },
            other => other,
        })?;
        check_size(name, &shape)?;
        let further = op.further_outputs(&shapes, &shape);
        let stored = op.stored();
        let given = stored.iter().filter_map(|&binding| inputs.get(binding - 1));
        let precision = op.precision().or_else(|| given.map(|input| self.values[input.0].precision).next());
        let precision = |binding: usize| match stored.contains(&binding) {
            true => precision.unwrap_or_default(),
            false => Precision::F32,
        };
        for (i, &input) in inputs.iter().enumerate() {
            let (expected, found) = (precision(i + 1), self.values[input.0].precision);
            if found != expected {
                let input = &self.values[input.0].name;
                let expected = format!("{input} in {expected:?}");
                return Err(Error::shape(&format!("{name} ({})", op.name()), expected, format!("{found:?}")));
            }
        }
        let first = 1 + inputs.len();
        let precisions: Vec<Precision> = (0..=further.len()).map(|output| precision(first + output)).collect();
        let id = self.push(name, shape, precisions[0], Source::Op { op, inputs: inputs.to_vec() });
        for ((i, shape), &precision) in further.into_iter().enumerate().zip(&precisions[1..]) {
            let name = format!("{name}.{}", i + 1);
            check_size(&name, &shape)?;
            self.push(&name, shape, precision, Source::Further { of: id });
        }
        Ok(id)
    }

    /// The outputs after the first of the op that computes `value`, its first.
    pub fn further_outputs(&self, value: ValueId) -> impl Iterator<Item = ValueId> {
        let next = (value.0 + 1..self.values.len()).map(ValueId);
        next.take_while(move |id| matches!(self.values[id.0].source, Source::Further { of } if of == value))
    }

    /// Keeps `value` after a run, to be read by this name.
    pub fn output(&mut self, name: &str, value: ValueId) {
        self.outputs.push((name.to_string(), value));
    }

    /// At the end of a run, copies `value` to `input`, ready for the next.
    pub fn feedback(&mut self, value: ValueId, input: ValueId) {
        assert_eq!(self.shape(value), self.shape(input), "a value is fed back to an input of its own shape");
        assert_eq!(self.values[value.0].precision, Precision::F32, "inputs have 32 bits");
        self.feedback.push((value, input));
    }

    /// The shape of a value.
    pub fn shape(&self, id: ValueId) -> &Shape {
        &self.values[id.0].shape
    }

    /// The computed value of this name.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.values.iter().rposition(|v| v.name == name && matches!(v.source, Source::Op { .. })).map(ValueId)
    }

    /// The same graph in which what follows from nothing but the inputs of these names, and constants, is no longer
    /// computed, but parts of an input `name`: what is the same for every x need not be computed with it. The parts are those
    /// of [`Graph::conditions`], each where [`parts`] says.
    ///
    /// # Errors
    /// When the input would be larger than [`LARGEST`].
    pub(crate) fn cut(&self, given: &[&str], name: &str) -> Result<Graph> {
        let follows = self.follows(given);
        let conditions = self.conditions(given);
        let Some(&first) = conditions.first() else { return Ok(self.clone()) };
        let (offsets, end) = parts(conditions.iter().map(|&id| self.shape(id).len()));
        let mut cut = Graph::new();
        let shape = Shape::new(&[end]);
        check_size(name, &shape)?;
        let input = cut.push(name, shape, self.values[first.0].precision, Source::Input);
        let mut ids = ValueMap::new();
        for (index, value) in self.values.iter().enumerate() {
            let id = ValueId(index);
            let part = conditions.iter().position(|&condition| condition == id);
            let source = match (part, &value.source) {
                (Some(part), _) => Source::Part { of: input, first: offsets[part] },
                (None, Source::Op { .. }) if follows.contains(id) => continue,
                (None, Source::Input) if follows.contains(id) && !self.is_read(id, &follows) => continue,
                (None, Source::Op { op, inputs }) => {
                    Source::Op { op: op.clone(), inputs: inputs.iter().map(|&id| ids[id]).collect() }
                }
                (None, other) => other.clone(),
            };
            ids.insert(id, cut.push(&value.name, value.shape.clone(), value.precision, source));
        }
        cut.outputs = self.outputs.iter().map(|(name, id)| (name.clone(), ids[*id])).collect();
        cut.feedback = self.feedback.iter().map(|&(from, to)| (ids[from], ids[to])).collect();
        Ok(cut)
    }

    /// The values that follow from nothing but the inputs of these names, and constants, and that others read.
    pub(crate) fn conditions(&self, given: &[&str]) -> Vec<ValueId> {
        let follows = self.follows(given);
        let computed = |&id: &ValueId| matches!(self.values[id.0].source, Source::Op { .. });
        let ids = (0..self.values.len()).map(ValueId).filter(|&id| follows.contains(id)).filter(computed);
        ids.filter(|&id| self.is_read(id, &follows)).collect()
    }

    /// Whether a value outside `follows` is computed from this one.
    fn is_read(&self, id: ValueId, follows: &ValueSet) -> bool {
        self.values.iter().enumerate().any(|(index, value)| match &value.source {
            Source::Op { inputs, .. } => !follows.contains(ValueId(index)) && inputs.contains(&id),
            _ => false,
        })
    }

    /// The inputs of these names, and what follows from them and constants alone.
    fn follows(&self, given: &[&str]) -> ValueSet {
        let mut follows = ValueSet::new();
        let constant = |id: &ValueId| matches!(self.values[id.0].source, Source::Constant(_));
        for (index, value) in self.values.iter().enumerate() {
            let holds = match &value.source {
                Source::Input => given.contains(&value.name.as_str()),
                Source::Op { inputs, .. } => {
                    inputs.iter().all(|id| follows.contains(*id) || constant(id)) && !inputs.iter().all(constant)
                }
                _ => false,
            };
            if holds {
                follows.insert(ValueId(index), ());
            }
        }
        follows
    }

    pub(crate) fn push(&mut self, name: &str, shape: Shape, precision: Precision, source: Source) -> ValueId {
        self.values.push(Value { name: name.to_string(), shape, precision, source });
        ValueId(self.values.len() - 1)
    }

    /// The input or the constant of this name.
    pub fn given(&self, name: &str) -> Option<ValueId> {
        let given = |source: &Source| matches!(source, Source::Input | Source::Constant(_));
        self.values.iter().position(|value| value.name == name && given(&value.source)).map(ValueId)
    }
}
