//! The sampling loop: from noise to images, one model evaluation after another.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use crate::backend::{Backend, Executor, Pending};
use crate::config::{ClassEmbedType, SchedulerConfig};
use crate::noise::Generator;
use crate::op::{Op, Rgba8, View, ViewMut};
use crate::pipeline::{Extra, Layout, names};
use crate::schedule::{Row, Schedule, StepOptions};
use crate::{Error, Pipeline, Precision, Result, Shape, Tensor};

/// What a run should do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How to sample; `None` is as the model's author chose.
    pub scheduler: Option<SchedulerConfig>,
    /// How many steps.
    pub steps: usize,
    /// What the scheduler may be told besides.
    pub options: StepOptions,
    /// How many images.
    pub count: usize,
    /// Their height and width; `None` is what the model was trained on.
    pub size: Option<(usize, usize)>,
    /// The seeds of x_T and of the noise of every step, as `torch.Generator().manual_seed(seed)`: one for the whole
    /// batch, or one for each image.
    pub seeds: Vec<u64>,
    /// x_T in place of seeded noise, `[N, C, H, W]`, before it is multiplied by the scheduler's `init_noise_sigma`.
    pub noise: Option<Tensor>,
    /// The class of each image: its label; for `class_embed_type: "timestep"` a number; for `"identity"` the elements of
    /// its embedding. Empty for a model without classes.
    pub class_labels: Vec<f32>,
    /// The scale w of classifier-free guidance; at 1 there is none.
    pub guidance: f64,
    /// How much of the class's own spread a guided output is given back, from 0 to 1 (Lin et al. 2023, section 3.4).
    pub guidance_rescale: f64,
    /// The label that means "no class"; `None` is what the card says.
    pub null_class: Option<usize>,
    /// For RePaint: the image, and where it is kept.
    pub inpaint: Option<Inpainting>,
    /// In how many bits the network keeps its weights and activations.
    pub precision: Precision,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            scheduler: None,
            steps: 50,
            options: StepOptions::default(),
            count: 1,
            size: None,
            seeds: vec![0],
            noise: None,
            class_labels: Vec::new(),
            guidance: 1.0,
            guidance_rescale: 0.0,
            null_class: None,
            inpaint: None,
            precision: Precision::F32,
        }
    }
}

/// What RePaint keeps.
#[derive(Clone, Debug)]
pub struct Inpainting {
    /// The image over [−1, 1]: `[N, C, H, W]`.
    pub original: Tensor,
    /// 1 where it is kept, 0 where it is made anew: `[N, C, H, W]`.
    pub mask: Tensor,
}

impl Settings {
    /// The scheduler of a run of `pipeline`.
    pub fn scheduler<'a>(&'a self, pipeline: &'a Pipeline) -> &'a SchedulerConfig {
        self.scheduler.as_ref().unwrap_or(pipeline.scheduler())
    }

    /// The plan that a run of `pipeline` needs.
    ///
    /// # Errors
    /// When the size is not known, or guidance is not possible with this model.
    pub fn layout(&self, pipeline: &Pipeline) -> Result<Layout> {
        let (height, width) = match self.size {
            Some(size) => size,
            None => pipeline.unet().config().sample_size()?,
        };
        let scheduler = self.scheduler(pipeline);
        let guided = self.guidance != 1.0;
        if guided {
            self.null_class(pipeline)?;
        }
        Ok(Layout {
            count: self.count,
            height,
            width,
            guided,
            rescaled: guided && self.guidance_rescale != 0.0,
            thresholded: scheduler.thresholding,
            extra: Extra::of(scheduler.kind),
            precision: self.precision,
        })
    }

