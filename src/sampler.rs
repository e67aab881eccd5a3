//! The sampling loop: from noise to images, one model evaluation after another.

mod conditions;
mod inpainting;
mod noise;
pub(crate) mod prepared;
mod settings;
mod snapshot;

use std::collections::VecDeque;
use std::rc::Rc;

use web_time::Instant;

pub use inpainting::Inpainting;
pub use noise::Slerp;
pub use prepared::Prepared;
pub use settings::{ClassMix, ClassifierGuidance, Settings, Share, Start};
pub use snapshot::Snapshot;

use crate::backend::Executor;
use crate::pipeline::names;
use crate::schedule::{Row, Schedule, is_below};
use crate::{Error, Pipeline, Result, Shape, Tensor};
use conditions::Table;
use inpainting::Known;
use noise::Noise;

/// A frame of a run.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Which evaluation made it, from 0.
    pub step: usize,
    /// x_prev, where the evaluation went, in the sampler's own scale: `[N, C, H, W]`, not clamped.
    /// [`rgba8`](crate::rgba8) makes pictures of it, with what [`Schedule::shown`] says of the row after this one.
    pub prev: Tensor,
    /// x̂0, what the model made of the x_t it was given: `[N, C, H, W]`.
    pub x0: Tensor,
    /// What the classifier that guides the run says of that x_t, if it is asked for ([`ClassifierGuidance::in_frames`]).
    pub classification: Option<Classification>,
    /// How long it took: the time since the frames before it came, shared among those that came together.
    pub seconds: f64,
}

/// What a classifier says of x_t.
#[derive(Clone, Debug)]
pub struct Classification {
    /// Σ_k w_k ∇ log p(k | x_t) by x_t, not scaled: `[N, C, H, W]`.
    pub gradient: Tensor,
    /// log p(k | x_t) of every class but for a sum over all: `[N, K]`.
    pub logits: Tensor,
}

/// A run from x_T to x_0.
pub struct Sampler {
    prepared: Rc<Prepared>,
    /// Which sampler of the executor this is.
    id: u64,
    schedule: Schedule,
    table: Table,
    noise: Noise,
    shape: Shape,
    /// What the run begins with.
    initial: Tensor,
    /// The next evaluation to be submitted.
    next: usize,
    /// The evaluation before which it ends.
    end: usize,
    /// The next frame to be handed out.
    read: usize,
    /// Frames that have come before they were asked for.
    ready: VecDeque<Vec<Vec<f32>>>,
    /// When the latest came, and how long each of them took.
    came: Instant,
    seconds: f64,
}

impl Sampler {
    /// Begins a run. Any earlier one on the same [`Prepared`] ends.
    ///
    /// # Errors
    /// When the settings are not possible with this model, or need another layout.
    pub fn new(pipeline: &Pipeline, prepared: &Rc<Prepared>, settings: &Settings) -> Result<Self> {
        Self::begin(pipeline, prepared, settings, None)
    }

    /// Goes on from where a run stood. With the settings of that run it ends in the same bits. They may be others as long as the
    /// schedule has the rows that are done and keeps in its registers what those kept: another seed (the snapshot's generators
    /// taken out), class, guidance, or variance. Any earlier run on the same [`Prepared`] ends.
    ///
    /// # Errors
    /// As [`Sampler::new`], and when the snapshot does not fit the settings.
    pub fn resume(
        pipeline: &Pipeline,
        prepared: &Rc<Prepared>,
        settings: &Settings,
        snapshot: &Snapshot,
    ) -> Result<Self> {
        Self::begin(pipeline, prepared, settings, Some(snapshot))
    }

