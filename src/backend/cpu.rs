//! Plans on the CPU: each op's own function, one after another.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use kernels::gemm::{Packing, Panel};
use web_time::Instant;

use crate::op::{View, ViewMut};
use crate::plan::{Operand, Place, Plan, Step};
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

/// Bytes of a plan's values and constants, and of those again that matrix products need packed.
fn needed(plan: &Plan) -> u64 {
    let constants = plan.constants.iter().map(|constant| constant.len);
    let packed = factors(plan).into_keys().map(|(index, _)| plan.constants[index].len);
    lengths(plan).into_iter().chain(constants).chain(packed).map(|len| 4 * len as u64).sum()
}

/// How many numbers each slot has. Not `plan.slots`, which are the bytes that a GPU needs.
fn lengths(plan: &Plan) -> Vec<usize> {
    let mut lengths = vec![0; plan.slots.len()];
    for operand in plan.inputs.values().chain(plan.steps.iter().flat_map(|step| &step.outputs)) {
        let length = &mut lengths[slot(operand)];
        *length = operand.shape.len().max(*length);
    }
    lengths
}

/// The constants that matrix products need packed, by their number, and the stride of their rows.
fn factors(plan: &Plan) -> HashMap<(usize, Packing), usize> {
    let mut factors = HashMap::new();
    for step in &plan.steps {
        let Some((factor, packing)) = factor(step) else { continue };
        if let Operand { place: Place::Constant(index), shape, .. } = &step.inputs[factor] {
            factors.insert((*index, packing), shape.stride());
        }
    }
    factors
}

/// The values of a plan on the CPU, always in 32 bits.
pub(crate) struct Memory {
    slots: Vec<Vec<f32>>,
    /// Those that are known by now.
    constants: Vec<Option<Rc<[f32]>>>,
}

impl Memory {
    /// Memory for the slots of `plan`.
    ///
    /// # Errors
    /// When there is not enough of it.
    pub(crate) fn new(plan: &Plan) -> Result<Self> {
        check_room(plan)?;
        let slot = |&len: &usize| {
            let mut slot = Vec::new();
            slot.try_reserve_exact(len).map_err(|_| too_much(plan, "is left"))?;
            slot.resize(len, 0.0);
            Ok(slot)
        };
        let slots = lengths(plan).iter().map(slot).collect::<Result<_>>()?;
        let mut memory = Memory { slots, constants: vec![None; plan.constants.len()] };
        memory.upload(plan);
        Ok(memory)
    }

    /// Takes over the constants that have become known.
    fn upload(&mut self, plan: &Plan) {
        for (held, constant) in self.constants.iter_mut().zip(&plan.constants) {
            if held.is_none() {
                *held = constant.known();
            }
        }
    }

    /// The number of the first constant that is not known yet.
    pub(crate) fn awaited(&self) -> Option<usize> {
        self.constants.iter().position(Option::is_none)
    }

    /// Writes the value of an operand that lives in a slot.
    pub(crate) fn write(&mut self, operand: &Operand, data: &[f32]) {
        self.slots[slot(operand)][..data.len()].copy_from_slice(data);
    }

    /// The value of an operand.
    pub(crate) fn value(&self, operand: &Operand) -> &[f32] {
        let memory = match operand.place {
            Place::Constant(index) => self.constants[index].as_deref().expect("nothing runs before all are known"),
            Place::Slot(index) => &self.slots[index][..],
        };
        &memory[operand.first..][..operand.shape.len()]
    }
}

/// A plan with its memory.
pub struct Executor {
    pub(super) plan: Plan,
    frames: Vec<Operand>,
    memory: RefCell<Memory>,
    /// The constants that matrix products need packed, by their number, and the stride of their rows.
    factors: HashMap<(usize, Packing), usize>,
    /// Those of them that are known by now.
    panels: RefCell<HashMap<(usize, Packing), Vec<Panel>>>,
    /// For each table, the input its rows go to, and the rows.
    tables: RefCell<Vec<(Operand, Vec<f32>)>>,
}

impl Executor {
    pub(super) fn new(plan: Plan, frames: Vec<Operand>) -> Result<Self> {
        check(&plan)?;
        let memory = RefCell::new(Memory::new(&plan)?);
        let factors = factors(&plan);
        let executor =
            Executor { plan, frames, memory, factors, panels: RefCell::default(), tables: RefCell::default() };
        executor.upload();
        Ok(executor)
    }

    pub(super) fn upload(&self) {
        let (mut memory, mut panels) = (self.memory.borrow_mut(), self.panels.borrow_mut());
        memory.upload(&self.plan);
        for (&(index, packing), &stride) in &self.factors {
            if let Some(data) = &memory.constants[index] {
                panels.entry((index, packing)).or_insert_with(|| packing.pack(data, stride));
            }
        }
    }

    pub(super) fn outdate(&self) {
        self.memory.borrow_mut().constants.fill(None);
        self.panels.borrow_mut().clear();
    }

    pub(super) fn awaited(&self) -> Option<usize> {
        self.memory.borrow().awaited()
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

    pub(super) fn run(&self, row: usize) -> Vec<Vec<u8>> {
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

    fn run_each(&self, row: usize, mut compute: impl FnMut(&mut Memory, &Step)) -> Vec<Vec<u8>> {
        let mut memory = self.memory.borrow_mut();
        for (input, rows) in &*self.tables.borrow() {
            let len = input.shape.len();
            memory.write(input, &rows[row * len % rows.len()..][..len]);
        }
        for step in &self.plan.steps {
            compute(&mut memory, step);
        }
        for &(from, to, len) in &self.plan.feedback {
            let value = std::mem::take(&mut memory.slots[from]);
            memory.slots[to][..len].copy_from_slice(&value[..len]);
            memory.slots[from] = value;
        }
        let bytes = |frame: &Operand| {
            let value = memory.value(frame);
            bytemuck::cast_slice(&value[..frame.shape.channels()]).to_vec()
        };
        self.frames.iter().map(bytes).collect()
    }

    /// Computes a step from the values of its inputs.
    fn compute(&self, memory: &mut Memory, step: &Step) {
        // Taken out of the list while they are written, so that the inputs can be borrowed beside it.
        let mut written: Vec<Vec<f32>> =
            step.outputs.iter().map(|output| std::mem::take(&mut memory.slots[slot(output)])).collect();
        let panels = self.panels.borrow();
        let mut inputs: Vec<View<'_>> =
            step.inputs.iter().map(|input| View::new(&input.shape, memory.value(input))).collect();
        if let Some((factor, packing)) = factor(step)
            && let Place::Constant(index) = step.inputs[factor].place
        {
            inputs[factor] = inputs[factor].with_panels(panels.get(&(index, packing)).map(Vec::as_slice));
        }
        let shapes = step.outputs.iter().map(|output| &output.shape);
        let outputs = shapes.zip(&mut written).map(|(shape, data)| ViewMut::new(shape, &mut data[..shape.len()]));
        step.op.cpu(&inputs, &mut outputs.collect::<Vec<_>>());
        for (output, data) in step.outputs.iter().zip(written) {
            memory.slots[slot(output)] = data;
        }
    }

    pub(super) fn read(&self, operand: &Operand) -> Vec<f32> {
        self.memory.borrow().value(operand).to_vec()
    }
}

/// Which input of a step is packed, and how.
fn factor(step: &Step) -> Option<(usize, Packing)> {
    step.op.factor(&step.inputs.iter().map(|input| &input.shape).collect::<Vec<_>>())
}

/// The slot of an operand that is written.
fn slot(operand: &Operand) -> usize {
    operand.slot().expect("inputs and steps' outputs live in slots")
}
