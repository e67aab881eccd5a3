//! `denoise sample`: images out of noise.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use denoise::config::{SchedulerConfig, SchedulerKind};
use denoise::schedule::StepOptions;
use denoise::{ClassMix, ClassifierGuidance, Inpainting, Pipeline, Prepared, Sampler, Settings, Slerp, Start, Tensor};

use super::files::{ModelArguments, ModelFolder, check_place, classifier, only_tensor, read_text, write_tensors};
use super::{Device, Result, open, picture, precision, progress_bar, size};

/// Everything a run can be told. With the same seed, model, scheduler and steps the images are those of diffusers.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  denoise sample MODEL_DIR --scheduler ddim --class 7 --guidance 3 --count 16 --out x.png
  denoise sample MODEL_DIR --scheduler-config '{\"timestep_spacing\": \"trailing\"}' --steps 20 --out x.png
  denoise sample MODEL_DIR --seed 1,2,3,4 --class 0,1,2,3 --out x0.safetensors --trajectory run.safetensors
  denoise sample MODEL_DIR --image drawing.png --strength 0.6 --class 7 --out edited.png
  denoise sample MODEL_DIR --image photo.png --mask hole.png --out whole.png
  denoise sample MODEL_DIR --scheduler repaint --image photo.png --mask hole.png --out whole.png
  denoise sample MODEL_DIR --scheduler ddim --class 3 --class-to 8 --count 8 --out between.png
  denoise sample MODEL_DIR --classifier MODEL_DIR --classifier-scale 2 --class 7 --count 16 --out guided.png
  denoise sample MODEL_DIR --scheduler ddim --noise x_T.safetensors --out again.png    # of denoise invert")]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// A scheduler, as DDIMScheduler or ddim [default: the model's own]
    #[arg(long, value_name = "NAME")]
    scheduler: Option<String>,
    /// Fields of the scheduler's configuration that differ from the model's, as a file or as JSON itself
    #[arg(long, value_name = "JSON")]
    scheduler_config: Option<String>,
    /// Steps [default: 50, or T if that is less; 4 with LCM and TCD, 2 with consistency models]
    #[arg(long)]
    steps: Option<usize>,
    /// DDIM's η, from 0 to 1
    #[arg(long)]
    eta: Option<f64>,
    /// A seed for all images, or one for each: S1,S2,…
    #[arg(long, value_delimiter = ',', default_value = "0")]
    seed: Vec<u64>,
    /// A second seed: the images begin between the noises that both draw for one image, from the first to the second
    #[arg(long, value_name = "SEED", conflicts_with_all = ["noise"])]
    seed_to: Option<u64>,
    /// A class for all images, or one for each: K1,K2,… [default: no class, where the model has that]
    #[arg(long, value_delimiter = ',', value_name = "K")]
    class: Vec<f32>,
    /// A second class: the images are between both, from the first to the second, of a model that has learned its classes
    #[arg(long, value_name = "K")]
    class_to: Option<f32>,
    /// Scale of classifier-free guidance; 1 is none
    #[arg(long, default_value_t = 1.0, value_name = "W")]
    guidance: f64,
    /// How much of its own spread a guided output is given back, from 0 to 1
    #[arg(long, default_value_t = 0.0)]
    guidance_rescale: f64,
    /// The class that means no class [default: as card.json has it]
    #[arg(long, value_name = "K")]
    null_class: Option<usize>,
    /// A classifier of noisy images whose gradient guides the run to --class, or from there to --class-to: its folder, or a
    /// pipeline's with classifier/ in it. The network itself is then told no class, where it knows that, unless --guidance has it
    /// guided as well
    #[arg(long, value_name = "DIR", requires = "class")]
    classifier: Option<PathBuf>,
    /// What the classifier's gradient is multiplied by
    #[arg(long, default_value_t = 1.0, value_name = "S", requires = "classifier")]
    classifier_scale: f64,
    /// How many images [default: as many as there are classes, seeds or noises]
    #[arg(long, value_name = "B")]
    count: Option<usize>,
    /// Size of the images, as 64 or 64x48 (height x width) [default: the model's own]
    #[arg(long, value_parser = size)]
    size: Option<(usize, usize)>,
    /// A safetensors file with x_T [B, C, H, W] in place of seeded noise, as denoise invert writes it; it is still multiplied
    /// by init_noise_sigma
    #[arg(long, value_name = "FILE")]
    noise: Option<PathBuf>,
    /// For a model that takes one beside its images: the condition, as the picture to be enlarged: PNG, or safetensors with
    /// condition [B or 1, K, H, W]
    #[arg(long, value_name = "FILE")]
    condition: Option<PathBuf>,
    /// An image to begin with in place of noise (SDEdit), or with --mask to keep a part of: PNG, or safetensors with image
    /// [B, C, H, W] over [−1, 1]
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// How much of the run is made of the image, from 0 to 1: 1 is all of it, of which little of the image is left [default:
    /// 0.8; with --mask the run begins with noise]
    #[arg(long, value_name = "S", requires = "image")]
    strength: Option<f64>,
    /// What is made anew of the image, with any sampler, as diffusers' inpainting has it: PNG, white where it is made anew and
    /// black where it is kept; or safetensors with mask [B, C, H, W], as RePaint has it: 1 where it is kept, 0 where it is not
    #[arg(long, value_name = "FILE", requires = "image")]
    mask: Option<PathBuf>,
    /// For RePaint: steps of a jump back
    #[arg(long, default_value_t = 10)]
    jump_length: usize,
    /// For RePaint: how often each jump is made
    #[arg(long, default_value_t = 10)]
    jump_n_sample: usize,
    /// Where to run [default: the GPU if there is one]
    #[arg(long)]
    backend: Option<Device>,
    /// Compute with 16-bit weights and activations
    #[arg(long)]
    f16: bool,
    /// A PNG of all images, or a safetensors file with x_0 [B, C, H, W], not clamped
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// A safetensors file with x after each evaluation, [N, B, C, H, W]
    #[arg(long, value_name = "FILE")]
    trajectory: Option<PathBuf>,
}

