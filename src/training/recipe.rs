//! What a run of training is asked to be, as its checkpoint keeps it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{LearningRate, Loss, Objective, Optimiser};
use crate::config::{Card, ClassifierConfig, SchedulerFile};
use crate::dataset::Dataset;
use crate::op::AdamWSettings;
use crate::passes::Recompute;
use crate::{Error, Pipeline, Result};

/// How the learning rate goes after it has warmed up.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(clap::ValueEnum))]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify))]
pub enum Rate {
    /// It stays.
    #[default]
    Constant,
    /// It falls along half a cosine to 0 at the last step.
    Cosine,
}

/// What an image costs at each timestep.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(clap::ValueEnum))]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify))]
pub enum WhichLoss {
    /// The error of what is predicted, as much as at any other: L_simple.
    #[default]
    Simple,
    /// As much as the timestep's signal-to-noise ratio, but not more than γ.
    MinSnr,
    /// L_simple, and what a learned variance costs.
    Hybrid,
}

/// All that decides what a run computes, but for its images.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify))]
pub struct Recipe {
    /// The text of `classifier/config.json`, if it is a classifier of noisy images that learns; empty until these are known, for one
    /// that is made for them. The rest then says for which model it is.
    #[cfg_attr(target_arch = "wasm32", tsify(optional))]
    #[serde(default)]
    pub classifier: Option<String>,
    /// The text of `unet/config.json`; empty until the images are known, for one that is made for them.
    pub config: String,
    /// The text of `scheduler/scheduler_config.json`.
    pub scheduler: String,
    /// The text of `card.json`.
    pub card: String,
    /// Of the initial weights, the order of the images, noise and times.
    pub seed: u64,
    /// How many steps there are to be.
    pub steps: u64,
    /// Images a step.
    pub batch: usize,
    /// AdamW's learning rate,
    pub lr: f64,
    /// the steps over which it rises from 0,
    pub lr_warmup: u64,
    /// and how it goes then.
    pub lr_schedule: Rate,
    /// AdamW's weight decay.
    pub weight_decay: f64,
    /// What the norm of all gradients is clipped to; 0 is not at all.
    pub clip: f64,
    /// The most that the moving average keeps of itself.
    pub ema: f64,
    /// What an image costs at each timestep.
    pub loss: WhichLoss,
    /// min-SNR's γ.
    pub min_snr_gamma: f64,
    /// The share of labels that are replaced by "no class", for classifier-free guidance.
    pub label_dropout: f64,
    /// What the network's dropout is made, if it is.
    #[serde(default)]
    pub dropout: Option<f64>,
    /// Whether half of the images are mirrored.
    pub flip: bool,
    /// Whether the network has dropout. It follows from the rest ([`Recipe::for_dataset`]), as what is below does.
    #[serde(default)]
    pub drops: bool,
    /// What is computed a second time instead of being kept.
    #[serde(default)]
    pub recompute: Recompute,
    /// Whether the network is told classes.
    pub has_classes: bool,
    /// The label that means "no class".
    pub null_class: Option<u32>,
}

impl Default for Recipe {
    fn default() -> Self {
        Recipe {
            classifier: None,
            config: String::new(),
            scheduler: default_scheduler(WhichLoss::Simple),
            card: "{}".into(),
            seed: 0,
            steps: 10_000,
            batch: 16,
            lr: 1e-4,
            lr_warmup: 0,
            lr_schedule: Rate::Constant,
            weight_decay: 1e-2,
            clip: 1.0,
            ema: 0.9999,
            loss: WhichLoss::Simple,
            min_snr_gamma: 5.0,
            label_dropout: 0.0,
            dropout: None,
            flip: false,
            drops: false,
            recompute: Recompute::default(),
            has_classes: false,
            null_class: None,
        }
    }
}

