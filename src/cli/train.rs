//! `denoise train`: a network learns from images (Ho et al. 2020, Algorithm 1).

mod run_folder;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::ValueEnum;
use denoise::Settings;
use denoise::config::ClassifierConfig;
use denoise::dataset::Dataset;
use denoise::loss_curve::{LossCurve, Point};
use denoise::passes::Recompute;
use denoise::training::{Checkpoint, Learner, Rate, Recipe, WhichLoss, default_scheduler, object};
use indicatif::ProgressBar;

use super::files::{fitted, read_text};
use super::{Device, Result, open, picture, progress_bar};
use run_folder::RunFolder;

/// DATA is a folder of PNG or JPEG images (a sub-folder a class), an .npz with images and labels, or MNIST's IDX files.
///
/// DIR becomes a pipeline folder that diffusers' DDPMPipeline.from_pretrained loads, with the moving average as its weights,
/// and keeps all that training goes on with: --resume does, also after a kill.
///
/// With --classifier it gets a classifier/ instead, that tells the classes of noisy images apart, as the forward process of --model
/// makes them: what denoise sample --classifier is guided by. DIR may then be the model's own folder.
#[derive(clap::Args)]
#[command(
    args_override_self = true,
    after_help = "\
Examples:
  denoise train photos/ --out my-model --steps 20000
  denoise train mnist.npz --out digits --batch 64 --prediction v_prediction --label-dropout 0.1
  denoise train more/ --out tuned --model my-model --lr 1e-5 --steps 2000
  denoise train photos/ --out my-model --resume --steps 40000
  denoise train photos/ --classifier --model my-model --out my-classifier --lr 3e-4"
)]
pub struct Arguments {
    /// Images to learn from
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// The folder that the model is written to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Learn to tell the classes of noisy images apart, in place of denoising them: guided-diffusion's EncoderUNetModel
    #[arg(long, conflicts_with_all = ["prediction", "loss", "min_snr_gamma", "label_dropout"])]
    classifier: bool,
    /// A model to go on from, with its scheduler; of a classifier the model that it is for
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// The network's configuration [default: a small one of the images' size]
    #[arg(long, value_name = "config.json")]
    config: Option<PathBuf>,
    /// Fields of the scheduler's configuration, as a file or as JSON itself [default: DDPM's]
    #[arg(long, value_name = "JSON")]
    scheduler_config: Option<String>,
    /// How many steps in all [default: 10000, or with --resume as many as it was begun with]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
    /// Images a step
    #[arg(long, default_value_t = 16, value_name = "B")]
    batch: usize,
    /// AdamW's learning rate
    #[arg(long, default_value_t = 1e-4, value_name = "R")]
    lr: f64,
    /// Steps over which the learning rate rises from 0
    #[arg(long, default_value_t = 0, value_name = "N")]
    lr_warmup: u64,
    /// How the learning rate goes then
    #[arg(long, default_value = "constant")]
    lr_schedule: Rate,
    /// AdamW's weight decay
    #[arg(long, default_value_t = 1e-2, value_name = "D")]
    weight_decay: f64,
    /// What the norm of all gradients is clipped to; 0 is not at all
    #[arg(long, default_value_t = 1.0, value_name = "NORM")]
    clip: f64,
    /// The most that the moving average keeps of itself
    #[arg(long, default_value_t = 0.9999, value_name = "D")]
    ema: f64,
    /// What the network predicts [default: as the scheduler's configuration says]
    #[arg(long, value_parser = ["epsilon", "v_prediction", "sample"])]
    prediction: Option<String>,
    /// What an image costs at each timestep; hybrid is for a learned variance
    #[arg(long, default_value = "simple")]
    loss: WhichLoss,
    /// min-SNR's γ
    #[arg(long, default_value_t = 5.0, value_name = "GAMMA")]
    min_snr_gamma: f64,
    /// The share of labels that are replaced by "no class", for classifier-free guidance
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    label_dropout: f64,
    /// The network's dropout [default: as its configuration says]
    #[arg(long, value_name = "P")]
    dropout: Option<f64>,
    /// What is computed a second time instead of being kept: more of it takes less memory and more time, and changes nothing
    /// else [default: cheap]
    #[arg(long)]
    recompute: Option<Recomputed>,
    /// Mirror half of the images
    #[arg(long)]
    flip: bool,
    /// The seed of the initial weights, the order of the images, noise and times
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where to run [default: the GPU if there is one]
    #[arg(long)]
    backend: Option<Device>,
    /// Write a grid of samples every so many steps; 0 is never
    #[arg(long, default_value_t = 1000, value_name = "N")]
    sample_every: u64,
    /// Write the model and the checkpoint every so many steps; they are written at the end in any case
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    save_every: u64,
    /// Go on with what DIR has, as it was begun; of the options only --steps, --sample-every, --save-every,
    /// --recompute and --backend count
    #[arg(long)]
    resume: bool,
}

