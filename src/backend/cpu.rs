//! Plans on the CPU: each op's own function, one after another.

use std::cell::{Ref, RefCell};
use std::collections::HashMap;
use std::ops::Deref;
use std::rc::Rc;

use kernels::gemm::{Packing, Panel};
use web_time::Instant;

use super::gpu::fetch;
use crate::graph::{View, ViewMut};
use crate::plan::{Command, Operand, Place, Plan, Step};
use crate::state::Pinned;
use crate::{Error, Precision, Result};

/// How much memory a plan may need here, in bytes: in a page, what is left of wasm's 4 GiB when pictures, files that are
/// arriving and what ops need meanwhile have a quarter of it.
pub(crate) const MEMORY: Option<u64> = if cfg!(target_arch = "wasm32") { Some(3 << 30) } else { None };

/// Checks that a plan can be run here: that it has room, as far as that is known beforehand, and 32 bits.
///
/// # Errors
/// When it has not.
pub(crate) fn check(plan: &Plan) -> Result<()> {
    if plan.precision() == Precision::F16 {
        return Err(Error::Settings("The CPU computes in 32 bits only; choose f32.".into()));
    }
    check_room(plan)
}

fn check_room(plan: &Plan) -> Result<()> {
    match MEMORY {
        Some(limit) if needed(plan) > limit => Err(too_much(plan, &format!("the {} MB that a page has", limit >> 20))),
        _ => Ok(()),
    }
}

fn too_much(plan: &Plan, limit: &str) -> Error {
    Error::Settings(format!(
        "The model needs {} MB of memory, more than {limit}. Generate fewer or smaller images at a time, or use the GPU.",
        needed(plan).div_ceil(1 << 20)
    ))
}

/// Bytes of a plan's values, constants and states, and of those again that matrix products need packed.
fn needed(plan: &Plan) -> u64 {
    let constants = plan.constants.iter().map(|constant| constant.numbers.len());
    let states = plan.states.iter().map(|used| used.state.size());
    let packed = right_sides(plan).into_values().map(|operand| operand.shape.len());
    lengths(plan).into_iter().chain(constants).chain(states).chain(packed).map(|len| 4 * len as u64).sum()
}

/// How many numbers each slot has. Not `plan.slots`, which are the bytes that a GPU needs.
fn lengths(plan: &Plan) -> Vec<usize> {
    let mut lengths = vec![0; plan.slots.len()];
    let used = plan.all_steps().flat_map(Step::operands);
    for operand in plan.inputs.values().chain(plan.outputs.values()).chain(used) {
        if let Some(slot) = operand.slot() {
            lengths[slot] = (operand.first + operand.shape.len()).max(lengths[slot]);
        }
    }
    lengths
}

/// Where the right side of a product begins, and how it is packed.
type RightSideKey = (Place, usize, Packing);

/// The constants and parameters that matrix products need packed, where that is worth it: they are the same in many runs.
fn right_sides(plan: &Plan) -> HashMap<RightSideKey, Operand> {
    let mut right_sides = HashMap::new();
    for step in plan.all_steps() {
        let Some((index, packing)) = right_side(step) else { continue };
        let operand = &step.inputs[index];
        let keeps = match operand.place {
            Place::Constant(_) => true,
            Place::State(used) => !plan.states[used].changes,
            Place::Slot(_) => false,
        };
        if keeps {
            right_sides.insert((operand.place, operand.first, packing), operand.clone());
        }
    }
    right_sides
}

/// The values of a plan on the CPU, always in 32 bits.
pub(crate) struct Memory {
    slots: Vec<Vec<f32>>,
    constants: Vec<Rc<[f32]>>,
    states: Vec<Pinned>,
}

/// A value that is being read.
pub(crate) enum Value<'a> {
    /// Of the plan's own memory.
    Own(&'a [f32]),
    /// Of a state, which others may read at the same time.
    Shared(Ref<'a, [f32]>),
}

impl Deref for Value<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Value::Own(numbers) => numbers,
            Value::Shared(numbers) => numbers,
        }
    }
}

