//! Plans on the GPU, through WebGPU in the browser and through wgpu's native backends elsewhere.
//!
//! Everything is made before the first run: one buffer a slot, arenas of constants, one pipeline a variant of a shader,
//! one bind group a dispatch. A run is then a flat list of dispatches. Several runs of a small plan are one submission, one
//! run of a large plan is several; the frames are read through a ring of staging buffers, so that the next runs are
//! submitted while the last ones' frames are still on their way.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_channel::oneshot;
use web_time::Instant;
use wgpu::BufferUsages;

use super::Progress;
use super::pace::{self, Pace};
use super::timing::Timing;
use crate::fusion::Fusion;
use crate::graph::LARGEST;
use crate::op::Kernel;
use crate::plan::{Constant, Operand, Place, Plan, Step};
use crate::template::Define;
use crate::tuning::Tuning;
use crate::{Error, Precision, Result};

/// How many batches of runs may be under way at once: one that computes, one that waits behind it.
const DEPTH: usize = 2;

/// Staging buffers: one for each batch under way, and one for that of an abandoned run that is still awaited.
const RING: usize = DEPTH + 1;

/// The most runs of a batch.
const MOST_RUNS: usize = 16;

/// Bytes of the frames that a batch has at most, unless those of one run are more.
const BATCH_BYTES: usize = 8 << 20;

/// Into how many pieces all dispatches together may be cut beyond one each.
const PIECES: usize = 1024;

/// Buffer offsets in a bind group are multiples of this (WebGPU's default limits).
const ALIGNMENT: u64 = 256;

/// The largest arena of constants.
const ARENA: u64 = 64 << 20;

/// How often things were made or done on a device since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Buffers made.
    pub buffers: usize,
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

/// What tells one pipeline from another.
type PipelineKey = (&'static str, Vec<Define>, Precision);

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

    /// What is fused in the plans that it runs fastest.
    pub fn fusion(&self) -> Fusion {
        Fusion { tuning: self.tuning.get(), ..Fusion::STAGED }
    }

    /// Which variants of the ops it is taken to run fastest: what [`crate::tuning`] found, or by counting.
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
        self.count(|counters| counters.buffers += 1);
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
        let largest = plan.constants.iter().map(Constant::bytes).max().unwrap_or(0);
        if largest as u64 > limit {
            return too_large("A weight", largest, "Use the CPU.");
        }
        let most = self.device.limits().max_compute_workgroups_per_dimension;
        for step in &plan.steps {
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

    /// Compiles every shader of a plan. `progress` hears how many of how many are compiled.
    ///
    /// # Errors
    /// When the device rejects one.
    pub(crate) async fn compile(&self, plan: &Plan, progress: Progress<'_>) -> Result<()> {
        let mut distinct: Vec<(&Step, Kernel)> = Vec::new();
        for step in &plan.steps {
            let kernel = step.kernel();
            if !distinct.iter().any(|(_, other)| other.pipeline() == kernel.pipeline()) {
                distinct.push((step, kernel));
            }
        }
        progress(0, distinct.len());
        for (done, (step, kernel)) in distinct.iter().enumerate() {
            self.pipeline(step, kernel).await?;
            progress(done + 1, distinct.len());
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
        for ((buffer, operand), data) in buffers[inputs.len()..].iter().zip(step.written()).zip(written) {
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
        let frames = staging.frames(self, mapped, &[(bytes, bytes)]).await?;
        Ok(precision.decode(&frames[0]))
    }

    /// A bind group of the one layout that every pipeline has: binding i is the i-th of `bindings`.
    fn bind_group<'a>(
        &self,
        label: &str,
        pipeline: &wgpu::ComputePipeline,
        bindings: impl Iterator<Item = wgpu::BufferBinding<'a>>,
    ) -> wgpu::BindGroup {
        self.count(|counters| counters.bind_groups += 1);
        let entries: Vec<_> = bindings
            .enumerate()
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding: binding as u32,
                resource: wgpu::BindingResource::Buffer(buffer),
            })
            .collect();
        self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(label),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        })
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

    /// Seconds that one dispatch takes, from several measurements of at least `least` seconds.
    async fn time(&self, dispatch: &Dispatch, piece: &Piece, least: f64) -> Result<f64> {
        let mut timing = Timing::new(least);
        loop {
            let mut encoder = self.device.create_command_encoder(&Default::default());
            {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                (0..timing.repeats()).for_each(|_| dispatch.encode(&mut pass, piece));
            }
            let begin = Instant::now();
            let ticket = self.ticket(self.submit(encoder));
            self.finish(ticket).await?;
            if let Some(seconds) = timing.note(begin.elapsed().as_secs_f64()) {
                return Ok(seconds);
            }
        }
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

    /// The pipeline of a kernel's shader in its precision, made the first time it is asked for.
    async fn pipeline(&self, step: &Step, kernel: &Kernel) -> Result<wgpu::ComputePipeline> {
        let key = kernel.pipeline();
        if let Some((_, pipeline)) = self.pipelines.borrow().iter().find(|(made, _)| *made == key) {
            return Ok(pipeline.clone());
        }
        let (name, inputs) = (step.op.name(), step.inputs.len());
        self.count(|counters| counters.pipelines += 1);
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(name),
            source: wgpu::ShaderSource::Wgsl(kernel.source()),
        });
        // The binding convention: 0 is the parameters, then the inputs, then what is written.
        let entries: Vec<_> = (0..1 + step.operands().count() as u32)
            .map(|binding| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: match binding {
                        0 => wgpu::BufferBindingType::Uniform,
                        _ => wgpu::BufferBindingType::Storage { read_only: binding as usize <= inputs },
                    },
                    // Pieces of a dispatch differ by their parameters alone.
                    has_dynamic_offset: binding == 0,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let bindings = self
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(name), entries: &entries });
        let layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(name),
            bind_group_layouts: &[Some(&bindings)],
            ..Default::default()
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(name),
            layout: Some(&layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: Default::default(),
            cache: None,
        });
        // The answer comes once the pipeline is compiled, so that progress tells the truth.
        if let Some(error) = scope.pop().await {
            return Err(Error::Gpu(format!("The GPU rejected the shader {name} ({error}). Use the CPU.")));
        }
        self.pipelines.borrow_mut().push((key, pipeline.clone()));
        Ok(pipeline)
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

