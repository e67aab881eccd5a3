//! A model and its scheduler: what a diffusers pipeline folder holds.

use std::rc::Rc;

use crate::backend::Executor;
use crate::classifier::Classified;
use crate::config::{Card, ModelIndex, SchedulerConfig, SchedulerFile, SchedulerKind, UNetConfig};
use crate::graph::{Graph, ValueId};
use crate::op::{
    Concat, Guide, Inpaint, InputScale, Langevin, LearnedNoise, Norm, PredictX0, Quantile, Remember, Renoise, Repeat,
    Rescale, Slice, Threshold, Update,
};
use crate::passes::{Fusion, conditions, cut, fuse};
use crate::plan::Plan;
use crate::schedule::{Coefficients, REGISTERS};
use crate::unet::UNet2DModel;
use crate::{Error, Precision, Result, Shape, Tensor};

/// Names of the inputs and outputs of a [`Pipeline::plan`].
pub(crate) mod names {
    // x_t, which each run replaces by x_prev, and what the network is told besides.
    pub use crate::unet::names::*;
    /// Input: what the network makes of time and class alone.
    pub const CONDITIONS: &str = "conditions";
    /// Input: the coefficients of a row of the schedule.
    pub const ROW: &str = "row";
    /// Input: what earlier evaluations kept, which each run replaces.
    pub const KEPT: &str = "kept";
    /// Input, for a model that takes it: the picture, or planes of numbers, beside x_t.
    pub const CONDITION: &str = "condition";
    /// Input: z.
    pub const NOISE: &str = "noise";
    /// Input, for RePaint: the weighed noise of a jump back.
    pub const UNDO_NOISE: &str = "undo_noise";
    /// Input, for inpainting: the image of which a part is kept.
    pub const ORIGINAL: &str = "original";
    /// Input, for inpainting: 1 where the image is kept.
    pub const MASK: &str = "mask";
    /// Input, for inpainting with any sampler but RePaint: the noise that is added to the image where it is kept.
    pub const KNOWN_NOISE: &str = "known_noise";
    /// Output: x_prev.
    pub const PREV: &str = "prev";
    /// Output: x̂0.
    pub const X0: &str = "x0";
    // Outputs: what a classifier says of x_t.
    pub use crate::classifier::names::{GRADIENT, LOGITS};
    /// Frames: what is read after every evaluation,
    pub const FRAMES: [&str; 2] = [PREV, X0];
    /// and with what a classifier says, where that is asked for.
    pub const FRAMES_CLASSIFIED: [&str; 4] = [PREV, X0, GRADIENT, LOGITS];
}

/// What a plan for sampling depends on besides the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How many images at a time.
    pub count: usize,
    /// Their height, in pixels.
    pub height: usize,
    /// Their width, in pixels.
    pub width: usize,
    /// Whether the network is evaluated for the class and for the null class, as classifier-free guidance needs.
    pub guided: bool,
    /// Whether a guided output is given back the spread of the class's own.
    pub rescaled: bool,
    /// Whether x̂0 is thresholded.
    pub thresholded: bool,
    /// What a step of the scheduler is besides the network.
    pub step: StepKind,
    /// Whether a part of the images is known, and put in its place after every step.
    pub inpainted: bool,
    /// What the gradient of a classifier changes, if one guides the run.
    pub classifier: Option<Shifted>,
    /// Whether frames have what it says of x_t.
    pub classified: bool,
    /// In how many bits the network keeps its weights and activations.
    pub precision: Precision,
}

/// What the gradient of a classifier changes in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shifted {
    /// The mean of the step: x_{t−1} becomes x_{t−1} + s Σ ∇ log p(y | x_t), Σ being the variance that the step itself adds
    /// (Dhariwal and Nichol 2021, Algorithm 1). The last step adds none, so it is not changed.
    Mean,
    /// What the network predicts, before anything is made of it: ε̂ becomes ε̂ − √(1 − ᾱ_t) s ∇ log p(y | x_t) (Algorithm 2). Of a
    /// network that predicts x_0 or v it is its output of which this ε̂ follows.
    Epsilon,
}

/// What a pipeline knows of a classifier.
pub(crate) trait ClassifierOfSamples {
    /// How many classes it tells apart.
    fn classes(&self) -> usize;

