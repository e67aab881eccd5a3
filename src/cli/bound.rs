//! `denoise bound`: how many bits a number of an image takes a model at most.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use denoise::bound::{self, Bound, Estimate, Mean, draw, strata};
use denoise::config::SchedulerConfig;
use denoise::dataset::Dataset;
use denoise::random::Generator;
use denoise::{Pipeline, Tensor};
use serde::Serialize;

use super::files::{ModelArguments, ModelFolder, check_place, fitted, read_tensors, write, write_tensors};
use super::loss::whole;
use super::sample::{class_labels, fields};
use super::{Device, Result, open, print, progress_bar};

/// The variational bound of Ho et al. 2020, equation 5, by terms and in bits a number: L_T, how far x_T is from the noise that
/// sampling begins with; the sum of all L_{t−1}, what each step of DDPM costs; and L_0, with a number one of 256 levels. What
/// is clipped, and which variance the steps have, the model's scheduler says.
///
/// With --in and --out the terms themselves: the input has sample [B, C, H, W] over [−1, 1], noise [K, B, C, H, W],
/// timestep [K], from 0, and class_labels [B] if the model has classes; the output has terms [K, B] and prior [B].
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  denoise bound MODEL_DIR photos/ --count 64 --steps 100 --curve curve.csv
  denoise bound MODEL_DIR mnist.npz --json
  denoise bound MODEL_DIR --in io.safetensors --out terms.safetensors")]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The images: a folder of PNG or JPEG (with a folder a class in it), an .npz, MNIST's files, or safetensors with sample
    /// [B, C, H, W] over [−1, 1], of 256 levels, and class_labels [B] if they have classes
    #[arg(required_unless_present = "input", conflicts_with = "input")]
    images: Option<PathBuf>,
    /// A safetensors file with sample, noise, timestep and class_labels
    #[arg(long = "in", value_name = "IO.safetensors", requires = "out")]
    input: Option<PathBuf>,
    /// Where terms and prior are written
    #[arg(long, value_name = "OUT.safetensors", requires = "input")]
    out: Option<PathBuf>,
    /// How many of the images, drawn at random [default: 16, or as many as there are]
    #[arg(long, conflicts_with = "input")]
    count: Option<usize>,
    /// At how many timesteps an image is looked at: then each draws its own, one of as many ranges, and the sum is an estimate
    /// [default: all T]
    #[arg(long, conflicts_with = "input")]
    steps: Option<usize>,
    /// The class of all images [default: their own, if they have one, or no class, where the model has that]
    #[arg(long, value_name = "K", conflicts_with = "input")]
    class: Option<f32>,
    /// The class that means no class [default: as card.json has it]
    #[arg(long, value_name = "K", conflicts_with = "input")]
    null_class: Option<usize>,
    /// What the images, the timesteps and the noise are drawn from
    #[arg(long, default_value_t = 0, conflicts_with = "input")]
    seed: u64,
    /// Fields of the scheduler's configuration that differ from the model's, as a file or as JSON itself
    #[arg(long, value_name = "JSON")]
    scheduler_config: Option<String>,
    /// How many images the network is given at a time [default: 16, or as many as there are]
    #[arg(long)]
    batch: Option<usize>,
    /// Where to run [default: the GPU if there is one]
    #[arg(long)]
    backend: Option<Device>,
    /// Print JSON in place of a table
    #[arg(long, conflicts_with = "input")]
    json: bool,
    /// Where the terms by timestep are written
    #[arg(long, value_name = "FILE.csv", conflicts_with = "input")]
    curve: Option<PathBuf>,
}

/// How many images are looked at, and at a time, if nothing else is said.
const COUNT: usize = 16;

pub async fn run(arguments: Arguments) -> Result<()> {
    match (&arguments.input, &arguments.out, &arguments.images) {
        (Some(input), Some(out), _) => exchange(&arguments, input, out).await,
        (_, _, Some(images)) => estimate(&arguments, images).await,
        _ => unreachable!("either is required"),
    }
}