/// One dispatch, ready to be encoded.
struct Dispatch {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
}

/// A dispatch, or a part of one that would take too long.
struct Piece {
    /// Which dispatch.
    dispatch: usize,
    /// Where its parameters are.
    params: u32,
    workgroups: [u32; 3],
    /// See [`pace::work`].
    work: f64,
}

impl Dispatch {
    fn encode(&self, pass: &mut wgpu::ComputePass<'_>, piece: &Piece) {
        let [x, y, z] = piece.workgroups;
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[piece.params]);
        pass.dispatch_workgroups(x, y, z);
    }
}

/// A table of rows on the device and the input they go to.
struct Table {
    slot: usize,
    rows: Buffer,
    bytes: u64,
    row_bytes: u64,
}

impl Table {
    /// Where the row of a run is. A table of fewer rows begins anew after its last.
    fn offset(&self, row: usize) -> u64 {
        row as u64 * self.row_bytes % self.bytes
    }
}

/// Commands on their way into submissions of the size that the device is quick with.
struct Encoding<'a> {
    executor: &'a Executor,
    /// What they belong to, see [`Executor::begun`].
    begun: u64,
    encoder: Option<wgpu::CommandEncoder>,
    work: f64,
}

impl<'a> Encoding<'a> {
    fn new(executor: &'a Executor) -> Self {
        Encoding { executor, begun: executor.begun.get(), encoder: None, work: 0.0 }
    }

    /// Adds commands, and the time that takes to what is counted.
    fn record<T>(&mut self, record: impl FnOnce(&mut wgpu::CommandEncoder) -> T) -> T {
        let begin = Instant::now();
        let device = &self.executor.gpu.device;
        let encoder = self.encoder.get_or_insert_with(|| device.create_command_encoder(&Default::default()));
        let result = record(encoder);
        self.executor.gpu.count(|counters| counters.encoding += begin.elapsed());
        result
    }

    /// Adds dispatches, at least one to an empty submission and as many as fit: how many.
    fn dispatch(&mut self, pieces: &[Piece]) -> usize {
        let (executor, mut work, most) = (self.executor, self.work, self.executor.pace.submission());
        let mut count = 0;
        for piece in pieces {
            if work > 0.0 && work + piece.work > most {
                break;
            }
            work += piece.work;
            count += 1;
        }
        if count > 0 {
            self.record(|encoder| {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                for piece in &pieces[..count] {
                    executor.dispatches[piece.dispatch].encode(&mut pass, piece);
                }
            });
        }
        self.work = work;
        count
    }

