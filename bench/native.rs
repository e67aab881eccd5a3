//! Times evaluations of a model on the CPU as sampling makes them, and what each kind of op takes of them.
//!
//! ```sh
//! cargo run --release --example native -- www/models/digits [--count 1] [--evaluations 15] [--json]
//! ```
//!
//! `RAYON_NUM_THREADS=1` keeps it to one core.

// A browser has no files: for wasm this is an empty program.
#![cfg_attr(target_arch = "wasm32", no_main)]
#![cfg(not(target_arch = "wasm32"))]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use denoise::inspect::Inspection;
use denoise::passes::Fusion;
use denoise::{Backend, Pipeline, Precision, Prepared, Sampler, Settings};
use serde_json::json;

/// Evaluations before those that are timed.
const WARM_UP: usize = 2;

#[derive(Parser)]
struct Arguments {
    /// A pipeline's folder
    model: PathBuf,
    /// Images at a time
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// How many evaluations are timed
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..))]
    evaluations: u16,
    /// Every time, and what the plans consist of, as JSON
    #[arg(long)]
    json: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let evaluations = usize::from(arguments.evaluations);
    let pipeline = open(&arguments.model)?;
    let class_labels = if pipeline.classes() > 0 { vec![0.0; arguments.count] } else { Vec::new() };
    let steps = WARM_UP + evaluations;
    let settings = Settings { steps, count: arguments.count, seeds: vec![0], class_labels, ..Settings::default() };
    let layout = settings.layout(&pipeline)?;
    let network = Inspection::new(pipeline.unet().config().clone(), arguments.count, None, Precision::F32)?;
    let mut plans = serde_json::Map::new();
    for (name, fusion) in [("cpu", Fusion::CPU), ("staged", Fusion::STAGED), ("direct", Fusion::DIRECT)] {
        let plan = pipeline.plan(&layout, Some(fusion))?;
        plans.insert(
            name.into(),
            json!({ "dispatches": plan.steps.len(), "macs": plan.macs(), "bytes": plan.bytes_moved(), "memory": plan.bytes() }),
        );
    }

    let prepared = pollster::block_on(Prepared::new(&Backend::Cpu, &pipeline, layout, |_, _| {}))?;
    let mut sampler = Sampler::new(&pipeline, &prepared, &settings)?;
    let mut times = Vec::new();
    for step in 0..steps {
        let begin = Instant::now();
        pollster::block_on(sampler.next())?.ok_or("the run has fewer evaluations than were asked for")?;
        if step >= WARM_UP {
            times.push(1e3 * begin.elapsed().as_secs_f64());
        }
    }
    if arguments.json {
        let (macs, parameters) = (network.macs, network.parameters);
        println!("{}", json!({ "milliseconds": times, "macs": macs, "parameters": parameters, "plans": plans }));
        return Ok(());
    }

    times.sort_by(f64::total_cmp);
    let median = times[evaluations / 2];
    println!(
        "{median:.1} ms an evaluation (median of {evaluations}; {:.1} to {:.1}), {:.1} GMAC/s",
        times[0],
        times[evaluations - 1],
        network.macs as f64 / median * 1e-6
    );
    let mut ops: BTreeMap<&str, Duration> = BTreeMap::new();
    for _ in 0..evaluations {
        let executor = prepared.executor();
        for (step, time) in executor.plan().steps.iter().zip(pollster::block_on(executor.times(0.0))?) {
            *ops.entry(step.op.name()).or_default() += Duration::from_secs_f64(time);
        }
    }
    let mut ops: Vec<_> = ops.into_iter().collect();
    ops.sort_by_key(|&(_, time)| std::cmp::Reverse(time));
    for (op, time) in ops.into_iter().take(10) {
        println!("{op:20} {:8.2} ms", 1e3 * time.as_secs_f64() / evaluations as f64);
    }
    Ok(())
}

/// Reads a pipeline's folder.
fn open(folder: &Path) -> Result<Pipeline, Box<dyn Error>> {
    let text = |path: &str| {
        let path = folder.join(path);
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let path = folder.join("unet/diffusion_pytorch_model.safetensors");
    let weights = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let scheduler = text("scheduler/scheduler_config.json")?;
    Ok(Pipeline::from_files(&text("unet/config.json")?, [&weights[..]], Some(&scheduler), None)?)
}
