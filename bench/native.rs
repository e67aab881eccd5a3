//! Times single evaluations of a U-Net on the CPU, and what each kind of op takes of them.
//!
//! ```sh
//! cargo run --release --example native -- www/models/digits/unet [--count 1]
//! ```
//!
//! `RAYON_NUM_THREADS=1` keeps it to one core.

// A browser has no files: for wasm this is an empty program.
#![cfg_attr(target_arch = "wasm32", no_main)]
#![cfg(not(target_arch = "wasm32"))]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use denoise::backend::Backend;
use denoise::config::UNetConfig;
use denoise::fusion::fuse;
use denoise::graph::Graph;
use denoise::noise::Generator;
use denoise::plan::Plan;
use denoise::unet::UNet2DModel;
use denoise::{Precision, Weights};

/// Evaluations that are timed, after as many as the first needs to warm up.
const RUNS: usize = 15;
const WARM_UP: usize = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, count) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [folder] => (folder.to_string(), 1),
        [folder, "--count", count] => (folder.to_string(), count.parse()?),
        _ => return Err("usage: native UNET_DIR [--count N]".into()),
    };
    let folder = Path::new(&folder);
    let config = UNetConfig::from_json(&std::fs::read_to_string(folder.join("config.json"))?)?;
    let weights = Weights::from_bytes(&std::fs::read(folder.join("diffusion_pytorch_model.safetensors"))?)?;
    let (height, width) = config.sample_size()?;
    let mut unet = UNet2DModel::new(config, weights)?;
    let mut graph = Graph::new();
    let output = unet.build(&mut graph, count, height, width, Precision::F32)?.output;
    graph.output("model_output", output);
    let plan = Plan::new(&fuse(&graph, Backend::Cpu.fusion())?);
    let macs = plan.macs();
    let executor = pollster::block_on(Backend::Cpu.compile(plan, &[], |_, _| {}))?;
    let sample = executor.plan().input("sample")?.shape.len();
    executor.write("sample", &Generator::new(0).randn(sample))?;
    let timestep = executor.plan().input("timestep")?.shape.len();
    executor.write("timestep", &vec![500.0; timestep])?;

    let mut times = Vec::new();
    let mut ops: BTreeMap<&str, Duration> = BTreeMap::new();
    for run in 0..WARM_UP + RUNS {
        let begin = Instant::now();
        let timed = executor.run_timed(0)?;
        if run >= WARM_UP {
            times.push(begin.elapsed());
            for (op, time) in timed {
                *ops.entry(op).or_default() += time;
            }
        }
    }
    times.sort_unstable();
    let median = times[RUNS / 2].as_secs_f64();
    println!(
        "{:.1} ms an evaluation (median of {RUNS}; {:.1} to {:.1}), {:.1} GMAC/s",
        1e3 * median,
        1e3 * times[0].as_secs_f64(),
        1e3 * times[RUNS - 1].as_secs_f64(),
        macs as f64 / median * 1e-9
    );
    let mut ops: Vec<_> = ops.into_iter().collect();
    ops.sort_by_key(|&(_, time)| std::cmp::Reverse(time));
    for (op, time) in ops.into_iter().take(10) {
        println!("{op:20} {:8.2} ms", 1e3 * time.as_secs_f64() / RUNS as f64);
    }
    Ok(())
}