    /// Checks that images of this shape can be classified.
    fn check_images(&self, channels: usize, size: (usize, usize)) -> Result<()>;

    /// Appends the logits, and the gradient by x_t of what is asked for, with the inputs that it takes.
    fn append_gradient(&self, graph: &mut Graph, x: ValueId) -> Result<Classified>;

    /// Appends the model's output as [`Shifted::Epsilon`] has it.
    fn shift_model(&self, graph: &mut Graph, model: ValueId, gradient: ValueId, row: ValueId) -> Result<ValueId>;

    /// Appends the noise of a step as [`Shifted::Mean`] has it; `variance` is what the model says of it, if it does, which the
    /// noise is multiplied with already.
    fn shift_noise(
        &self,
        graph: &mut Graph,
        noise: ValueId,
        gradient: ValueId,
        variance: Option<ValueId>,
        row: ValueId,
    ) -> Result<ValueId>;

    /// Writes to a plan the time of every row of a run, and the weights of the classes of each image, `[N, K]`.
    fn write(&self, executor: &Executor, timesteps: &[f32], weights: &Tensor) -> Result<()>;
}

/// What a step of a scheduler is besides the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StepKind {
    /// An update.
    #[default]
    Plain,
    /// RePaint: an update, with jumps back before some of them.
    RePaint,
    /// ScoreSdeVe: Langevin steps; its images are over [0, 1].
    Langevin,
}

impl StepKind {
    /// What this scheduler does.
    pub fn of(kind: SchedulerKind) -> Self {
        match kind {
            SchedulerKind::RePaint => StepKind::RePaint,
            SchedulerKind::ScoreSdeVe => StepKind::Langevin,
            _ => StepKind::Plain,
        }
    }
}

/// What the network's conditions follow from.
const GIVEN: [&str; 5] =
    [names::TIMESTEP, names::CLASS_LABELS, names::CLASS_LABELS_TO, names::CLASS_SHARE, names::CLASS_SHARE_TO];

/// A model with its scheduler.
pub struct Pipeline {
    unet: UNet2DModel,
    scheduler_file: SchedulerFile,
    /// What its own scheduler reads from that.
    scheduler: Result<SchedulerConfig>,
    card: Card,
    /// What its runs may be guided by.
    classifier: Option<Rc<dyn ClassifierOfSamples>>,
    /// What a person may want to know of how it was put together.
    notes: Vec<String>,
    /// Channels of x_t.
    channels: usize,
}

impl Pipeline {
    /// Puts together what a pipeline folder holds but for the weights, which [`Pipeline::unet_mut`] is still to receive: its
    /// plans can be looked at and compiled but not run. A scheduler that is not supported is no obstacle: another can
    /// sample the model.
    ///
    /// # Errors
    /// When the parts do not fit together, or ask for something that is not supported.
    pub fn without_weights(config: UNetConfig, scheduler_file: SchedulerFile, card: Card) -> Result<Self> {
        let scheduler = scheduler_file.config(None, "{}");
        let channels = image_channels(&config, &scheduler_file)?;
        let classes = learned_classes(&config);
        if card.class_names.len() > classes || card.null_class.is_some_and(|null| null >= classes) {
            let null = card.null_class.map_or("no null_class".into(), |null| format!("null_class {null}"));
            return Err(Error::Config {
                file: "card.json",
                problem: format!(
                    "it names {} classes and {null}, but the model has {classes} class embeddings.",
                    card.class_names.len()
                ),
            });
        }
        Ok(Pipeline {
            unet: UNet2DModel::without_weights(config)?,
            scheduler_file,
            scheduler,
            card,
            classifier: None,
            notes: Vec::new(),
            channels,
        })
    }

