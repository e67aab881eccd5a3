//! What is computed: a list of operations on values, without a device or a buffer.

mod op;

pub use op::{Kernel, Op, View, ViewMut};

use std::rc::Rc;

use crate::state::State;
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
    /// The same in every run of every plan, in device layout.
    Constant(Rc<[f32]>),
    /// What devices hold for all plans: a network's parameters.
    State(Rc<State>),
    /// Computed from other values.
    Op { op: Rc<dyn Op>, inputs: Vec<ValueId> },
    /// Another output of the op that computes `of`, where it is the first: the values after that are these, in order.
    Further { of: ValueId },
    /// The numbers of an input or a state from `first` on.
    Range { of: ValueId, first: usize },
    /// Computed values side by side, each from a number on, with zeros between them. Nothing is copied: they are computed
    /// where they are to be.
    Assembled(Vec<(ValueId, usize)>),
}

impl Source {
    /// Whether the value is computed from, or a part of, this other one.
    pub(crate) fn reads(&self, other: ValueId) -> bool {
        match self {
            Source::Input | Source::Constant(_) | Source::State(_) => false,
            Source::Op { inputs, .. } => inputs.contains(&other),
            Source::Further { of } | Source::Range { of, .. } => *of == other,
            Source::Assembled(parts) => parts.iter().any(|(part, _)| *part == other),
        }
    }
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

    /// A value that never changes, in device layout and `f32`.
    pub fn constant(&mut self, name: &str, constant: (Shape, Vec<f32>)) -> ValueId {
        self.weight(name, Precision::F32, constant)
    }

    /// A weight that never changes, in device layout. What is computed with it has its precision.
    pub fn weight(&mut self, name: &str, precision: Precision, (shape, numbers): (Shape, Vec<f32>)) -> ValueId {
        assert_eq!(numbers.len(), shape.len(), "{name} is in device layout");
        self.push(name, shape, precision, Source::Constant(numbers.into()))
    }

    /// The range of `state` that begins at `first`, in device layout: a parameter. However often it is asked for, it is one
    /// value.
    pub(crate) fn parameter(
        &mut self,
        name: &str,
        precision: Precision,
        shape: Shape,
        (state, first): (&Rc<State>, usize),
    ) -> ValueId {
        let of = self.state(state, precision);
        let same = |value: &Value| {
            matches!(value.source, Source::Range { of: other, first: at } if (other, at) == (of, first))
                && value.shape == shape
        };
        match self.values.iter().position(same) {
            Some(index) => ValueId(index),
            None => self.push(name, shape, precision, Source::Range { of, first }),
        }
    }

    /// All of a state.
    pub(crate) fn state(&mut self, state: &Rc<State>, precision: Precision) -> ValueId {
        let same = |value: &Value| {
            value.precision == precision && matches!(&value.source, Source::State(other) if Rc::ptr_eq(other, state))
        };
        match self.values.iter().position(same) {
            Some(index) => ValueId(index),
            None => self.push(state.name(), Shape::new(&[state.size()]), precision, Source::State(state.clone())),
        }
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

    /// Computed values in one, `[len]`, each from a number on, with zeros between them. Nothing else may read them, and each has
    /// an op of its own that computes all of it ([`Graph::is_placeable`]).
    ///
    /// # Errors
    /// When it would be larger than [`LARGEST`].
    pub(crate) fn place(&mut self, name: &str, len: usize, parts: Vec<(ValueId, usize)>) -> Result<ValueId> {
        let shape = Shape::new(&[len]);
        check_size(name, &shape)?;
        Ok(self.push(name, shape, Precision::F32, Source::Assembled(parts)))
    }

    /// Whether a value can be computed where it lies in another: an op computes it, and nothing reads it yet.
    pub(crate) fn is_placeable(&self, value: ValueId) -> bool {
        let computed = matches!(&self.values[value.0].source, Source::Op { op, .. } if op.replaces() == 0);
        computed && !self.values.iter().any(|other| other.source.reads(value))
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

    pub(crate) fn push(&mut self, name: &str, shape: Shape, precision: Precision, source: Source) -> ValueId {
        self.values.push(Value { name: name.to_string(), shape, precision, source });
        ValueId(self.values.len() - 1)
    }

    /// The input, the constant or the state of this name.
    pub fn given(&self, name: &str) -> Option<ValueId> {
        let given = |source: &Source| matches!(source, Source::Input | Source::Constant(_) | Source::State(_));
        self.values.iter().position(|value| value.name == name && given(&value.source)).map(ValueId)
    }
}