    /// Submits what there is, once there is room for it.
    async fn submit(&mut self) -> Result<wgpu::SubmissionIndex> {
        let Executor { gpu, pace, begun, .. } = self.executor;
        if let Some((work, begin, ticket)) = pace.must_wait() {
            pace.learn(work, begin, gpu.finish(ticket).await?);
        }
        if begun.get() != self.begun {
            return Err(Error::Settings("These runs were given up: others began.".into()));
        }
        let begin = Instant::now();
        let encoder = self.encoder.take();
        let encoder = encoder.unwrap_or_else(|| gpu.device.create_command_encoder(&Default::default()));
        let submission = gpu.submit(encoder);
        gpu.count(|counters| counters.encoding += begin.elapsed());
        pace.begin(std::mem::take(&mut self.work), gpu.ticket(submission.clone()));
        Ok(submission)
    }
}

/// A plan with its memory and its dispatches.
pub struct Executor {
    gpu: Rc<Gpu>,
    pub(super) plan: Plan,
    slots: Vec<Buffer>,
    constants: Constants,
    params: Params,
    kernels: Vec<Kernel>,
    dispatches: Vec<Dispatch>,
    /// All of them in order, cut where they take long.
    pieces: RefCell<Rc<[Piece]>>,
    pace: Pace<Ticket>,
    /// The device's rate when dispatches were last cut.
    cut_at: Cell<f64>,
    /// How often runs began that have nothing to do with those before: what is left to be submitted of those is not.
    begun: Cell<u64>,
    tables: RefCell<Vec<Table>>,
    frames: Vec<Operand>,
    /// The most runs of a batch.
    most: usize,
    ring: Vec<Rc<Staging>>,
}

impl Executor {
    pub(super) async fn new(gpu: Rc<Gpu>, plan: Plan, frames: Vec<Operand>, progress: Progress<'_>) -> Result<Self> {
        gpu.check()?;
        gpu.check_plan(&plan)?;

        let kernels: Vec<Kernel> = plan.steps.iter().map(Step::kernel).collect();
        gpu.compile(&plan, progress).await?;
        let mut pipelines = Vec::with_capacity(kernels.len());
        for (step, kernel) in plan.steps.iter().zip(&kernels) {
            pipelines.push(gpu.pipeline(step, kernel).await?);
        }

        // What goes wrong in here is this plan's failure, not the device's: another plan may go on running.
        let validation = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let memory = gpu.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let storage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
        let slots: Vec<Buffer> = plan
            .slots
            .iter()
            .enumerate()
            .map(|(i, &bytes)| gpu.buffer(&format!("slot {i}"), bytes as u64, storage))
            .collect();
        let constants = Constants::new(&gpu, &plan);
        let uploaded = constants.upload(&gpu, &plan);
        let params = Params::upload(&gpu, &kernels, PIECES);
        let dispatch = |((step, kernel), pipeline): ((&Step, &Kernel), wgpu::ComputePipeline)| {
            let operands = step.operands().map(|operand| {
                let first = (operand.first * operand.precision.bytes()) as u64;
                let (buffer, offset) = match operand.place {
                    Place::Slot(slot) => (&slots[slot], first),
                    Place::Constant(constant) => constants.place(constant),
                };
                wgpu::BufferBinding { buffer, offset, size: wgpu::BufferSize::new(operand.bytes() as u64) }
            });
            let bindings = std::iter::once(params.binding(kernel)).chain(operands);
            let bind_group = gpu.bind_group(&step.name, &pipeline, bindings);
            Dispatch { pipeline, bind_group }
        };
        let dispatches = plan.steps.iter().zip(&kernels).zip(pipelines).map(dispatch).collect();
        let frame_bytes: u64 = frames.iter().map(|frame| frame.bytes() as u64).sum();
        let most = (BATCH_BYTES / (frame_bytes as usize).max(1)).clamp(1, MOST_RUNS);
        let ring = (0..RING).map(|_| Staging::new(&gpu, (most as u64 * frame_bytes).max(4))).collect();
        // Memory first: a buffer that could not be made makes everything that names it invalid too.
        let (memory, validation) = (memory.pop(), validation.pop());
        if let Some(error) = memory.await {
            return Err(Error::Gpu(format!(
                "The GPU has not enough memory for the model ({error}). Generate fewer images at a time, or use the CPU."
            )));
        }
        if let Some(error) = validation.await {
            return Err(Error::Gpu(format!("The GPU cannot run the model ({error}). Use the CPU.")));
        }
        gpu.check()?;
        uploaded?;
        let whole = plan.steps.iter().zip(&kernels).enumerate().map(|(i, (step, kernel))| Piece {
            dispatch: i,
            params: params.offset(i),
            workgroups: kernel.workgroups,
            work: pace::work(step),
        });
        Ok(Executor {
            pieces: RefCell::new(whole.collect()),
            constants,
            gpu,
            plan,
            slots,
            params,
            kernels,
            dispatches,
            pace: Pace::new(),
            cut_at: Cell::new(f64::INFINITY),
            begun: Cell::default(),
            tables: RefCell::default(),
            frames,
            most,
            ring,
        })
    }

