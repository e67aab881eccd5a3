//! `denoise`: what the page does, natively, and what there is to look at in a model.

mod bound;
mod check;
mod classify;
mod eps;
mod files;
mod inspect;
mod invert;
mod likelihood;
mod loss;
mod picture;
mod sample;
mod train;

use std::io::Write;
use std::process::ExitCode;
use std::rc::Rc;

use clap::{Parser, Subcommand, ValueEnum};
use denoise::backend::Gpu;
use denoise::tuning::Tuning;
use denoise::{Backend, Precision};
use indicatif::{ProgressBar, ProgressStyle};

/// Any error, to be shown to a person.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Run, sample and inspect diffusers' UNet2DModel on the GPU or the CPU.
///
/// MODEL_DIR is a pipeline folder, with unet/ and scheduler/ in it, or a bare U-Net folder, with config.json and the
/// weights.
#[derive(Parser)]
#[command(
    name = "denoise",
    version,
    after_help = "\
Examples:
  denoise sample www/models/sprites --scheduler ddim --class 12 --guidance 3 --count 16 --out trees.png
  denoise sample my-model --seed 0 --trajectory run.safetensors --out x0.safetensors
  denoise invert my-model photo.png --out x_T.safetensors
  denoise eps my-model --in io.safetensors --out eps.safetensors --backend cpu
  denoise bound my-model photos/ --count 64 --steps 100
  denoise inspect my-model
  denoise check my-model"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Evaluate the network once
    Eps(eps::Arguments),
    /// Make images out of noise
    Sample(Box<sample::Arguments>),
    /// Find the noise that an image is made of
    Invert(invert::Arguments),
    /// List the layers, what they cost and what the model needs
    Inspect(inspect::Arguments),
    /// Train a network on images
    Train(Box<train::Arguments>),
    /// The loss of a batch, and its gradients by all parameters
    Loss(loss::Arguments),
    /// How many bits a number of an image takes the model at most
    Bound(Box<bound::Arguments>),
    /// How likely the model finds images, by its probability-flow ODE
    Likelihood(Box<likelihood::Arguments>),
    /// What a classifier says of noisy images, and the gradient of that
    Classify(classify::Arguments),
    /// Compare the GPU with the CPU, layer by layer
    Check(check::Arguments),
}

/// Where a model runs.
#[derive(Clone, Copy, ValueEnum)]
enum Device {
    /// The machine's fastest GPU
    Gpu,
    /// The processor
    Cpu,
}

/// Opens the GPU, with the kernels that suit it: sharing memory pays on all but those that a processor stands in for, where
/// it is slow and takes long to compile. Which is the fastest of the others costs more to find out than a command gains.
async fn gpu() -> denoise::Result<Rc<Gpu>> {
    let gpu = Gpu::open().await?;
    if gpu.is_software() {
        gpu.set_tuning(Tuning::DIRECT)?;
    }
    Ok(gpu)
}

/// Opens a device. Without a choice it is the GPU if there is one.
async fn open(device: Option<Device>) -> Result<Backend> {
    match device {
        Some(Device::Cpu) => Ok(Backend::Cpu),
        Some(Device::Gpu) => Ok(Backend::Gpu(gpu().await?)),
        None => match gpu().await {
            Ok(gpu) => Ok(Backend::Gpu(gpu)),
            Err(error) => {
                eprintln!("{error} The CPU does the work.");
                Ok(Backend::Cpu)
            }
        },
    }
}

/// Prints to standard output. A reader that has read enough is no error.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// A progress bar over so many of something.
fn progress_bar(total: usize, what: &str) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template(&format!("{{bar:40}} {{pos}}/{{len}} {what}, {{eta}} left"))?;
    Ok(ProgressBar::new(total as u64).with_style(style))
}

/// The precision of `--f16`, or without it.
fn precision(f16: bool) -> Precision {
    if f16 { Precision::F16 } else { Precision::F32 }
}

/// Height and width of images, written as `256` or `128x256`.
fn size(text: &str) -> std::result::Result<(usize, usize), String> {
    let number = |text: &str| match text.trim().parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{text} is not a number of pixels; write 256, or 128x256 for height and width")),
    };
    match text.split_once('x') {
        Some((height, width)) => Ok((number(height)?, number(width)?)),
        None => number(text).map(|side| (side, side)),
    }
}

/// The program.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print(); // where there is no terminal there is nobody to tell
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let result = pollster::block_on(async {
        match arguments.command {
            Command::Eps(arguments) => eps::run(arguments).await,
            Command::Sample(arguments) => sample::run(*arguments).await,
            Command::Invert(arguments) => invert::run(arguments).await,
            Command::Inspect(arguments) => inspect::run(&arguments),
            Command::Train(arguments) => train::run(*arguments).await,
            Command::Loss(arguments) => loss::run(arguments).await,
            Command::Bound(arguments) => bound::run(*arguments).await,
            Command::Likelihood(arguments) => likelihood::run(*arguments).await,
            Command::Classify(arguments) => classify::run(arguments).await,
            Command::Check(arguments) => check::run(arguments).await,
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
