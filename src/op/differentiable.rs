//! Which ops have a gradient, and what it is made of.

use std::any::Any;

use super::*;
use crate::Result;
use crate::graph::{Graph, ValueId};

/// An op that has a gradient. It is a trait of its own, and the ops that have it are a list, so that a module that never
/// differentiates, as that of the page, is made without them.
pub trait Differentiable: Op {
    /// Appends to `graph` what computes the gradients of a loss by the inputs from that by the output. Returns one value
    /// an input: its gradient, of its shape, if it is wanted; `None` where none is wanted or none follows, as for a label.
    ///
    /// # Errors
    /// When the inputs are such that there is none.
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>>;
}

macro_rules! differentiable {
    ($($op:ident),* $(,)?) => {
        /// The op as one that has a gradient, if it has.
        pub(crate) fn differentiable(op: &dyn Op) -> Option<&dyn Differentiable> {
            let op: &dyn Any = op;
            $(if let Some(op) = op.downcast_ref::<$op>() {
                return Some(op);
            })*
            None
        }
    };
}

differentiable! {
    Activation,
    Add,
    Affine,
    Attention,
    AttentionScores,
    AttentionValues,
    Concat,
    Conv2d,
    CrossEntropy,
    Divide,
    Dropout,
    Embedding,
    GroupNorm,
    Linear,
    MeanSquareError,
    Mix,
    MixTokens,
    Modulate,
    Moments,
    Narrow,
    Repeat,
    ScaleShift,
    Slice,
    Softmax,
    Spread,
    Sum,
    TimestepEmbedding,
    Upfirdn2d,
    Upsample,
    VariationalBound,
    Widen,
}

/// What the gradient of an op is made of.
#[derive(Clone, Copy, Debug)]
pub struct Backward<'a> {
    /// The name of the op's value. What is appended is named after it.
    pub name: &'a str,
    /// The op's inputs.
    pub inputs: &'a [ValueId],
    /// Its output.
    pub output: ValueId,
    /// The gradient of the loss by the output, of the output's shape.
    pub gradient: ValueId,
    /// Which inputs the gradient is wanted by.
    pub wanted: &'a [bool],
}

impl Backward<'_> {
    /// What `append` appends for each input that is wanted. It is given the graph, the number of the input and the name of
    /// its gradient.
    pub(crate) fn each(
        &self,
        graph: &mut Graph,
        append: impl Fn(&mut Graph, usize, &str) -> Result<ValueId>,
    ) -> Result<Vec<Option<ValueId>>> {
        let of_input = |(i, &wanted): (usize, &bool)| {
            wanted.then(|| append(graph, i, &format!("{}.gradient.{i}", self.name))).transpose()
        };
        // The last inputs are parameters. Their gradients come first: what only these read, an activation of the forward pass,
        // has then been read for the last time, and the gradient by it can take its memory.
        let mut gradients: Vec<_> = self.wanted.iter().enumerate().rev().map(of_input).collect::<Result<_>>()?;
        gradients.reverse();
        Ok(gradients)
    }
}