    /// The label that stands for no class.
    fn null_class(&self, pipeline: &Pipeline) -> Result<usize> {
        let classes = pipeline.classes();
        if !(self.guidance.is_finite() && (0.0..=1.0).contains(&self.guidance_rescale)) {
            return Err(Error::Settings(format!(
                "Guidance is {} with a rescale of {}; it must be a number, and the rescale between 0 and 1.",
                self.guidance, self.guidance_rescale
            )));
        }
        match self.null_class.or(pipeline.card().null_class) {
            Some(null) if null < classes => Ok(null),
            Some(null) => Err(Error::Settings(format!(
                "The null class is {null}, which does not exist; this model has {classes} class embeddings."
            ))),
            None => Err(Error::Settings(format!(
                "Guidance is {}, but it is not known which class of this model means no class. Name it as null_class in \
                 card.json, or set guidance to 1.",
                self.guidance
            ))),
        }
    }
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

/// A pipeline made ready on a device for runs of one layout.
pub struct Prepared {
    executor: Executor,
    layout: Layout,
    /// How many samplers have begun: only the latest may go on.
    samplers: Cell<u64>,
    /// The evaluations that are under way, oldest first.
    under_way: RefCell<VecDeque<Pending>>,
}

impl Prepared {
    /// Makes `pipeline` ready; see [`Backend::compile`].
    ///
    /// # Errors
    /// As [`Pipeline::plan`] and [`Backend::compile`].
    pub async fn new(
        backend: &Backend,
        pipeline: &mut Pipeline,
        layout: Layout,
        progress: impl FnMut(usize, usize),
    ) -> Result<Rc<Self>> {
        let executor = backend.compile(pipeline.plan(&layout)?, &names::FRAMES, progress).await?;
        Ok(Rc::new(Prepared { executor, layout, samplers: Cell::default(), under_way: RefCell::default() }))
    }

    /// What runs the plan.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// What it was made ready for.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Ends whatever run there is, and gives the next one its number.
    pub(crate) fn begin(&self) -> u64 {
        self.under_way.borrow_mut().clear();
        self.samplers.set(self.samplers.get() + 1);
        self.samplers.get()
    }
}

/// A run from x_T to x_0.
pub struct Sampler {
    prepared: Rc<Prepared>,
    /// Which sampler of the executor this is.
    id: u64,
    schedule: Schedule,
    generators: Vec<Generator>,
    shape: Shape,
    initial: Vec<f32>,
    next: usize,
    read: usize,
}

impl Sampler {
    /// Begins a run. Any earlier one on the same [`Prepared`] ends.
    ///
    /// # Errors
    /// When the settings are not possible with this model, or need another layout.
    pub fn new(pipeline: &Pipeline, prepared: &Rc<Prepared>, settings: &Settings) -> Result<Self> {
        let id = prepared.begin();
        let layout = settings.layout(pipeline)?;
        if layout != prepared.layout {
            let found = format!("{:?}", prepared.layout);
            return Err(Error::shape("Sampler", format!("a pipeline prepared for {layout:?}"), found));
        }
        let executor = &prepared.executor;
        let schedule = Schedule::new(settings.scheduler(pipeline), settings.steps, &settings.options)?;
        let shape = executor.plan().input(names::SAMPLE)?.shape.clone();
        write_labels(pipeline, executor, settings, layout.guided)?;
        let coefficients = schedule.coefficients(settings.guidance as f32, settings.guidance_rescale as f32);
        executor.set_rows(names::ROW, bytemuck::cast_slice(&coefficients))?;
        let timestep = executor.plan().input(names::TIMESTEP)?.shape.clone();
        let timesteps: Vec<f32> =
            schedule.rows.iter().flat_map(|row| vec![row.timestep as f32; timestep.len()]).collect();
        executor.set_rows(names::TIMESTEP, &timesteps)?;

        let mut generators: Vec<Generator> = settings.seeds.iter().map(|&seed| Generator::new(seed)).collect();
        if generators.len() != 1 && generators.len() != settings.count {
            return Err(Error::Settings(format!(
                "There are {} seeds for {} images; give one for all of them, or one for each.",
                generators.len(),
                settings.count
            )));
        }
        let initial = match &settings.noise {
            Some(noise) => images("The noise", noise, &shape)?,
            None => randn(&mut generators, &shape)?,
        };
        let scaled: Vec<f32> = initial.iter().map(|x| x * schedule.init_noise_sigma as f32).collect();
        executor.write(names::SAMPLE, &scaled)?;
        if layout.extra == Extra::Inpaint {
            let Some(inpaint) = &settings.inpaint else {
                return Err(Error::Settings("RePaint needs an image and a mask of what is kept of it.".into()));
            };
            executor.write(names::ORIGINAL, &images("The image", &inpaint.original, &shape)?)?;
            executor.write(names::MASK, &images("The mask", &inpaint.mask, &shape)?)?;
        }
        // What an earlier run kept must not reach this one, not even with a weight of zero: it may not be finite.
        let kept = executor.plan().input(names::KEPT)?.shape.len();
        executor.write(names::KEPT, &vec![0.0; kept])?;
        Ok(Sampler { prepared: prepared.clone(), id, schedule, generators, shape, initial, next: 0, read: 0 })
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
        self.advance(self.prepared.executor.depth()).await
    }