    fn begin(
        pipeline: &Pipeline,
        prepared: &Rc<Prepared>,
        settings: &Settings,
        snapshot: Option<&Snapshot>,
    ) -> Result<Self> {
        let (layout, schedule) = settings.check(pipeline)?;
        if layout != prepared.layout {
            let found = format!("{:?}", prepared.layout);
            return Err(Error::shape("Sampler", format!("a pipeline prepared for {layout:?}"), found));
        }
        let executor = &prepared.executor;
        let shape = executor.plan().input(names::SAMPLE)?.shape.clone();
        let mut noise = Noise::new(settings);
        if let Some(snapshot) = snapshot {
            snapshot.check(&shape, &schedule)?;
            noise.resume(&snapshot.generators)?;
        }
        let id = prepared.begin();
        let mut labels = settings.class_labels.clone();
        if layout.guided && !labels.is_empty() {
            // The null class for each image, after them.
            labels.extend(std::iter::repeat_n(settings.null_class(pipeline)? as f32, layout.count));
        }
        let images = if layout.guided { 2 * layout.count } else { layout.count };
        let timesteps: Vec<f32> = schedule.rows.iter().map(|row| row.timestep as f32).collect();
        if let Ok(input) = executor.plan().input(names::TIMESTEP) {
            let each = input.shape.len();
            let rows: Vec<f32> = timesteps.iter().flat_map(|&t| std::iter::repeat_n(t, each)).collect();
            executor.set_rows(names::TIMESTEP, &rows)?;
        }
        let mut classifier_scale = 0.0;
        if let (Some(_), Some(guidance)) = (layout.classifier, &settings.classifier) {
            classifier_scale = guidance.scale;
            pipeline.classifier()?.write(executor, &timesteps, &guidance.weights)?;
        }
        let (guidance, rescale) = (settings.guidance as f32, settings.guidance_rescale as f32);
        let coefficients = schedule.coefficients(guidance, rescale, classifier_scale);
        executor.set_rows(names::ROW, bytemuck::cast_slice(&coefficients))?;
        let table = Table::new(timesteps, &labels, settings.class_mix.as_ref(), images);

        let known = Known::new(settings, &layout, &shape)?;
        let (sample, kept) = match snapshot {
            Some(snapshot) => snapshot.to_device()?,
            None => {
                let row = &schedule.rows[0];
                let (x, scale) = match &settings.start {
                    Some(start) if settings.scheduler(pipeline)?.kind.inverts() => (start.sample.to_device()?, 1.0),
                    Some(start) => (noised(start, row, settings, &mut noise, &shape)?, row.scale()),
                    None => (noise.first(settings, &shape)?, schedule.init_noise_sigma),
                };
                let mut sample: Vec<f32> = x.iter().map(|x| x * scale as f32).collect();
                if let Some(known) = &known {
                    known.put(&mut sample, row);
                }
                // What an earlier run kept must not reach this one, not even with a weight of zero: it may not be finite.
                let kept = vec![0.0; executor.plan().input(names::KEPT)?.shape.len()];
                (sample, kept)
            }
        };
        let initial = Tensor::from_device(&shape, &sample)?;
        executor.write(names::SAMPLE, &sample)?;
        executor.write(names::KEPT, &kept)?;
        if let Some(condition) = &settings.condition {
            let one = condition.to_device()?;
            let input = executor.plan().input(names::CONDITION)?.shape.len();
            executor.write(names::CONDITION, &one.repeat(input / one.len()))?;
        }
        if let Some(known) = &known {
            known.write(executor)?;
        }
        // What is written before each evaluation: rows for as many as are submitted at once.
        for input in [names::NOISE, names::UNDO_NOISE, names::CONDITIONS] {
            if let Ok(operand) = executor.plan().input(input) {
                executor.set_rows(input, &vec![0.0; executor.max_runs() * operand.shape.len()])?;
            }
        }
        let first = snapshot.map_or(0, |snapshot| snapshot.row);
        let end = schedule.rows.len();
        Ok(Sampler {
            prepared: prepared.clone(),
            id,
            schedule,
            table,
            noise,
            shape,
            initial,
            next: first,
            end,
            read: first,
            ready: VecDeque::new(),
            came: Instant::now(),
            seconds: 0.0,
        })
    }

    /// The table that is run.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// What the run begins with, x_T or the x_t of a snapshot, in the sampler's own scale: `[N, C, H, W]`.
    pub fn initial(&self) -> &Tensor {
        &self.initial
    }

    /// Has the run end before evaluation `row`, so that its last [`Sampler::snapshot`] is of that: evaluations are submitted
    /// ahead of the frames that are asked for, so from outside it could not be told when to stop. What is submitted already
    /// stays so.
    pub fn end_at(&mut self, row: usize) {
        self.end = row.min(self.schedule.rows.len());
    }

    /// The next frame, or `None` after the last. Later evaluations are submitted before this one is waited for.
    ///
    /// # Errors
    /// When the device was lost, or another run began.
    pub async fn next(&mut self) -> Result<Option<Frame>> {
        self.check()?;
        let prepared = self.prepared.clone();
        let (depth, batch) = (prepared.executor.depth(), prepared.executor.batch());
        let under_way = &prepared.under_way;
        while under_way.borrow().len() < depth && self.next < self.end && self.ready.len() < batch {
            let end = self.end.min(self.next + batch);
            for row in self.next..end {
                self.write_inputs(row).await?;
            }
            let pending = prepared.executor.submit(self.next..end).await;
            // While there was no room for it, another run may have begun.
            self.check()?;
            under_way.borrow_mut().push_back(pending?);
            self.next = end;
        }
        if self.ready.is_empty() && !self.receive().await? {
            return Ok(None);
        }
        let frame = self.ready.pop_front();
        let Some([prev, x0, classification @ ..]) = frame.as_deref() else {
            unreachable!("a plan for sampling has two frames, and a batch is not empty")
        };
        self.read += 1;
        let tensor = |numbers: &[f32]| Tensor::from_device(&self.shape, numbers);
        let classification = match classification {
            [gradient, logits] => {
                let shape = &prepared.executor.plan().output(names::LOGITS)?.shape;
                let logits = Tensor::from_device(shape, logits)?;
                Some(Classification { gradient: tensor(gradient)?, logits })
            }
            _ => None,
        };
        let (prev, x0) = (tensor(prev)?, tensor(x0)?);
        Ok(Some(Frame { step: self.read - 1, prev, x0, classification, seconds: self.seconds }))
    }

