//! Plans on the GPU, through WebGPU in the browser and through wgpu's native backends elsewhere.
//!
//! Everything is made before the first run: one buffer a slot, arenas of constants, one pipeline a variant of a shader,
//! one bind group a dispatch. A run is then a flat list of dispatches. Several runs of a small plan are one submission, one
//! run of a large plan is several; the frames are read through a ring of staging buffers, so that the next runs are
//! submitted while the last ones' frames are still on their way.

mod constants;
mod executor;
mod pace;
mod pipelines;
mod readback;
mod states;
mod timing;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_channel::oneshot;
use web_time::Instant;
use wgpu::BufferUsages;

pub(super) use executor::Executor;
pub use readback::Readback;
pub(crate) use states::fetch;

use constants::Params;
use pipelines::{Dispatch, Piece, PipelineKey};
use readback::Staging;

use crate::graph::LARGEST;
use crate::plan::{Constant, Plan, StateInUse, Step};
use crate::tuning::Tuning;
use crate::{Error, Precision, Result};

/// How often things were made or done on a device since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Buffers made.
    pub buffers: usize,
    /// Bytes of them all, those that are gone included.
    pub bytes: u64,
    /// Bind groups made.
    pub bind_groups: usize,
    /// Compute pipelines made.
    pub pipelines: usize,
    /// Submissions to the queue.
    pub submissions: usize,
    /// Dispatches in them.
    pub dispatches: usize,
    /// Results waited for before any later run had been submitted.
    pub waits: usize,
    /// Time that it took to encode and submit them.
    pub encoding: Duration,
}

/// A buffer that gives its memory back when it is dropped. A browser would only do so when it next collects garbage.
struct Buffer(wgpu::Buffer);

impl std::ops::Deref for Buffer {
    type Target = wgpu::Buffer;

    fn deref(&self) -> &wgpu::Buffer {
        &self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.0.destroy();
    }
}

#[cfg(target_arch = "wasm32")]
#[wasm_bindgen::prelude::wasm_bindgen(module = "/src/backend/subgroups.js")]
extern "C" {
    #[wasm_bindgen::prelude::wasm_bindgen(js_name = askForSubgroups)]
    fn ask_for_subgroups() -> js_sys::Function;
}

/// An open GPU.
pub struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    /// Those made so far: some dozens, so a list.
    pipelines: RefCell<Vec<(PipelineKey, wgpu::ComputePipeline)>>,
    counters: Cell<Counters>,
    tuning: Cell<Tuning>,
    subgroups: bool,
    /// What went wrong outside any call: a lost device, or a command the device rejected.
    failure: Arc<Mutex<Option<String>>>,
}

