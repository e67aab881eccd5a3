//! `denoise inspect`: the layers of a model and what they cost.

use denoise::config::UNetConfig;
use denoise::inspect::{Inspection, TrainingMemory};
use denoise::passes::Recompute;
use denoise::tuning::Tuning;

use super::files::{ModelArguments, ModelFolder};
use super::{Device, Result, precision, print, size};

/// Which files are read, what of them is passed over, and what the layers are. The weights may be missing.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// For so many images at a time
    #[arg(long, value_name = "B", default_value_t = 1)]
    count: usize,
    /// Size of the images, as 64 or 64x48 (height x width) [default: the model's own]
    #[arg(long, value_parser = size)]
    size: Option<(usize, usize)>,
    /// With 16-bit weights and activations
    #[arg(long)]
    f16: bool,
    /// Also what training needs of memory
    #[arg(long)]
    train: bool,
    /// Images a step of training
    #[arg(long, value_name = "B", default_value_t = 16, requires = "train")]
    batch: usize,
    /// Where training is to run [default: the GPU]
    #[arg(long, requires = "train")]
    backend: Option<Device>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let folder = ModelFolder::open_config(&arguments.model)?;
    let mut pipeline = folder.pipeline_without_weights()?;
    // Weights that are missing or damaged are no obstacle, but worth a line.
    let read = |files: Vec<Vec<u8>>| Ok(pipeline.unet_mut().read(files.iter().map(Vec::as_slice))?);
    let problem = if folder.has_weights() { folder.weights().and_then(read).err() } else { None };
    let config = pipeline.unet().config().clone();
    let inspection = Inspection::new(config.clone(), arguments.count, arguments.size, precision(arguments.f16))?;
    let longest = inspection.layers.iter().map(|layer| layer.name.len()).max().unwrap_or(0);
    let mut table = format!(
        "{:longest$}  {:20} {:>20} {:>12} {:>14} {:>12}\n",
        "layer", "op", "output", "parameters", "MACs", "bytes"
    );
    for layer in &inspection.layers {
        let shape = layer.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×");
        table += &format!(
            "{:longest$}  {:20} {:>20} {:>12} {:>14} {:>12}\n",
            layer.name,
            layer.op,
            shape,
            grouped(layer.parameters as u64),
            grouped(layer.macs),
            grouped(layer.bytes)
        );
    }
    let total: u64 = inspection.layers.iter().map(|layer| layer.bytes).sum();
    for (number, what) in [
        (inspection.parameters as u64, "parameters"),
        (inspection.macs, "multiply-adds an evaluation"),
        (inspection.layers.len() as u64, "dispatches in the network's plan"),
        (total, "bytes read and written an evaluation"),
        (inspection.weight_bytes, "bytes of weights on the device"),
        (inspection.value_bytes, "bytes of values on the device"),
        (inspection.largest_bytes, "bytes of the largest of them"),
    ] {
        table += &format!("\n{:>16}  {what}", grouped(number));
    }
    if arguments.train {
        table += "\n\n";
        table += &training(&config, arguments)?;
    }
    table += "\n\nfiles\n";
    folder.files().iter().for_each(|file| table += &format!("  {file}\n"));
    let mut notes = pipeline.notes();
    notes.extend(problem.map(|problem| problem.to_string()));
    notes.extend(pipeline.scheduler().err().map(|problem| problem.to_string()));
    if !notes.is_empty() {
        table += "notes\n";
        notes.iter().for_each(|note| table += &format!("  {note}\n"));
    }
    print(&table)
}

/// What training needs of memory, a column for each choice of what is computed again.
fn training(config: &UNetConfig, arguments: &Arguments) -> Result<String> {
    let (tuning, device) = match arguments.backend {
        Some(Device::Cpu) => (None, "CPU"),
        Some(Device::Gpu) | None => (Some(Tuning::default()), "GPU"),
    };
    let of =
        |recompute: Recompute| TrainingMemory::new(config.clone(), arguments.batch, arguments.size, tuning, recompute);
    let columns = [of(Recompute::Nothing)?, of(Recompute::Cheap)?, of(Recompute::Blocks)?];
    let mut table = format!("{:>16}  {:>16}  {:>16}  --recompute", "nothing", "cheap", "blocks");
    let mut row = |what: &str, of: fn(&TrainingMemory) -> u64| {
        table += "\n";
        columns.iter().for_each(|memory| table += &format!("{:>16}  ", grouped(of(memory))));
        table += what;
    };
    row("bytes of parameters", |memory| memory.parameters);
    row("bytes of gradients", |memory| memory.gradients);
    row("bytes of Adam's m and v", |memory| memory.moments);
    row("bytes of the moving average", |memory| memory.average);
    row("bytes of values, kept and on their way", |memory| memory.values);
    row("bytes of constants", |memory| memory.constants);
    row("bytes to train with", TrainingMemory::total);
    Ok(table + &format!(" batches of {} on the {device}", arguments.batch))
}

/// A number with its digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}
