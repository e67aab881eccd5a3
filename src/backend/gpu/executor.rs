//! A plan with its memory and its dispatches.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

use web_time::Instant;
use wgpu::BufferUsages;

use super::constants::{Constants, Params};
use super::pace::{self, Pace};
use super::pipelines::{Dispatch, Piece};
use super::readback::{Readback, Staging};
use super::states::{StateBuffer, check_precision};
use super::{Buffer, Gpu, Ticket};
use crate::backend::Progress;
use crate::graph::Kernel;
use crate::plan::{Command, Constant, Operand, Place, Plan, StateInUse, Step};
use crate::{Error, Result};

/// How many batches of runs may be under way at once: one that computes, one that waits behind it.
const DEPTH: usize = 2;

/// Staging buffers: one for each batch under way, and one for that of an abandoned run that is still awaited.
const RING: usize = DEPTH + 1;

/// The most runs of a batch.
const MAX_RUNS: usize = 16;

/// Bytes of the frames that a batch has at most, unless those of one run are more.
const BATCH_BYTES: usize = 16 << 20;

/// Into how many pieces all dispatches together may be cut beyond one each.
const PIECES: usize = 1024;

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
    pub(in super::super) plan: Plan,
    slots: Vec<Buffer>,
    states: Vec<Rc<StateBuffer>>,
    /// What dispatches are bound to.
    _constants: Constants,
    params: Params,
    kernels: Vec<Kernel>,
    dispatches: Vec<Dispatch>,
    /// What computes what follows from states alone.
    preparation: Vec<(Dispatch, Piece)>,
    /// The revisions of the ranges that this was last done with.
    prepared: RefCell<Option<Vec<u64>>>,
    /// All dispatches of a run in order, cut where they take long.
    pieces: RefCell<Rc<[Piece]>>,
    pace: Pace<Ticket>,
    /// The device's rate when dispatches were last cut.
    cut_at: Cell<f64>,
    /// How often runs began that have nothing to do with those before: what is left to be submitted of those is not.
    begun: Cell<u64>,
    tables: RefCell<Vec<Table>>,
    frames: Vec<Operand>,
    /// The most runs of a batch.
    max_runs: usize,
    ring: Vec<Rc<Staging>>,
}