impl Gpu {
    /// Opens the machine's fastest GPU with WebGPU's default limits but for the size of buffers, and with 16-bit numbers and
    /// subgroups if it has them.
    ///
    /// # Errors
    /// When there is none.
    pub async fn open() -> Result<Rc<Self>> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let adapter = instance
            .request_adapter(&wgpu::RequestAdapterOptions {
                power_preference: wgpu::PowerPreference::HighPerformance,
                ..Default::default()
            })
            .await
            .map_err(|error| Error::Gpu(format!("WebGPU found no usable GPU here ({error}).")))?;
        let info = adapter.get_info();
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("denoise"),
            required_features: adapter.features() & (wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP),
            required_limits: limits(&adapter.limits()),
            ..Default::default()
        };
        #[cfg(target_arch = "wasm32")]
        let asked = ask_for_subgroups();
        let opening = adapter.request_device(&descriptor);
        // The browser has been asked by now, and answers later.
        #[cfg(target_arch = "wasm32")]
        let subgroups = asked.call0(&wasm_bindgen::JsValue::NULL).is_ok_and(|asked| asked.is_truthy());
        let opened = opening.await;
        let (device, queue) = opened.map_err(|error| Error::Gpu(format!("The GPU could not be opened ({error}).")))?;
        #[cfg(not(target_arch = "wasm32"))]
        let subgroups = device.features().contains(wgpu::Features::SUBGROUP);

        let failure = Arc::new(Mutex::new(None));
        let report = |failure: &Arc<Mutex<Option<String>>>, message: String| {
            if let Ok(mut failure) = failure.lock() {
                failure.get_or_insert(message);
            }
        };
        let lost = failure.clone();
        device.set_device_lost_callback(move |_, message| {
            report(&lost, format!("The GPU stopped responding and was lost ({message}). Try again, or use the CPU."));
        });
        let rejected = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error| {
            report(&rejected, format!("The GPU rejected a command ({error}). Try again, or use the CPU."));
        }));
        Ok(Rc::new(Gpu {
            device,
            queue,
            info,
            pipelines: RefCell::default(),
            counters: Cell::default(),
            tuning: Cell::default(),
            subgroups,
            failure,
        }))
    }

    /// The adapter's own name, empty where the browser hides it.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// The most bytes that one value may have.
    pub fn largest_buffer(&self) -> u64 {
        let limits = self.device.limits();
        limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
    }

    /// Whether its shaders can read and write 16-bit numbers: whether it runs plans of [`Precision::F16`].
    pub fn half(&self) -> bool {
        self.device.features().contains(wgpu::Features::SHADER_F16)
    }

    /// Whether it is a processor that stands in for a GPU. A browser does not tell.
    pub fn is_software(&self) -> bool {
        self.info.device_type == wgpu::DeviceType::Cpu
    }

    /// Whether invocations of its shaders can exchange values without shared memory.
    pub fn subgroups(&self) -> bool {
        self.subgroups
    }

    /// Which variants of the ops it is taken to run fastest.
    pub fn tuning(&self) -> Tuning {
        self.tuning.get()
    }

    /// Which variants of the ops it is taken to run fastest: what [`crate::tuner`] found, or by counting.
    ///
    /// # Errors
    /// When they need what this device has not.
    pub fn set_tuning(&self, tuning: Tuning) -> Result<()> {
        if tuning.needs_subgroups() && !self.subgroups() {
            let message =
                format!("\"{tuning}\" is a tuning for a device with subgroups, which this one has not; tune again.");
            return Err(Error::Settings(message));
        }
        self.tuning.set(tuning);
        Ok(())
    }

    /// What was made and done so far.
    pub fn counters(&self) -> Counters {
        self.counters.get()
    }

    fn count(&self, change: impl FnOnce(&mut Counters)) {
        let mut counters = self.counters.get();
        change(&mut counters);
        self.counters.set(counters);
    }

    /// The failure that happened outside any call, if there was one.
    fn check(&self) -> Result<()> {
        match self.failure.lock() {
            Ok(failure) => failure.as_ref().map_or(Ok(()), |message| Err(Error::Gpu(message.clone()))),
            Err(_) => Err(Error::Gpu("The GPU's error handler panicked.".into())),
        }
    }

    /// A buffer of `size` bytes. Sizes are checked against the device's limits by [`Gpu::check_plan`] before.
    fn buffer(&self, label: &str, size: u64, usage: BufferUsages) -> Buffer {
        self.count(|counters| {
            counters.buffers += 1;
            counters.bytes += size;
        });
        let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
        Buffer(self.device.create_buffer(&descriptor))
    }

    fn submit(&self, encoder: wgpu::CommandEncoder) -> wgpu::SubmissionIndex {
        self.count(|counters| counters.submissions += 1);
        self.queue.submit([encoder.finish()])
    }

    /// Checks that the device has the plan's precision, and that no value and no dispatch is larger than the limits it
    /// was opened with. Making too large a buffer would panic.
    pub(crate) fn check_plan(&self, plan: &Plan) -> Result<()> {
        if plan.precision() == Precision::F16 && !self.half() {
            return Err(Error::Gpu("This GPU computes in 32 bits only; choose f32.".into()));
        }
        let limit = self.largest_buffer();
        let too_large = |what: &str, bytes: usize, remedy: &str| {
            let (found, limit) = ((bytes as u64).div_ceil(1 << 20), limit >> 20);
            Err(Error::Gpu(format!(
                "{what} of the model takes {found} MB, but one buffer of a GPU holds at most {limit} MB here. {remedy}"
            )))
        };
        let largest = plan.slots.iter().copied().max().unwrap_or(0);
        if largest as u64 > limit {
            return too_large("A value", largest, "Generate fewer or smaller images at a time, or use the CPU.");
        }
        let states = plan.states.iter().map(StateInUse::bytes);
        let largest = plan.constants.iter().map(Constant::bytes).chain(states).max().unwrap_or(0);
        if largest as u64 > limit {
            return too_large("A weight", largest, "Use the CPU.");
        }
        let most = self.device.limits().max_compute_workgroups_per_dimension;
        for step in plan.all_steps() {
            if let Some(groups) = step.kernel().workgroups.into_iter().find(|&groups| groups > most) {
                return Err(Error::Gpu(format!(
                    "{} needs {groups} workgroups side by side, but a GPU takes at most {most}. Generate fewer or \
                     smaller images at a time, or use the CPU.",
                    step.name
                )));
            }
        }
        Ok(())
    }

    /// Runs the kernel of one step by itself on buffers exactly as long as these, each in the precision of its operand,
    /// and returns what is then in those that it writes: the output, and what is left beside it.
    ///
    /// # Errors
    /// When the device rejects the shader or was lost.
    pub async fn run_kernel(&self, step: &Step, inputs: &[&[f32]], written: &[&[f32]]) -> Result<Vec<Vec<f32>>> {
        let kernel = step.kernel();
        let pipeline = self.pipeline(step, &kernel).await?;
        let params = Params::upload(self, std::slice::from_ref(&kernel), 0);
        let buffers: Vec<_> = inputs
            .iter()
            .chain(written)
            .zip(step.operands())
            .map(|(data, operand)| {
                let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
                let bytes = operand.precision.encode(data);
                let buffer = self.buffer(&step.name, bytes.len() as u64, usage);
                self.queue.write_buffer(&buffer, 0, &bytes);
                buffer
            })
            .collect();
        let operands = buffers.iter().map(|buffer| buffer.as_entire_buffer_binding());
        let bindings = std::iter::once(params.binding(&kernel)).chain(operands);
        let bind_group = self.bind_group(&step.name, &pipeline, bindings);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let whole = Piece { dispatch: 0, params: params.offset(0), workgroups: kernel.workgroups, work: 0.0 };
        Dispatch { pipeline, bind_group }.encode(&mut encoder.begin_compute_pass(&Default::default()), &whole);
        self.submit(encoder);
        let mut results = Vec::new();
        for ((buffer, operand), data) in buffers[inputs.len()..].iter().zip(step.outputs.iter()).zip(written) {
            results.push(self.read(buffer, operand.precision, data.len()).await?);
        }
        Ok(results)
    }

    /// The first `len` numbers of a buffer, after everything submitted so far.
    async fn read(&self, buffer: &wgpu::Buffer, precision: Precision, len: usize) -> Result<Vec<f32>> {
        let bytes = precision.bytes() * len;
        let staging = Staging::new(self, bytes as u64);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &staging.buffer, 0, bytes as u64);
        let submission = self.submit(encoder);
        let mapped = staging.map();
        self.poll(submission)?;
        let frames = staging.frames(self, mapped, &[bytes]).await?;
        Ok(precision.decode(&frames[0]))
    }

    /// What tells when everything submitted so far is done.
    fn ticket(&self, submission: wgpu::SubmissionIndex) -> Ticket {
        let (sender, done) = oneshot::channel();
        self.queue.on_submitted_work_done(move || {
            // Nobody listens any more when the wait was given up.
            let _ = sender.send(Instant::now());
        });
        Ticket { submission, done }
    }

    /// Waits for a ticket: when the work was done.
    async fn finish(&self, ticket: Ticket) -> Result<Instant> {
        self.poll(ticket.submission)?;
        let done = ticket.done.await;
        self.check()?;
        done.map_err(|_| Error::Gpu("The GPU never finished. Try again, or use the CPU.".into()))
    }

    /// Natively somebody must drive the device; the browser does it itself. The only difference between the two.
    #[cfg(not(target_arch = "wasm32"))]
    fn poll(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        let result = self.device.poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: None });
        self.check()?;
        result.map(|_| ()).map_err(|error| Error::Gpu(format!("The GPU did not finish ({error}).")))
    }

    #[cfg(target_arch = "wasm32")]
    fn poll(&self, _submission: wgpu::SubmissionIndex) -> Result<()> {
        Ok(())
    }
}

