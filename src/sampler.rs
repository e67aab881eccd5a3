//! The sampling loop: from noise to images, one model evaluation after another.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use serde::Deserialize;
use web_time::Instant;

use crate::backend::{Backend, Executor, Pending, Progress};
use crate::conditions::{Conditions, Table};
use crate::config::{SchedulerConfig, SchedulerKind, VarianceType};
use crate::graph;
use crate::noise::Generator;
use crate::op::{Op, Rgba8, View, ViewMut};
use crate::pipeline::{Extra, Layout, names};
use crate::plan::Plan;
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
    /// Which share of a larger batch they are, if they are one: they come out as they would in it.
    pub share: Option<Share>,
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
    /// What a model with [`Pipeline::condition_channels`] takes beside x_t, `[N, K, H, W]` or `[1, K, H, W]`, in the numbers
    /// that it was trained on; a picture over [−1, 1].
    pub condition: Option<Tensor>,
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
            share: None,
            size: None,
            seeds: vec![0],
            noise: None,
            class_labels: Vec::new(),
            guidance: 1.0,
            guidance_rescale: 0.0,
            null_class: None,
            condition: None,
            inpaint: None,
            precision: Precision::F32,
        }
    }
}

/// A share of a batch, of which others make the rest.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Share {
    /// How many images the whole batch has. The seeds are those of all of them: one, or one for each.
    pub total: usize,
    /// Which of them is the first of the share.
    pub first: usize,
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
    ///
    /// # Errors
    /// When none is chosen and the model's own is not supported.
    pub fn scheduler<'a>(&'a self, pipeline: &'a Pipeline) -> Result<&'a SchedulerConfig> {
        self.scheduler.as_ref().map_or_else(|| pipeline.scheduler(), Ok)
    }

    /// The plan that a run of `pipeline` needs.
    ///
    /// # Errors
    /// When there is no scheduler, the size is not known or too large, or guidance or a learned variance are not possible with this model.
    pub fn layout(&self, pipeline: &Pipeline) -> Result<Layout> {
        let (height, width) = match self.size {
            Some(size) => size,
            None => pipeline.unet().config().sample_size()?,
        };
        let config = pipeline.unet().config();
        graph::check_size("x_t", &Shape::new(&[self.count, height, width, pipeline.channels()]))?;
        let scheduler = self.scheduler(pipeline)?;
        let learned = matches!(scheduler.variance_type, VarianceType::Learned | VarianceType::LearnedRange);
        if learned && scheduler.kind == SchedulerKind::Ddpm && config.out_channels == pipeline.channels() {
            return Err(Error::Settings(format!(
                "variance_type is {:?}, but this model has no output for the variance: it would have out_channels {}. \
                 Choose fixed_small or fixed_large.",
                scheduler.variance_type,
                2 * pipeline.channels()
            )));
        }
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

    /// Everything that can be said against a run of `pipeline` before anything is compiled for it; if there is nothing,
    /// the plan it needs, and its table.
    ///
    /// # Errors
    /// When the settings are not possible with this model.
    pub fn check(&self, pipeline: &Pipeline) -> Result<(Layout, Schedule)> {
        let layout = self.layout(pipeline)?;
        let schedule = Schedule::new(self.scheduler(pipeline)?, self.steps, &self.options)?;
        let timesteps: Vec<f32> = schedule.rows.iter().map(|row| row.timestep as f32).collect();
        pipeline.unet().check_timesteps(&timesteps)?;
        pipeline.unet().check_labels(&self.class_labels, self.count)?;
        let (seeds, total) = (self.seeds.len(), self.share.map_or(self.count, |share| share.total));
        if seeds != 1 && seeds != total {
            return Err(Error::Settings(format!(
                "There are {seeds} seeds for {total} images; give one for all of them, or one for each."
            )));
        }
        let shape = [self.count, pipeline.channels(), layout.height, layout.width];
        if let Some(share) = self.share {
            self.check_share(share, &layout, shape[1])?;
        }
        self.check_condition(pipeline, &layout)?;
        let mut given: Vec<(&str, &Tensor)> = self.noise.iter().map(|noise| ("The noise", noise)).collect();
        match (layout.extra, &self.inpaint) {
            (Extra::Inpaint, Some(inpaint)) => {
                given.extend([("The image", &inpaint.original), ("The mask", &inpaint.mask)]);
            }
            (Extra::Inpaint, None) => {
                return Err(Error::Settings("RePaint needs an image and a mask of what is kept of it.".into()));
            }
            (Extra::None | Extra::Langevin, _) => {}
        }
        for (what, tensor) in given {
            if tensor.shape != shape {
                return Err(Error::shape(what, format!("{shape:?}"), format!("{:?}", tensor.shape)));
            }
        }
        Ok((layout, schedule))
    }

    /// Checks that there is a condition if the model takes one, of its shape.
    fn check_condition(&self, pipeline: &Pipeline, layout: &Layout) -> Result<()> {
        let channels = pipeline.condition_channels();
        let problem = match &self.condition {
            None if channels == 0 => return Ok(()),
            Some(_) if channels == 0 => "This model takes no condition beside its images; leave it out.".into(),
            None => {
                let (taken, made) = (pipeline.unet().config().in_channels, pipeline.channels());
                format!(
                    "This model takes {taken} channels and makes images of {made}: the other {channels} are a condition, as a \
                     picture to be enlarged or planes that tell a class. Give it, as --condition or in the page's Condition."
                )
            }
            Some(Tensor { shape, data }) => {
                let expected = [channels, layout.height, layout.width];
                let fits = shape.len() == 4 && (shape[0] == 1 || shape[0] == self.count) && shape[1..] == expected;
                match data.iter().find(|x| !x.is_finite()) {
                    None if fits => return Ok(()),
                    None => {
                        return Err(Error::shape(
                            "The condition",
                            format!("[1 or {}, {channels}, {}, {}]", self.count, expected[1], expected[2]),
                            format!("{shape:?}"),
                        ));
                    }
                    Some(x) => format!("The condition has {x}, which is not a finite number."),
                }
            }
        };
        Err(Error::Settings(problem))
    }

    /// Checks that a batch has such a share.
    fn check_share(&self, Share { total, first }: Share, layout: &Layout, channels: usize) -> Result<()> {
        if first.checked_add(self.count).is_none_or(|end| end > total) {
            let count = self.count;
            return Err(Error::Settings(format!("{count} images from number {first} on are no share of {total}.")));
        }
        if layout.extra == Extra::Langevin {
            let problem = "ScoreSdeVe's steps depend on all images of a batch, so it cannot be shared out.";
            return Err(Error::Settings(problem.into()));
        }
        graph::check_size("x_t", &Shape::new(&[total, layout.height, layout.width, channels]))
    }

    /// The label that stands for no class.
    fn null_class(&self, pipeline: &Pipeline) -> Result<usize> {
        let invalid = |problem: String| Err(Error::Settings(problem));
        let (guidance, rescale) = (self.guidance, self.guidance_rescale);
        if !((guidance as f32).is_finite() && (0.0..=1.0).contains(&rescale)) {
            return invalid(format!(
                "Guidance is {guidance} with a rescale of {rescale}; it must be a number, and the rescale between 0 and 1."
            ));
        }
        match (pipeline.classes(), self.null_class.or(pipeline.card().null_class)) {
            (0, _) => invalid(format!(
                "Guidance is {guidance}, but this model has no learned classes to be guided by; set guidance to 1."
            )),
            (classes, Some(null)) if null < classes => Ok(null),
            (classes, Some(null)) => invalid(format!(
                "The null class is {null}, which does not exist; this model has {classes} class embeddings."
            )),
            (_, None) => invalid(format!(
                "Guidance is {guidance}, but it is not known which class of this model means no class. Name it as \
                 null_class in card.json, or set guidance to 1."
            )),
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
    /// How long it took: the time since the frames before it came, shared among those that came together.
    pub seconds: f64,
}

/// What is run of a pipeline.
pub(crate) struct Plans {
    layout: Layout,
    step: Plan,
    conditions: Plan,
}

impl Plans {
    /// For runs of this layout on this device.
    pub(crate) fn new(backend: &Backend, pipeline: &mut Pipeline, layout: Layout) -> Result<Self> {
        let step = pipeline.plan(&layout, Some(backend.fusion()))?;
        Ok(Plans { layout, step, conditions: Conditions::plan(pipeline)? })
    }
}

/// A pipeline made ready on a device for runs of one layout.
pub struct Prepared {
    executor: Executor,
    conditions: Option<Conditions>,
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
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Rc<Self>> {
        Self::new_telling(backend, pipeline, layout, &mut progress).await
    }

    async fn new_telling(
        backend: &Backend,
        pipeline: &mut Pipeline,
        layout: Layout,
        progress: Progress<'_>,
    ) -> Result<Rc<Self>> {
        let plans = Plans::new(backend, pipeline, layout)?;
        Self::from_plans(backend, plans, progress).await
    }

    /// As [`Prepared::new`], of a pipeline that need not hold still meanwhile.
    pub(crate) async fn from_plans(backend: &Backend, plans: Plans, progress: Progress<'_>) -> Result<Rc<Self>> {
        let Plans { layout, step, conditions } = plans;
        let executor = backend.compile_telling(step, &names::FRAMES, progress).await?;
        let conditions = Conditions::new(conditions).await?;
        Ok(Rc::new(Prepared { executor, conditions, layout, samplers: Cell::default(), under_way: RefCell::default() }))
    }

    /// Takes over the weights that the pipeline has received since; see [`Executor::upload`].
    ///
    /// # Errors
    /// As [`Executor::upload`].
    pub fn upload(&self) -> Result<()> {
        self.executors().try_for_each(Executor::upload)
    }

    /// Takes no weight as received any more: after a [`UNet2DModel::forget`](crate::unet::UNet2DModel::forget) all are to be
    /// taken over anew.
    pub fn outdate(&self) {
        self.executors().for_each(Executor::outdate);
    }

    fn executors(&self) -> impl Iterator<Item = &Executor> {
        [&self.executor].into_iter().chain(self.conditions.as_ref().map(Conditions::executor))
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
        self.executor.begin();
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
    table: Table,
    noise: Noise,
    shape: Shape,
    initial: Vec<f32>,
    /// The next evaluation to be submitted.
    next: usize,
    /// The next frame to be handed out.
    read: usize,
    /// Frames that have come before they were asked for.
    ready: VecDeque<Vec<Vec<u8>>>,
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
        let (layout, schedule) = settings.check(pipeline)?;
        if layout != prepared.layout {
            let found = format!("{:?}", prepared.layout);
            return Err(Error::shape("Sampler", format!("a pipeline prepared for {layout:?}"), found));
        }
        let executor = &prepared.executor;
        let id = prepared.begin();
        let shape = executor.plan().input(names::SAMPLE)?.shape.clone();
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
        let table = Table::new(timesteps, &labels, images);
        let coefficients = schedule.coefficients(settings.guidance as f32, settings.guidance_rescale as f32);
        executor.set_rows(names::ROW, bytemuck::cast_slice(&coefficients))?;

        let mut noise = Noise::new(settings);
        let initial = match &settings.noise {
            Some(noise) => noise.to_device()?,
            None => noise.draw(&shape)?,
        };
        let scaled: Vec<f32> = initial.iter().map(|x| x * schedule.init_noise_sigma as f32).collect();
        executor.write(names::SAMPLE, &scaled)?;
        if let Some(condition) = &settings.condition {
            let one = condition.to_device()?;
            let input = executor.plan().input(names::CONDITION)?.shape.len();
            executor.write(names::CONDITION, &one.repeat(input / one.len()))?;
        }
        if let (Extra::Inpaint, Some(inpaint)) = (layout.extra, &settings.inpaint) {
            executor.write(names::ORIGINAL, &inpaint.original.to_device()?)?;
            executor.write(names::MASK, &inpaint.mask.to_device()?)?;
        }
        // What an earlier run kept must not reach this one, not even with a weight of zero: it may not be finite.
        let kept = executor.plan().input(names::KEPT)?.shape.len();
        executor.write(names::KEPT, &vec![0.0; kept])?;
        // What is written before each evaluation: rows for as many as are submitted at once.
        for input in [names::NOISE, names::UNDO_NOISE, names::CONDITIONS] {
            if let Ok(operand) = executor.plan().input(input) {
                executor.set_rows(input, &vec![0.0; executor.most() * operand.shape.len()])?;
            }
        }
        let prepared = prepared.clone();
        Ok(Sampler {
            prepared,
            id,
            schedule,
            table,
            noise,
            shape,
            initial,
            next: 0,
            read: 0,
            ready: VecDeque::new(),
            came: Instant::now(),
            seconds: 0.0,
        })
    }

    /// The table that is run.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// x_T as RGBA8, image after image.
    pub fn initial(&self) -> Vec<u8> {
        let shape = Shape::new(&[self.shape.rows()]);
        let mut data = vec![0.0; shape.len()];
        Rgba8::default().cpu(&[View::new(&self.shape, &self.initial)], ViewMut { shape: &shape, data: &mut data });
        bytemuck::cast_slice(&data[..self.shape.rows()]).to_vec()
    }

    /// The next frame, or `None` after the last. Later evaluations are submitted before this one is waited for.
    ///
    /// # Errors
    /// When the device was lost, or another run began.
    pub async fn next(&mut self) -> Result<Option<Frame>> {
        let executor = &self.prepared.executor;
        self.advance(executor.depth(), executor.batch()).await
    }

    /// As [`Sampler::next`], but nothing is submitted beyond the frame, so that [`Sampler::sample`] is what it shows if every
    /// frame before it was taken in this way.
    ///
    /// # Errors
    /// When the device was lost, or another run began.
    pub async fn next_alone(&mut self) -> Result<Option<Frame>> {
        self.advance(1, 1).await
    }

    /// Submits evaluations until `depth` batches of `batch` are under way, and waits for the oldest if no frame is ready.
    async fn advance(&mut self, depth: usize, batch: usize) -> Result<Option<Frame>> {
        self.check()?;
        let prepared = self.prepared.clone();
        let under_way = &prepared.under_way;
        while under_way.borrow().len() < depth && self.next < self.schedule.rows.len() && self.ready.len() < batch {
            let end = self.schedule.rows.len().min(self.next + batch);
            for row in self.next..end {
                self.write_inputs(row).await?;
            }
            let pending = prepared.executor.submit(self.next..end).await;
            // While there was no room for it, another run may have begun.
            self.check()?;
            under_way.borrow_mut().push_back(pending?);
            self.next = end;
        }
        if self.ready.is_empty() {
            let pending = under_way.borrow_mut().pop_front();
            let Some(pending) = pending else { return Ok(None) };
            self.ready.extend(pending.wait().await?);
            let now = Instant::now();
            self.seconds = (now - self.came).as_secs_f64() / self.ready.len() as f64;
            self.came = now;
        }
        let Some(Ok([prev, x0])) = self.ready.pop_front().map(<[_; 2]>::try_from) else {
            unreachable!("a plan for sampling has two frames, and a batch is not empty")
        };
        self.read += 1;
        Ok(Some(Frame { step: self.read - 1, prev, x0, seconds: self.seconds }))
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

/// Where the noise of a run comes from: one generator for its whole batch, or one for each image.
struct Noise {
    generators: Vec<Generator>,
    /// Which of the images that they draw for are those of the run.
    share: Share,
}

impl Noise {
    fn new(settings: &Settings) -> Self {
        let all = Share { total: settings.count, first: 0 };
        let share = settings.share.unwrap_or(all);
        let generators = |seeds: &[u64]| seeds.iter().map(|&seed| Generator::new(seed)).collect();
        match settings.seeds.as_slice() {
            one @ [_] => Noise { generators: generators(one), share },
            // Each image has its own, so those of the others need not be drawn.
            each => Noise { generators: generators(&each[share.first..][..settings.count]), share: all },
        }
    }

    /// `torch.randn` of the images, `[N, H, W, C]`, in device layout.
    fn draw(&mut self, shape: &Shape) -> Result<Vec<f32>> {
        let [n, h, w, c] = shape.nhwc("noise")?;
        let image = c * h * w;
        let each = self.share.total * image / self.generators.len();
        let all = self.generators.iter_mut().flat_map(|generator| generator.randn(each));
        let drawn = all.skip(self.share.first * image).take(n * image).collect();
        Tensor::new(&[n, c, h, w], drawn)?.to_device()
    }
}
