//! Values of the forward pass that are computed a second time, where the backward pass needs them, instead of being kept.
//!
//! In training every value that a gradient reads would be kept from the forward pass to there, and that is most of the memory.
//! What is computed again is the same op on the same inputs, so it has the same bits.

use std::any::Any;

use serde::{Deserialize, Serialize};

use crate::graph::{Graph, Op, Source, ValueId, ValueMap, ValueSet};
use crate::op::{Add, Concat, FusedConv2d, SumSplits};
use crate::plan::{Plan, fixed_values};
use crate::{Error, Result};

/// What of the forward pass is computed a second time instead of being kept.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify))]
pub enum Recompute {
    /// Nothing: every value that a gradient reads is kept.
    Nothing,
    /// What takes no more than a pass over memory, as activations, norms, concatenations and upsamplings do: every op without a
    /// matrix product.
    #[default]
    Cheap,
    /// All but the ends of blocks: sums of a residual connection, and what skip connections carry. It takes up to a third more
    /// arithmetic (Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost; `torch.utils.checkpoint`).
    Blocks,
}

/// `graph`, which computes the output `loss` and after it gradients of it, in which values of the forward pass are computed a
/// second time instead of being kept; `graph` as it is where that would not take less memory.
///
/// It comes after [`fuse`](super::fuse): what a convolution computes while it loads is not kept for it.
///
/// # Errors
/// When there is no such output.
pub fn recompute(graph: &Graph, loss: &str, what: Recompute) -> Result<Graph> {
    let found = graph.outputs.iter().find(|(name, _)| name == loss);
    let &(_, loss) = found.ok_or_else(|| Error::Settings(format!("The graph has no output {loss}.")))?;
    let mut again = match what {
        Recompute::Nothing => return Ok(graph.clone()),
        Recompute::Cheap | Recompute::Blocks => cheap(graph, loss),
    };
    if what == Recompute::Blocks {
        within_blocks(graph, loss, &mut again);
    }
    let made = Rebuilder {
        graph,
        loss,
        again,
        made: Graph::new(),
        ids: ValueMap::new(),
        second: ValueMap::new(),
        replaced: false,
    }
    .rebuild();
    let is_smaller = Plan::new(&made).bytes() < Plan::new(graph).bytes();
    Ok(if is_smaller { made } else { graph.clone() })
}

/// The op that computes a value, by its first output.
fn first_output(graph: &Graph, id: ValueId) -> Option<ValueId> {
    match graph.values[id.0].source {
        Source::Op { .. } => Some(id),
        Source::Further { of } => Some(of),
        _ => None,
    }
}

/// The ops before the loss, the last first: their first output, all outputs, what computes them, and from what.
fn forward(graph: &Graph, loss: ValueId) -> impl Iterator<Item = (ValueId, Vec<ValueId>, &dyn Op, &[ValueId])> {
    (0..=loss.0).rev().map(ValueId).filter_map(|id| match &graph.values[id.0].source {
        Source::Op { op, inputs } => {
            Some((id, [id].into_iter().chain(graph.further_outputs(id)).collect(), op.as_ref(), &inputs[..]))
        }
        _ => None,
    })
}

/// The ops that are to be computed again because that costs no more than a pass over memory, and they take more of it than
/// what has to be kept instead.
fn cheap(graph: &Graph, loss: ValueId) -> ValueSet {
    let bytes = |id: ValueId| graph.values[id.0].precision.bytes() * graph.shape(id).len();
    // What comes after the loss needs: these values are kept, unless they are computed again.
    let mut needed = ValueSet::new();
    for value in &graph.values[loss.0 + 1..] {
        if let Source::Op { inputs, .. } = &value.source {
            inputs.iter().filter(|&&id| id <= loss).for_each(|&id| needed.insert(id, ()));
        }
    }
    // What the forward pass itself reads. The rest, say a norm that a convolution does for itself while it loads, has no reader
    // left where it was once the backward pass computes it again, and a plan leaves it out there: it is computed once.
    let mut read = ValueSet::new();
    graph.outputs.iter().for_each(|&(_, id)| read.insert(id, ()));
    for (_, outputs, _, inputs) in forward(graph, loss) {
        if outputs.iter().any(|&id| read.contains(id)) {
            inputs.iter().for_each(|&id| read.insert(id, ()));
        }
    }
    let fixed = fixed_values(graph);
    let mut again = ValueSet::new();
    for (id, outputs, op, inputs) in forward(graph, loss) {
        let kept = outputs.iter().filter(|&&id| needed.contains(id)).map(|&id| bytes(id)).sum::<usize>();
        let others = inputs.iter().filter(|&&id| first_output(graph, id).is_some() && !needed.contains(id));
        let instead: usize = others.map(|&id| bytes(id)).sum();
        let shapes: Vec<_> = inputs.iter().map(|&id| graph.shape(id)).collect();
        let costs_no_more = op.macs(&shapes, graph.shape(id)) == 0 || !outputs.iter().any(|&id| read.contains(id));
        if costs_no_more && instead < kept && !fixed.contains(id) {
            again.insert(id, ());
            inputs.iter().for_each(|&id| needed.insert(id, ()));
        }
    }
    again
}

