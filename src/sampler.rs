//! The sampling loop: from noise to images, one model evaluation after another.

use std::rc::Rc;

use crate::backend::{Backend, Executor};
use crate::config::{SchedulerKind, TimestepSpacing, VarianceType};
use crate::noise::Generator;
use crate::op::{Op, Rgba8, View, ViewMut};
use crate::pipeline::names;
use crate::schedule::Schedule;
use crate::{Error, Pipeline, Result, Shape, Tensor};

/// What a run should do. Fields that are `None` are as the model's own scheduler has them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How to sample.
    pub sampler: Option<SchedulerKind>,
    /// How many evaluations of the model.
    pub steps: usize,
    /// DDIM's η, from 0 to 1.
    pub eta: f64,
    /// The seed of x_T and of the noise of every step, as `torch.Generator().manual_seed(seed)`.
    pub seed: u64,
    /// The class of each image; empty for a model without classes.
    pub class_labels: Vec<usize>,
    /// Which timesteps to visit.
    pub timestep_spacing: Option<TimestepSpacing>,
    /// DDPM's σ².
    pub variance_type: Option<VarianceType>,
}

/// A frame of a run.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Which evaluation made it, from 0.
    pub step: usize,
    /// x_prev, where the evaluation went, as RGBA8: image after image, `height · width · 4` bytes each.
    pub prev: Vec<u8>,
    /// x̂0, what the model made of the x_t it was given, as RGBA8.
    pub x0: Vec<u8>,
}

/// A run from x_T to x_0.
pub struct Sampler {
    executor: Rc<Executor>,
    /// Which sampler of the executor this is.
    id: u64,
    schedule: Schedule,
    generator: Generator,
    shape: Shape,
    initial: Vec<f32>,
    next: usize,
    read: usize,
}

impl Executor {
    /// Makes `pipeline` ready to sample `count` images at a time; see [`Backend::compile`].
    ///
    /// # Errors
    /// As [`Pipeline::plan`] and [`Backend::compile`].
    pub async fn for_sampling(
        backend: &Backend,
        pipeline: &mut Pipeline,
        count: usize,
        progress: impl FnMut(usize, usize),
    ) -> Result<Executor> {
        backend.compile(pipeline.plan(count)?, &names::FRAMES, progress).await
    }

    /// Ends whatever run there is, and gives the next one its number.
    pub(crate) fn begin(&self) -> u64 {
        self.under_way.borrow_mut().clear();
        self.samplers.set(self.samplers.get() + 1);
        self.samplers.get()
    }
}

impl Sampler {
    /// Begins a run on an executor of [`Executor::for_sampling`]. Any earlier run on it ends.
    ///
    /// # Errors
    /// When the settings are not possible with this model.
    pub fn new(pipeline: &Pipeline, executor: &Rc<Executor>, settings: &Settings) -> Result<Self> {
        let id = executor.begin();
        let mut config = match settings.sampler {
            Some(kind) if kind != pipeline.scheduler().kind => pipeline.scheduler().with_kind(kind)?,
            _ => pipeline.scheduler().clone(),
        };
        config.timestep_spacing = settings.timestep_spacing.unwrap_or(config.timestep_spacing);
        config.variance_type = settings.variance_type.unwrap_or(config.variance_type);
        let schedule = Schedule::new(&config, settings.steps, settings.eta)?;

        let shape = executor.plan().input(names::SAMPLE)?.shape.clone();
        let count = shape.dims()[0];
        write_labels(pipeline, executor, &settings.class_labels, count)?;
        let coefficients = schedule.coefficients();
        executor.set_rows(names::ROW, bytemuck::cast_slice(&coefficients))?;
        let timestep = executor.plan().input(names::TIMESTEP)?.shape.clone();
        let timesteps: Vec<f32> =
            schedule.rows.iter().flat_map(|row| vec![row.timestep as f32; timestep.len()]).collect();
        executor.set_rows(names::TIMESTEP, &timesteps)?;

        let mut generator = Generator::new(settings.seed);
        let initial = randn(&mut generator, &shape)?;
        let scaled: Vec<f32> = initial.iter().map(|x| x * schedule.init_noise_sigma as f32).collect();
        executor.write(names::SAMPLE, &scaled)?;
        // What an earlier run kept must not reach this one, not even with a weight of zero: it may not be finite.
        let kept = executor.plan().input(names::KEPT)?.shape.len();
        executor.write(names::KEPT, &vec![0.0; kept])?;
        Ok(Sampler { executor: executor.clone(), id, schedule, generator, shape, initial, next: 0, read: 0 })
    }

