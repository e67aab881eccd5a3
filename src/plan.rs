//! How a graph is computed: which operations in which order, and which memory each value lives in.
//!
//! A plan knows no device. Both backends run the same one.

mod memory;

use std::collections::HashMap;
use std::rc::Rc;

use crate::graph::{Graph, Kernel, Op, Source, Value, ValueId, ValueMap, ValueSet};
use crate::state::State;
use crate::{Error, Precision, Result, Shape};

pub(crate) use memory::fixed_values;
use memory::{Room, changed_states, homes, last_uses, slots};

/// Where a value of a plan lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In [`Plan::constants`].
    Constant(usize),
    /// In [`Plan::states`].
    State(usize),
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
    /// Where it begins there, in numbers: a range of an input or a state, and a part of what is assembled,
    /// need not begin at its start.
    pub first: usize,
}

impl Operand {
    /// How many bytes of its memory it takes.
    pub fn bytes(&self) -> usize {
        bytes(&self.shape, self.precision)
    }

    /// The slot it lives in, if it lives in one.
    pub fn slot(&self) -> Option<usize> {
        match self.place {
            Place::Slot(slot) => Some(slot),
            Place::Constant(_) | Place::State(_) => None,
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
    /// What the network calls it.
    pub name: String,
    /// In which a GPU holds it.
    pub precision: Precision,
    /// In device layout.
    pub numbers: Rc<[f32]>,
}

impl Constant {
    /// How many bytes it takes on a GPU.
    pub fn bytes(&self) -> usize {
        self.precision.bytes() * self.numbers.len()
    }
}

/// A state that a plan reads or changes.
#[derive(Clone, Debug)]
pub struct StateInUse {
    /// The state.
    pub state: Rc<State>,
    /// In which a GPU holds it for this plan.
    pub precision: Precision,
    /// The ranges that are read, by their numbers; all of them where the plan changes it.
    pub ranges: Vec<usize>,
    /// Whether the plan changes it.
    pub changes: bool,
}

impl StateInUse {
    /// How many bytes it takes on a GPU.
    pub fn bytes(&self) -> usize {
        self.precision.bytes() * self.state.size()
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
    /// To where, one or several, but never where an input is. Those that replace inputs ([`Op::replaces`]) are where these
    /// were, which are then not among the inputs.
    pub outputs: Vec<Operand>,
}

impl Step {
    /// The dispatch that computes it on the GPU.
    pub fn kernel(&self) -> Kernel {
        let mut kernel = self.op.kernel(&self.given_shapes(), &self.output().shape);
        if self.operands().any(|operand| operand.precision == Precision::F16) {
            kernel.precision = Precision::F16;
        }
        kernel
    }

    /// Multiply-adds it takes.
    pub fn macs(&self) -> u64 {
        self.op.macs(&self.given_shapes(), &self.output().shape)
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

    /// The shapes of all that the op is given, what it replaces included.
    pub(crate) fn given_shapes(&self) -> Vec<&Shape> {
        let replaced = &self.outputs[self.outputs.len() - self.op.replaces()..];
        self.inputs.iter().chain(replaced).map(|operand| &operand.shape).collect()
    }
}

/// What a run does, one after another.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// Copies this run's row of every table to its input.
    TakeRows,
    /// Computes all steps in order.
    Compute,
    /// Copies numbers from one slot to another, for the next run.
    FeedBack {
        /// From which slot.
        from: usize,
        /// To which.
        to: usize,
        /// How many `f32`s.
        len: usize,
    },
    /// Reads a value that whoever runs the plan wants to see.
    Read(&'a Operand),
}

/// A graph in the order it is computed in, with memory for every value.
///
/// Values that are never needed at the same time share a slot. Inputs, outputs and what is fed back have a slot of
/// their own, so they hold between runs.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// What to compute in every run, in order.
    pub steps: Vec<Step>,
    /// What follows from states and constants alone: to be computed before the first run, and again when a state has
    /// changed.
    pub preparation: Vec<Step>,
    /// What it needs of what devices hold for all plans.
    pub states: Vec<StateInUse>,
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
    /// Plans what the graph's outputs and feedback need, and what changes states; nothing else is computed.
    pub fn new(graph: &Graph) -> Self {
        let mut kept = ValueSet::new();
        graph.outputs.iter().for_each(|&(_, id)| kept.insert(id, ()));
        graph.feedback.iter().flat_map(|&(value, input)| [value, input]).for_each(|id| kept.insert(id, ()));
        let changed = changed_states(graph);
        let fixed = fixed_values(graph);
        let last_use = last_uses(graph, &kept);
        let homes = homes(graph);

        let mut plan = Plan::default();
        let mut rooms = Vec::new();
        let mut places: ValueMap<(Place, usize)> = ValueMap::new();
        for (index, value) in graph.values.iter().enumerate() {
            let id = ValueId(index);
            if !last_use.contains(id) && !matches!(value.source, Source::Input) {
                continue;
            }
            // What is written from outside, or computed once, keeps its slot too.
            let is_input = |id: ValueId| matches!(graph.values[id.0].source, Source::Input);
            let keeps = |id: ValueId| kept.contains(id) || is_input(id) || fixed.contains(id) || homes.contains(id);
            let mut take = |id: ValueId| {
                let Value { shape, precision, .. } = &graph.values[id.0];
                let from = if keeps(id) { 0 } else { index };
                // To the end, unless it is released.
                rooms.push(Room { bytes: bytes(shape, *precision), from, until: usize::MAX });
                Place::Slot(rooms.len() - 1)
            };
            match &value.source {
                Source::Constant(numbers) => {
                    let (name, precision, numbers) = (value.name.clone(), value.precision, numbers.clone());
                    plan.constants.push(Constant { name, precision, numbers });
                    places.insert(id, (Place::Constant(plan.constants.len() - 1), 0));
                }
                Source::State(state) => {
                    let changes = changed.contains(id);
                    let ranges = if changes { (0..state.ranges().len()).collect() } else { Vec::new() };
                    plan.states.push(StateInUse { state: state.clone(), precision: value.precision, ranges, changes });
                    places.insert(id, (Place::State(plan.states.len() - 1), 0));
                }
                Source::Input => {
                    places.insert(id, (take(id), 0));
                    plan.inputs.insert(value.name.clone(), operand(graph, id, &places));
                }
                Source::Range { of, first } => {
                    let (place, offset) = places[*of];
                    places.insert(id, (place, offset + first));
                    if let (Place::State(used), Source::State(state)) = (place, &graph.values[of.0].source) {
                        let range = state.range_at(*first);
                        let ranges = &mut plan.states[used].ranges;
                        if !ranges.contains(&range) {
                            ranges.push(range);
                        }
                    }
                }
                // Its place was taken with that of its first part.
                Source::Assembled(_) => {}
                // Its place was taken with that of the first output.
                Source::Further { of } => {
                    if last_use[*of] == index && !keeps(*of) {
                        release(&mut rooms, places[*of], index);
                    }
                }
                Source::Op { op, inputs } => {
                    let outputs: Vec<ValueId> = [id].into_iter().chain(graph.further_outputs(id)).collect();
                    let (inputs, replaced) = inputs.split_at(inputs.len() - op.replaces());
                    let (written, replacing) = outputs.split_at(outputs.len() - op.replaces());
                    for &output in written {
                        let place = match homes.get(output) {
                            None => (take(output), 0),
                            Some(&(whole, first)) => {
                                if !places.contains(whole) {
                                    places.insert(whole, (take(whole), 0));
                                }
                                (places[whole].0, first)
                            }
                        };
                        places.insert(output, place);
                    }
                    for (&output, &input) in replacing.iter().zip(replaced) {
                        let place = places[input];
                        places.insert(output, place);
                    }
                    let operand = |id: &ValueId| operand(graph, *id, &places);
                    let steps = if fixed.contains(id) { &mut plan.preparation } else { &mut plan.steps };
                    steps.push(Step {
                        name: value.name.clone(),
                        op: op.clone(),
                        inputs: inputs.iter().map(operand).collect(),
                        outputs: outputs.iter().map(operand).collect(),
                    });
                    // What nobody reads is free at once.
                    for &written in written {
                        if !last_use.contains(written) && !keeps(written) {
                            release(&mut rooms, places[written], index);
                        }
                    }
                    // What this step was the last to read is free for the next one's output.
                    for (i, &input) in inputs.iter().enumerate() {
                        if last_use[input] != index || inputs[..i].contains(&input) {
                            continue;
                        }
                        let computed =
                            matches!(graph.values[input.0].source, Source::Op { .. } | Source::Further { .. });
                        if computed && !keeps(input) {
                            release(&mut rooms, places[input], index);
                        }
                    }
                }
            }
        }
        let slot = |id: ValueId| match places[id] {
            (Place::Slot(slot), _) => slot,
            _ => unreachable!("feedback goes from a computed value to an input"),
        };
        plan.feedback =
            graph.feedback.iter().map(|&(value, input)| (slot(value), slot(input), graph.shape(value).len())).collect();
        plan.outputs = graph.outputs.iter().map(|(name, id)| (name.clone(), operand(graph, *id, &places))).collect();
        plan.share(&rooms);
        plan
    }

    /// Gives slots to what so far lives in rooms of its own.
    fn share(&mut self, rooms: &[Room]) {
        let (slots, lengths) = slots(rooms);
        self.slots = lengths;
        let steps = self.preparation.iter_mut().chain(&mut self.steps);
        let operands = steps.flat_map(|step| step.inputs.iter_mut().chain(&mut step.outputs));
        for operand in operands.chain(self.inputs.values_mut()).chain(self.outputs.values_mut()) {
            if let Place::Slot(slot) = &mut operand.place {
                *slot = slots[*slot];
            }
        }
        for (from, to, _) in &mut self.feedback {
            (*from, *to) = (slots[*from], slots[*to]);
        }
    }

    /// What it computes once, and what it computes in every run, in order.
    pub fn all_steps(&self) -> impl Iterator<Item = &Step> {
        self.preparation.iter().chain(&self.steps)
    }

    /// What a run does, if these values are read after it.
    pub(crate) fn commands<'a>(&'a self, frames: &'a [Operand]) -> impl Iterator<Item = Command<'a>> {
        let feedback = self.feedback.iter().map(|&(from, to, len)| Command::FeedBack { from, to, len });
        [Command::TakeRows, Command::Compute].into_iter().chain(feedback).chain(frames.iter().map(Command::Read))
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

    /// Bytes of all memory on a device: of the constants, the states and the slots.
    pub fn bytes(&self) -> u64 {
        let constants = self.constants.iter().map(Constant::bytes);
        let states = self.states.iter().map(StateInUse::bytes);
        constants.chain(states).chain(self.slots.iter().copied()).map(|bytes| bytes as u64).sum()
    }

    /// Bytes that a run reads and writes if every step does so once: a GPU's caches rarely hold one step's values for the
    /// next.
    pub fn bytes_moved(&self) -> u64 {
        self.steps.iter().map(Step::bytes_moved).sum()
    }

    /// Checks that no parameter that it reads is still awaited.
    pub(crate) fn check_known(&self) -> Result<()> {
        for StateInUse { state, ranges, .. } in &self.states {
            let all = state.ranges();
            if let Some(awaited) = ranges.iter().map(|&range| &all[range]).find(|range| range.revision == 0) {
                let problem =
                    format!("has not arrived as far as {}. Load all of it before the model is run.", awaited.name);
                return Err(Error::Weights(problem));
            }
        }
        Ok(())
    }

    /// The revisions of all ranges that it reads of states that it does not change, in order.
    pub(crate) fn fixed_revisions(&self) -> Vec<u64> {
        let of_state = |used: &StateInUse| {
            let all = used.state.ranges();
            used.ranges.iter().map(|&range| all[range].revision).collect::<Vec<_>>()
        };
        self.states.iter().filter(|used| !used.changes).flat_map(of_state).collect()
    }

    /// Notes that a run has changed the host's numbers of the states that it changes.
    pub(crate) fn note_changes(&self) {
        for StateInUse { state, ranges, .. } in self.states.iter().filter(|used| used.changes) {
            ranges.iter().for_each(|&range| state.changed(range));
        }
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

/// Ends the time of a value that is computed, if it lives in a slot.
fn release(rooms: &mut [Room], (place, _): (Place, usize), until: usize) {
    if let Place::Slot(room) = place {
        rooms[room].until = until;
    }
}

/// A value of the graph, where it lives in the plan.
fn operand(graph: &Graph, id: ValueId, places: &ValueMap<(Place, usize)>) -> Operand {
    let value = &graph.values[id.0];
    let (place, first) = places[id];
    Operand { shape: value.shape.clone(), precision: value.precision, place, first }
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
                // Written before the run, wherever it stands.
                if i == 17 {
                    values.push(graph.input("late", Shape::new(&[1, 4])).unwrap());
                }
                let inputs = [values[below(values.len())], values[values.len() - 1 - below(values.len().min(4))]];
                values.push(graph.op(&i.to_string(), Add::PLAIN, &inputs).unwrap());
            }
            graph.output("39", values[41]);
            graph.output("20", values[22]);
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
