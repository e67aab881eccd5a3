//! How frames reach the host.

use std::cell::Cell;
use std::rc::Rc;

use futures_channel::oneshot;
use wgpu::BufferUsages;

use super::{Buffer, Gpu};
use crate::{Error, Result};

/// A buffer through which frames reach the host.
pub(super) struct Staging {
    pub(super) buffer: Buffer,
    pub(super) busy: Cell<bool>,
}

/// Whether mapping a staging buffer worked.
pub(super) type Mapped = oneshot::Receiver<std::result::Result<(), wgpu::BufferAsyncError>>;

impl Staging {
    pub(super) fn new(gpu: &Gpu, bytes: u64) -> Rc<Self> {
        let buffer = gpu.buffer("staging", bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST);
        Rc::new(Staging { buffer, busy: Cell::new(false) })
    }

    /// Asks for the buffer's bytes; the answer comes when the work submitted so far is done.
    pub(super) fn map(&self) -> Mapped {
        let (sender, receiver) = oneshot::channel();
        self.buffer.map_async(wgpu::MapMode::Read, .., move |result| {
            // Nobody listens any more when a run was stopped.
            let _ = sender.send(result);
        });
        receiver
    }

    /// The frames in the buffer, given of each how many bytes it has.
    pub(super) async fn frames(&self, gpu: &Gpu, mapped: Mapped, lengths: &[usize]) -> Result<Vec<Vec<u8>>> {
        // A lost device says so itself; what else goes wrong here is only a consequence.
        let failed = |what: String| {
            let other = format!("The GPU's results could not be read ({what}). Try again, or use the CPU.");
            gpu.check().err().unwrap_or(Error::Gpu(other))
        };
        match mapped.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed("it never answered".into())),
        }
        let view = self.buffer.slice(..).get_mapped_range().map_err(|error| failed(error.to_string()))?;
        let mut at = 0;
        let frame = |&length: &usize| {
            at += length;
            view[at - length..at].to_vec()
        };
        Ok(lengths.iter().map(frame).collect())
    }
}

/// The frames of a batch on their way to the host. Dropping it gives its staging buffer back.
pub struct Readback {
    gpu: Rc<Gpu>,
    staging: Rc<Staging>,
    mapped: Option<Mapped>,
    /// How many bytes each frame has.
    lengths: Vec<usize>,
    /// How many frames a run has.
    frames: usize,
    submission: Option<wgpu::SubmissionIndex>,
    /// How many submissions there had been with this one.
    submissions: usize,
}

impl Readback {
    pub(super) fn new(
        gpu: &Rc<Gpu>,
        staging: Rc<Staging>,
        lengths: Vec<usize>,
        frames: usize,
        submission: wgpu::SubmissionIndex,
    ) -> Self {
        Readback {
            gpu: gpu.clone(),
            mapped: Some(staging.map()),
            staging,
            lengths,
            frames,
            submission: Some(submission),
            submissions: gpu.counters().submissions,
        }
    }

    pub(in super::super) async fn wait(mut self) -> Result<Vec<Vec<Vec<f32>>>> {
        if self.gpu.counters().submissions == self.submissions {
            self.gpu.count(|counters| counters.waits += 1);
        }
        let (Some(mapped), Some(submission)) = (self.mapped.take(), self.submission.take()) else {
            unreachable!("a readback is waited for once")
        };
        self.gpu.poll(submission)?;
        let frames = self.staging.frames(&self.gpu, mapped, &self.lengths).await?;
        let numbers = |run: &[Vec<u8>]| run.iter().map(|frame| bytemuck::pod_collect_to_vec(frame)).collect();
        Ok(frames.chunks(self.frames.max(1)).map(numbers).collect())
    }
}

impl Drop for Readback {
    fn drop(&mut self) {
        self.staging.buffer.unmap();
        self.staging.busy.set(false);
    }
}
