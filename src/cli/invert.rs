//! `denoise invert`: from an image to the noise that DDIM makes it of.

use std::path::PathBuf;

use denoise::config::SchedulerKind;
use denoise::{Prepared, Sampler, Settings, Start};

use super::files::{ModelArguments, ModelFolder, check_place, write_tensors};
use super::sample::{class_labels, fields};
use super::{Device, Result, open, picture, precision, progress_bar, size};

/// What denoise sample makes of the noise with DDIM, as many steps, the same class and no guidance comes the nearer to the
/// image, the more steps there are. Nothing is clipped on the way, since what is cut off cannot be found again; so nothing should be on the
/// way back.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  denoise invert MODEL_DIR photo.png --steps 200 --class 7 --out x_T.safetensors
  denoise sample MODEL_DIR --scheduler ddim --scheduler-config '{\"clip_sample\": false, \"thresholding\": false}' --steps 200 --class 7 \\
      --noise x_T.safetensors --out photo-again.png")]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The image: PNG, or safetensors with image [B, C, H, W] over [−1, 1]
    image: PathBuf,
    /// Steps: with few of them much of the image is lost
    #[arg(long, default_value_t = 200)]
    steps: usize,
    /// The class of the image, or of each: K1,K2,… [default: no class, where the model has that]
    #[arg(long, value_delimiter = ',', value_name = "K")]
    class: Vec<f32>,
    /// The class that means no class [default: as card.json has it]
    #[arg(long, value_name = "K")]
    null_class: Option<usize>,
    /// Fields of the scheduler's configuration that differ from the model's, as a file or as JSON itself
    #[arg(long, value_name = "JSON")]
    scheduler_config: Option<String>,
    /// Size of the image, as 64 or 64x48 (height x width) [default: the model's own]
    #[arg(long, value_parser = size)]
    size: Option<(usize, usize)>,
    /// Where to run [default: the GPU if there is one]
    #[arg(long)]
    backend: Option<Device>,
    /// Compute with 16-bit weights and activations
    #[arg(long)]
    f16: bool,
    /// A safetensors file with x_T [B, C, H, W], for denoise sample --noise
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub async fn run(arguments: Arguments) -> Result<()> {
    check_place(&arguments.out)?;
    let pipeline = ModelFolder::open(&arguments.model)?.pipeline()?;
    if pipeline.condition_channels() > 0 {
        return Err("This model takes a condition beside its images; only models without can be inverted.".into());
    }
    let file = pipeline.scheduler_file();
    if !file.kinds().contains(&SchedulerKind::Ddim) {
        let class = file.class().unwrap_or("another scheduler");
        return Err(format!("DDIM does not sample models of {class}, so its inversion finds no noise for them.").into());
    }
    let json = fields(arguments.scheduler_config.as_ref())?;
    let mut scheduler = file.config(Some(SchedulerKind::DdimInverse), &json)?;
    (scheduler.clip_sample, scheduler.thresholding) = (false, false);
    let mut settings = Settings {
        scheduler: Some(scheduler),
        steps: arguments.steps,
        size: arguments.size,
        precision: precision(arguments.f16),
        ..Settings::default()
    };
    let layout = settings.layout(&pipeline)?;
    let image = picture::read_images(&arguments.image, [pipeline.channels(), layout.height, layout.width])?;
    settings.count = image.shape[0];
    settings.class_labels = class_labels(&arguments.class, arguments.null_class, settings.count, &pipeline)?;
    settings.start = Some(Start { sample: image, alpha_cumprod: 1.0 });
    let (layout, schedule) = settings.check(&pipeline)?;
    let backend = open(arguments.backend).await?;
    let prepared = Prepared::new(&backend, &pipeline, layout, |_, _| {}).await?;
    let mut sampler = Sampler::new(&pipeline, &prepared, &settings)?;
    let bar = progress_bar(schedule.rows.len(), "evaluations")?;
    while sampler.next().await?.is_some() {
        bar.inc(1);
    }
    bar.finish_and_clear();
    write_tensors(&arguments.out, &[("x_T", &sampler.sample().await?)])
}