impl Executor {
    pub(in super::super) async fn new(
        gpu: Rc<Gpu>,
        plan: Plan,
        frames: Vec<Operand>,
        progress: Progress<'_>,
    ) -> Result<Self> {
        gpu.check()?;
        gpu.check_plan(&plan)?;
        for Constant { name, precision, numbers } in &plan.constants {
            check_precision(name, *precision, numbers)?;
        }

        // Those of the steps, and after them those of the preparation.
        let steps = || plan.steps.iter().chain(&plan.preparation);
        let mut kernels: Vec<Kernel> = steps().map(Step::kernel).collect();
        gpu.compile(&plan, progress).await?;
        let mut pipelines = Vec::with_capacity(kernels.len());
        for (step, kernel) in steps().zip(&kernels) {
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
        let of_state = |used: &StateInUse| StateBuffer::of(&gpu, &used.state, used.precision);
        let states: Vec<Rc<StateBuffer>> = plan.states.iter().map(of_state).collect();
        // Before the device has answered: it may take its time.
        let uploaded = plan.states.iter().zip(&states).try_for_each(|(used, held)| held.upload(&gpu, &used.state));
        let params = Params::upload(&gpu, &kernels, PIECES);
        let dispatch = |((step, kernel), pipeline): ((&Step, &Kernel), wgpu::ComputePipeline)| {
            let operands = step.operands().map(|operand| {
                let first = (operand.first * operand.precision.bytes()) as u64;
                let (buffer, offset) = match operand.place {
                    Place::Slot(slot) => (&slots[slot], first),
                    Place::State(state) => (&states[state].buffer, first),
                    Place::Constant(constant) => constants.place(constant),
                };
                wgpu::BufferBinding { buffer, offset, size: wgpu::BufferSize::new(operand.bytes() as u64) }
            });
            let bindings = std::iter::once(params.binding(kernel)).chain(operands);
            let bind_group = gpu.bind_group(&step.name, &pipeline, bindings);
            Dispatch { pipeline, bind_group }
        };
        let mut dispatches: Vec<Dispatch> = steps().zip(&kernels).zip(pipelines).map(dispatch).collect();
        let once = dispatches.split_off(plan.steps.len()).into_iter().zip(kernels.split_off(plan.steps.len()));
        let preparation = once.enumerate().map(|(i, (dispatch, kernel))| {
            let params = params.offset(plan.steps.len() + i);
            (dispatch, Piece { dispatch: i, params, workgroups: kernel.workgroups, work: 0.0 })
        });
        let preparation = preparation.collect();
        let frame_bytes: u64 = frames.iter().map(|frame| frame.bytes() as u64).sum();
        let max_runs = (BATCH_BYTES / (frame_bytes as usize).max(1)).clamp(1, MAX_RUNS);
        let ring = (0..RING).map(|_| Staging::new(&gpu, (max_runs as u64 * frame_bytes).max(4))).collect();
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
        let executor = Executor {
            pieces: RefCell::new(whole.collect()),
            preparation,
            prepared: RefCell::default(),
            states,
            _constants: constants,
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
            max_runs,
            ring,
        };
        for (used, held) in executor.plan.states.iter().zip(&executor.states) {
            held.keep_for(&used.state);
            held.fetch(&used.state).await?;
        }
        executor.upload()?;
        Ok(executor)
    }

    pub(in super::super) fn upload(&self) -> Result<()> {
        self.gpu.check()?;
        for (used, held) in self.plan.states.iter().zip(&self.states) {
            held.upload(&self.gpu, &used.state)?;
            held.release(&used.state);
        }
        Ok(())
    }

    /// Takes over what has changed since, and computes what follows from states alone, if they have.
    async fn prepare(&self) -> Result<()> {
        for (used, held) in self.plan.states.iter().zip(&self.states) {
            held.fetch(&used.state).await?;
        }
        self.upload()?;
        let revisions = Some(self.plan.fixed_revisions());
        if !self.preparation.is_empty() && *self.prepared.borrow() != revisions {
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                self.preparation.iter().for_each(|(dispatch, piece)| dispatch.encode(&mut pass, piece));
            }
            self.gpu.submit(encoder);
        }
        *self.prepared.borrow_mut() = revisions;
        Ok(())
    }

    pub(in super::super) fn begin(&self) {
        self.begun.set(self.begun.get() + 1);
    }

    fn slot(&self, operand: &Operand) -> &wgpu::Buffer {
        &self.slots[slot(operand)]
    }

    pub(in super::super) fn write(&self, operand: &Operand, data: &[f32]) {
        self.gpu.queue.write_buffer(self.slot(operand), 0, &operand.precision.encode(data));
    }

