//! How a graph is computed: which operations in which order, and which memory each value lives in.
//!
//! A plan knows no device. Both backends run the same one.

use std::collections::HashMap;
use std::rc::Rc;

use crate::graph::{Graph, Source, Value, ValueId, ValueMap, ValueSet};
use crate::numbers::Numbers;
use crate::op::{Kernel, Op};
use crate::{Error, Precision, Result, Shape};

/// Where a value of a plan lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In [`Plan::constants`].
    Constant(usize),
    /// In [`Plan::slots`].
    Slot(usize),
}

/// A value of a plan: how it lies, and where.
#[derive(Clone, Debug)]
pub struct Operand {
    /// Channels last, unpadded.
    pub shape: Shape,
    /// Of its numbers.
    pub precision: Precision,
    /// Its memory.
    pub place: Place,
    /// Where it begins there, in numbers: a part of an input does not begin at its start.
    pub first: usize,
}

impl Operand {
    /// How many bytes of its memory it takes.
    pub fn bytes(&self) -> usize {
        bytes(&self.shape, self.precision)
    }

    /// The slot it lives in, if it is not a constant.
    pub fn slot(&self) -> Option<usize> {
        match self.place {
            Place::Slot(slot) => Some(slot),
            Place::Constant(_) => None,
        }
    }
}

/// How many bytes a value takes.
fn bytes(shape: &Shape, precision: Precision) -> usize {
    precision.bytes() * shape.len()
}

/// A value that never changes.
#[derive(Clone, Debug)]
pub struct Constant {
    /// The path it has in the checkpoint, or what the network calls it.
    pub name: String,
    /// In which a GPU holds it.
    pub precision: Precision,
    /// How many numbers it is.
    pub len: usize,
    /// In device layout.
    pub numbers: Numbers,
}

impl Constant {
    /// How many bytes it takes on a GPU.
    pub fn bytes(&self) -> usize {
        self.precision.bytes() * self.len
    }

    /// Its numbers, if they are known by now.
    pub(crate) fn known(&self) -> Option<Rc<[f32]>> {
        let numbers = self.numbers.get()?;
        assert_eq!(numbers.len(), self.len, "{} is in device layout", self.name);
        Some(numbers)
    }
}

/// One operation of a plan.
#[derive(Clone, Debug)]
pub struct Step {
    /// The path of the layer it belongs to.
    pub name: String,
    /// What is computed.
    pub op: Rc<dyn Op>,
    /// From what.
    pub inputs: Vec<Operand>,
    /// To where, one or several; slots, and never those of inputs.
    pub outputs: Vec<Operand>,
}

impl Step {
    /// The dispatch that computes it on the GPU.
    pub fn kernel(&self) -> Kernel {
        let mut kernel = self.op.kernel(&self.input_shapes(), &self.output().shape);
        if self.operands().any(|operand| operand.precision == Precision::F16) {
            kernel.precision = Precision::F16;
        }
        kernel
    }

    /// Multiply-adds it takes.
    pub fn macs(&self) -> u64 {
        self.op.macs(&self.input_shapes(), &self.output().shape)
    }

    /// Bytes that it reads and writes at least: every input once, and what it writes.
    pub fn bytes_moved(&self) -> u64 {
        self.operands().map(|operand| operand.bytes() as u64).sum()
    }

    /// The inputs and the outputs: what the shader's bindings are from 1 on.
    pub fn operands(&self) -> impl Iterator<Item = &Operand> {
        self.inputs.iter().chain(&self.outputs)
    }

    /// The output; of an op with several, the first.
    pub fn output(&self) -> &Operand {
        &self.outputs[0]
    }

    fn input_shapes(&self) -> Vec<&Shape> {
        self.inputs.iter().map(|input| &input.shape).collect()
    }
}

/// A graph in the order it is computed in, with memory for every value.
///
/// Values that are never needed at the same time share a slot. Inputs, outputs and what is fed back have a slot of
/// their own, so they hold between runs.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// What to compute, in order.
    pub steps: Vec<Step>,
    /// Values that never change.
    pub constants: Vec<Constant>,
    /// The length of each slot in bytes.
    pub slots: Vec<usize>,
    /// Values written from outside, by name.
    pub inputs: HashMap<String, Operand>,
    /// Values that can be read after a run, by name.
    pub outputs: HashMap<String, Operand>,
    /// At the end of a run, the slots to copy from and to, and how many `f32`s.
    pub feedback: Vec<(usize, usize, usize)>,
}

