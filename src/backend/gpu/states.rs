//! States on a GPU: one buffer each, whichever plans read them.

use std::cell::RefCell;
use std::rc::Rc;

use wgpu::BufferUsages;

use super::{Buffer, Gpu};
use crate::state::State;
use crate::{Error, Precision, Result};

/// A state's numbers on a GPU in one precision.
pub(super) struct StateBuffer {
    gpu: Rc<Gpu>,
    precision: Precision,
    pub(super) buffer: Buffer,
    /// The revision of each range that is there.
    uploaded: RefCell<Vec<u64>>,
}

impl StateBuffer {
    /// The buffer of a state, or a new one, for it to [keep](StateBuffer::keep_for).
    pub(super) fn of(gpu: &Rc<Gpu>, state: &State, precision: Precision) -> Rc<Self> {
        let is = |held: &StateBuffer| held.precision == precision && Rc::ptr_eq(&held.gpu, gpu);
        state.held(is).unwrap_or_else(|| {
            let size = (precision.bytes() * state.size()) as u64;
            let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
            Rc::new(StateBuffer {
                gpu: gpu.clone(),
                precision,
                buffer: gpu.buffer(state.name(), size, usage),
                uploaded: RefCell::new(vec![0; state.ranges().len()]),
            })
        })
    }

    /// Leaves it to the state, which keeps its buffers as long as it lives: once it is sure that there was memory for it.
    pub(super) fn keep_for(self: &Rc<Self>, state: &State) {
        if state.held(|held: &StateBuffer| std::ptr::eq(held, &raw const **self)).is_none() {
            state.hold(self.clone());
        }
    }

    /// Uploads the ranges that have become known, or others, since.
    ///
    /// # Errors
    /// When a number is too large for the precision it is to be kept in.
    pub(super) fn upload(&self, gpu: &Gpu, state: &State) -> Result<()> {
        let mut uploaded = self.uploaded.borrow_mut();
        for (range, uploaded) in state.ranges().iter().zip(uploaded.iter_mut()) {
            if range.revision == 0 || range.revision == *uploaded {
                continue;
            }
            let Some(numbers) = state.on_host() else { continue };
            let numbers = &numbers[range.first..][..range.len];
            check_precision(&range.name, self.precision, numbers)?;
            let offset = (self.precision.bytes() * range.first) as u64;
            gpu.queue.write_buffer(&self.buffer, offset, &self.precision.encode(numbers));
            *uploaded = range.revision;
        }
        Ok(())
    }
}

impl StateBuffer {
    /// Whether it has all numbers of a state as they are now.
    fn is_current(&self, state: &State) -> bool {
        let uploaded = self.uploaded.borrow();
        state.ranges().iter().zip(&*uploaded).all(|(range, &uploaded)| range.revision == uploaded && uploaded > 0)
    }

    /// Lets the host's numbers go, which are here as they are now, unless they are still needed.
    pub(super) fn release(&self, state: &State) {
        if self.precision == Precision::F32 && self.is_current(state) {
            state.release();
        }
    }

    /// Sees to it that the host has what is to be uploaded, if another buffer has it.
    ///
    /// # Errors
    /// As [`fetch`].
    pub(super) async fn fetch(&self, state: &State) -> Result<()> {
        if self.is_current(state) { Ok(()) } else { fetch(state).await }
    }

    /// Notes that a run has changed these ranges here.
    pub(super) fn changed(&self, state: &State, ranges: &[usize]) {
        for &range in ranges {
            state.changed(range);
            self.uploaded.borrow_mut()[range] = state.ranges()[range].revision;
        }
        state.changed_elsewhere();
    }
}

/// Brings a state's numbers to the host, if a GPU has them and the host has not.
///
/// # Errors
/// When the device was lost.
pub(crate) async fn fetch(state: &State) -> Result<()> {
    while state.on_host().is_none() {
        let current = |held: &StateBuffer| held.precision == Precision::F32 && held.is_current(state);
        let Some(held) = state.held(current) else { break };
        let numbers = held.gpu.read(&held.buffer, held.precision, state.size()).await?;
        // A run may have changed them meanwhile.
        if held.is_current(state) {
            state.put_host(numbers);
        }
    }
    Ok(())
}

/// Checks that numbers of this name fit the precision they are to be kept in.
pub(super) fn check_precision(name: &str, precision: Precision, numbers: &[f32]) -> Result<()> {
    let largest = Precision::LARGEST_F16;
    match numbers.iter().find(|x| precision == Precision::F16 && x.abs() > largest) {
        Some(value) => Err(Error::Weights(format!(
            "has {value} in {name}, but a number of 16 bits is at most {largest}; choose f32."
        ))),
        None => Ok(()),
    }
}