impl Recipe {
    /// The default recipe with some of its fields changed.
    ///
    /// # Errors
    /// When there is no such field, or its value is not of its kind.
    pub fn with(changes: Map<String, Value>) -> Result<Self> {
        let invalid =
            |error: serde_json::Error| Error::Settings(format!("The settings of training are not valid: {error}."));
        let mut fields = match serde_json::to_value(Recipe::default()).map_err(invalid)? {
            Value::Object(fields) => fields,
            _ => unreachable!("a struct is an object"),
        };
        if let Some(name) = changes.keys().find(|name| !fields.contains_key(*name)) {
            return Err(Error::Settings(format!("Training has no setting {name}.")));
        }
        fields.extend(changes);
        serde_json::from_value(Value::Object(fields)).map_err(invalid)
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// When one is out of its range.
    pub fn check(&self) -> Result<()> {
        let ranges = [
            ("learning rate (lr)", self.lr, 0.0, 1.0),
            ("decay of the moving average (ema)", self.ema, 0.0, 1.0),
            ("share of labels that are left out (label dropout)", self.label_dropout, 0.0, 1.0),
            ("probability of dropout", self.dropout.unwrap_or(0.0), 0.0, 0.99),
            ("weight decay", self.weight_decay, 0.0, 1.0),
            ("norm that gradients are clipped to (clip)", self.clip, 0.0, f64::MAX),
            ("γ of min-SNR", self.min_snr_gamma, f64::MIN_POSITIVE, f64::MAX),
        ];
        match ranges.into_iter().find(|(_, value, least, most)| !(*value >= *least && *value <= *most)) {
            Some((name, value, least, most)) => {
                Err(Error::Settings(format!("The {name} is {value}; it must be between {least} and {most}.")))
            }
            None => Ok(()),
        }
    }

    /// The channels of the images that the chosen network takes, if one is chosen.
    ///
    /// # Errors
    /// When its configuration is no JSON object.
    pub fn channels(&self) -> Result<Option<usize>> {
        let (config, name) = match self.classifier.as_deref() {
            Some(config) if !config.is_empty() => (config, "classifier/config.json"),
            _ => (&self.config[..], "unet/config.json"),
        };
        if config.is_empty() {
            return Ok(None);
        }
        let fields = object(config, name)?;
        Ok(fields.get("in_channels").and_then(Value::as_u64).map(|channels| channels as usize))
    }

    /// The same with what follows from the images: a network, if none was chosen, and its classes.
    ///
    /// # Errors
    /// When the network cannot learn their classes, or a text is no JSON object.
    pub fn for_dataset(mut self, dataset: &Dataset) -> Result<Self> {
        let classes = dataset.classes();
        if let Some(config) = self.classifier.take() {
            return self.classifying(config, dataset);
        }
        if self.config.is_empty() {
            self.config = default_config(dataset, self.loss)?;
        }
        let mut fields = object(&self.config, "unet/config.json")?;
        if let Some(dropout) = self.dropout {
            fields.insert("dropout".into(), dropout.into());
            self.config = pretty(&fields)?;
        }
        self.drops = fields.get("dropout").and_then(Value::as_f64).is_some_and(|dropout| dropout != 0.0);
        let found = fields.get("num_class_embeds").and_then(Value::as_u64);
        self.has_classes = found.is_some();
        match found {
            Some(embeddings) if dataset.labels().is_none() => {
                return Err(Error::Settings(format!(
                    "The network has {embeddings} class embeddings, but the images have no classes. Put them into a \
                     folder a class, or choose a network without num_class_embeds."
                )));
            }
            Some(embeddings) if (embeddings as usize) < classes => {
                return Err(Error::Settings(format!(
                    "The images are of {classes} classes, but the network has only {embeddings} class embeddings \
                     (num_class_embeds)."
                )));
            }
            // As the card says, or else one more than there are classes is that of none.
            Some(embeddings) => {
                let named = Card::from_json(&self.card)?.null_class.filter(|&null| null >= classes);
                let free = (embeddings as usize > classes).then_some(classes);
                self.null_class = named.or(free).map(|null| null as u32);
            }
            None => {}
        }
        if self.label_dropout > 0.0 && self.null_class.is_none() {
            return Err(Error::Settings(format!(
                "Leaving labels out (label dropout) needs a class embedding that means no class: num_class_embeds {}, one more than there \
                 are classes.",
                classes + 1
            )));
        }
        if self.card == "{}" {
            let names = dataset.class_names();
            let title = "A model trained with denoise".into();
            let card = Card {
                title,
                class_names: if self.has_classes { names.to_vec() } else { Vec::new() },
                null_class: self.null_class.map(|null| null as usize),
                ..Card::default()
            };
            self.card = pretty(&card)?;
        }
        Ok(self)
    }

    /// The same of a classifier of this configuration.
    fn classifying(mut self, mut config: String, dataset: &Dataset) -> Result<Self> {
        let classes = dataset.classes();
        if dataset.labels().is_none() {
            let problem = "A classifier learns classes, but the images have none. Put them into a folder a class.";
            return Err(Error::Settings(problem.into()));
        }
        if config.is_empty() {
            let [_, channels, height, width] = dataset.shape();
            let (channels, (height, width)) = match self.config.is_empty() {
                true => (channels, (network_side(height), network_side(width))),
                false => {
                    let pipeline = self.pipeline()?;
                    (pipeline.channels(), pipeline.unet().config().sample_size()?)
                }
            };
            if height != width {
                return Err(Error::Settings(format!(
                    "A classifier takes square images, and these are {height}×{width}. Choose a model of square images."
                )));
            }
            config = default_classifier(channels, height, classes)?;
        }
        if let Some(dropout) = self.dropout {
            let mut fields = object(&config, "classifier/config.json")?;
            fields.insert("dropout".into(), dropout.into());
            config = pretty(&fields)?;
        }
        let ClassifierConfig { out_channels, dropout, .. } = ClassifierConfig::from_json(&config)?;
        if out_channels < classes {
            return Err(Error::Settings(format!(
                "The images are of {classes} classes, but the classifier tells only {out_channels} apart (out_channels)."
            )));
        }
        (self.drops, self.has_classes, self.null_class) = (dropout != 0.0, true, None);
        Ok(Recipe { classifier: Some(config), ..self })
    }

    /// The pipeline that learns, without weights.
    ///
    /// # Errors
    /// When its files do not fit together, or ask for something that is not supported.
    pub fn pipeline(&self) -> Result<Pipeline> {
        Pipeline::from_json(&self.config, Some(&self.scheduler), Some(&self.card))
    }

    /// What the network learns to predict.
    ///
    /// # Errors
    /// As [`Objective::new`], and when the scheduler is not supported.
    pub fn objective(&self, pipeline: &Pipeline) -> Result<Objective> {
        let loss = match self.loss {
            WhichLoss::Simple => Loss::Simple,
            WhichLoss::MinSnr => Loss::MinSnr(self.min_snr_gamma),
            WhichLoss::Hybrid => Loss::Hybrid,
        };
        Objective::new(pipeline.scheduler()?, loss)
    }

    /// What a classifier learns.
    ///
    /// # Errors
    /// As [`Recipe::objective`].
    pub fn classifier_objective(&self) -> Result<Objective> {
        Objective::new(&SchedulerFile::from_json(&self.scheduler)?.config(None, "{}")?, Loss::CrossEntropy)
    }

    /// The folder of a pipeline that has what learns.
    pub fn folder(&self) -> &'static str {
        if self.classifier.is_some() { "classifier" } else { "unet" }
    }