impl Plan {
    /// Plans what the graph's outputs and feedback need; nothing else is computed.
    pub fn new(graph: &Graph) -> Self {
        let mut kept = ValueSet::new();
        graph.outputs.iter().for_each(|&(_, id)| kept.insert(id, ()));
        graph.feedback.iter().flat_map(|&(value, input)| [value, input]).for_each(|id| kept.insert(id, ()));
        let last_use = last_uses(graph, &kept);

        let mut plan = Plan::default();
        let mut slots = Slots::default();
        let mut places: ValueMap<Place> = ValueMap::new();
        for (index, value) in graph.values.iter().enumerate() {
            let id = ValueId(index);
            if !last_use.contains(id) && !matches!(value.source, Source::Input) {
                continue;
            }
            let place = match &value.source {
                Source::Constant(numbers) => {
                    let (name, precision) = (value.name.clone(), value.precision);
                    let (len, numbers) = (value.shape.len(), numbers.clone());
                    plan.constants.push(Constant { name, precision, len, numbers });
                    Place::Constant(plan.constants.len() - 1)
                }
                Source::Input => Place::Slot(slots.dedicated(bytes(&value.shape, value.precision))),
                Source::Part { of, .. } => places[*of],
                Source::Op { .. } if kept.contains(id) => {
                    Place::Slot(slots.dedicated(bytes(&value.shape, value.precision)))
                }
                Source::Op { .. } => Place::Slot(slots.take(bytes(&value.shape, value.precision))),
                // Its place was taken with that of the first output.
                Source::Further { of } => {
                    if last_use[*of] == index {
                        release(&mut slots, places[*of]);
                    }
                    continue;
                }
            };
            places.insert(id, place);
            let operand = |id: ValueId| operand(graph, id, places[id]);
            if let Source::Input = value.source {
                plan.inputs.insert(value.name.clone(), operand(id));
            }
            if let Source::Op { op, inputs } = &value.source {
                for output in graph.further_outputs(id) {
                    let Value { shape, precision, .. } = &graph.values[output.0];
                    let bytes = bytes(shape, *precision);
                    let slot = if kept.contains(output) { slots.dedicated(bytes) } else { slots.take(bytes) };
                    places.insert(output, Place::Slot(slot));
                }
                let outputs: Vec<ValueId> = [id].into_iter().chain(graph.further_outputs(id)).collect();
                let operand = |id: &ValueId| self::operand(graph, *id, places[*id]);
                plan.steps.push(Step {
                    name: value.name.clone(),
                    op: op.clone(),
                    inputs: inputs.iter().map(operand).collect(),
                    outputs: outputs.iter().map(operand).collect(),
                });
                // What nobody reads is free at once.
                for written in outputs {
                    if !last_use.contains(written) {
                        release(&mut slots, places[written]);
                    }
                }
                // What this step was the last to read is free for the next one's output.
                for (i, &input) in inputs.iter().enumerate() {
                    if last_use[input] != index || inputs[..i].contains(&input) {
                        continue;
                    }
                    let computed = matches!(graph.values[input.0].source, Source::Op { .. } | Source::Further { .. });
                    if computed && !kept.contains(input) {
                        release(&mut slots, places[input]);
                    }
                }
            }
        }
        plan.slots = slots.lengths;
        let slot = |id: ValueId| match places[id] {
            Place::Slot(slot) => slot,
            Place::Constant(_) => unreachable!("feedback goes from a computed value to an input"),
        };
        plan.feedback =
            graph.feedback.iter().map(|&(value, input)| (slot(value), slot(input), graph.shape(value).len())).collect();
        plan.outputs =
            graph.outputs.iter().map(|(name, id)| (name.clone(), operand(graph, *id, places[*id]))).collect();
        plan
    }

    /// The input of this name.
    ///
    /// # Errors
    /// When the plan has none.
    pub fn input(&self, name: &str) -> Result<&Operand> {
        self.inputs.get(name).ok_or_else(|| Error::Settings(format!("The plan has no input {name}.")))
    }

    /// The output of this name.
    ///
    /// # Errors
    /// When the plan has none.
    pub fn output(&self, name: &str) -> Result<&Operand> {
        self.outputs.get(name).ok_or_else(|| Error::Settings(format!("The plan has no output {name}.")))
    }

