//! `denoise train`: a network learns from images (Ho et al. 2020, Algorithm 1).

mod recipe;
mod run_folder;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use denoise::config::UNetConfig;
use denoise::dataset::Dataset;
use denoise::epochs::Epochs;
use denoise::initialise::initial_weights;
use denoise::loss_curve::{LossCurve, Point};
use denoise::random::Generator;
use denoise::training::{Batch, Trainer};
use denoise::unet::UNet2DModel;
use denoise::{Backend, Pipeline, Prepared, Sampler, Settings, Tensor};
use indicatif::ProgressBar;

use super::{Device, Result, open, picture, progress_bar};
use recipe::{Rate, Recipe, Recomputed, WhichLoss};
use run_folder::RunFolder;

/// DATA is a folder of PNG or JPEG images (a sub-folder a class), an .npz with images and labels, or MNIST's IDX files.
///
/// DIR becomes a pipeline folder that diffusers' DDPMPipeline.from_pretrained loads, with the moving average as its weights,
/// and keeps all that training goes on with: --resume does, also after a kill.
#[derive(clap::Args)]
#[command(
    args_override_self = true,
    after_help = "\
Examples:
  denoise train photos/ --out my-model --steps 20000
  denoise train mnist.npz --out digits --batch 64 --prediction v_prediction --label-dropout 0.1
  denoise train more/ --out tuned --model my-model --lr 1e-5 --steps 2000
  denoise train photos/ --out my-model --resume --steps 40000"
)]
pub struct Arguments {
    /// Images to learn from
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// The folder that the model is written to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A model to go on from, with its scheduler
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    model: Option<PathBuf>,
    /// The network's configuration [default: a small U-Net of the images' size]
    #[arg(long, value_name = "unet/config.json")]
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

/// Steps between two points of the loss curve.
const NOTED: u64 = 10;

pub async fn run(arguments: Arguments) -> Result<()> {
    let mut folder = RunFolder::open(&arguments.out, &arguments.data, arguments.resume)?;
    let checkpoint = folder.checkpoint.take();
    let recipe = match &checkpoint {
        Some(checkpoint) => checkpoint.recipe.clone(),
        None => Recipe::new(&arguments)?,
    };
    let dataset = recipe.read(&arguments.data)?;
    let mut recipe = recipe.for_dataset(&dataset)?;
    let steps = arguments.steps.unwrap_or(recipe.steps);
    if steps != recipe.steps && recipe.lr_schedule == Rate::Cosine {
        eprintln!("The learning rate now falls to 0 at step {steps}, not {}: its course changes.", recipe.steps);
    }
    recipe.steps = steps;
    recipe.recompute = arguments.recompute.map_or(recipe.recompute, Recomputed::into);
    let begun = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.step);
    if begun >= steps {
        return super::print(&format!("{begun} steps are done already; --steps says how many are to be.\n"));
    }
    let mut generator = Generator::new(recipe.seed);
    let mut pipeline = Pipeline::from_json(&recipe.config, Some(&recipe.scheduler), Some(&recipe.card))?;
    let (height, width) = pipeline.unet().config().sample_size()?;
    let dataset = fitted(dataset, pipeline.unet().config(), height, width)?;
    let mut epochs = Epochs::new(dataset.count(), recipe.batch)?;
    match (&checkpoint, &recipe.model) {
        (Some(checkpoint), _) => pipeline.unet_mut().read([&checkpoint.weights[..]])?,
        (None, Some(model)) => {
            pipeline.unet_mut().read(run_folder::weights_of(model)?.iter().map(Vec::as_slice))?;
        }
        (None, None) => {
            let initial = initial_weights(pipeline.unet().config(), &mut generator)?;
            for (path, tensor) in initial {
                pipeline.unet_mut().receive(&path, tensor)?;
            }
            pipeline.unet_mut().finish()?;
        }
    }

