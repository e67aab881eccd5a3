//! Plans on the CPU: each op's own function, one after another.

use std::cell::RefCell;

use crate::op::{View, ViewMut};
use crate::plan::{Operand, Place, Plan};
use crate::{Error, Result};

/// A plan with its memory.
pub struct Executor {
    pub(super) plan: Plan,
    frames: Vec<Operand>,
    slots: RefCell<Vec<Vec<f32>>>,
    /// For each table, the slot its rows go to, and the rows.
    tables: RefCell<Vec<(usize, Vec<f32>, usize)>>,
}

impl Executor {
    pub(super) fn new(plan: Plan, frames: Vec<Operand>) -> Result<Self> {
        let total = plan.slots.iter().map(|&len| 4 * len as u64).sum::<u64>();
        let too_much = || {
            Error::Settings(format!(
                "The model needs {} MB of memory for its values, more than there is here. Generate fewer or smaller \
                 images at a time.",
                total >> 20
            ))
        };
        // What is left of wasm's 4 GiB is for the weights and for what ops need meanwhile.
        if cfg!(target_arch = "wasm32") && total > 1 << 30 {
            return Err(too_much());
        }
        let slot = |&len: &usize| {
            let mut slot = Vec::new();
            slot.try_reserve_exact(len).map_err(|_| too_much())?;
            slot.resize(len, 0.0);
            Ok(slot)
        };
        let slots = plan.slots.iter().map(slot).collect::<Result<_>>()?;
        Ok(Executor { plan, frames, slots: RefCell::new(slots), tables: RefCell::default() })
    }

    pub(super) fn write(&self, operand: &Operand, data: &[f32]) {
        self.slots.borrow_mut()[slot(operand)][..data.len()].copy_from_slice(data);
    }

    pub(super) fn set_rows(&self, operand: &Operand, rows: &[f32]) {
        let slot = slot(operand);
        let mut tables = self.tables.borrow_mut();
        tables.retain(|table| table.0 != slot);
        tables.push((slot, rows.to_vec(), operand.shape.len()));
    }

    pub(super) fn run(&self, row: usize) -> Vec<Vec<u8>> {
        let mut slots = self.slots.borrow_mut();
        for (slot, rows, len) in &*self.tables.borrow() {
            slots[*slot][..*len].copy_from_slice(&rows[row * len..][..*len]);
        }
        for step in &self.plan.steps {
            // Taken out of the list while it is written, so that the inputs can be borrowed beside it.
            let target = slot(&step.output);
            let mut output = std::mem::take(&mut slots[target]);
            let inputs: Vec<View<'_>> = step
                .inputs
                .iter()
                .map(|input| {
                    let memory = match input.place {
                        Place::Constant(index) => &self.plan.constants[index][..],
                        Place::Slot(index) => &slots[index][..],
                    };
                    View { shape: &input.shape, data: &memory[..input.shape.len()] }
                })
                .collect();
            let shape = &step.output.shape;
            step.op.cpu(&inputs, ViewMut { shape, data: &mut output[..shape.len()] });
            slots[target] = output;
        }
        for &(from, to, len) in &self.plan.feedback {
            let value = std::mem::take(&mut slots[from]);
            slots[to][..len].copy_from_slice(&value[..len]);
            slots[from] = value;
        }
        let bytes = |frame: &Operand| bytemuck::cast_slice(&slots[slot(frame)][..frame.shape.channels()]).to_vec();
        self.frames.iter().map(bytes).collect()
    }

    pub(super) fn read(&self, operand: &Operand) -> Vec<f32> {
        self.slots.borrow()[slot(operand)][..operand.shape.len()].to_vec()
    }
}

/// The slot of an operand that is written.
fn slot(operand: &Operand) -> usize {
    match operand.place {
        Place::Slot(slot) => slot,
        Place::Constant(_) => unreachable!("inputs, outputs and steps' outputs live in slots"),
    }
}