    /// Bytes of all memory on a device: of the constants and of the slots.
    pub fn bytes(&self) -> u64 {
        let constants = self.constants.iter().map(Constant::bytes);
        constants.chain(self.slots.iter().copied()).map(|bytes| bytes as u64).sum()
    }

    /// Bytes that a run reads and writes if every step does so once: a GPU's caches rarely hold one step's values for the
    /// next.
    pub fn bytes_moved(&self) -> u64 {
        self.steps.iter().map(Step::bytes_moved).sum()
    }

    /// Checks that there is no constant, by its number, that is still awaited.
    pub(crate) fn check_known(&self, awaited: Option<usize>) -> Result<()> {
        let Some(index) = awaited else { return Ok(()) };
        let name = &self.constants[index].name;
        Err(Error::Weights(format!("has not arrived as far as {name}. Load all of it before the model is run.")))
    }

    /// In how many bits the network's activations and weights are kept.
    pub fn precision(&self) -> Precision {
        let half = |step: &Step| step.operands().any(|operand| operand.precision == Precision::F16);
        if self.steps.iter().any(half) { Precision::F16 } else { Precision::F32 }
    }

    /// Multiply-adds of one run.
    pub fn macs(&self) -> u64 {
        self.steps.iter().map(Step::macs).sum()
    }
}

/// Frees the slot of a value that is computed.
fn release(slots: &mut Slots, place: Place) {
    if let Place::Slot(slot) = place {
        slots.release(slot);
    }
}

/// A value of the graph, where it lives in the plan.
fn operand(graph: &Graph, id: ValueId, place: Place) -> Operand {
    let value = &graph.values[id.0];
    let first = match value.source {
        Source::Part { first, .. } => first,
        _ => 0,
    };
    Operand { shape: value.shape.clone(), precision: value.precision, place, first }
}

/// For every value that is needed, the index of the last value computed from it. A kept value is needed to the end.
fn last_uses(graph: &Graph, kept: &ValueSet) -> ValueMap<usize> {
    let mut last = ValueMap::new();
    for (index, value) in graph.values.iter().enumerate().rev() {
        let id = ValueId(index);
        if kept.contains(id) {
            last.insert(id, usize::MAX);
        } else if !last.contains(id) {
            continue;
        }
        let inputs = match &value.source {
            Source::Op { inputs, .. } => &inputs[..],
            Source::Further { of } => std::slice::from_ref(of),
            Source::Part { of, .. } => std::slice::from_ref(of),
            Source::Input | Source::Constant(_) => &[],
        };
        for &input in inputs {
            if !last.contains(input) {
                last.insert(input, index);
            }
        }
    }
    last
}

/// Hands out slots, reusing free ones. Lengths are in bytes.
#[derive(Default)]
struct Slots {
    lengths: Vec<usize>,
    free: Vec<usize>,
}

impl Slots {
    /// A slot that is never reused.
    fn dedicated(&mut self, len: usize) -> usize {
        self.lengths.push(len);
        self.lengths.len() - 1
    }

    /// The smallest free slot that is large enough; else the largest free one, made larger; else a new one.
    fn take(&mut self, len: usize) -> usize {
        let fits = |&slot: &usize| self.lengths[slot] >= len;
        let best = self.free.iter().copied().filter(fits).min_by_key(|&slot| self.lengths[slot]);
        let Some(slot) = best.or_else(|| self.free.iter().copied().max_by_key(|&slot| self.lengths[slot])) else {
            return self.dedicated(len);
        };
        self.free.retain(|&free| free != slot);
        self.lengths[slot] = self.lengths[slot].max(len);
        slot
    }