/// What is computed a second time instead of being kept for the backward pass.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Recomputed {
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

/// How many steps there are if nothing is said.
const STEPS: u64 = 10_000;

impl Arguments {
    /// What they ask for, as far as it does not follow from the images.
    fn recipe(&self) -> Result<Recipe> {
        if let (Some(_), Some(_), false) = (&self.model, &self.config, self.classifier) {
            return Err("--model has a configuration of its own; leave --config out, or --model.".into());
        }
        let chosen = self.config.as_deref().map(read_text).transpose()?;
        let (classifier, chosen) = match self.classifier {
            true => (Some(chosen.unwrap_or_default()), None),
            false => (None, chosen),
        };
        let (config, scheduler, card) = match (&self.model, chosen) {
            (Some(model), _) => {
                let first = |paths: &[&str]| paths.iter().map(|path| model.join(path)).find(|path| path.is_file());
                let config = first(&["unet/config.json", "config.json"])
                    .ok_or_else(|| format!("{} has neither unet/config.json nor config.json.", model.display()))?;
                let scheduler = match first(&["scheduler/scheduler_config.json", "scheduler_config.json"]) {
                    Some(path) => read_text(&path)?,
                    None => {
                        eprintln!("{} has no scheduler_config.json: DDPM's defaults are taken.", model.display());
                        default_scheduler(self.loss)
                    }
                };
                let card = first(&["card.json"]).map_or(Ok("{}".into()), |path| read_text(&path))?;
                (read_text(&config)?, scheduler, card)
            }
            (None, Some(config)) => (config, default_scheduler(self.loss), "{}".into()),
            (None, None) => (String::new(), default_scheduler(self.loss), "{}".into()),
        };
        let changes = match &self.scheduler_config {
            Some(json) if json.trim_start().starts_with('{') => json.clone(),
            Some(path) => read_text(Path::new(path))?,
            None => "{}".to_string(),
        };
        let mut fields = object(&scheduler, "the scheduler's configuration")?;
        fields.extend(object(&changes, "--scheduler-config")?);
        if let Some(prediction) = &self.prediction {
            fields.insert("prediction_type".into(), prediction.as_str().into());
        }
        let recipe = Recipe {
            classifier,
            config,
            scheduler: serde_json::to_string_pretty(&fields)?,
            card,
            seed: self.seed,
            steps: self.steps.unwrap_or(STEPS),
            batch: self.batch,
            lr: self.lr,
            lr_warmup: self.lr_warmup,
            lr_schedule: self.lr_schedule,
            weight_decay: self.weight_decay,
            clip: self.clip,
            ema: self.ema,
            loss: self.loss,
            min_snr_gamma: self.min_snr_gamma,
            label_dropout: self.label_dropout,
            dropout: self.dropout,
            flip: self.flip,
            recompute: self.recompute.map_or(Recompute::default(), Recomputed::into),
            ..Recipe::default()
        };
        recipe.check()?;
        Ok(recipe)
    }
}

/// The images, of as many channels as the network takes, or without transparency.
fn read_images(data: &Path, recipe: &Recipe) -> Result<Dataset> {
    if let Some(channels @ (1 | 3)) = recipe.channels()? {
        return Ok(Dataset::read(data, Some(channels))?);
    }
    let dataset = Dataset::read(data, None)?;
    match dataset.shape()[1] {
        2 => Ok(Dataset::read(data, Some(1))?),
        4 => Ok(Dataset::read(data, Some(3))?),
        _ => Ok(dataset),
    }
}

/// Steps between two points of the loss curve.
const NOTED: u64 = 10;