    /// As [`Sampler::next`], but nothing is submitted beyond the frame, so that [`Sampler::sample`] is what it shows.
    ///
    /// # Errors
    /// When the device was lost, or another run began.
    pub async fn next_alone(&mut self) -> Result<Option<Frame>> {
        self.advance(1).await
    }

    /// Submits evaluations until `depth` of them are under way, and waits for the oldest.
    async fn advance(&mut self, depth: usize) -> Result<Option<Frame>> {
        self.check()?;
        let under_way = &self.prepared.under_way;
        while under_way.borrow().len() < depth && self.next < self.schedule.rows.len() {
            write_noise(&self.prepared.executor, &self.schedule.rows[self.next], &mut self.generators, &self.shape)?;
            let pending = self.prepared.executor.run(self.next)?;
            under_way.borrow_mut().push_back(pending);
            self.next += 1;
        }
        let pending = under_way.borrow_mut().pop_front();
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

/// Draws the noise that a row takes, a jump back's first, and writes it to the plan.
fn write_noise(executor: &Executor, row: &Row, generators: &mut [Generator], shape: &Shape) -> Result<()> {
    if let Some(repaint) = &row.repaint {
        let mut sum = vec![0.0; shape.len()];
        for &weight in &repaint.undo_draws {
            let noise = randn(generators, shape)?;
            sum.iter_mut().zip(noise).for_each(|(sum, z)| *sum += weight as f32 * z);
        }
        executor.write(names::UNDO_NOISE, &sum)?;
    }
    if row.draws_noise {
        executor.write(names::NOISE, &randn(generators, shape)?)?;
    }
    Ok(())
}

/// Checks the class labels and writes them to the plan, after them the null class for each image if there is guidance.
fn write_labels(pipeline: &Pipeline, executor: &Executor, settings: &Settings, guided: bool) -> Result<()> {
    let config = pipeline.unet().config();
    let labels = &settings.class_labels;
    let Some(width) = config.class_width() else {
        return match labels.as_slice() {
            [] => Ok(()),
            _ => Err(Error::Settings("This model has no classes, so no class can be chosen.".into())),
        };
    };
    let (found, count) = (labels.len(), settings.count);
    match config.class_embed_type {
        None => {
            if found != count {
                return Err(Error::Settings(format!("There are {found} class labels for {count} images.")));
            }
            let classes = pipeline.classes();
            let exists = |label: f32| label.fract() == 0.0 && label >= 0.0 && label < classes as f32;
            if let Some(label) = labels.iter().find(|&&label| !exists(label)) {
                let last = classes - 1;
                return Err(Error::Settings(format!("Class {label} does not exist; this model has 0 to {last}.")));
            }
        }
        Some(ClassEmbedType::Timestep | ClassEmbedType::Identity) => {
            if found != count * width {
                return Err(Error::Settings(format!(
                    "There are {found} numbers for the classes of {count} images; this model takes {width} for each."
                )));
            }
            if let Some(label) = labels.iter().find(|label| !label.is_finite()) {
                return Err(Error::Settings(format!("Class {label} is not a finite number.")));
            }
        }
    }
    let mut all = labels.clone();
    if guided {
        let null = settings.null_class(pipeline)? as f32;
        all.extend(std::iter::repeat_n(null, count));
    }
    let shape = executor.plan().input(names::CLASS_LABELS)?.shape.clone();
    let tensor = Tensor::new(shape.dims(), all)?;
    executor.write(names::CLASS_LABELS, &tensor.to_device()?)
}

/// A tensor of images as it lies on the device, if it has the run's shape.
fn images(what: &str, tensor: &Tensor, shape: &Shape) -> Result<Vec<f32>> {
    let [n, h, w, c] = shape.nhwc(what)?;
    if tensor.shape != [n, c, h, w] {
        return Err(Error::shape(what, format!("{:?}", [n, c, h, w]), format!("{:?}", tensor.shape)));
    }
    tensor.to_device()
}

/// `torch.randn` of a batch of images, in device layout: all from one generator, or each from its own.
fn randn(generators: &mut [Generator], shape: &Shape) -> Result<Vec<f32>> {
    let [n, h, w, c] = shape.nhwc("noise")?;
    let each = n * c * h * w / generators.len();
    let noise = generators.iter_mut().flat_map(|generator| generator.randn(each)).collect();
    Tensor::new(&[n, c, h, w], noise)?.to_device()
}