    pub(in super::super) fn set_rows(&self, operand: &Operand, rows: &[f32]) -> Result<()> {
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
    pub(in super::super) fn write_row(&self, operand: &Operand, row: usize, data: &[f32]) -> bool {
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

    pub(in super::super) fn batch(&self) -> usize {
        self.pace.times(self.work()).clamp(1, self.max_runs)
    }

    pub(in super::super) fn max_runs(&self) -> usize {
        self.max_runs
    }

    pub(in super::super) fn depth(&self) -> usize {
        /// Submissions of a run, seconds that is, from which on it keeps the GPU busy by itself and its frames are not to wait
        /// for most of the next.
        const LONG: f64 = 20.0;

        if self.work() > LONG * self.pace.submission() { 1 } else { DEPTH }
    }

    pub(in super::super) async fn run(&self, rows: Range<usize>) -> Result<Readback> {
        self.gpu.check()?;
        if rows.len() > self.max_runs {
            return Err(Error::Gpu(format!("At most {} runs may be under way in one batch.", self.max_runs)));
        }
        let free = self.ring.iter().find(|staging| !staging.busy.get()).cloned();
        let staging = free.ok_or_else(|| Error::Gpu(format!("At most {DEPTH} batches may be under way at once.")))?;
        self.prepare().await?;
        staging.busy.set(true);
        let result = self.submit(&staging, rows).await;
        if result.is_err() {
            staging.busy.set(false);
        }
        let (lengths, submission) = result?;
        Ok(Readback::new(&self.gpu, staging, lengths, self.frames.len(), submission))
    }

    /// Submits runs whose frames go to `staging`: how many bytes each has, and the last submission.
    async fn submit(&self, staging: &Staging, rows: Range<usize>) -> Result<(Vec<usize>, wgpu::SubmissionIndex)> {
        let mut lengths = Vec::with_capacity(self.frames.len() * rows.len());
        let mut encoding = Encoding::new(self);
        let (mut to, mut dispatches) = (0, 0);
        for row in rows {
            for command in self.plan.commands(&self.frames) {
                match command {
                    // What else is to be written before it is first read.
                    Command::TakeRows => encoding.record(|encoder| {
                        for table in &*self.tables.borrow() {
                            let (rows, from) = (&table.rows, table.offset(row));
                            encoder.copy_buffer_to_buffer(rows, from, &self.slots[table.slot], 0, table.row_bytes);
                        }
                    }),
                    Command::Compute => dispatches += self.compute(&mut encoding).await?,
                    Command::FeedBack { from, to, len } => encoding.record(|encoder| {
                        encoder.copy_buffer_to_buffer(&self.slots[from], 0, &self.slots[to], 0, 4 * len as u64);
                    }),
                    Command::Read(frame) => {
                        let size = frame.bytes();
                        encoding.record(|encoder| {
                            encoder.copy_buffer_to_buffer(self.slot(frame), 0, &staging.buffer, to, size as u64);
                        });
                        lengths.push(size);
                        to += size as u64;
                    }
                }
            }
        }
        let submission = encoding.submit().await?;
        self.cut();
        self.gpu.count(|counters| counters.dispatches += dispatches);
        for (used, held) in self.plan.states.iter().zip(&self.states).filter(|(used, _)| used.changes) {
            held.changed(&used.state, &used.ranges);
        }
        Ok((lengths, submission))
    }

    /// Dispatches all steps: how many dispatches that takes.
    async fn compute(&self, encoding: &mut Encoding<'_>) -> Result<usize> {
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
        Ok(pieces.len())
    }

    /// Cuts dispatches anew that take too long, as far as is known by now, or that no longer do: whether there were any. Their
    /// parameters are written before whatever is submitted next, so nothing may be recorded and not submitted.
    fn cut(&self) -> bool {
        /// Of its rate at the last time, when a device has become so much slower, or faster, that it is worth cutting anew.
        /// The first rate may be of a device that was still busy with something else, or had been resting.
        const SLOWER: f64 = 0.7;
        const FASTER: f64 = 2.0;

        let Some(rate) = self.pace.rate() else { return false };
        let before = self.cut_at.get();
        let faster = rate > FASTER * before && self.pieces.borrow().len() > self.dispatches.len();
        if !faster && rate >= SLOWER * before {
            return false;
        }
        self.cut_at.set(rate);
        let long = |piece: &Piece| {
            let by_x = piece.workgroups[0] as usize;
            self.kernels[piece.dispatch].first.is_some() && self.pace.pieces(piece.work).min(by_x) > 1
        };
        if !faster && !self.pieces.borrow().iter().any(long) {
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
    pub(in super::super) async fn times(&self, least: f64) -> Result<Vec<f64>> {
        let mut times = Vec::with_capacity(self.dispatches.len());
        for (i, (dispatch, kernel)) in self.dispatches.iter().zip(&self.kernels).enumerate() {
            let (params, workgroups) = (self.params.offset(i), kernel.workgroups);
            let whole = Piece { dispatch: i, params, workgroups, work: 0.0 };
            times.push(self.gpu.time(dispatch, &whole, least).await?);
        }
        Ok(times)
    }

    pub(in super::super) async fn read(&self, operand: &Operand) -> Result<Vec<f32>> {
        self.gpu.read(self.slot(operand), operand.precision, operand.shape.len()).await
    }
}

/// The slot of an operand that is written.
fn slot(operand: &Operand) -> usize {
    operand.slot().expect("inputs, outputs and steps' outputs live in slots")
}