/// The limits that a device is opened with: WebGPU's default ones, within which every kernel keeps, but buffers as large as
/// the adapter allows. The default of 128 MiB is less than a batch of images of 256×256 needs.
///
/// A graph has no value of more than 1 GiB in 32 bits, so no more is asked for, and shaders may count its numbers, and
/// drivers its bytes, in 32 bits.
fn limits(adapter: &wgpu::Limits) -> wgpu::Limits {
    const LARGEST_BUFFER: u64 = 4 * LARGEST as u64;

    wgpu::Limits {
        max_buffer_size: adapter.max_buffer_size.min(LARGEST_BUFFER),
        max_storage_buffer_binding_size: adapter.max_storage_buffer_binding_size.min(LARGEST_BUFFER),
        ..wgpu::Limits::default()
    }
}

/// What tells when a submission is done.
struct Ticket {
    submission: wgpu::SubmissionIndex,
    done: oneshot::Receiver<Instant>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_as_large_as_the_adapter_allows_and_as_a_value_can_be() {
        let default = wgpu::Limits::default();
        for (adapter, asked) in [((256, 128), (256, 128)), ((4096, 2048), (1024, 1024)), ((512, 4095), (512, 1024))] {
            let sizes = |(buffer, binding): (u64, u64)| wgpu::Limits {
                max_buffer_size: buffer << 20,
                max_storage_buffer_binding_size: binding << 20,
                ..default.clone()
            };
            let more = wgpu::Limits { max_compute_invocations_per_workgroup: 1024, ..sizes(adapter) };
            assert_eq!(limits(&more), sizes(asked));
        }
    }
}
