//! A model and its scheduler: what a diffusers pipeline folder holds.

use crate::config::{Card, SchedulerConfig, UNetConfig};
use crate::graph::Graph;
use crate::op::{PredictX0, Remember, Rgba8, RowScale, Update};
use crate::plan::Plan;
use crate::schedule::{Coefficients, REGISTERS};
use crate::unet::UNet2DModel;
use crate::{Error, Result, Shape, Weights};

/// Names of the inputs and outputs of a [`Pipeline::plan`].
pub(crate) mod names {
    /// Input: x_t, which each run replaces by x_prev.
    pub const SAMPLE: &str = "sample";
    /// Input: t of each image.
    pub const TIMESTEP: &str = "timestep";
    /// Input: the class of each image.
    pub const CLASS_LABELS: &str = "class_labels";
    /// Input: the coefficients of a row of the schedule.
    pub const ROW: &str = "row";
    /// Input: what earlier evaluations kept, which each run replaces.
    pub const KEPT: &str = "kept";
    /// Input: z.
    pub const NOISE: &str = "noise";
    /// Output: x_prev.
    pub const PREV: &str = "prev";
    /// Output: x̂0.
    pub const X0: &str = "x0";
    /// Frames: x_prev and x̂0 as RGBA8.
    pub const FRAMES: [&str; 2] = ["prev.rgba8", "x0.rgba8"];
}

/// A model with its scheduler.
pub struct Pipeline {
    unet: UNet2DModel,
    scheduler: SchedulerConfig,
    card: Card,
}

impl Pipeline {
    /// Puts together what a pipeline folder holds.
    ///
    /// # Errors
    /// When the parts do not fit together, or ask for something that is not supported.
    pub fn new(config: UNetConfig, weights: Weights, scheduler: SchedulerConfig, card: Card) -> Result<Self> {
        config.sample_size()?;
        if config.in_channels != config.out_channels {
            return Err(Error::Config {
                file: "unet/config.json",
                problem: format!(
                    "in_channels is {} and out_channels {}; to sample they must be equal (a learned variance is not \
                     supported).",
                    config.in_channels, config.out_channels
                ),
            });
        }
        if config.class_embed_type.is_some() {
            return Err(Error::Config {
                file: "unet/config.json",
                problem: "class_embed_type is set; to sample, only models with learned classes are supported.".into(),
            });
        }
        let classes = config.num_class_embeds.unwrap_or(0);
        if card.class_names.len() > classes || card.null_class.is_some_and(|null| null >= classes) {
            return Err(Error::Config {
                file: "card.json",
                problem: format!(
                    "it names {} classes and null_class {:?}, but the model has {classes} class embeddings.",
                    card.class_names.len(),
                    card.null_class
                ),
            });
        }
        Ok(Pipeline { unet: UNet2DModel::new(config, weights)?, scheduler, card })
    }

    /// Reads the files of a pipeline folder: `unet/config.json`, `unet/diffusion_pytorch_model.safetensors`,
    /// `scheduler/scheduler_config.json` and, if there is one, `card.json`.
    ///
    /// # Errors
    /// As [`Pipeline::new`], and when a file cannot be read.
    pub fn from_files(config: &str, weights: &[u8], scheduler: &str, card: Option<&str>) -> Result<Self> {
        let config = UNetConfig::from_json(config)?;
        let scheduler = SchedulerConfig::from_json(scheduler)?;
        let card = card.map(Card::from_json).transpose()?.unwrap_or_default();
        Pipeline::new(config, Weights::from_bytes(weights)?, scheduler, card)
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
    pub fn scheduler(&self) -> &SchedulerConfig {
        &self.scheduler
    }

    /// What the model is called, and its classes.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// How many class labels there are; 0 for a model without classes.
    pub fn classes(&self) -> usize {
        self.unet.config().num_class_embeds.unwrap_or(0)
    }

    /// The shape of `count` images on the device.
    pub fn images(&self, count: usize) -> Result<Shape> {
        let (height, width) = self.unet.config().sample_size()?;
        Ok(Shape::new(&[count, height, width, self.unet.config().in_channels]))
    }

    /// One step of sampling `count` images: the network, x̂0, the update, and both pictures.
    ///
    /// # Errors
    /// When the network cannot take images of the configured size.
    pub fn plan(&mut self, count: usize) -> Result<Plan> {
        let shape = self.images(count)?;
        let mut graph = Graph::new();
        let row = graph.input(names::ROW, Shape::new(&[Coefficients::LEN]))?;
        let sample = graph.input(names::SAMPLE, shape.clone())?;
        let scaled = graph.op("scale_input", RowScale::Input, &[sample, row])?;
        let model = self.unet.append(&mut graph, scaled)?.output;
        let mut registers = shape.dims().to_vec();
        registers[0] *= REGISTERS;
        let kept = graph.input(names::KEPT, Shape::new(&registers))?;
        let noise = graph.input(names::NOISE, shape)?;
        let x0 = graph.op("predict_x0", PredictX0, &[sample, model, row])?;
        let prev = graph.op("update", Update, &[sample, model, x0, noise, kept, row])?;
        let remembered = graph.op("remember", Remember, &[sample, model, x0, kept, row])?;
        graph.output(names::PREV, prev);
        graph.output(names::X0, x0);
        let shown = graph.op("scale_shown", RowScale::Show, &[prev, row])?;
        for (name, value) in names::FRAMES.into_iter().zip([shown, x0]) {
            let frame = graph.op(name, Rgba8, &[value])?;
            graph.output(name, frame);
        }
        graph.feedback(prev, sample);
        graph.feedback(remembered, kept);
        Ok(Plan::new(&graph))
    }
}
