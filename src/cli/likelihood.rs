//! `denoise likelihood`: how likely a model finds images, by its probability-flow ODE.

use std::path::PathBuf;

use denoise::Tensor;
use denoise::bound::Mean;
use denoise::likelihood::{self, Encoded, Likelihood, Method, Solver};
use denoise::random::Generator;
use serde::Serialize;

use super::bound::{labels, read_images};
use super::files::{ModelArguments, ModelFolder, check_place, write_tensors};
use super::sample::fields;
use super::{Device, Result, open, print, progress_bar};

/// How many images are looked at, if nothing else is said, and how many at a time.
const COUNT: usize = 16;
const BATCH: usize = 8;

/// −log₂ of the likelihood of Song et al. 2021, appendix D.2, in bits a number: images, with noise of half a level (uniform
/// dequantisation), are followed along the ODE to x_T, which is normal of variance 1; the trace is estimated with random signs. The
/// error of the solver is how far the result is from that of half as many steps.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  denoise likelihood MODEL_DIR photos/ --count 32 --steps 100 --out x_T.safetensors")]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The images: a folder of PNG or JPEG (with a folder a class in it), an .npz, MNIST's files, or safetensors with sample
    /// [B, C, H, W] over [−1, 1]
    images: PathBuf,
    /// How many of the images, drawn at random [default: 16, or as many as there are]
    #[arg(long)]
    count: Option<usize>,
    /// Steps of the solver, evenly in ln σ; an even number
    #[arg(long, default_value_t = 50)]
    steps: usize,
    /// How a step is taken
    #[arg(long, value_enum, default_value_t = Scheme::Rk4)]
    method: Scheme,
    /// With how many random vectors the trace is estimated, each for the whole way
    #[arg(long, default_value_t = 1)]
    probes: usize,
    /// The class of all images [default: their own, if they have one, or no class, where the model has that]
    #[arg(long, value_name = "K")]
    class: Option<f32>,
    /// The class that means no class [default: as card.json has it]
    #[arg(long, value_name = "K")]
    null_class: Option<usize>,
    /// What the images, the noise of dequantising and the probes are drawn from
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Fields of the scheduler's configuration that differ from the model's, as a file or as JSON itself
    #[arg(long, value_name = "JSON")]
    scheduler_config: Option<String>,
    /// How many images the network is given at a time [default: 8, or as many as there are]
    #[arg(long)]
    batch: Option<usize>,
    /// Where to run [default: the GPU if there is one]
    #[arg(long)]
    backend: Option<Device>,
    /// Print JSON in place of a table
    #[arg(long)]
    json: bool,
    /// Where x_T [B, C, H, W] and bits_per_dim [B] are written
    #[arg(long, value_name = "FILE.safetensors")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Scheme {
    /// Of second order, two evaluations a step
    Heun,
    /// Runge and Kutta's, of fourth order, four evaluations a step
    Rk4,
}

impl From<Scheme> for Method {
    fn from(scheme: Scheme) -> Self {
        match scheme {
            Scheme::Heun => Method::Heun,
            Scheme::Rk4 => Method::Rk4,
        }
    }
}

/// What was found.
#[derive(Serialize)]
struct Report {
    images: usize,
    /// How often the network was evaluated for an image, not counting the half as many steps.
    evaluations: usize,
    bits_per_dim: Mean,
    /// How far half as many steps are off, in bits a number.
    solver_error: f64,
}

pub async fn run(arguments: Arguments) -> Result<()> {
    if arguments.steps == 0 || arguments.steps % 2 == 1 || arguments.probes == 0 {
        let (steps, probes) = (arguments.steps, arguments.probes);
        return Err(format!(
            "There are {steps} steps and {probes} probes; steps must be an even number, since half as many are taken too, and \
             probes 1 or more."
        )
        .into());
    }
    if let Some(out) = &arguments.out {
        check_place(out)?;
    }
    let pipeline = ModelFolder::open(&arguments.model)?.pipeline()?;
    let scheduler = likelihood::scheduler(&pipeline, &fields(arguments.scheduler_config.as_ref())?)?;
    let mut generator = Generator::new(arguments.seed);
    let (images, own) = read_images(&arguments.images, arguments.count, COUNT, &pipeline, &mut generator)?;
    let &[count, _, height, width] = &images.shape[..] else { unreachable!("images are [N, C, H, W]") };
    let labels = labels(arguments.class, arguments.null_class, own, count, &pipeline)?;
    let dequantised = likelihood::dequantised(&images, &mut generator)?;
    let probe = |_| likelihood::probe(&images.shape, &mut generator);
    let probes = (0..arguments.probes).map(probe).collect::<denoise::Result<Vec<_>>>()?;

    let backend = open(arguments.backend).await?;
    let batch = arguments.batch.unwrap_or(count.min(BATCH));
    let likelihood = Likelihood::new(&backend, &pipeline, &scheduler, batch, (height, width)).await?;
    let method = Method::from(arguments.method);
    let evaluations = arguments.steps * method.evaluations();
    let bar = progress_bar((evaluations + evaluations / 2) * count.div_ceil(batch), "evaluations")?;
    let of = async |steps: usize| {
        likelihood.encode(&dequantised, &probes, &labels, Solver { method, steps }, || bar.inc(1)).await
    };
    let (half, Encoded { x_t, bits_per_dim }) = (of(arguments.steps / 2).await?, of(arguments.steps).await?);
    bar.finish_and_clear();
    let solver_error = (Mean::of(&half.bits_per_dim).mean - Mean::of(&bits_per_dim).mean).abs();
    let report = Report { images: count, evaluations, bits_per_dim: Mean::of(&bits_per_dim), solver_error };
    if let Some(out) = &arguments.out {
        let bits = Tensor::new(&[count], bits_per_dim.into_iter().map(|bits| bits as f32).collect())?;
        write_tensors(out, &[("x_T", &x_t), ("bits_per_dim", &bits)])?;
    }
    match arguments.json {
        true => print(&(serde_json::to_string_pretty(&report)? + "\n")),
        false => print(&table(&report)),
    }
}

fn table(report: &Report) -> String {
    let Report { images, evaluations, bits_per_dim: Mean { mean, standard_error }, solver_error } = report;
    let error = standard_error.map_or("unknown".into(), |error| format!("{error:.4}"));
    format!(
        "{images} images, {evaluations} evaluations each\n\n\
         bits/dim        {mean:>8.4}\n\
         standard error  {error:>8}\n\
         solver's error  {solver_error:>8.4}\n"
    )
}