    pub(super) fn upload(&self) -> Result<()> {
        self.constants.upload(&self.gpu, &self.plan)
    }

    pub(super) fn outdate(&self) {
        *self.constants.awaited.borrow_mut() = (0..self.plan.constants.len()).collect();
    }

    pub(super) fn awaited(&self) -> Option<usize> {
        self.constants.awaited.borrow().first().copied()
    }

    pub(super) fn begin(&self) {
        self.begun.set(self.begun.get() + 1);
    }

    fn slot(&self, operand: &Operand) -> &wgpu::Buffer {
        &self.slots[slot(operand)]
    }

    pub(super) fn write(&self, operand: &Operand, data: &[f32]) {
        self.gpu.queue.write_buffer(self.slot(operand), 0, &operand.precision.encode(data));
    }

    pub(super) fn set_rows(&self, operand: &Operand, rows: &[f32]) -> Result<()> {
        let (bytes, limit) = (4 * rows.len() as u64, self.gpu.largest_buffer());
        if bytes > limit {
            return Err(Error::Gpu(format!(
                "The tables of this run take {} MB, but one buffer of a GPU holds at most {} MB here. Take fewer steps or \
                 images, or use the CPU.",
                bytes.div_ceil(1 << 20),
                limit >> 20
            )));
        }
        let slot = slot(operand);
        let data = operand.precision.encode(rows);
        let mut tables = self.tables.borrow_mut();
        // One of the same size is written anew.
        if let Some(table) = tables.iter().find(|table| table.slot == slot && table.bytes == data.len() as u64) {
            self.gpu.queue.write_buffer(&table.rows, 0, &data);
            return Ok(());
        }
        let usage = BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        let buffer = self.gpu.buffer("rows", data.len() as u64, usage);
        self.gpu.queue.write_buffer(&buffer, 0, &data);
        tables.retain(|table| table.slot != slot);
        let (bytes, row_bytes) = (data.len() as u64, operand.bytes() as u64);
        tables.push(Table { slot, rows: buffer, bytes, row_bytes });
        Ok(())
    }

    /// Whether there is a table to write to.
    pub(super) fn write_row(&self, operand: &Operand, row: usize, data: &[f32]) -> bool {
        let tables = self.tables.borrow();
        let table = tables.iter().find(|table| table.slot == slot(operand));
        table.is_some_and(|table| {
            self.gpu.queue.write_buffer(&table.rows, table.offset(row), &operand.precision.encode(data));
            true
        })
    }

    /// The work of one run.
    fn work(&self) -> f64 {
        self.pieces.borrow().iter().map(|piece| piece.work).sum()
    }