pub async fn run(arguments: Arguments) -> Result<()> {
    let same = |model: &PathBuf| same_folder(model, &arguments.out);
    let beside = arguments.classifier && arguments.model.as_ref().is_some_and(same);
    let mut folder = RunFolder::open(&arguments.out, &arguments.data, arguments.resume, beside)?;
    let checkpoint = folder.checkpoint.take();
    let mut recipe = match &checkpoint {
        Some(checkpoint) => checkpoint.recipe.clone(),
        None => arguments.recipe()?,
    };
    if arguments.classifier && recipe.classifier.is_none() {
        let shown = arguments.out.display();
        return Err(format!(
            "The run in {shown} is of a model, not of a classifier. Leave --classifier out, or choose another --out."
        )
        .into());
    }
    let dataset = read_images(&arguments.data, &recipe)?;
    let steps = arguments.steps.unwrap_or(recipe.steps);
    if steps != recipe.steps && recipe.lr_schedule == Rate::Cosine {
        eprintln!("The learning rate now falls to 0 at step {steps}, not {}: its course changes.", recipe.steps);
    }
    recipe.steps = steps;
    recipe.recompute = arguments.recompute.map_or(recipe.recompute, Recomputed::into);
    let recipe = recipe.for_dataset(&dataset)?;
    let begun = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.step);
    if begun >= steps {
        return super::print(&format!("{begun} steps are done already; --steps says how many are to be.\n"));
    }
    let (mut model, dataset) = match &recipe.classifier {
        Some(config) => {
            let ClassifierConfig { in_channels, image_size, .. } = ClassifierConfig::from_json(config)?;
            (None, fitted(dataset, in_channels, image_size, image_size)?)
        }
        None => {
            let model = recipe.pipeline()?;
            let unet = model.unet().config();
            let (height, width) = unet.sample_size()?;
            let dataset = fitted(dataset, unet.in_channels, height, width)?;
            if unet.out_channels == 2 * unet.in_channels && recipe.loss != WhichLoss::Hybrid {
                eprintln!(
                    "The network says a variance too, which learns nothing of this loss; of --loss hybrid it does."
                );
            }
            (Some(model), dataset)
        }
    };
    let backend = open(arguments.backend).await?;
    let mut learner = match checkpoint {
        Some(checkpoint) => {
            let checkpoint = Checkpoint { recipe, ..checkpoint };
            Learner::resume(&backend, &checkpoint, dataset, &mut |_, _| {}).await?
        }
        None => {
            let begun = match (&arguments.model, &mut model) {
                (Some(folder), Some(pipeline)) => {
                    pipeline.unet_mut().read(run_folder::weights_of(folder)?.iter().map(Vec::as_slice))?;
                    model
                }
                _ => None,
            };
            Learner::begin(&backend, recipe, dataset, begun, &mut |_, _| {}).await?
        }
    };
    folder.create()?;
    let mut curve = LossCurve::open(&folder.path("loss.csv"), begun)?;
    let before = curve.points().last().map_or(0.0, |point| point.seconds);

    let stopped = Arc::new(AtomicBool::new(false));
    let heard = stopped.clone();
    // A second Ctrl-C ends the program at once; what was saved before is whole.
    ctrlc::set_handler(move || {
        if heard.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    })?;

    let bar = progress_bar(steps as usize, "steps")?;
    bar.set_position(begun);
    let begin = Instant::now();
    let mut noted = Noted { losses: Vec::new(), accuracies: Vec::new(), begin, images: 0 };
    let mut accuracy = None;
    let mut done = begun;
    while done < steps {
        let rate = learner.trainer().learning_rate();
        let loss = learner.step().await?;
        noted.add(loss, learner.trainer().accuracy());
        noted.images += learner.recipe().batch;
        done = learner.trainer().step_count();
        bar.set_position(done);
        let ends = done == steps || stopped.load(Ordering::SeqCst);
        let saves = ends || done % arguments.save_every == 0;
        let samples = arguments.sample_every > 0 && done % arguments.sample_every == 0;
        if done % NOTED == 0 || saves || samples {
            let loss = learner.finish().await?;
            noted.add(loss, learner.trainer().accuracy());
            accuracy = noted.accuracy();
            note(&mut curve, &mut noted, &bar, done, rate, before + begin.elapsed().as_secs_f64())?;
        }
        if saves || samples {
            save(&folder, &learner, &curve).await?;
        }
        if samples
            && learner.recipe().classifier.is_none()
            && let Err(error) = sample(&folder, &mut learner, &bar).await
        {
            bar.println(format!("No samples of step {done}: {error}"));
        }
        if saves || samples {
            noted.begin = Instant::now(); // what that took is not learning
        }
        if ends {
            break;
        }
    }
    bar.finish_and_clear();
    let images = (done - begun) * learner.recipe().batch as u64;
    let (loss, rate) = curve.points().last().map_or((f32::NAN, 0.0), |last| (last.loss, last.images_per_second));
    let what = if learner.recipe().classifier.is_some() { "classifier" } else { "model" };
    super::print(&format!(
        "{done} steps, {images} images, loss {loss:.4}{}, {rate:.1} images/s; the {what} is in {}\n",
        shown_accuracy(accuracy),
        arguments.out.display()
    ))
}