impl Memory {
    /// Memory for the slots of `plan`, and its states.
    ///
    /// # Errors
    /// When there is not enough of it, or the GPU that has a state was lost.
    pub(crate) async fn new(plan: &Plan) -> Result<Self> {
        check_room(plan)?;
        let slot = |&len: &usize| {
            let mut slot = Vec::new();
            slot.try_reserve_exact(len).map_err(|_| too_much(plan, "is left"))?;
            slot.resize(len, 0.0);
            Ok(slot)
        };
        let slots = lengths(plan).iter().map(slot).collect::<Result<_>>()?;
        let constants = plan.constants.iter().map(|constant| constant.numbers.clone()).collect();
        let mut states = Vec::with_capacity(plan.states.len());
        for used in &plan.states {
            fetch(&used.state).await?;
            states.push(used.state.pin()?);
        }
        Ok(Memory { slots, constants, states })
    }

    /// Writes the value of an operand that lives in a slot.
    pub(crate) fn write(&mut self, operand: &Operand, data: &[f32]) {
        self.slots[slot(operand)][..data.len()].copy_from_slice(data);
    }

    /// The value of an operand.
    pub(crate) fn value(&self, operand: &Operand) -> Value<'_> {
        let range = operand.first..operand.first + operand.shape.len();
        match operand.place {
            Place::Constant(index) => Value::Own(&self.constants[index][range]),
            Place::Slot(index) => Value::Own(&self.slots[index][range]),
            Place::State(index) => {
                let numbers = self.states[index].on_host().expect("a plan's states are on the host when it runs there");
                Value::Shared(Ref::map(numbers, |numbers| &numbers[range]))
            }
        }
    }

    /// Takes the memory of an operand out, so that it can be written while inputs are read beside it.
    fn take(&mut self, operand: &Operand) -> Vec<f32> {
        match operand.place {
            Place::Slot(slot) => std::mem::take(&mut self.slots[slot]),
            Place::State(state) => self.states[state].take_host(),
            Place::Constant(_) => unreachable!("constants are not written"),
        }
    }

    /// Puts it back.
    fn put(&mut self, operand: &Operand, numbers: Vec<f32>) {
        match operand.place {
            Place::Slot(slot) => self.slots[slot] = numbers,
            Place::State(state) => self.states[state].put_host(numbers),
            Place::Constant(_) => unreachable!("constants are not written"),
        }
    }
}

/// What a matrix product reads, packed.
struct Panels {
    /// The revision of its parameter when it was.
    revision: u64,
    panels: Vec<Panel>,
}

/// A plan with its memory.
pub struct Executor {
    pub(super) plan: Plan,
    frames: Vec<Operand>,
    memory: RefCell<Memory>,
    right_sides: HashMap<RightSideKey, Operand>,
    /// Those of them that are known by now.
    panels: RefCell<HashMap<RightSideKey, Panels>>,
    /// The revisions of the ranges that it was last prepared with.
    prepared: RefCell<Option<Vec<u64>>>,
    /// For each table, the input its rows go to, and the rows.
    tables: RefCell<Vec<(Operand, Vec<f32>)>>,
}

impl Executor {
    pub(super) async fn new(plan: Plan, frames: Vec<Operand>) -> Result<Self> {
        check(&plan)?;
        let memory = RefCell::new(Memory::new(&plan).await?);
        let right_sides = right_sides(&plan);
        let executor = Executor {
            plan,
            frames,
            memory,
            right_sides,
            panels: RefCell::default(),
            prepared: RefCell::default(),
            tables: RefCell::default(),
        };
        executor.upload();
        Ok(executor)
    }

    /// Packs the right sides of products that have become known, or others, since.
    pub(super) fn upload(&self) {
        self.pack(&self.memory.borrow());
    }

    fn pack(&self, memory: &Memory) {
        let mut panels = self.panels.borrow_mut();
        for (&key, operand) in &self.right_sides {
            let revision = match operand.place {
                Place::State(used) => {
                    let state = &self.plan.states[used].state;
                    state.ranges()[state.range_at(operand.first)].revision
                }
                _ => 1,
            };
            if revision > 0 && panels.get(&key).is_none_or(|panels| panels.revision != revision) {
                let (_, _, packing) = key;
                let packed = packing.pack(&memory.value(operand), operand.shape.stride());
                panels.insert(key, Panels { revision, panels: packed });
            }
        }
    }

