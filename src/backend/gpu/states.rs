//! States on a GPU: one buffer each, whichever plans read them.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use wgpu::BufferUsages;

use super::{Buffer, Gpu};
use crate::state::State;
use crate::{Error, Precision, Result};

/// A state's numbers on a GPU in one precision.
pub(super) struct StateBuffer {
    gpu: Weak<Gpu>,
    precision: Precision,
    pub(super) buffer: Buffer,
    /// The revision of each range that is there.
    uploaded: RefCell<Vec<u64>>,
}

impl StateBuffer {
    /// The buffer of a state, made the first time it is asked for. A state keeps its buffers as long as it lives.
    pub(super) fn of(gpu: &Rc<Gpu>, state: &State, precision: Precision) -> Rc<Self> {
        let is = |held: &StateBuffer| held.precision == precision && std::ptr::eq(held.gpu.as_ptr(), Rc::as_ptr(gpu));
        state.held(is).unwrap_or_else(|| {
            let size = (precision.bytes() * state.size()) as u64;
            let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
            let made = Rc::new(StateBuffer {
                gpu: Rc::downgrade(gpu),
                precision,
                buffer: gpu.buffer(state.name(), size, usage),
                uploaded: RefCell::new(vec![0; state.ranges().len()]),
            });
            state.hold(made.clone());
            made
        })
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
        drop(uploaded);
        if self.precision == Precision::F32 && self.is_current(state) {
            state.release();
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
/// When the host has no memory for them, or the device was lost.
pub(crate) async fn fetch(state: &State) -> Result<()> {
    if state.on_host().is_some() {
        return Ok(());
    }
    let current = |held: &StateBuffer| held.precision == Precision::F32 && held.is_current(state);
    if let Some(held) = state.held(current)
        && let Some(gpu) = held.gpu.upgrade()
    {
        let numbers = gpu.read(&held.buffer, held.precision, state.size()).await?;
        state.host()?.copy_from_slice(&numbers);
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