    /// Waits for the oldest batch that is under way, if there is one.
    async fn receive(&mut self) -> Result<bool> {
        let pending = self.prepared.under_way.borrow_mut().pop_front();
        let Some(pending) = pending else { return Ok(false) };
        let frames = pending.wait().await?;
        let now = Instant::now();
        self.seconds = (now - self.came).as_secs_f64() / frames.len() as f64;
        self.came = now;
        self.ready.extend(frames);
        Ok(true)
    }

    /// Where the run stands after the evaluations submitted so far, of which frames that have not been asked for yet are still
    /// handed out by [`Sampler::next`].
    ///
    /// # Errors
    /// When the device was lost, or another run began.
    pub async fn snapshot(&mut self) -> Result<Snapshot> {
        self.check()?;
        while self.receive().await? {}
        let executor = &self.prepared.executor;
        let (sample, kept) = (executor.read(names::SAMPLE).await?, executor.read(names::KEPT).await?);
        self.check()?;
        Snapshot::from_device(self.next, &self.shape, &sample, &kept, self.noise.states())
    }

    /// Writes what an evaluation takes besides its row: noise, and what follows from time and class.
    async fn write_inputs(&mut self, row: usize) -> Result<()> {
        let executor = &self.prepared.executor;
        write_noise(executor, row, &self.schedule.rows[row], &mut self.noise, &self.shape)?;
        if let Some(conditions) = &self.prepared.conditions {
            let values = conditions.row(&mut self.table, row).await?;
            executor.write_row(names::CONDITIONS, row, &values)?;
        }
        Ok(())
    }

    /// Checks that no other run has begun on the executor.
    fn check(&self) -> Result<()> {
        if self.prepared.samplers.get() == self.id {
            return Ok(());
        }
        Err(Error::Settings("This run has ended: another one began.".into()))
    }

    /// x after all evaluations submitted so far: `[N, C, H, W]`, not clamped.
    ///
    /// # Errors
    /// When the device was lost, or another run began.
    pub async fn sample(&self) -> Result<Tensor> {
        self.check()?;
        Tensor::from_device(&self.shape, &self.prepared.executor.read(names::PREV).await?)
    }

    /// x̂0 of the evaluation submitted last: `[N, C, H, W]`.
    ///
    /// # Errors
    /// When the device was lost, or another run began.
    pub async fn pred_x0(&self) -> Result<Tensor> {
        self.check()?;
        Tensor::from_device(&self.shape, &self.prepared.executor.read(names::X0).await?)
    }
}

/// What a run begins with, with the noise that its first row expects, of a variance of 1.
fn noised(start: &Start, row: &Row, settings: &Settings, noise: &mut Noise, shape: &Shape) -> Result<Vec<f32>> {
    // Ho et al. 2020, equation 2, over several steps at once.
    let kept = (row.alpha_cumprod / start.alpha_cumprod).min(1.0);
    let mut x = start.sample.to_device()?;
    if !is_below(start.alpha_cumprod, row.alpha_cumprod) {
        let (from_x, from_noise) = (kept.sqrt() as f32, (1.0 - kept).sqrt() as f32);
        let drawn = noise.first(settings, shape)?;
        x.iter_mut().zip(drawn).for_each(|(x, z)| *x = from_x * *x + from_noise * z);
    }
    Ok(x)
}

/// Draws the noise that a row takes, a jump back's first, and writes it to the tables of the plan.
fn write_noise(executor: &Executor, index: usize, row: &Row, noise: &mut Noise, shape: &Shape) -> Result<()> {
    if let Some(repaint) = &row.repaint {
        let mut sum = vec![0.0; shape.len()];
        for &weight in &repaint.undo_draws {
            let drawn = noise.draw(shape)?;
            sum.iter_mut().zip(drawn).for_each(|(sum, z)| *sum += weight as f32 * z);
        }
        executor.write_row(names::UNDO_NOISE, index, &sum)?;
    }
    if row.draws_noise {
        executor.write_row(names::NOISE, index, &noise.draw(shape)?)?;
    }
    Ok(())
}