    pub(super) fn batch(&self) -> usize {
        self.pace.times(self.work()).clamp(1, self.most)
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    pub(super) fn depth(&self) -> usize {
        /// Submissions of a run, seconds that is, from which on it keeps the GPU busy by itself and its frames are not to wait
        /// for most of the next.
        const LONG: f64 = 20.0;

        if self.work() > LONG * self.pace.submission() { 1 } else { DEPTH }
    }

    pub(super) async fn run(&self, rows: Range<usize>) -> Result<Readback> {
        self.gpu.check()?;
        if rows.len() > self.most {
            return Err(Error::Gpu(format!("At most {} runs may be under way in one batch.", self.most)));
        }
        let free = self.ring.iter().find(|staging| !staging.busy.get()).cloned();
        let staging = free.ok_or_else(|| Error::Gpu(format!("At most {DEPTH} batches may be under way at once.")))?;
        staging.busy.set(true);
        let result = self.submit(&staging, rows).await;
        if result.is_err() {
            staging.busy.set(false);
        }
        let (lengths, submission) = result?;
        Ok(Readback::new(&self.gpu, staging, lengths, self.frames.len(), submission))
    }

    /// Submits runs whose frames go to `staging`: where they are, and the last submission.
    async fn submit(
        &self,
        staging: &Staging,
        rows: Range<usize>,
    ) -> Result<(Vec<(usize, usize)>, wgpu::SubmissionIndex)> {
        let mut lengths = Vec::with_capacity(self.frames.len() * rows.len());
        let mut encoding = Encoding::new(self);
        let (mut to, mut dispatches) = (0, 0);
        for row in rows {
            // What else is to be written before it is first read.
            encoding.record(|encoder| {
                for table in &*self.tables.borrow() {
                    let (rows, from) = (&table.rows, table.offset(row));
                    encoder.copy_buffer_to_buffer(rows, from, &self.slots[table.slot], 0, table.row_bytes);
                }
            });
            let mut pieces = self.pieces.borrow().clone();
            let mut next = 0;
            while next < pieces.len() {
                next += encoding.dispatch(&pieces[next..]);
                let Some(Piece { dispatch, .. }) = pieces.get(next) else { break };
                encoding.submit().await?;
                // Nothing is recorded now, so dispatches may be cut anew; but not one that is half done.
                let begun = next > 0 && pieces[next - 1].dispatch == *dispatch;
                if !begun && self.cut() {
                    let dispatch = *dispatch;
                    pieces = self.pieces.borrow().clone();
                    next = pieces.iter().position(|piece| piece.dispatch == dispatch).expect("it is still to be done");
                }
            }
            dispatches += pieces.len();
            encoding.record(|encoder| {
                for &(from, to, len) in &self.plan.feedback {
                    encoder.copy_buffer_to_buffer(&self.slots[from], 0, &self.slots[to], 0, 4 * len as u64);
                }
                for frame in &self.frames {
                    let size = frame.bytes();
                    encoder.copy_buffer_to_buffer(self.slot(frame), 0, &staging.buffer, to, size as u64);
                    lengths.push((frame.precision.bytes() * frame.shape.channels(), size));
                    to += size as u64;
                }
            });
        }
        let submission = encoding.submit().await?;
        self.cut();
        self.gpu.count(|counters| counters.dispatches += dispatches);
        Ok((lengths, submission))
    }

    /// Cuts dispatches that take too long, as far as is known by now: whether there were any. Their parameters are written
    /// before whatever is submitted next, so nothing may be recorded and not submitted.
    fn cut(&self) -> bool {
        /// Of its rate at the last time, when a device has become so much slower that it is worth cutting anew.
        const SLOWER: f64 = 0.7;

        match self.pace.rate() {
            Some(rate) if rate < SLOWER * self.cut_at.get() => self.cut_at.set(rate),
            _ => return false,
        }
        let long = |piece: &Piece| {
            let by_x = piece.workgroups[0] as usize;
            self.kernels[piece.dispatch].first.is_some() && self.pace.pieces(piece.work).min(by_x) > 1
        };
        if !self.pieces.borrow().iter().any(long) {
            return false;
        }
        let mut room = PIECES;
        let mut pieces = Vec::new();
        for (i, (step, kernel)) in self.plan.steps.iter().zip(&self.kernels).enumerate() {
            let [x, y, z] = kernel.workgroups;
            let work = pace::work(step);
            let count = match kernel.first {
                Some(_) => self.pace.pieces(work).clamp(1, x as usize).min(room + 1),
                None => 1,
            };
            let each = x.div_ceil(count as u32);
            for (part, first) in (0..x).step_by(each as usize).enumerate() {
                let params = match (part, kernel.first) {
                    (0, _) | (_, None) => self.params.offset(i),
                    (_, Some(place)) => {
                        room -= 1;
                        self.params.write(&self.gpu, room, kernel, place, first)
                    }
                };
                let width = each.min(x - first);
                let share = f64::from(width) / f64::from(x);
                pieces.push(Piece { dispatch: i, params, workgroups: [width, y, z], work: share * work });
            }
        }
        *self.pieces.borrow_mut() = pieces.into();
        true
    }

    /// Seconds that each step takes by itself. What the plan holds is different afterwards.
    pub(super) async fn times(&self, least: f64) -> Result<Vec<f64>> {
        let mut times = Vec::with_capacity(self.dispatches.len());
        for (i, (dispatch, kernel)) in self.dispatches.iter().zip(&self.kernels).enumerate() {
            let (params, workgroups) = (self.params.offset(i), kernel.workgroups);
            let whole = Piece { dispatch: i, params, workgroups, work: 0.0 };
            times.push(self.gpu.time(dispatch, &whole, least).await?);
        }
        Ok(times)
    }

    pub(super) async fn read(&self, operand: &Operand) -> Result<Vec<f32>> {
        self.gpu.read(self.slot(operand), operand.precision, operand.shape.len()).await
    }
}

/// A plan's constants, in as few buffers as limits allow.
struct Constants {
    /// For each constant, its buffer and offset.
    places: Vec<(Rc<Buffer>, u64)>,
    /// The numbers of those that are not uploaded yet.
    awaited: RefCell<Vec<usize>>,
}

impl Constants {
    /// Memory for the constants of `plan`.
    fn new(gpu: &Gpu, plan: &Plan) -> Self {
        let sizes: Vec<u64> = plan.constants.iter().map(|constant| constant.bytes() as u64).collect();
        let mut places = Vec::with_capacity(sizes.len());
        let mut first = 0;
        while first < sizes.len() {
            let mut offsets = Vec::new();
            let mut end = 0;
            for &size in &sizes[first..] {
                if end > 0 && end + size > ARENA {
                    break;
                }
                offsets.push(end);
                end = (end + size).next_multiple_of(ALIGNMENT);
            }
            let arena = Rc::new(gpu.buffer("constants", end, BufferUsages::STORAGE | BufferUsages::COPY_DST));
            first += offsets.len();
            places.extend(offsets.into_iter().map(|offset| (arena.clone(), offset)));
        }
        Constants { places, awaited: RefCell::new((0..sizes.len()).collect()) }
    }

