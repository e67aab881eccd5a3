//! What a run of training was asked to be, as its checkpoint keeps it.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use denoise::Pipeline;
use denoise::config::Card;
use denoise::dataset::Dataset;
use denoise::op::AdamWSettings;
use denoise::passes::Recompute;
use denoise::training::{LearningRate, Loss, Objective, Optimiser};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Arguments;
use crate::cli::Result;
use crate::cli::files::read_text;

/// How the learning rate goes after it has warmed up.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// It stays.
    Constant,
    /// It falls along half a cosine to 0 at the last step.
    Cosine,
}

/// What an image costs at each timestep.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum WhichLoss {
    /// The error of what is predicted, as much as at any other: L_simple.
    Simple,
    /// As much as the timestep's signal-to-noise ratio, but not more than γ.
    MinSnr,
    /// L_simple, and what a learned variance costs.
    Hybrid,
}

/// What is computed a second time instead of being kept for the backward pass.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Recomputed {
    /// Nothing.
    Nothing,
    /// What takes no more than a pass over memory.
    Cheap,
    /// All but the ends of blocks, for large models.
    Blocks,
}

impl From<Recomputed> for Recompute {
    fn from(recomputed: Recomputed) -> Self {
        match recomputed {
            Recomputed::Nothing => Recompute::Nothing,
            Recomputed::Cheap => Recompute::Cheap,
            Recomputed::Blocks => Recompute::Blocks,
        }
    }
}

/// All that decides what a run computes.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Recipe {
    /// The model that it goes on from, if there is one.
    pub model: Option<PathBuf>,
    /// The text of `unet/config.json`; empty until the images are known, for one that is made for them.
    pub config: String,
    /// The text of `scheduler/scheduler_config.json`.
    pub scheduler: String,
    /// The text of `card.json`.
    pub card: String,
    pub seed: u64,
    /// How many steps there are to be.
    pub steps: u64,
    pub batch: usize,
    pub lr: f64,
    pub lr_warmup: u64,
    pub lr_schedule: Rate,
    pub weight_decay: f64,
    pub clip: f64,
    pub ema: f64,
    pub loss: WhichLoss,
    pub min_snr_gamma: f64,
    pub label_dropout: f64,
    /// What the network's dropout is made, if it is.
    #[serde(default)]
    pub dropout: Option<f64>,
    pub flip: bool,
    /// Whether the network has dropout.
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

impl Recipe {
    /// That of these arguments.
    pub fn new(arguments: &Arguments) -> Result<Self> {
        let range = |name: &str, value: f64, least: f64, most: f64| match value >= least && value <= most {
            true => Ok(()),
            false => Err(format!("--{name} is {value}; it must be between {least} and {most}.")),
        };
        range("lr", arguments.lr, 0.0, 1.0)?;
        range("ema", arguments.ema, 0.0, 1.0)?;
        range("label-dropout", arguments.label_dropout, 0.0, 1.0)?;
        range("dropout", arguments.dropout.unwrap_or(0.0), 0.0, 0.99)?;
        range("weight-decay", arguments.weight_decay, 0.0, 1.0)?;
        range("clip", arguments.clip, 0.0, f64::MAX)?;
        range("min-snr-gamma", arguments.min_snr_gamma, f64::MIN_POSITIVE, f64::MAX)?;
        let (config, mut scheduler, card) = match (&arguments.model, &arguments.config) {
            (Some(model), _) => {
                let first = |paths: &[&str]| paths.iter().map(|path| model.join(path)).find(|path| path.is_file());
                let config = first(&["unet/config.json", "config.json"])
                    .ok_or_else(|| format!("{} has neither unet/config.json nor config.json.", model.display()))?;
                let scheduler = match first(&["scheduler/scheduler_config.json", "scheduler_config.json"]) {
                    Some(path) => read_text(&path)?,
                    None => {
                        eprintln!("{} has no scheduler_config.json: DDPM's defaults are taken.", model.display());
                        default_scheduler(arguments.loss)
                    }
                };
                let card = first(&["card.json"]).map_or(Ok("{}".into()), |path| read_text(&path))?;
                (read_text(&config)?, scheduler, card)
            }
            (None, Some(config)) => (read_text(config)?, default_scheduler(arguments.loss), "{}".into()),
            (None, None) => (String::new(), default_scheduler(arguments.loss), "{}".into()),
        };
        let changes = match &arguments.scheduler_config {
            Some(json) if json.trim_start().starts_with('{') => json.clone(),
            Some(path) => read_text(Path::new(path))?,
            None => "{}".to_string(),
        };
        let mut fields = object(&scheduler, "the scheduler's configuration")?;
        fields.extend(object(&changes, "--scheduler-config")?);
        if let Some(prediction) = &arguments.prediction {
            fields.insert("prediction_type".into(), prediction.as_str().into());
        }
        scheduler = serde_json::to_string_pretty(&fields)?;
        Ok(Recipe {
            model: arguments.model.clone(),
            config,
            scheduler,
            card,
            seed: arguments.seed,
            steps: arguments.steps.unwrap_or(STEPS),
            batch: arguments.batch,
            lr: arguments.lr,
            lr_warmup: arguments.lr_warmup,
            lr_schedule: arguments.lr_schedule,
            weight_decay: arguments.weight_decay,
            clip: arguments.clip,
            ema: arguments.ema,
            loss: arguments.loss,
            min_snr_gamma: arguments.min_snr_gamma,
            label_dropout: arguments.label_dropout,
            dropout: arguments.dropout,
            flip: arguments.flip,
            drops: false,
            recompute: arguments.recompute.map_or(Recompute::default(), Recomputed::into),
            has_classes: false,
            null_class: None,
        })
    }