/// Adds the ops of all blocks but their last ones to those that are to be computed again.
fn within_blocks(graph: &Graph, loss: ValueId, again: &mut ValueSet) {
    let mut ends = ValueSet::new();
    for (id, _, op, inputs) in forward(graph, loss) {
        if (op as &dyn Any).is::<Concat>() {
            inputs.iter().filter_map(|&id| first_output(graph, id)).for_each(|id| ends.insert(id, ()));
        } else if is_residual(graph, op, inputs) {
            ends.insert(id, ());
        }
    }
    let fixed = fixed_values(graph);
    // What comes after the last block would be computed again at once.
    let inner = forward(graph, loss).skip_while(|&(id, ..)| !ends.contains(id));
    inner.filter(|&(id, ..)| !ends.contains(id) && !fixed.contains(id)).for_each(|(id, ..)| again.insert(id, ()));
}

/// Whether an op adds images to images: the last one of a residual block.
fn is_residual(graph: &Graph, op: &dyn Op, inputs: &[ValueId]) -> bool {
    let op = op as &dyn Any;
    if let Some(op) = op.downcast_ref::<FusedConv2d>() {
        op.splits == 1 && (op.residual || op.shortcut > 0)
    } else if let Some(op) = op.downcast_ref::<SumSplits>() {
        let parts = match &graph.values[inputs[0].0].source {
            Source::Op { op, .. } => (op.as_ref() as &dyn Any).downcast_ref::<FusedConv2d>(),
            _ => None,
        };
        op.residual || parts.is_some_and(|parts| parts.shortcut > 0)
    } else {
        op.is::<Add>() && inputs.iter().all(|&id| graph.shape(id).dims().len() == 4)
    }
}

/// A graph that is made anew, with some ops of the forward pass a second time after the loss.
struct Rebuilder<'a> {
    graph: &'a Graph,
    loss: ValueId,
    /// The ops that are to be computed again, by their first outputs.
    again: ValueSet,
    made: Graph,
    /// Values in the new graph.
    ids: ValueMap<ValueId>,
    /// Those that are computed again.
    second: ValueMap<ValueId>,
    /// Whether parameters were replaced by now: what is computed again must read those that it read the first time.
    replaced: bool,
}