    let unet = pipeline.unet().config();
    if unet.out_channels == 2 * unet.in_channels && recipe.loss != WhichLoss::Hybrid {
        eprintln!("The network says a variance too, which learns nothing of this loss; of --loss hybrid it does.");
    }
    let backend = open(arguments.backend).await?;
    let shape = [recipe.batch, dataset.shape()[1], height, width];
    let objective = recipe.objective(&pipeline)?;
    let timesteps = objective.timesteps();
    let unet = pipeline.unet();
    let (optimiser, again) = (recipe.optimiser(), recipe.recompute);
    let mut trainer = Trainer::with_recompute(&backend, unet, objective, optimiser, shape, again, |_, _| {}).await?;
    if let Some(checkpoint) = checkpoint {
        generator = Generator::from_state(&checkpoint.generator)?;
        epochs = Epochs::from_state(&checkpoint.epochs, dataset.count(), recipe.batch)?;
        trainer.restore(unet, checkpoint.step, &checkpoint.kept).await?;
    }
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
    let mut noted = Noted { losses: Vec::new(), begin, images: 0 };
    let mut done = begun;
    while done < steps {
        let batch = next_batch(&dataset, &recipe, &mut epochs, &mut generator, timesteps, shape)?;
        let rate = trainer.learning_rate();
        noted.losses.extend(trainer.step(unet, &batch).await?);
        noted.images += recipe.batch;
        done = trainer.step_count();
        bar.set_position(done);
        let ends = done == steps || stopped.load(Ordering::SeqCst);
        let saves = ends || done % arguments.save_every == 0;
        let samples = arguments.sample_every > 0 && done % arguments.sample_every == 0;
        if done % NOTED == 0 || saves || samples {
            noted.losses.extend(trainer.finish().await?);
            note(&mut curve, &mut noted, &bar, done, rate, before + begin.elapsed().as_secs_f64())?;
        }
        if saves || samples {
            save(&folder, &recipe, &trainer, unet, &generator, &epochs, &curve).await?;
        }
        if samples && let Err(error) = sample(&folder, &recipe, &backend, &bar).await {
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
    let images = (done - begun) * recipe.batch as u64;
    let (loss, rate) = curve.points().last().map_or((f32::NAN, 0.0), |last| (last.loss, last.images_per_second));
    super::print(&format!(
        "{done} steps, {images} images, loss {loss:.4}, {rate:.1} images/s; the model is in {}\n",
        arguments.out.display()
    ))
}

/// What was seen since the last point of the curve.
struct Noted {
    losses: Vec<f32>,
    begin: Instant,
    images: usize,
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
    bar.set_message(format!("loss {loss:.4}, {images_per_second:.1} images/s"));
    curve.append(Point { step, loss, images_per_second, learning_rate, seconds })?;
    *noted = Noted { losses: Vec::new(), begin: Instant::now(), images: 0 };
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

/// Images as the network takes them: of its channels and, with a black border, of its size.
pub(super) fn fitted(dataset: Dataset, config: &UNetConfig, height: usize, width: usize) -> Result<Dataset> {
    let [_, channels, h, w] = dataset.shape();
    if channels != config.in_channels {
        return Err(format!(
            "The images have {channels} channels, but the network takes {}. Choose another --config or --model.",
            config.in_channels
        )
        .into());
    }
    match (h, w) {
        _ if (h, w) == (height, width) => Ok(dataset),
        _ if h <= height && w <= width => {
            eprintln!("The images of {h}×{w} get a black border to be {height}×{width}, as the network takes them.");
            Ok(dataset.padded(height, width)?)
        }
        _ => Err(format!(
            "The images are {h}×{w}, larger than the {height}×{width} that the network takes. Make them smaller, or \
             choose another --config."
        )
        .into()),
    }
}

/// The next batch, all that is random in it drawn from one generator: at the beginning of an epoch its order; then ε; the
/// timesteps; which images are mirrored; which labels are left out; the dropout's seed, 16 bits a number.
fn next_batch(
    dataset: &Dataset,
    recipe: &Recipe,
    epochs: &mut Epochs,
    generator: &mut Generator,
    timesteps: usize,
    shape: [usize; 4],
) -> Result<Batch> {
    const SEED_PART: NonZeroU32 = NonZeroU32::new(1 << 16).unwrap();

    let indices = epochs.next_batch(generator).to_vec();
    let noise = Tensor::new(&shape, generator.randn(shape.iter().product()))?;
    let high = u32::try_from(timesteps).ok().and_then(NonZeroU32::new).ok_or("There are no timesteps.")?;
    let timesteps = generator.randint(high, shape[0]).into_iter().map(|t| t as usize).collect();
    let flipped = if recipe.flip { generator.rand_below(0.5, shape[0]) } else { Vec::new() };
    let mut class_labels = if recipe.has_classes { dataset.labels_of(&indices)? } else { None };
    if let (Some(labels), Some(null), true) = (&mut class_labels, recipe.null_class, recipe.label_dropout > 0.0) {
        let dropped = generator.rand_below(recipe.label_dropout as f32, shape[0]);
        labels.iter_mut().zip(dropped).filter(|(_, dropped)| *dropped).for_each(|(label, _)| *label = null);
    }
    let class_labels = class_labels.map(|labels| labels.into_iter().map(|label| label as f32).collect());
    let joined = |seed: u64, part: u32| seed << 16 | u64::from(part);
    let dropout_seed = recipe.drops.then(|| generator.randint(SEED_PART, 4).into_iter().fold(0, joined));
    Ok(Batch { images: dataset.batch(&indices, &flipped)?, noise, timesteps, class_labels, dropout_seed })
}

/// Writes the model, the checkpoint and the chart.
async fn save(
    folder: &RunFolder,
    recipe: &Recipe,
    trainer: &Trainer,
    unet: &UNet2DModel,
    generator: &Generator,
    epochs: &Epochs,
    curve: &LossCurve,
) -> Result<()> {
    let kept = trainer.kept(unet).await?;
    let is_finite = |(_, tensor): &(String, Tensor)| tensor.data.iter().all(|number| number.is_finite());
    if !kept.iter().flatten().all(is_finite) {
        return Err(diverged(trainer.step_count()));
    }
    folder.save(recipe, trainer.step_count(), kept, unet.fixed_tensors().await?, generator, epochs)?;
    if !curve.points().is_empty() {
        let chart = denoise::loss_curve::draw(curve.points(), 1200, 600)?;
        super::files::write(&folder.path("loss.png"), &chart)?;
    }
    Ok(())
}

/// Samples the model that was just written: the same noise and classes every time.
async fn sample(folder: &RunFolder, recipe: &Recipe, backend: &Backend, bar: &ProgressBar) -> Result<()> {
    const COUNT: usize = 16;
    const STEPS: usize = 50;

    let mut pipeline = Pipeline::from_json(&recipe.config, Some(&recipe.scheduler), Some(&recipe.card))?;
    let weights = run_folder::weights_of(folder.root())?;
    pipeline.unet_mut().read(weights.iter().map(Vec::as_slice))?;
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
    let (layout, _) = settings.check(&pipeline)?;
    let prepared = Prepared::new(backend, &pipeline, layout, |_, _| {}).await?;
    let mut sampler = Sampler::new(&pipeline, &prepared, &settings)?;
    while sampler.next().await?.is_some() {
        bar.tick();
    }
    let shown = sampler.schedule().shown(sampler.schedule().rows.len());
    picture::write_grid(&folder.path("samples.png"), &sampler.sample().await?, shown)
}