    /// The images, of as many channels as the network takes, or without transparency.
    pub fn read(&self, data: &Path) -> Result<Dataset> {
        let wanted = match self.config.is_empty() {
            true => None,
            false => object(&self.config, "unet/config.json")?.get("in_channels").and_then(Value::as_u64),
        };
        if let Some(channels @ (1 | 3)) = wanted {
            return Ok(Dataset::read(data, Some(channels as usize))?);
        }
        let dataset = Dataset::read(data, None)?;
        match dataset.shape()[1] {
            2 => Ok(Dataset::read(data, Some(1))?),
            4 => Ok(Dataset::read(data, Some(3))?),
            _ => Ok(dataset),
        }
    }

    /// The same with what follows from the images: a network, if none was chosen, and its classes.
    pub fn for_dataset(mut self, dataset: &Dataset) -> Result<Self> {
        let classes = dataset.classes();
        if self.config.is_empty() {
            self.config = default_config(dataset, self.loss)?;
        }
        let mut fields = object(&self.config, "unet/config.json")?;
        if let Some(dropout) = self.dropout {
            fields.insert("dropout".into(), dropout.into());
            self.config = serde_json::to_string_pretty(&fields)?;
        }
        self.drops = fields.get("dropout").and_then(Value::as_f64).is_some_and(|dropout| dropout != 0.0);
        let found = fields.get("num_class_embeds").and_then(Value::as_u64);
        self.has_classes = found.is_some();
        match found {
            Some(embeddings) if dataset.labels().is_none() => {
                return Err(format!(
                    "The network has {embeddings} class embeddings, but the images have no classes. Put them into a \
                     folder a class, or choose a --config without num_class_embeds."
                )
                .into());
            }
            Some(embeddings) if (embeddings as usize) < classes => {
                return Err(format!(
                    "The images are of {classes} classes, but the network has only {embeddings} class embeddings \
                     (num_class_embeds)."
                )
                .into());
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
            return Err(format!(
                "--label-dropout needs a class embedding that means no class: num_class_embeds {}, one more than there \
                 are classes.",
                classes + 1
            )
            .into());
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
            self.card = serde_json::to_string_pretty(&card)?;
        }
        Ok(self)
    }

    /// What the network learns to predict.
    pub fn objective(&self, pipeline: &Pipeline) -> Result<Objective> {
        let loss = match self.loss {
            WhichLoss::Simple => Loss::Simple,
            WhichLoss::MinSnr => Loss::MinSnr(self.min_snr_gamma),
            WhichLoss::Hybrid => Loss::Hybrid,
        };
        Ok(Objective::new(pipeline.scheduler()?, loss)?)
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
}

/// How many steps there are if nothing is said.
const STEPS: u64 = 10_000;

/// The fields of a JSON object.
fn object(json: &str, what: &str) -> Result<Map<String, Value>> {
    match serde_json::from_str(json) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(format!("{what} is not a JSON object.").into()),
        Err(error) => Err(format!("{what} is not valid JSON: {error}.").into()),
    }
}

/// diffusers' `DDPMScheduler` as it comes, but for a variance that is learned.
fn default_scheduler(loss: WhichLoss) -> String {
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

/// A small U-Net for images of this size: attention where maps are of 16×16 or less, and twice the channels of an image if it is
/// to learn a variance.
fn default_config(dataset: &Dataset, loss: WhichLoss) -> Result<String> {
    /// Sides must be halved twice; the last one is left.
    const DIVISOR: usize = 4;

    let [_, channels, height, width] = dataset.shape();
    let [height, width] = [height, width].map(|side| side.next_multiple_of(DIVISOR).max(8));
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
    Ok(serde_json::to_string_pretty(&config)?)
}