    /// Reads the files of a pipeline folder: `unet/config.json`, the shards of
    /// `unet/diffusion_pytorch_model.safetensors` (or the one file), and if there are any,
    /// `scheduler/scheduler_config.json` (else diffusers' DDPM) and `card.json`.
    ///
    /// # Errors
    /// As [`Pipeline::without_weights`] and [`UNet2DModel::new`], and when a file cannot be read.
    pub fn from_files<'a>(
        config: &str,
        weights: impl IntoIterator<Item = &'a [u8]>,
        scheduler: Option<&str>,
        card: Option<&str>,
    ) -> Result<Self> {
        let mut pipeline = Self::from_json(config, scheduler, card)?;
        pipeline.unet.read(weights)?;
        Ok(pipeline)
    }

    /// As [`Pipeline::from_files`], with the weights still to come.
    ///
    /// # Errors
    /// As [`Pipeline::without_weights`], and when a file cannot be read.
    pub fn from_json(config: &str, scheduler: Option<&str>, card: Option<&str>) -> Result<Self> {
        let config = UNetConfig::from_json(config)?;
        let scheduler = scheduler.map(SchedulerFile::from_json).transpose()?.unwrap_or_default();
        let card = card.map(Card::from_json).transpose()?.unwrap_or_default();
        Pipeline::without_weights(config, scheduler, card)
    }

    /// The same as a pipeline's `model_index.json` has it: of the scheduler it names, which counts in diffusers, whatever the
    /// scheduler's own file is of.
    ///
    /// # Errors
    /// When the file cannot be read, or is of a pipeline whose network does not make pictures.
    pub fn with_model_index(mut self, model_index: &str) -> Result<Self> {
        let Some(class) = ModelIndex::from_json(model_index)?.scheduler else { return Ok(self) };
        let found = self.scheduler_file.class().map(String::from);
        if found.as_ref() != Some(&class) {
            if let Some(found) = found {
                self.notes.push(format!(
                    "model_index.json names {class} and scheduler_config.json {found}: the first counts, as in diffusers."
                ));
            }
            self.scheduler_file = self.scheduler_file.of_class(&class);
            self.scheduler = self.scheduler_file.config(None, "{}");
        }
        Ok(self)
    }

    /// The network.
    pub fn unet(&self) -> &UNet2DModel {
        &self.unet
    }

    /// The network, to be laid out by itself.
    pub fn unet_mut(&mut self) -> &mut UNet2DModel {
        &mut self.unet
    }

    /// The scheduler the model's author chose.
    ///
    /// # Errors
    /// When it is not supported, or not as it is configured. Another may be, with what the file says:
    /// [`Pipeline::scheduler_file`].
    pub fn scheduler(&self) -> Result<&SchedulerConfig> {
        self.scheduler.as_ref().map_err(Error::clone)
    }

    /// What is said of how to sample the model, for whichever scheduler.
    pub fn scheduler_file(&self) -> &SchedulerFile {
        &self.scheduler_file
    }

    /// A scheduler to make the model ready for: its own, or the first that can read the file.
    pub fn any_scheduler(&self) -> SchedulerConfig {
        let read = |kind| self.scheduler_file.config(Some(kind), "{}").ok();
        let own = self.scheduler.as_ref().ok().cloned();
        own.or_else(|| self.scheduler_file.kinds().into_iter().find_map(read)).unwrap_or_default()
    }

    /// What the model is called, and its classes.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Has a classifier that its runs may be guided by.
    pub(crate) fn guide_by(&mut self, classifier: Rc<dyn ClassifierOfSamples>) {
        self.classifier = Some(classifier);
    }

    /// The classifier that its runs may be guided by.
    ///
    /// # Errors
    /// When it has none.
    pub(crate) fn classifier(&self) -> Result<&Rc<dyn ClassifierOfSamples>> {
        let problem = "The run is to be guided by a classifier, but the pipeline has none.";
        self.classifier.as_ref().ok_or_else(|| Error::Settings(problem.into()))
    }

    /// Channels of the images it makes.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Channels of the condition that the network takes beside x_t, as the small picture that it is to enlarge (Saharia et al.
    /// 2021, section 2) or planes that tell a class; 0 for a model without.
    pub fn condition_channels(&self) -> usize {
        self.unet.config().in_channels - self.channels
    }

    /// What a person may want to know of how the files were read: fields and tensors that were passed over.
    pub fn notes(&self) -> Vec<String> {
        let unknown = &self.unet.config().unknown_fields;
        let files = [("unet/config.json", unknown), ("scheduler_config.json", &self.scheduler_file.unknown_fields())];
        let files = files.into_iter().filter(|(_, fields)| !fields.is_empty());
        let fields =
            files.map(|(file, fields)| format!("{file} has fields that do nothing here: {}.", fields.join(", ")));
        fields.chain(self.notes.iter().chain(self.unet.notes()).cloned()).collect()
    }

    /// How many class labels there are; 0 for a model without learned classes.
    pub fn classes(&self) -> usize {
        learned_classes(self.unet.config())
    }

    /// One step of sampling: the network, x̂0 and the update. What the network makes of time and class
    /// alone is an input, [`Pipeline::conditions`].
    ///
    /// # Errors
    /// When the network cannot take images of this size.
    pub fn plan(&self, layout: &Layout, fusion: Option<Fusion>) -> Result<Plan> {
        let graph = cut(&self.graph(layout)?, &GIVEN, names::CONDITIONS)?;
        match fusion {
            Some(fusion) => Ok(Plan::new(&fuse(&graph, fusion)?)),
            None => Ok(Plan::new(&graph)),
        }
    }

    /// What the network makes of `count` times and classes, or mixtures of two, and nothing of images: the parts of the input of
    /// [`Pipeline::plan`] of that name, in their order, as outputs `"0"`, `"1"`, ….
    ///
    /// # Errors
    /// None that [`Pipeline::without_weights`] has not found.
    pub(crate) fn conditions(&self, count: usize) -> Result<Plan> {
        let side = 2 << (self.unet.config().block_out_channels.len() - 1);
        let mut graph = Graph::new();
        self.unet.build_mixing(&mut graph, count, side)?;
        for (i, id) in conditions(&graph, &GIVEN).into_iter().enumerate() {
            graph.output(&i.to_string(), id);
        }
        Ok(Plan::new(&graph))
    }

    /// One step of sampling, with all that belongs to it.
    fn graph(&self, layout: &Layout) -> Result<Graph> {
        let channels = self.channels;
        let shape = Shape::new(&[layout.count, layout.height, layout.width, channels]);
        let mut graph = Graph::new();
        let row = graph.input(names::ROW, Shape::new(&[Coefficients::LEN]))?;
        let sample = graph.input(names::SAMPLE, shape.clone())?;
        let noise = graph.input(names::NOISE, shape.clone())?;
        let x = match layout.step {
            StepKind::RePaint => {
                let undo_noise = graph.input(names::UNDO_NOISE, shape.clone())?;
                graph.op("renoise", Renoise, &[sample, undo_noise, row])?
            }
            StepKind::Plain | StepKind::Langevin => sample,
        };

        let (mut model, variance, x_t) = self.evaluate(&mut graph, layout, x, row)?;
        let noise = match variance {
            Some(variance) => graph.op("learned_noise", LearnedNoise, &[noise, variance, row])?,
            None => noise,
        };
        let mut update_noise = noise;
        if let Some(shifted) = layout.classifier {
            let classifier = self.classifier()?;
            let Classified { logits, gradient } = classifier.append_gradient(&mut graph, x_t)?;
            if layout.classified {
                graph.output(names::GRADIENT, gradient);
                graph.output(names::LOGITS, logits);
            }
            match shifted {
                Shifted::Mean => update_noise = classifier.shift_noise(&mut graph, noise, gradient, variance, row)?,
                Shifted::Epsilon => model = classifier.shift_model(&mut graph, model, gradient, row)?,
            }
        }
        let x0 = predict_x0(&mut graph, layout, x, model, row)?;

        let mut registers = shape.dims().to_vec();
        registers[0] *= REGISTERS;
        let kept = graph.input(names::KEPT, Shape::new(&registers))?;
        let remembered = graph.op("remember", Remember, &[x, model, x0, kept, row])?;
        let mut prev = graph.op("update", Update::default(), &[x, model, x0, update_noise, kept, row])?;
        match layout.step {
            StepKind::Plain | StepKind::RePaint => {}
            StepKind::Langevin => {
                let model_norm = graph.op("model_norm", Norm { centred: false }, &[model])?;
                let noise_norm = graph.op("noise_norm", Norm { centred: false }, &[noise])?;
                prev = graph.op("langevin", Langevin, &[prev, model, noise, model_norm, noise_norm, row])?;
            }
        }
        if layout.inpainted {
            let original = graph.input(names::ORIGINAL, shape.clone())?;
            let mask = graph.input(names::MASK, shape.clone())?;
            let noise = match layout.step {
                // The step's own, as diffusers has it.
                StepKind::RePaint => noise,
                StepKind::Plain | StepKind::Langevin => graph.input(names::KNOWN_NOISE, shape)?,
            };
            prev = graph.op("inpaint", Inpaint, &[prev, original, mask, noise, row])?;
        }
        graph.output(names::PREV, prev);
        graph.output(names::X0, x0);
        graph.feedback(prev, sample);
        graph.feedback(remembered, kept);
        Ok(graph)
    }

    /// The network's output, guided if that is asked for; what it says of the variance, if it does; and x_t as it was evaluated
    /// at, √ᾱ x_0 + √(1 − ᾱ) ε whatever the sampler's own scale.
    fn evaluate(
        &self,
        graph: &mut Graph,
        layout: &Layout,
        x: ValueId,
        row: ValueId,
    ) -> Result<(ValueId, Option<ValueId>, ValueId)> {
        let x_t = graph.op("scale_input", InputScale, &[x, row])?;
        let mut scaled = x_t;
        if self.condition_channels() > 0 {
            let shape = [layout.count, layout.height, layout.width, self.condition_channels()];
            let condition = graph.input(names::CONDITION, Shape::new(&shape))?;
            scaled = graph.op("with_condition", Concat, &[scaled, condition])?;
        }
        if layout.guided {
            scaled = graph.op("class_and_null", Repeat, &[scaled])?;
        }
        let mut model = self.unet.append(graph, scaled, layout.precision)?.output;
        let channels = self.channels;
        let mut variance = None;
        if self.unet.config().out_channels != channels {
            variance = Some(graph.op("variance", Slice { first: channels, channels }, &[model])?);
            model = graph.op("mean", Slice { first: 0, channels }, &[model])?;
        }
        if layout.guided {
            model = guide(graph, layout, model, row)?;
        }
        Ok((model, variance, x_t))
    }
}