    fn release(&mut self, slot: usize) {
        self.free.push(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Activation, Add, Affine, Moments, Narrow, Widen};

    /// x → silu → silu → silu, and the first added to the last.
    fn chain() -> Graph {
        let mut graph = Graph::new();
        let x = graph.input("x", Shape::new(&[2, 3])).unwrap();
        let a = graph.op("a", Activation::Silu, &[x]).unwrap();
        let b = graph.op("b", Activation::Silu, &[a]).unwrap();
        let c = graph.op("c", Activation::Silu, &[b]).unwrap();
        graph.op("unused", Activation::Silu, &[c]).unwrap();
        let d = graph.op("d", Add::PLAIN, &[a, c]).unwrap();
        graph.output("d", d);
        graph.feedback(d, x);
        graph
    }

    #[test]
    fn only_what_is_needed_is_computed() {
        let names: Vec<_> = Plan::new(&chain()).steps.into_iter().map(|step| step.name).collect();
        assert_eq!(names, ["a", "b", "c", "d"]);
    }

    /// Replays a plan with names in place of numbers: every input must hold the value that the graph says.
    fn replay(graph: &Graph) {
        let plan = Plan::new(graph);
        let mut held: Vec<Option<&str>> = vec![None; plan.slots.len()];
        for (name, operand) in &plan.inputs {
            let Place::Slot(slot) = operand.place else { panic!("{name} lives in a slot") };
            held[slot] = Some(name);
        }
        for step in &plan.steps {
            let value = graph.values.iter().find(|value| value.name == step.name).unwrap();
            let Source::Op { inputs, .. } = &value.source else { panic!("{} is computed", step.name) };
            let Place::Slot(target) = step.output().place else { panic!("{} lives in a slot", step.name) };
            for (id, operand) in inputs.iter().zip(&step.inputs) {
                assert_ne!(operand.place, step.output().place, "{} is computed in place", step.name);
                let Place::Slot(slot) = operand.place else { panic!("this graph has no constants") };
                assert_eq!(held[slot], Some(graph.values[id.0].name.as_str()), "an input of {}", step.name);
                assert!(plan.slots[slot] >= operand.bytes());
            }
            assert!(plan.slots[target] >= step.output().bytes());
            held[target] = Some(&step.name);
        }
        for (name, operand) in &plan.outputs {
            let Place::Slot(slot) = operand.place else { panic!("{name} lives in a slot") };
            assert_eq!(held[slot], Some(name.as_str()));
        }
    }

    #[test]
    fn every_step_finds_the_values_it_needs() {
        replay(&chain());
        // Graphs of many shapes of sharing: each value is the sum of two earlier ones, chosen by a small generator.
        for seed in 0..50_usize {
            let mut random = seed * 7919 + 1;
            let mut below = |n: usize| {
                random = (random * 1_103_515_245 + 12_345) % 2_147_483_648;
                random / 65_536 % n
            };
            let mut graph = Graph::new();
            let mut values = vec![graph.input("x", Shape::new(&[1, 4])).unwrap()];
            for i in 0..40 {
                let inputs = [values[below(values.len())], values[values.len() - 1 - below(values.len().min(4))]];
                values.push(graph.op(&i.to_string(), Add::PLAIN, &inputs).unwrap());
            }
            graph.output("39", values[40]);
            graph.output("20", values[21]);
            replay(&graph);
        }
    }

    #[test]
    fn values_of_16_bits_take_half_the_memory_and_share_it_with_others() {
        let mut graph = Graph::new();
        let x = graph.input("x", Shape::new(&[1, 8, 8, 4])).unwrap();
        let narrow = graph.op("narrow", Narrow, &[x]).unwrap();
        let a = graph.op("a", Activation::Silu, &[narrow]).unwrap();
        let moments = graph.op("moments", Moments, &[a]).unwrap();
        let wide = graph.op("wide", Widen, &[a]).unwrap();
        let y = graph.op("y", Affine { scale: 2.0, offset: -1.0 }, &[wide]).unwrap();
        graph.output("moments", moments);
        graph.output("y", y);
        replay(&graph);
        let plan = Plan::new(&graph);
        assert_eq!(plan.precision(), Precision::F16);
        let bytes: Vec<usize> = plan.steps.iter().map(|step| step.output().bytes()).collect();
        assert_eq!(bytes, [512, 512, 32, 1024, 1024], "moments and what leaves the network have 32 bits");
        let mut slots = plan.slots.clone();
        slots.sort_unstable();
        assert_eq!(slots, [32, 512, 1024, 1024, 1024], "what was narrow lives where wide will");
        // What is of 32 bits is not taken for an activation.
        let error = graph.op("wrong", Add::PLAIN, &[a, x]).unwrap_err().to_string();
        assert_eq!(error, "wrong (add): expected x in F16, found F32");
    }

    #[test]
    fn slots_are_shared() {
        // x and d keep theirs; a lives to the end; b and c alternate.
        assert_eq!(Plan::new(&chain()).slots.len(), 5);
        let mut graph = Graph::new();
        let mut value = graph.input("x", Shape::new(&[1, 8])).unwrap();
        for i in 0..10 {
            value = graph.op(&i.to_string(), Activation::Silu, &[value]).unwrap();
        }
        graph.output("y", value);
        assert_eq!(Plan::new(&graph).slots.len(), 4, "the input, the output and two that alternate");
    }
}