    /// Where a constant is.
    fn place(&self, index: usize) -> (&Buffer, u64) {
        let (arena, offset) = &self.places[index];
        (arena, *offset)
    }

    /// Uploads those that have become known since.
    ///
    /// # Errors
    /// When a number is too large for the precision it is to be kept in, or the device was lost.
    fn upload(&self, gpu: &Gpu, plan: &Plan) -> Result<()> {
        let mut result = gpu.check();
        self.awaited.borrow_mut().retain(|&index| {
            let constant = &plan.constants[index];
            let (Some(numbers), true) = (constant.known(), result.is_ok()) else { return true };
            result = check_precision(constant, &numbers);
            if result.is_err() {
                return true;
            }
            let (arena, offset) = self.place(index);
            gpu.queue.write_buffer(arena, offset, &constant.precision.encode(&numbers));
            false
        });
        result
    }
}

/// Checks that the numbers of a constant fit the precision they are kept in.
fn check_precision(Constant { name, precision, .. }: &Constant, numbers: &[f32]) -> Result<()> {
    let largest = Precision::LARGEST_F16;
    match numbers.iter().find(|x| *precision == Precision::F16 && x.abs() > largest) {
        Some(value) => Err(Error::Weights(format!(
            "has {value} in {name}, but a number of 16 bits is at most {largest}; choose f32."
        ))),
        None => Ok(()),
    }
}

/// The parameters of every dispatch, in one uniform buffer, and room for those of pieces.
struct Params {
    buffer: Buffer,
    /// Where those of each dispatch are, and where the room begins.
    offsets: Vec<u64>,
    room: u64,
}

/// Bytes of any kernel's parameters, from one offset to the next.
const PARAMS: u64 = ALIGNMENT;

impl Params {
    /// Uploads the kernels' parameters, and makes room for `pieces` more.
    fn upload(gpu: &Gpu, kernels: &[Kernel], pieces: usize) -> Self {
        let mut bytes = Vec::new();
        let mut offsets = Vec::with_capacity(kernels.len());
        for kernel in kernels {
            offsets.push(bytes.len() as u64);
            bytes.extend_from_slice(&kernel.params);
            bytes.resize(bytes.len().next_multiple_of(PARAMS as usize), 0);
        }
        let room = bytes.len() as u64;
        let cut = kernels.iter().any(|kernel| kernel.first.is_some());
        let size = room + if cut { pieces as u64 * PARAMS } else { 0 };
        let usage = BufferUsages::UNIFORM | BufferUsages::COPY_DST;
        let buffer = gpu.buffer("params", size.max(PARAMS), usage);
        gpu.queue.write_buffer(&buffer, 0, &bytes);
        Params { buffer, offsets, room }
    }