/// The terms that a file asks for.
async fn exchange(arguments: &Arguments, input: &Path, out: &Path) -> Result<()> {
    let mut given = read_tensors(input)?;
    let shown = input.display();
    let mut take = |name: &str| given.remove(name).ok_or_else(|| format!("{shown} has no {name}."));
    let (images, noise, timesteps) = (take("sample")?, take("noise")?, take("timestep")?);
    let labels = take("class_labels").map_or(Vec::new(), |labels| labels.data);
    let timesteps = whole(&timesteps, "timestep")?;
    let &[count, _, height, width] = &images.shape[..] else {
        return Err(format!("{shown}: sample has the shape {:?}; it must be [B, C, H, W].", images.shape).into());
    };
    let expected = [&[timesteps.len()], &images.shape[..]].concat();
    if noise.shape != expected {
        let found = &noise.shape;
        return Err(format!(
            "{shown}: noise has the shape {found:?}; for {} timesteps and sample {:?} it must be {expected:?}.",
            timesteps.len(),
            images.shape
        )
        .into());
    }

    let pipeline = ModelFolder::open(&arguments.model)?.pipeline()?;
    check_place(out)?;
    let scheduler = scheduler(arguments, &pipeline)?;
    let backend = open(arguments.backend).await?;
    let batch = arguments.batch.unwrap_or(count.min(COUNT));
    let bound = Bound::new(&backend, &pipeline, &scheduler, batch, (height, width)).await?;
    let prior = bound.prior(&images)?;
    let bar = progress_bar(timesteps.len(), "timesteps")?;
    let mut terms = Vec::new();
    for (&timestep, noise) in timesteps.iter().zip(noise.data.chunks_exact(images.data.len())) {
        let noise = Tensor::new(&images.shape, noise.to_vec())?;
        terms.extend(bound.at(&images, &noise, &vec![timestep; count], &labels).await?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let tensor =
        |shape: &[usize], numbers: Vec<f64>| Tensor::new(shape, numbers.into_iter().map(|x| x as f32).collect());
    let (terms, prior) = (tensor(&[timesteps.len(), count], terms)?, tensor(&[count], prior)?);
    write_tensors(out, &[("terms", &terms), ("prior", &prior)])
}

/// The bound of a dataset.
async fn estimate(arguments: &Arguments, path: &Path) -> Result<()> {
    if let Some(curve) = &arguments.curve {
        check_place(curve)?;
    }
    let pipeline = ModelFolder::open(&arguments.model)?.pipeline()?;
    let scheduler = scheduler(arguments, &pipeline)?;
    let mut generator = Generator::new(arguments.seed);
    let (images, own) = read_images(path, arguments.count, COUNT, &pipeline, &mut generator)?;
    let &[count, _, height, width] = &images.shape[..] else { unreachable!("images are [N, C, H, W]") };
    let labels = labels(arguments.class, arguments.null_class, own, count, &pipeline)?;
    let total = scheduler.num_train_timesteps;
    let strata = strata(total, arguments.steps.unwrap_or(total))?;

    let backend = open(arguments.backend).await?;
    let batch = arguments.batch.unwrap_or(count.min(COUNT));
    let bound = Bound::new(&backend, &pipeline, &scheduler, batch, (height, width)).await?;
    let prior = bound.prior(&images)?;
    let bar = progress_bar(strata.len(), "timesteps")?;
    let mut terms = Vec::new();
    for stratum in strata.iter().rev() {
        let (mut timesteps, mut noise) = (Vec::new(), Vec::new());
        for _ in 0..count {
            timesteps.push(draw(stratum, &mut generator));
            noise.extend(generator.randn(images.data.len() / count));
        }
        terms.push(bound.at(&images, &Tensor::new(&images.shape, noise)?, &timesteps, &labels).await?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    terms.reverse();
    let estimate = Estimate::new(&strata, &terms, &prior);
    if let Some(curve) = &arguments.curve {
        write(curve, csv(&estimate).as_bytes())?;
    }
    match arguments.json {
        true => print(&json(&estimate, count, &strata)?),
        false => print(&table(&estimate, count, &strata)),
    }
}

/// DDPM as the model's scheduler file has it, with what the arguments change of it.
fn scheduler(arguments: &Arguments, pipeline: &Pipeline) -> Result<SchedulerConfig> {
    Ok(bound::scheduler(pipeline, &fields(arguments.scheduler_config.as_ref())?)?)
}

/// The class of each image: the one that is given, or its own, or none.
pub(super) fn labels(
    class: Option<f32>,
    null_class: Option<usize>,
    own: Option<Vec<f32>>,
    count: usize,
    pipeline: &Pipeline,
) -> Result<Vec<f32>> {
    let labels = match (class, own) {
        (None, Some(own)) if pipeline.unet().config().class_width().is_some() => own,
        (class, _) => class_labels(class.as_slice(), null_class, count, pipeline)?,
    };
    pipeline.unet().check_labels(&labels, count)?;
    Ok(labels)
}

/// `count` of the images at `path`, or up to `most`, drawn at random, as the network takes them, and their classes, if they
/// have any.
pub(super) fn read_images(
    path: &Path,
    count: Option<usize>,
    most: usize,
    pipeline: &Pipeline,
    generator: &mut Generator,
) -> Result<(Tensor, Option<Vec<f32>>)> {
    let mut choose = |there: usize| -> Result<Vec<usize>> {
        let count = count.unwrap_or(there.min(most));
        if !(1..=there).contains(&count) {
            return Err(format!("--count is {count}; {} has {there} images.", path.display()).into());
        }
        Ok(generator.randperm(there)[..count].to_vec())
    };
    if path.extension().is_some_and(|extension| extension == "safetensors") {
        let shown = path.display();
        let mut given = read_tensors(path)?;
        let labels = given.remove("class_labels");
        let all = given.remove("sample").ok_or_else(|| format!("{shown} has no sample."))?;
        let &[there, c, h, w] = &all.shape[..] else {
            return Err(format!("{shown}: sample has the shape {:?}; it must be [B, C, H, W].", all.shape).into());
        };
        let chosen = choose(there)?;
        let of = |numbers: &[f32], each: usize| -> Vec<f32> {
            chosen.iter().flat_map(|&i| numbers[i * each..][..each].iter().copied()).collect()
        };
        let each = pipeline.unet().config().class_width().unwrap_or(1);
        if let Some(labels) = labels.iter().find(|labels| labels.data.len() != there * each) {
            let found = &labels.shape;
            return Err(format!(
                "{shown}: class_labels have the shape {found:?}; {there} images have {there} × {each}."
            )
            .into());
        }
        let images = Tensor::new(&[chosen.len(), c, h, w], of(&all.data, c * h * w))?;
        return Ok((images, labels.map(|labels| of(&labels.data, each))));
    }
    let channels = pipeline.channels();
    let dataset = Dataset::read(path, [1, 3].contains(&channels).then_some(channels))?;
    let (height, width) = pipeline.unet().config().sample_size()?;
    let dataset = fitted(dataset, channels, height, width)?;
    let chosen = choose(dataset.count())?;
    let labels = dataset.labels_of(&chosen)?;
    let labels = labels.map(|labels| labels.into_iter().map(|label| label as f32).collect());
    Ok((dataset.batch(&chosen, &[])?, labels))
}

fn table(estimate: &Estimate, images: usize, strata: &[RangeInclusive<usize>]) -> String {
    let line = |name: &str, Mean { mean, standard_error }: Mean| {
        let error = standard_error.map_or("unknown".into(), |error| format!("{error:.4}"));
        format!("{name:9} {mean:>10.4} {error:>15}\n")
    };
    let Estimate { prior, denoising, decoder, sum, .. } = *estimate;
    let (evaluated, total) = (strata.len(), strata.last().map_or(0, |stratum| stratum.end() + 1));
    let at = if evaluated == total { format!("all {total}") } else { format!("{evaluated} of {total}") };
    [
        format!("{images} images, {at} timesteps\n\n{:9} {:>10} {:>15}\n", "", "bits/dim", "standard error"),
        line("L_T", prior),
        line("Σ L_{t−1}", denoising),
        line("L_0", decoder),
        line("sum", sum),
    ]
    .concat()
}

/// A row for each range of timesteps, L_0 the first.
fn csv(estimate: &Estimate) -> String {
    let row = |point: &denoise::bound::Point| {
        let error = point.term.standard_error.map_or(String::new(), |error| error.to_string());
        format!("{},{},{},{error}\n", point.first, point.last, point.term.mean)
    };
    let rows: String = estimate.curve.iter().map(row).collect();
    format!("first_timestep,last_timestep,bits_per_dim,standard_error\n{rows}")
}

fn json(estimate: &Estimate, images: usize, strata: &[RangeInclusive<usize>]) -> Result<String> {
    #[derive(Serialize)]
    struct Report<'a> {
        images: usize,
        /// How many timesteps were looked at.
        timesteps: usize,
        #[serde(flatten)]
        estimate: &'a Estimate,
    }
    Ok(serde_json::to_string_pretty(&Report { images, timesteps: strata.len(), estimate })? + "\n")
}