impl Rebuilder<'_> {
    /// Values that only the backward pass reads are still computed where they were, but a plan leaves out what nobody needs.
    fn rebuild(mut self) -> Graph {
        let graph = self.graph;
        for (index, value) in graph.values.iter().enumerate() {
            let source = match &value.source {
                Source::Op { op, inputs } => {
                    let late = index > self.loss.0;
                    let inputs = inputs.iter().map(|&id| if late { self.late(id) } else { self.ids[id] }).collect();
                    Source::Op { op: op.clone(), inputs }
                }
                Source::Range { of, first } => Source::Range { of: self.ids[*of], first: *first },
                Source::Further { of } => Source::Further { of: self.ids[*of] },
                Source::Assembled(parts) => {
                    Source::Assembled(parts.iter().map(|&(part, first)| (self.ids[part], first)).collect())
                }
                Source::Input | Source::Constant(_) | Source::State(_) => value.source.clone(),
            };
            self.replaced |= matches!(&value.source, Source::Op { op, .. } if op.replaces() > 0);
            let id = self.push(ValueId(index), source);
            self.ids.insert(ValueId(index), id);
        }
        self.made.outputs = graph.outputs.iter().map(|(name, id)| (name.clone(), self.ids[*id])).collect();
        self.made.feedback = graph.feedback.iter().map(|&(from, to)| (self.ids[from], self.ids[to])).collect();
        self.made
    }

    fn push(&mut self, like: ValueId, source: Source) -> ValueId {
        let value = &self.graph.values[like.0];
        self.made.push(&value.name, value.shape.clone(), value.precision, source)
    }

    /// A value as the backward pass reads it: what it needs of it is computed before its first reader.
    fn late(&mut self, id: ValueId) -> ValueId {
        let graph = self.graph;
        let Some(first) = first_output(graph, id).filter(|&first| self.again.contains(first)) else {
            return self.ids[id];
        };
        if let (false, Source::Op { op, inputs }) = (self.second.contains(first), &graph.values[first.0].source) {
            assert!(!self.replaced, "{} is needed again after parameters were replaced", graph.values[first.0].name);
            let inputs = inputs.iter().map(|&id| self.late(id)).collect();
            let new = self.push(first, Source::Op { op: op.clone(), inputs });
            self.second.insert(first, new);
            for further in graph.further_outputs(first) {
                let id = self.push(further, Source::Further { of: new });
                self.second.insert(further, id);
            }
        }
        self.second[id]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shape;
    use crate::op::{Activation, Conv2d, MeanSquareError, Sum};
    use crate::passes::gradient;

    /// A network of three convolutions with an activation between them, its loss, and its gradients by their weights.
    fn graph() -> Graph {
        let mut graph = Graph::new();
        let shape = Shape::new(&[2, 8, 8, 4]);
        let x = graph.input("x", shape.clone()).unwrap();
        let target = graph.input("target", shape).unwrap();
        let counts = graph.input("weights", Shape::new(&[2])).unwrap();
        let mut value = x;
        let mut weights = Vec::new();
        for layer in ["first", "second", "third"] {
            let weight = graph.input(&format!("{layer}.weight"), Shape::new(&[3, 3, 4, 4])).unwrap();
            let bias = graph.input(&format!("{layer}.bias"), Shape::new(&[4])).unwrap();
            let sum = graph.op(layer, Conv2d::SAME, &[value, weight, bias]).unwrap();
            value = graph.op(&format!("{layer}.act"), Activation::Silu, &[sum]).unwrap();
            weights.push(weight);
        }
        let losses = graph.op("losses", MeanSquareError, &[value, target, counts]).unwrap();
        let loss = graph.op("loss", Sum::mean(2), &[losses]).unwrap();
        graph.output("loss", loss);
        for (i, by) in gradient(&mut graph, loss, &weights).unwrap().into_iter().enumerate() {
            graph.output(&i.to_string(), by);
        }
        graph
    }

    #[test]
    fn an_activation_is_computed_again_before_what_reads_it() {
        let graph = graph();
        let plans =
            [Recompute::Nothing, Recompute::Cheap].map(|what| Plan::new(&recompute(&graph, "loss", what).unwrap()));
        let [kept, again] = plans.each_ref().map(|plan| {
            let names: Vec<&str> = plan.steps.iter().map(|step| &step.name[..]).collect();
            names
        });
        let count = |names: &[&str], name: &str| names.iter().filter(|&&other| other == name).count();
        for (name, times) in [("first", 1), ("first.act", 2), ("second.act", 2), ("third.act", 2)] {
            assert_eq!((count(&kept, name), count(&again, name)), (1, times), "{name}");
        }
        // Not at the beginning of the backward pass, but where the gradient by the weight after it is computed.
        let at = again.iter().rposition(|&name| name == "first.act").unwrap();
        assert!(again[at + 1].starts_with("second.gradient"), "{again:?}");
        assert!(plans[1].bytes() < plans[0].bytes());
    }

    #[test]
    fn a_loss_that_is_no_output_is_an_error() {
        let error = recompute(&graph(), "losses", Recompute::Cheap).unwrap_err().to_string();
        assert_eq!(error, "The graph has no output losses.");
    }
}