    /// Where those of a dispatch are.
    fn offset(&self, dispatch: usize) -> u32 {
        self.offsets[dispatch] as u32
    }

    /// Writes those of a piece that begins with workgroup `first`, the number at `place`, and says where they are.
    fn write(&self, gpu: &Gpu, piece: usize, kernel: &Kernel, place: usize, first: u32) -> u32 {
        let mut params = kernel.params.clone();
        params[place..place + 4].copy_from_slice(&first.to_ne_bytes());
        let offset = self.room + piece as u64 * PARAMS;
        gpu.queue.write_buffer(&self.buffer, offset, &params);
        offset as u32
    }

    /// The binding, to which the offset is added when it is set.
    fn binding(&self, kernel: &Kernel) -> wgpu::BufferBinding<'_> {
        let size = wgpu::BufferSize::new(kernel.params.len() as u64);
        wgpu::BufferBinding { buffer: &self.buffer, offset: 0, size }
    }
}

/// A buffer through which frames reach the host.
struct Staging {
    buffer: Buffer,
    busy: Cell<bool>,
}

/// Whether mapping a staging buffer worked.
type Mapped = oneshot::Receiver<std::result::Result<(), wgpu::BufferAsyncError>>;

impl Staging {
    fn new(gpu: &Gpu, bytes: u64) -> Rc<Self> {
        let buffer = gpu.buffer("staging", bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST);
        Rc::new(Staging { buffer, busy: Cell::new(false) })
    }

    /// Asks for the buffer's bytes; the answer comes when the work submitted so far is done.
    fn map(&self) -> Mapped {
        let (sender, receiver) = oneshot::channel();
        self.buffer.map_async(wgpu::MapMode::Read, .., move |result| {
            // Nobody listens any more when a run was stopped.
            let _ = sender.send(result);
        });
        receiver
    }

    /// The frames in the buffer, given of each the bytes that count and the bytes it takes.
    async fn frames(&self, gpu: &Gpu, mapped: Mapped, lengths: &[(usize, usize)]) -> Result<Vec<Vec<u8>>> {
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
        let frame = |&(used, taken): &(usize, usize)| {
            at += taken;
            view[at - taken..at - taken + used].to_vec()
        };
        Ok(lengths.iter().map(frame).collect())
    }
}

/// The frames of a batch on their way to the host. Dropping it gives its staging buffer back.
pub struct Readback {
    gpu: Rc<Gpu>,
    staging: Rc<Staging>,
    mapped: Option<Mapped>,
    /// Of each frame, the bytes that count and the bytes it takes.
    lengths: Vec<(usize, usize)>,
    /// How many frames a run has.
    frames: usize,
    submission: Option<wgpu::SubmissionIndex>,
    /// How many submissions there had been with this one.
    submissions: usize,
}

impl Readback {
    fn new(
        gpu: &Rc<Gpu>,
        staging: Rc<Staging>,
        lengths: Vec<(usize, usize)>,
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

    pub(super) async fn wait(mut self) -> Result<Vec<Vec<Vec<u8>>>> {
        if self.gpu.counters().submissions == self.submissions {
            self.gpu.count(|counters| counters.waits += 1);
        }
        let (Some(mapped), Some(submission)) = (self.mapped.take(), self.submission.take()) else {
            unreachable!("a readback is waited for once")
        };
        self.gpu.poll(submission)?;
        let frames = self.staging.frames(&self.gpu, mapped, &self.lengths).await?;
        Ok(frames.chunks(self.frames.max(1)).map(<[_]>::to_vec).collect())
    }
}

impl Drop for Readback {
    fn drop(&mut self) {
        self.staging.buffer.unmap();
        self.staging.busy.set(false);
    }
}

/// The slot of an operand that is written.
fn slot(operand: &Operand) -> usize {
    operand.slot().expect("inputs, outputs and steps' outputs live in slots")
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