/// Channels of x_t: what the network takes but for its condition, and what it gives but for a learned variance.
fn image_channels(config: &UNetConfig, scheduler: &SchedulerFile) -> Result<usize> {
    let (taken, given) = (config.in_channels, config.out_channels);
    let learned = scheduler.learns_variance();
    match given / 2 {
        _ if given == 2 * taken => Ok(taken),
        half if learned && given == 2 * half && half < taken => Ok(half),
        _ if given <= taken => Ok(given),
        _ => Err(Error::Config {
            file: "unet/config.json",
            problem: format!(
                "in_channels is {taken} and out_channels {given}; to sample, out_channels must be the same, twice as many for \
                 a learned variance, or fewer where the rest of in_channels is a condition."
            ),
        }),
    }
}

/// How many classes a network has learned rows for.
fn learned_classes(config: &UNetConfig) -> usize {
    match config.class_embed_type {
        None => config.num_class_embeds.unwrap_or(0),
        Some(_) => 0,
    }
}

/// The output for the class and that for the null class in one.
fn guide(graph: &mut Graph, layout: &Layout, model: ValueId, row: ValueId) -> Result<ValueId> {
    let guided = graph.op("guide", Guide, &[model, row])?;
    if !layout.rescaled {
        return Ok(guided);
    }
    let guided_norm = graph.op("guided_norm", Norm { centred: true }, &[guided])?;
    let model_norm = graph.op("class_and_null_norm", Norm { centred: true }, &[model])?;
    graph.op("rescale", Rescale, &[guided, guided_norm, model_norm, row])
}

fn predict_x0(graph: &mut Graph, layout: &Layout, x: ValueId, model: ValueId, row: ValueId) -> Result<ValueId> {
    let x0 = graph.op("predict_x0", PredictX0::default(), &[x, model, row])?;
    if !layout.thresholded {
        return Ok(x0);
    }
    let bound = graph.op("quantile", Quantile, &[x0, row])?;
    graph.op("threshold", Threshold, &[x0, bound])
}