    /// The table that is run.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// x_T as RGBA8, image after image.
    pub fn initial(&self) -> Vec<u8> {
        let shape = Shape::new(&[self.shape.rows()]);
        let mut data = vec![0.0; shape.len()];
        Rgba8.cpu(&[View { shape: &self.shape, data: &self.initial }], ViewMut { shape: &shape, data: &mut data });
        bytemuck::cast_slice(&data[..self.shape.rows()]).to_vec()
    }

    /// The next frame, or `None` after the last. Later evaluations are submitted before this one is waited for.
    ///
    /// # Errors
    /// When the device was lost, or another run began.
    pub async fn next(&mut self) -> Result<Option<Frame>> {
        self.check()?;
        while self.executor.under_way.borrow().len() < self.executor.depth() && self.next < self.schedule.rows.len() {
            if self.schedule.rows[self.next].draws_noise {
                let noise = randn(&mut self.generator, &self.shape)?;
                self.executor.write(names::NOISE, &noise)?;
            }
            let pending = self.executor.run(self.next)?;
            self.executor.under_way.borrow_mut().push_back(pending);
            self.next += 1;
        }
        let pending = self.executor.under_way.borrow_mut().pop_front();
        let Some(pending) = pending else { return Ok(None) };
        let mut frames = pending.wait().await?.into_iter();
        let (Some(prev), Some(x0)) = (frames.next(), frames.next()) else {
            unreachable!("a plan for sampling has two frames")
        };
        self.read += 1;
        Ok(Some(Frame { step: self.read - 1, prev, x0 }))
    }

    /// Checks that no other run has begun on the executor.
    fn check(&self) -> Result<()> {
        if self.executor.samplers.get() == self.id {
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
        Tensor::from_device(&self.shape, &self.executor.read(names::PREV).await?)
    }

    /// x̂0 of the evaluation submitted last: `[N, C, H, W]`.
    ///
    /// # Errors
    /// When the device was lost, or another run began.
    pub async fn pred_x0(&self) -> Result<Tensor> {
        self.check()?;
        Tensor::from_device(&self.shape, &self.executor.read(names::X0).await?)
    }
}

/// Checks the class labels and writes them to the plan.
fn write_labels(pipeline: &Pipeline, executor: &Executor, labels: &[usize], count: usize) -> Result<()> {
    let classes = pipeline.classes();
    if classes == 0 {
        return match labels {
            [] => Ok(()),
            _ => Err(Error::Settings("This model has no classes, so no class can be chosen.".into())),
        };
    }
    if labels.len() != count {
        return Err(Error::Settings(format!("There are {} class labels for {count} images.", labels.len())));
    }
    if let Some(label) = labels.iter().find(|&&label| label >= classes) {
        return Err(Error::Settings(format!("Class {label} does not exist; this model has 0 to {}.", classes - 1)));
    }
    let labels = Tensor::new(&[count], labels.iter().map(|&label| label as f32).collect())?;
    executor.write(names::CLASS_LABELS, &labels.to_device()?)
}

/// `torch.randn` of a batch of images, in device layout.
fn randn(generator: &mut Generator, shape: &Shape) -> Result<Vec<f32>> {
    let [n, h, w, c] = shape.nhwc("noise")?;
    Tensor::new(&[n, c, h, w], generator.randn(n * c * h * w))?.to_device()
}