    /// How far each step goes.
    pub fn optimiser(&self) -> Optimiser {
        let limit = (self.clip > 0.0).then_some(self.clip);
        let adamw = AdamWSettings { rate: self.lr, decay: self.weight_decay, limit, ..AdamWSettings::default() };
        let schedule = match self.lr_schedule {
            Rate::Constant => LearningRate::Constant,
            Rate::Cosine => LearningRate::Cosine(self.steps),
        };
        Optimiser { adamw, warmup: self.lr_warmup, schedule, ema: self.ema }
    }

    /// The small files of the pipeline that comes of it, by their paths, or of a classifier its own. The network's weights go to
    /// `diffusion_pytorch_model.safetensors` in [`Recipe::folder`].
    ///
    /// # Errors
    /// When the scheduler's text is no JSON object.
    pub fn files(&self) -> Result<Vec<(&'static str, String)>> {
        if let Some(config) = &self.classifier {
            return Ok(vec![("classifier/config.json", config.clone())]);
        }
        Ok(vec![
            ("unet/config.json", self.config.clone()),
            ("scheduler/scheduler_config.json", self.scheduler.clone()),
            ("card.json", self.card.clone()),
            ("model_index.json", model_index(&self.scheduler)?),
        ])
    }
}

/// What makes the folder a pipeline of diffusers: it names the class of the scheduler's configuration.
fn model_index(scheduler: &str) -> Result<String> {
    let scheduler = object(scheduler, "scheduler/scheduler_config.json")?;
    let class = scheduler.get("_class_name").and_then(Value::as_str).unwrap_or("DDPMScheduler");
    pretty(&json!({
        "_class_name": "DDPMPipeline",
        "_diffusers_version": "0.34.0",
        "scheduler": ["diffusers", class],
        "unet": ["diffusers", "UNet2DModel"]
    }))
}

