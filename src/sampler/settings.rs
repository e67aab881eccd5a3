//! What a run is asked to be, and whether a pipeline can be run so.

use serde::Deserialize;

use super::Inpainting;
use super::noise::{Slerp, check_weights};
use crate::config::{Family, SchedulerConfig, SchedulerKind, VarianceType};
use crate::graph;
use crate::pipeline::{Layout, Shifted, StepKind};
use crate::schedule::{Schedule, StepOptions, is_below};
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
    /// What the run begins with in place of noise, at the step that [`StepOptions::begin`] says.
    pub start: Option<Start>,
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
    /// A picture of which a part is kept, with any sampler; RePaint needs one.
    pub inpaint: Option<Inpainting>,
    /// x_T between two noises.
    pub slerp: Option<Slerp>,
    /// The class of each image mixed with another one.
    pub class_mix: Option<ClassMix>,
    /// What the pipeline's classifier guides the run to ([`Pipeline::with_classifier`]).
    pub classifier: Option<ClassifierGuidance>,
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
            start: None,
            class_labels: Vec::new(),
            guidance: 1.0,
            guidance_rescale: 0.0,
            null_class: None,
            condition: None,
            inpaint: None,
            slerp: None,
            class_mix: None,
            classifier: None,
            precision: Precision::F32,
        }
    }
}

/// What a run begins with in place of noise: a picture, as SDEdit does (Meng et al. 2021, section 3), or x_t of another run.
/// The noise that it lacks for the first step is drawn and added; an inversion takes it as it is.
#[derive(Clone, Debug)]
pub struct Start {
    /// √ᾱ x_0 + √(1 − ᾱ) ε, whatever the sampler's own scale: `[N, C, H, W]`. For a picture over [−1, 1] ᾱ is 1.
    pub sample: Tensor,
    /// ᾱ of it.
    pub alpha_cumprod: f64,
}

/// A share of a batch, of which others make the rest.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify))]
pub struct Share {
    /// How many images the whole batch has. The seeds are those of all of them: one, or one for each.
    pub total: usize,
    /// Which of them is the first of the share.
    pub first: usize,
}

/// Images between two classes: the class embedding of an image is 1 − w times the row that the network has learned for its
/// own class plus w times that for the other one. The null class of guidance stays as it is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify))]
pub struct ClassMix {
    /// The other class of each image.
    pub labels: Vec<f32>,
    /// w of each image, from 0 to 1.
    pub weights: Vec<f64>,
}

/// What a classifier guides images to (Dhariwal and Nichol 2021), beside whatever the network itself is told: with the gradient of
/// Σ_k w_k log p(k | x_t), [`Shifted::Mean`] in DDPM's steps and [`Shifted::Epsilon`] in all others.
///
/// The classifier is of x_t = √ᾱ x_0 + √(1 − ᾱ) ε and its t. Samplers that move in σ hold x at √(σ² + 1) times that, with
/// ᾱ = 1 / (1 + σ²); it is given x_t and the t of that σ, which may lie between two. A scheduler of flows, consistency models, EDM's
/// preconditioning or scores has no such t, so there is none for them.
///
/// Where ε̂ is shifted and x̂0 clipped, as DDIM does it, ε̂ is derived anew from what was clipped
/// (`StepOptions::use_clipped_model_output`): otherwise what the gradient adds to x̂0 would be clipped off again, but not what it
/// takes from ε̂, and the step would lead away from the class. Samplers that cannot do that do not clip, and dynamic thresholding
/// (`thresholding`) there is none of.
#[derive(Clone, Debug)]
pub struct ClassifierGuidance {
    /// s, what the gradient is multiplied by; at 0 there is no guidance.
    pub scale: f64,
    /// w of each image and class, `[N, K]`: 1 of one class, or of several a share each. They need not add up to 1, and a negative one
    /// leads away from its class.
    pub weights: Tensor,
    /// Whether frames have what the classifier says of x_t ([`Frame::classification`](crate::Frame)): reading it takes a while.
    pub in_frames: bool,
}

impl ClassifierGuidance {
    /// To one class of each image, of so many that there are.
    ///
    /// # Errors
    /// When one does not exist.
    pub fn to_classes(scale: f64, labels: &[usize], classes: usize) -> Result<Self> {
        if let Some(label) = labels.iter().find(|label| **label >= classes) {
            let last = classes.saturating_sub(1);
            return Err(Error::Settings(format!("Class {label} does not exist; this classifier has 0 to {last}.")));
        }
        let mut weights = vec![0.0; labels.len() * classes];
        labels.iter().enumerate().for_each(|(image, label)| weights[image * classes + label] = 1.0);
        Ok(ClassifierGuidance { scale, weights: Tensor::new(&[labels.len(), classes], weights)?, in_frames: false })
    }
}

