//! The engine without a browser: samples a model folder natively and writes the pictures as one PNG.
//!
//! ```sh
//! cargo run --example generate -- www/models/digits grid.png [gpu|cpu]
//! ```

// A browser has no files: for wasm this is an empty program.
#![cfg_attr(target_arch = "wasm32", no_main)]
#![cfg(not(target_arch = "wasm32"))]

use std::error::Error;
use std::path::Path;
use std::rc::Rc;

use denoise::backend::{Backend, Executor, Gpu};
use denoise::config::{SchedulerKind, TimestepSpacing};
use denoise::{Pipeline, Sampler, Settings};

/// Pictures a side.
const GRID: usize = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (model, out, device) = match arguments.as_slice() {
        [model, out] => (model, out, "gpu"),
        [model, out, device] => (model, out, device.as_str()),
        _ => return Err("usage: generate MODEL_DIR OUT.png [gpu|cpu]".into()),
    };
    pollster::block_on(generate(Path::new(model), Path::new(out), device))
}

async fn generate(model: &Path, out: &Path, device: &str) -> Result<(), Box<dyn Error>> {
    let read = |file: &str| std::fs::read(model.join(file)).map_err(|error| format!("{file}: {error}"));
    let text = |file: &str| Ok::<_, Box<dyn Error>>(String::from_utf8(read(file)?)?);
    let card = model.join("card.json").exists().then(|| text("card.json")).transpose()?;
    let weights = read("unet/diffusion_pytorch_model.safetensors")?;
    let (config, scheduler) = (text("unet/config.json")?, text("scheduler/scheduler_config.json")?);
    let mut pipeline = Pipeline::from_files(&config, &weights, &scheduler, card.as_deref())?;

    let backend = match device {
        "cpu" => Backend::Cpu,
        _ => Backend::Gpu(Gpu::open().await?),
    };
    let count = GRID * GRID;
    let executor = Rc::new(Executor::for_sampling(&backend, &mut pipeline, count, |_, _| {}).await?);
    // Without a class, where the model has classes at all.
    let class_labels = match pipeline.card().null_class {
        Some(null) => vec![null; count],
        None => (0..count).filter(|_| pipeline.classes() > 0).map(|i| i % pipeline.classes()).collect(),
    };
    let settings = Settings {
        sampler: Some(SchedulerKind::Ddim),
        steps: 50,
        eta: 0.0,
        seed: 1234,
        class_labels,
        timestep_spacing: Some(TimestepSpacing::Trailing),
        variance_type: None,
    };
    let mut sampler = Sampler::new(&pipeline, &executor, &settings)?;
    let mut pictures = sampler.initial();
    while let Some(frame) = sampler.next().await? {
        eprint!("\rstep {} of {}", frame.step + 1, settings.steps);
        pictures = frame.prev;
    }
    eprintln!();

    let (height, width) = pipeline.unet().config().sample_size()?;
    let mut grid = vec![0; pictures.len()];
    for (i, line) in pictures.chunks_exact(width * 4).enumerate() {
        let (picture, y) = (i / height, i % height);
        let (row, column) = (picture / GRID, picture % GRID);
        grid[((row * height + y) * GRID + column) * width * 4..][..width * 4].copy_from_slice(line);
    }
    let mut encoder = png::Encoder::new(std::fs::File::create(out)?, (GRID * width) as u32, (GRID * height) as u32);
    encoder.set_color(png::ColorType::Rgba);
    encoder.write_header()?.write_image_data(&grid)?;
    Ok(())
}