    /// Packs and computes what follows from states alone, if they have changed since.
    fn prepare(&self, memory: &mut Memory) {
        let revisions = Some(self.plan.fixed_revisions());
        if *self.prepared.borrow() != revisions {
            self.pack(memory);
            self.plan.preparation.iter().for_each(|step| self.compute(memory, step));
            *self.prepared.borrow_mut() = revisions;
        }
    }

    pub(super) fn write(&self, operand: &Operand, data: &[f32]) {
        self.memory.borrow_mut().write(operand, data);
    }

    pub(super) fn set_rows(&self, operand: &Operand, rows: &[f32]) {
        let mut tables = self.tables.borrow_mut();
        tables.retain(|(input, _)| input.place != operand.place);
        tables.push((operand.clone(), rows.to_vec()));
    }

    /// Whether there is a table to write to.
    pub(super) fn write_row(&self, operand: &Operand, row: usize, data: &[f32]) -> bool {
        let mut tables = self.tables.borrow_mut();
        let table = tables.iter_mut().find(|(input, _)| input.place == operand.place);
        table.is_some_and(|(_, rows)| {
            let first = row * data.len() % rows.len();
            rows[first..first + data.len()].copy_from_slice(data);
            true
        })
    }

    pub(super) fn run(&self, row: usize) -> Vec<Vec<f32>> {
        self.run_each(row, |memory, step| self.compute(memory, step))
    }

    pub(super) fn times(&self) -> Vec<f64> {
        let mut times = Vec::with_capacity(self.plan.steps.len());
        self.run_each(0, |memory, step| {
            let begin = Instant::now();
            self.compute(memory, step);
            times.push(begin.elapsed().as_secs_f64());
        });
        times
    }

    fn run_each(&self, row: usize, mut compute: impl FnMut(&mut Memory, &Step)) -> Vec<Vec<f32>> {
        let mut memory = self.memory.borrow_mut();
        self.prepare(&mut memory);
        let mut frames = Vec::with_capacity(self.frames.len());
        for command in self.plan.commands(&self.frames) {
            match command {
                Command::TakeRows => {
                    for (input, rows) in &*self.tables.borrow() {
                        let len = input.shape.len();
                        memory.write(input, &rows[row * len % rows.len()..][..len]);
                    }
                }
                Command::Compute => self.plan.steps.iter().for_each(|step| compute(&mut memory, step)),
                Command::FeedBack { from, to, len } => {
                    let value = std::mem::take(&mut memory.slots[from]);
                    memory.slots[to][..len].copy_from_slice(&value[..len]);
                    memory.slots[from] = value;
                }
                Command::Read(frame) => {
                    frames.push(memory.value(frame)[..frame.shape.len()].to_vec());
                }
            }
        }
        self.plan.note_changes();
        frames
    }

    /// Computes a step from the values of its inputs.
    fn compute(&self, memory: &mut Memory, step: &Step) {
        let mut written: Vec<Vec<f32>> = step.outputs.iter().map(|output| memory.take(output)).collect();
        {
            let panels = self.panels.borrow();
            let values: Vec<Value<'_>> = step.inputs.iter().map(|input| memory.value(input)).collect();
            let views = step.inputs.iter().zip(&values).map(|(input, value)| View::new(&input.shape, value));
            let mut inputs: Vec<View<'_>> = views.collect();
            if let Some((index, packing)) = right_side(step) {
                let Operand { place, first, .. } = step.inputs[index];
                let panels = panels.get(&(place, first, packing)).map(|panels| &panels.panels[..]);
                inputs[index] = inputs[index].with_panels(panels);
            }
            let outputs =
                step.outputs.iter().zip(&mut written).map(|(output, memory)| {
                    ViewMut::new(&output.shape, &mut memory[output.first..][..output.shape.len()])
                });
            step.op.cpu(&inputs, &mut outputs.collect::<Vec<_>>());
        }
        for (output, numbers) in step.outputs.iter().zip(written) {
            memory.put(output, numbers);
        }
    }

    pub(super) fn read(&self, operand: &Operand) -> Vec<f32> {
        self.memory.borrow().value(operand).to_vec()
    }
}

/// Which input of a step is packed, and how.
fn right_side(step: &Step) -> Option<(usize, Packing)> {
    step.op.right_side(&step.given_shapes())
}

/// The slot of an operand that is written.
fn slot(operand: &Operand) -> usize {
    operand.slot().expect("inputs and steps' outputs live in slots")
}