impl ClassMix {
    /// Checks that so many images of `pipeline` can be between two classes.
    fn check(&self, pipeline: &Pipeline, count: usize) -> Result<()> {
        if pipeline.classes() == 0 {
            let problem = "Only learned classes can be mixed, and this model has none.";
            return Err(Error::Settings(problem.into()));
        }
        check_weights("class_mix", &self.weights, count)?;
        pipeline.unet().check_labels(&self.labels, count)
    }
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
        let step = StepKind::of(scheduler.kind);
        let guided = self.guidance != 1.0;
        if guided {
            self.null_class(pipeline)?;
        }
        let classifier = self.shifted(pipeline, scheduler, (height, width))?;
        Ok(Layout {
            count: self.count,
            height,
            width,
            guided,
            rescaled: guided && self.guidance_rescale != 0.0,
            thresholded: scheduler.thresholding && classifier != Some(Shifted::Epsilon),
            step,
            inpainted: step == StepKind::RePaint || self.inpaint.is_some(),
            classifier,
            classified: classifier.is_some() && self.classifier.as_ref().is_some_and(|guidance| guidance.in_frames),
            precision: self.precision,
        })
    }

    /// What the classifier of `pipeline` changes in the steps of a scheduler, if it is to guide the run.
    fn shifted(
        &self,
        pipeline: &Pipeline,
        scheduler: &SchedulerConfig,
        size: (usize, usize),
    ) -> Result<Option<Shifted>> {
        let Some(ClassifierGuidance { scale, weights, .. }) = &self.classifier else { return Ok(None) };
        let invalid = |problem: String| Err(Error::Settings(problem));
        let classifier = pipeline.classifier()?;
        if !(*scale as f32).is_finite() {
            return invalid(format!("The classifier's scale is {scale}; it must be a number."));
        }
        let expected = [self.count, classifier.classes()];
        if weights.shape != expected {
            return Err(Error::shape(
                "The classifier's weights",
                format!("{expected:?}, one an image and class"),
                format!("{:?}", weights.shape),
            ));
        }
        if let Some(weight) = weights.data.iter().find(|weight| !weight.is_finite()) {
            return invalid(format!("The classifier's weights have {weight}, which is not a finite number."));
        }
        if scheduler.kind.family() != Family::Beta || scheduler.use_flow_sigmas {
            return invalid(format!(
                "{} has no timesteps with a β each, and a classifier is of x_t at such a t. It guides DDPM, DDIM and the other \
                 samplers of such models.",
                scheduler.kind.class()
            ));
        }
        classifier.check_images(pipeline.channels(), size)?;
        if *scale == 0.0 {
            return Ok(None);
        }
        Ok(Some(if scheduler.kind == SchedulerKind::Ddpm { Shifted::Mean } else { Shifted::Epsilon }))
    }

    /// Everything that can be said against a run of `pipeline` before anything is compiled for it; if there is nothing,
    /// the plan it needs, and its table.
    ///
    /// # Errors
    /// When the settings are not possible with this model.
    pub fn check(&self, pipeline: &Pipeline) -> Result<(Layout, Schedule)> {
        let layout = self.layout(pipeline)?;
        let (mut scheduler, mut options) = (self.scheduler(pipeline)?.clone(), self.options);
        if layout.classifier == Some(Shifted::Epsilon) {
            scheduler.thresholding = false;
            options.use_clipped_model_output |= scheduler.kind == SchedulerKind::Ddim && scheduler.clip_sample;
            scheduler.clip_sample &= options.use_clipped_model_output;
        }
        let schedule = Schedule::new(&scheduler, self.steps, &options)?;
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
        self.check_start(layout.step, &schedule)?;
        let mut given: Vec<(&str, &Tensor)> = self.noise.iter().map(|noise| ("The noise", noise)).collect();
        given.extend(self.start.iter().map(|start| ("What the run begins with", &start.sample)));
        for (what, tensor) in given {
            if tensor.shape != shape {
                return Err(Error::shape(what, format!("{shape:?}"), format!("{:?}", tensor.shape)));
            }
        }
        self.check_inpaint(pipeline, layout.step, shape)?;
        if let Some(slerp) = &self.slerp {
            slerp.check(self)?;
        }
        if let Some(mix) = &self.class_mix {
            mix.check(pipeline, self.count)?;
        }
        Ok((layout, schedule))
    }

    /// Checks that there is a picture where the sampler needs one, of the shape of the images.
    fn check_inpaint(&self, pipeline: &Pipeline, step: StepKind, shape: [usize; 4]) -> Result<()> {
        let problem = match &self.inpaint {
            None if step == StepKind::RePaint => "RePaint needs an image and a mask of what is kept of it.".into(),
            None => return Ok(()),
            Some(inpaint) => match self.scheduler(pipeline)?.kind {
                kind if kind.inverts() => {
                    format!("{} leads from an image to its noise: nothing of it is made anew.", kind.class())
                }
                _ => return inpaint.check(shape),
            },
        };
        Err(Error::Settings(problem))
    }

    /// Checks that what the run begins with can be brought to its first step.
    fn check_start(&self, step: StepKind, schedule: &Schedule) -> Result<()> {
        let Some(Start { alpha_cumprod, .. }) = self.start else { return Ok(()) };
        let first = schedule.rows[0].alpha_cumprod;
        let problem = if !(0.0..=1.0).contains(&alpha_cumprod) {
            format!("ᾱ of what the run begins with is {alpha_cumprod}; it lies between 0 and 1.")
        } else if step == StepKind::Langevin || self.noise.is_some() {
            "A run begins with noise or with a picture, and ScoreSdeVe's with noise only.".into()
        } else if !is_below(first, alpha_cumprod) {
            format!(
                "What the run begins with has more noise (ᾱ {alpha_cumprod:.4}) than its first step expects ({first:.4}). \
                 Begin at an earlier step."
            )
        } else {
            return Ok(());
        };
        Err(Error::Settings(problem))
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
        if layout.step == StepKind::Langevin {
            let problem = "ScoreSdeVe's steps depend on all images of a batch, so it cannot be shared out.";
            return Err(Error::Settings(problem.into()));
        }
        graph::check_size("x_t", &Shape::new(&[total, layout.height, layout.width, channels]))
    }

    /// The label that stands for no class.
    pub(super) fn null_class(&self, pipeline: &Pipeline) -> Result<usize> {
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