pub async fn run(arguments: Arguments) -> Result<()> {
    let is_png = match arguments.out.extension().and_then(|extension| extension.to_str()) {
        Some("png") => true,
        Some("safetensors") => false,
        _ => return Err(format!("{} is neither .png nor .safetensors.", arguments.out.display()).into()),
    };
    check_place(&arguments.out)?;
    if let Some(trajectory) = &arguments.trajectory {
        check_place(trajectory)?;
        if *trajectory == arguments.out {
            return Err("--out and --trajectory name the same file.".into());
        }
    }
    let mut pipeline = ModelFolder::open(&arguments.model)?.pipeline()?;
    let mut targets = None;
    if let Some(folder) = &arguments.classifier {
        let classifier = classifier(folder)?;
        targets = Some(classifier.classes());
        pipeline = pipeline.with_classifier(Rc::new(classifier))?;
    }
    let settings = settings(&arguments, &pipeline, targets)?;
    let (layout, _) = settings.check(&pipeline)?;
    let backend = open(arguments.backend).await?;
    let prepared = Prepared::new(&backend, &pipeline, layout, |_, _| {}).await?;
    let mut sampler = Sampler::new(&pipeline, &prepared, &settings)?;

    let evaluations = sampler.schedule().rows.len();
    let bar = progress_bar(evaluations, "evaluations")?;
    let mut trajectory = Vec::new();
    while let Some(frame) = sampler.next().await? {
        if arguments.trajectory.is_some() {
            trajectory.extend(frame.prev.data);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();

    let x_0 = sampler.sample().await?;
    if let Some(path) = &arguments.trajectory {
        let shape: Vec<usize> = std::iter::once(evaluations).chain(x_0.shape.iter().copied()).collect();
        write_tensors(path, &[("trajectory", &Tensor::new(&shape, trajectory)?)])?;
    }
    match is_png {
        true => picture::write_grid(&arguments.out, &x_0, sampler.schedule().shown(evaluations)),
        false => write_tensors(&arguments.out, &[("x_0", &x_0)]),
    }
}

/// What is asked for. `targets` is how many classes there are to be guided to by a classifier, if one is to.
fn settings(arguments: &Arguments, pipeline: &Pipeline, targets: Option<usize>) -> Result<Settings> {
    let noise = arguments.noise.as_deref().map(|path| only_tensor(path, "x_T")).transpose()?;
    let (width, seeds) = (pipeline.unet().config().class_width().unwrap_or(1), arguments.seed.len());
    let from_noise = noise.as_ref().and_then(|noise| noise.shape.first().copied());
    // From one end to another there are some between.
    let least = if arguments.seed_to.is_some() || arguments.class_to.is_some() { BETWEEN } else { 1 };
    let said = (arguments.class.len() / width).max(seeds);
    let count = arguments.count.or(from_noise).unwrap_or(if said > 1 { said } else { least });
    let scheduler = scheduler(arguments, pipeline)?;
    let mut settings = Settings {
        steps: arguments.steps.unwrap_or(scheduler.default_steps()),
        scheduler: Some(scheduler),
        options: StepOptions {
            eta: arguments.eta,
            jump_length: arguments.jump_length,
            jump_n_sample: arguments.jump_n_sample,
            ..StepOptions::default()
        },
        count,
        share: None,
        size: arguments.size,
        seeds: arguments.seed.clone(),
        noise,
        start: None,
        class_labels: Vec::new(),
        guidance: arguments.guidance,
        guidance_rescale: arguments.guidance_rescale,
        null_class: arguments.null_class,
        condition: None,
        inpaint: None,
        slerp: arguments.seed_to.map(|seed| Slerp { seed, weights: evenly(count) }),
        class_mix: None,
        classifier: None,
        precision: precision(arguments.f16),
    };
    // So many images are possible: what follows makes something for each of them.
    let layout = settings.layout(pipeline)?;
    // Guided by a classifier alone, the network is told no class, if there is a label for that.
    let told = match targets {
        Some(_) if pipeline.classes() == 0 => &[],
        Some(_) if !layout.guided && arguments.null_class.or(pipeline.card().null_class).is_some() => &[],
        _ => &arguments.class[..],
    };
    settings.class_labels = class_labels(told, arguments.null_class, count, pipeline)?;
    if let Some(classes) = targets {
        settings.classifier = Some(classifier_guidance(arguments, pipeline, count, classes)?);
    }
    if let (Some(label), false) = (arguments.class_to, told.is_empty() && targets.is_some()) {
        settings.class_mix = Some(ClassMix { labels: vec![label; count], weights: evenly(count) });
    }
    if let (Some(condition), channels @ 1..) = (&arguments.condition, pipeline.condition_channels()) {
        let shape = [count, channels, layout.height, layout.width];
        settings.condition = Some(picture::read_condition(condition, shape)?);
    } else if let Some(condition) = &arguments.condition {
        let given = condition.display();
        return Err(format!("{given}: this model takes no condition beside its images; leave --condition out.").into());
    }
    if let Some(image) = &arguments.image {
        let shape = [count, pipeline.channels(), layout.height, layout.width];
        let image = picture::read(image, "image", shape, picture::signed)?;
        if let Some(mask) = &arguments.mask {
            let mask = picture::read(mask, "mask", shape, |byte| f32::from(u8::from(byte <= 127)))?;
            settings.inpaint = Some(Inpainting { original: image.clone(), mask });
        }
        let unsaid = arguments.mask.is_none().then_some(0.8);
        if let Some(strength) = arguments.strength.or(unsaid) {
            settings.start = Some(Start { sample: image, alpha_cumprod: 1.0 });
            settings.options.begin = begin(settings.steps, strength)?;
        }
    }
    Ok(settings)
}

/// What the classifier guides each image to: its class, or from the first image to the last less of that and more of --class-to.
fn classifier_guidance(
    arguments: &Arguments,
    pipeline: &Pipeline,
    count: usize,
    classes: usize,
) -> Result<ClassifierGuidance> {
    if pipeline.classes() == 0 && pipeline.unet().config().class_width().is_some() {
        return Err("This model is told its class as numbers, and --class cannot be a classifier's as well.".into());
    }
    let label = |&label: &f32| match label >= 0.0 && label.fract() == 0.0 {
        true => Ok(label as usize),
        false => Err(format!("--class {label} is no class; they are whole numbers from 0.")),
    };
    let labels = match arguments.class[..] {
        [one] => vec![one; count],
        ref all if all.len() == count => all.to_vec(),
        ref all => return Err(format!("There are {} classes for {count} images.", all.len()).into()),
    };
    let labels = labels.iter().map(label).collect::<std::result::Result<Vec<_>, _>>()?;
    let mut guidance = ClassifierGuidance::to_classes(arguments.classifier_scale, &labels, classes)?;
    if let Some(to) = &arguments.class_to {
        let to = ClassifierGuidance::to_classes(0.0, &vec![label(to)?; count], classes)?;
        for (i, share) in evenly(count).into_iter().enumerate() {
            let image = i * classes..(i + 1) * classes;
            for (weight, to) in guidance.weights.data[image.clone()].iter_mut().zip(&to.weights.data[image]) {
                *weight += share as f32 * (to - *weight);
            }
        }
    }
    Ok(guidance)
}

/// How many images there are from one end to the other, if nobody says.
const BETWEEN: usize = 8;

/// The weights of images from one end to the other.
fn evenly(count: usize) -> Vec<f64> {
    (0..count).map(|i| i as f64 / (count.max(2) - 1) as f64).collect()
}

/// The first step of a run that is made to this strength, at least the last of them (diffusers
/// pipeline_stable_diffusion_img2img.py, `get_timesteps`).
fn begin(steps: usize, strength: f64) -> Result<usize> {
    if !(0.0..=1.0).contains(&strength) {
        return Err(format!("The strength is {strength}; it must be between 0 and 1.").into());
    }
    Ok(steps - ((steps as f64 * strength) as usize).clamp(1, steps.max(1)))
}

/// The class of each image: the one that is given, or those, or no class where the model has that.
pub fn class_labels(classes: &[f32], null_class: Option<usize>, count: usize, pipeline: &Pipeline) -> Result<Vec<f32>> {
    let width = pipeline.unet().config().class_width().unwrap_or(1);
    Ok(match *classes {
        [label] if width == 1 => vec![label; count],
        [] if pipeline.classes() > 0 => {
            let null = null_class.or(pipeline.card().null_class).ok_or_else(|| {
                format!("The model has classes; choose one with --class, from 0 to {}.", pipeline.classes() - 1)
            })?;
            vec![null as f32; count]
        }
        _ => classes.to_vec(),
    })
}

/// The fields of a scheduler's configuration that an argument gives, itself or as a file's name.
pub fn fields(argument: Option<&String>) -> Result<String> {
    match argument {
        Some(json) if json.trim_start().starts_with('{') => Ok(json.clone()),
        Some(path) => read_text(Path::new(path)),
        None => Ok("{}".to_string()),
    }
}

/// The model's own scheduler with what the arguments change of it.
fn scheduler(arguments: &Arguments, pipeline: &Pipeline) -> Result<SchedulerConfig> {
    let named = arguments.scheduler.clone().map(SchedulerKind::try_from);
    let kind = named.transpose().map_err(|problem| format!("{problem}."))?;
    let json = fields(arguments.scheduler_config.as_ref())?;
    let file = pipeline.scheduler_file();
    let config = file.config(kind, &json)?;
    let special = config.kind.inverts() || config.kind == SchedulerKind::RePaint;
    if let (Some(class), false) = (file.class(), special || file.kinds().contains(&config.kind)) {
        eprintln!("{} was not made for models of {class}; what comes out may be noise.", config.kind.class());
    }
    Ok(config)
}