/// The fields of a JSON object that is called so.
///
/// # Errors
/// When it is none.
pub fn object(json: &str, what: &str) -> Result<Map<String, Value>> {
    match serde_json::from_str(json) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Error::Settings(format!("{what} is not a JSON object."))),
        Err(error) => Err(Error::Settings(format!("{what} is not valid JSON: {error}."))),
    }
}

/// JSON that people read.
fn pretty(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(|error| Error::Settings(format!("JSON could not be written: {error}.")))
}

/// diffusers' `DDPMScheduler` as it comes, but for a variance that is learned.
pub fn default_scheduler(loss: WhichLoss) -> String {
    let variance_type = if loss == WhichLoss::Hybrid { "learned_range" } else { "fixed_small" };
    json!({
        "_class_name": "DDPMScheduler",
        "_diffusers_version": "0.34.0",
        "num_train_timesteps": 1000,
        "beta_start": 0.0001,
        "beta_end": 0.02,
        "beta_schedule": "linear",
        "variance_type": variance_type,
        "clip_sample": true,
        "clip_sample_range": 1.0,
        "prediction_type": "epsilon",
        "timestep_spacing": "leading",
        "steps_offset": 0
    })
    .to_string()
}

/// A small classifier for images of this side: halved until no more than eight pixels are left, where there is attention.
fn default_classifier(channels: usize, side: usize, classes: usize) -> Result<String> {
    let halvings = (0..).find(|&halvings| side >> halvings <= 8).unwrap_or(0);
    pretty(&json!({
        "_class_name": "EncoderUNetModel",
        "image_size": side,
        "in_channels": channels,
        "model_channels": 32,
        "out_channels": classes,
        "num_res_blocks": 1,
        "attention_resolutions": [1 << halvings],
        "channel_mult": (1..=halvings + 1).collect::<Vec<_>>(),
        "num_head_channels": 32,
        "use_scale_shift_norm": true,
        "resblock_updown": true,
        "pool": "attention"
    }))
}

/// The side that a small network takes for images of this one: it is halved twice.
fn network_side(side: usize) -> usize {
    side.next_multiple_of(4).max(8)
}

/// A small U-Net for images of this size: attention where maps are of 16×16 or less, and twice the channels of an image if it is
/// to learn a variance.
fn default_config(dataset: &Dataset, loss: WhichLoss) -> Result<String> {
    let [_, channels, height, width] = dataset.shape();
    let [height, width] = [height, width].map(network_side);
    let large = height.max(width) > 32;
    let (widths, layers) = if large { (vec![64, 128, 128], 2) } else { (vec![32, 64, 64], 1) };
    let attends = |level: usize| (height >> level).max(width >> level) <= 16 && level > 0;
    let down = |level: usize| if attends(level) { "AttnDownBlock2D" } else { "DownBlock2D" };
    let up = |level: usize| if attends(level) { "AttnUpBlock2D" } else { "UpBlock2D" };
    let outputs = if loss == WhichLoss::Hybrid { 2 * channels } else { channels };
    let mut config = json!({
        "_class_name": "UNet2DModel",
        "_diffusers_version": "0.34.0",
        "sample_size": [height, width],
        "in_channels": channels,
        "out_channels": outputs,
        "layers_per_block": layers,
        "block_out_channels": widths,
        "down_block_types": [down(0), down(1), down(2)],
        "up_block_types": [up(2), up(1), up(0)],
        "attention_head_dim": 32,
        "norm_num_groups": 8
    });
    if dataset.labels().is_some() {
        config["num_class_embeds"] = (dataset.classes() + 1).into();
    }
    pretty(&config)
}