/// Whether two paths are of the same folder.
fn same_folder(one: &Path, other: &Path) -> bool {
    let [one, other] = [one, other].map(|path| path.canonicalize().ok());
    one.is_some() && one == other
}

/// What was seen since the last point of the curve.
struct Noted {
    losses: Vec<f32>,
    /// Of a classifier, what share of each batch it told right.
    accuracies: Vec<f32>,
    begin: Instant,
    images: usize,
}

impl Noted {
    /// A step's loss, and accuracy if it has one.
    fn add(&mut self, loss: Option<f32>, accuracy: Option<f32>) {
        if let Some(loss) = loss {
            self.losses.push(loss);
            self.accuracies.extend(accuracy);
        }
    }

    /// The mean of the accuracies, if there are any.
    fn accuracy(&self) -> Option<f32> {
        let count = self.accuracies.len();
        (count > 0).then(|| self.accuracies.iter().sum::<f32>() / count as f32)
    }
}

/// An accuracy, if there is one, as it stands after a loss.
fn shown_accuracy(accuracy: Option<f32>) -> String {
    accuracy.map_or(String::new(), |accuracy| format!(", accuracy {:.1} %", 100.0 * accuracy))
}

/// Adds a point to the curve.
fn note(
    curve: &mut LossCurve,
    noted: &mut Noted,
    bar: &ProgressBar,
    step: u64,
    learning_rate: f64,
    seconds: f64,
) -> Result<()> {
    let loss = noted.losses.iter().sum::<f32>() / noted.losses.len().max(1) as f32;
    if !loss.is_finite() {
        return Err(diverged(step));
    }
    let images_per_second = noted.images as f32 / noted.begin.elapsed().as_secs_f32();
    let accuracy = shown_accuracy(noted.accuracy());
    bar.set_message(format!("loss {loss:.4}{accuracy}, {images_per_second:.1} images/s"));
    curve.append(Point { step, loss, images_per_second, learning_rate, seconds })?;
    *noted = Noted { losses: Vec::new(), accuracies: Vec::new(), begin: Instant::now(), images: 0 };
    Ok(())
}

/// What is said of a network whose numbers are none any more. What was saved before stays.
fn diverged(step: u64) -> Box<dyn std::error::Error> {
    format!(
        "By step {step} the network has diverged: its numbers are infinite. The last checkpoint is from before (--resume \
         goes on with it); a lower learning rate (--lr) or clipping (--clip) may help."
    )
    .into()
}

/// Writes the model, the checkpoint and the chart.
async fn save(folder: &RunFolder, learner: &Learner, curve: &LossCurve) -> Result<()> {
    let checkpoint = learner.checkpoint().await?.ok_or_else(|| diverged(learner.trainer().step_count()))?;
    folder.save(&checkpoint)?;
    if !curve.points().is_empty() {
        let chart = denoise::loss_curve::draw(curve.points(), 1200, 600)?;
        super::files::write(&folder.path("loss.png"), &chart)?;
    }
    Ok(())
}

/// Samples the moving average: the same noise and classes every time.
async fn sample(folder: &RunFolder, learner: &mut Learner, bar: &ProgressBar) -> Result<()> {
    const COUNT: usize = 16;
    const STEPS: usize = 50;

    let (pipeline, recipe) = (learner.pipeline()?, learner.recipe());
    let scheduler = pipeline.scheduler_file().config(Some("ddim".to_string().try_into()?), "{}")?;
    let mut settings = Settings {
        steps: STEPS.min(scheduler.num_train_timesteps),
        scheduler: Some(scheduler),
        count: COUNT,
        ..Settings::default()
    };
    if recipe.has_classes {
        let classes = recipe.null_class.map_or(pipeline.classes(), |null| null as usize);
        settings.class_labels = (0..COUNT).map(|i| (i % classes.max(1)) as f32).collect();
    }
    let mut sampler = learner.sampler(&settings).await?;
    while sampler.next().await?.is_some() {
        bar.tick();
    }
    let shown = sampler.schedule().shown(sampler.schedule().rows.len());
    picture::write_grid(&folder.path("samples.png"), &sampler.sample().await?, shown)
}
