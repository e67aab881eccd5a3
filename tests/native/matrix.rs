//! Other people's models: a network for every field of `UNet2DModel`'s configuration, against diffusers.

use std::collections::{HashMap, HashSet};

use denoise::backend::{Backend, Executor, Gpu};
use denoise::check::check;
use denoise::config::UNetConfig;
use denoise::graph::Graph;
use denoise::inspect::Inspection;
use denoise::passes::{Fusion, fuse};
use denoise::plan::Plan;
use denoise::unet::UNet2DModel;
use denoise::{Precision, Result, Tensor, Weights};
use serde::Deserialize;

use crate::digits::backends;
use crate::golden::{self, Golden};
use crate::published::{CELEBA_256, CIFAR10};

const FOLDER: &str = "tests/golden/matrix";

/// ‖error‖ / ‖ε‖ that is allowed.
fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 1e-4,
        Precision::F16 => 5e-3,
    }
}

#[derive(Clone, Deserialize)]
pub struct Case {
    pub name: String,
    config: serde_json::Value,
    weights: String,
    size: [usize; 2],
}

fn weights(path: &str) -> Vec<Vec<u8>> {
    let path = format!("{FOLDER}/{path}");
    let Some((folder, _)) = path.split_once("diffusion_pytorch_model.safetensors.index.json") else {
        return vec![golden::bytes(&path)];
    };
    let shards = Weights::shards(&golden::text(&path)).unwrap();
    assert!(shards.len() > 1);
    shards.iter().map(|shard| golden::bytes(&format!("{folder}{shard}"))).collect()
}

pub fn model(case: &Case) -> Result<UNet2DModel> {
    let files = weights(&case.weights);
    UNet2DModel::new(UNetConfig::from_json(&case.config.to_string())?, files.iter().map(Vec::as_slice))
}

impl Case {
    /// The same network with this dropout.
    pub fn with_dropout(mut self, probability: f64) -> Self {
        self.config["dropout"] = probability.into();
        self
    }
}

/// The plan of the case's network, whose output is "epsilon", and its inputs in device layout.
fn plan(case: &Case, golden: &Golden, precision: Precision) -> (Plan, HashMap<&'static str, Vec<f32>>) {
    let (graph, inputs) = graph(case, golden, precision);
    (Plan::new(&graph), inputs)
}

/// The case's network, whose output is "epsilon", and its inputs in device layout.
fn graph(case: &Case, golden: &Golden, precision: Precision) -> (Graph, HashMap<&'static str, Vec<f32>>) {
    let get = |what: &str| golden.find(&format!("{}.{what}", case.name));
    let model = model(case).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let sample = get("sample").unwrap().tensor();
    let [height, width] = case.size;
    assert_eq!(sample.shape[2..], [height, width]);
    let mut graph = Graph::new();
    let values = model.build(&mut graph, sample.shape[0], height, width, precision).unwrap();
    assert_eq!(values.class_labels.is_some(), get("class_labels").is_some(), "{}", case.name);
    graph.output("epsilon", values.output);
    let given = |name| Some((name, get(name)?.tensor().to_device().unwrap()));
    let inputs = ["sample", "timestep", "class_labels"].into_iter().filter_map(given).collect();
    (graph, inputs)
}

async fn epsilon(case: &Case, golden: &Golden, backend: &Backend, precision: Precision) -> Vec<f32> {
    let (plan, inputs) = plan(case, golden, precision);
    let executor = backend.compile(plan, &[], |_, _| {}).await.unwrap();
    run(&executor, &inputs).await
}

async fn run(executor: &Executor, inputs: &HashMap<&str, Vec<f32>>) -> Vec<f32> {
    for (name, data) in inputs {
        executor.write(name, data).unwrap();
    }
    executor.run(0).await.unwrap();
    let shape = &executor.plan().output("epsilon").unwrap().shape;
    Tensor::from_device(shape, &executor.read("epsilon").await.unwrap()).unwrap().data
}

#[test]
fn every_field_agrees_with_diffusers() {
    let golden = Golden::load("matrix/unets");
    let cases: Vec<Case> = golden::list("matrix/unets");
    pollster::block_on(async {
        let mut compared = 0;
        let mut failures = Vec::new();
        let [cpu, gpu] = backends().await;
        for (backend, precision) in [(&cpu, Precision::F32), (&gpu, Precision::F32), (&gpu, Precision::F16)] {
            let device = if backend.gpu().is_some() { "gpu" } else { "cpu" };
            for case in &cases {
                let actual = epsilon(case, &golden, backend, precision).await;
                let expected = &golden.get(&format!("{}.output", case.name)).data;
                let error = golden::relative_error(&actual, expected);
                println!("{device} {precision:?} {}: {error:.1e}", case.name);
                compared += 1;
                if error.is_nan() || error > tolerance(precision) {
                    failures.push(format!("{device} {precision:?} {}: {error:.1e}", case.name));
                }
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
        assert!(compared >= 3 * 40);
    });
}

/// What [`denoise::check::tolerance`] says was measured.
#[test]
fn every_layer_passes_the_check() {
    let golden = Golden::load("matrix/unets");
    let cases: Vec<Case> = golden::list("matrix/unets");
    pollster::block_on(async {
        let gpu = Gpu::open().await.unwrap();
        for (precision, layer, output) in [(Precision::F32, 5e-5, 5e-6), (Precision::F16, 5e-4, 2e-3)] {
            let mut worst: (f64, f64) = (0.0, 0.0);
            for case in &cases {
                let (plan, inputs) = plan(case, &golden, precision);
                let report = check(&gpu, &plan, &inputs, |_, _| {}).await.unwrap();
                let found = &report.layers[report.worst];
                println!(
                    "{precision:?} {}: {} {:.1e}, {:.1e}",
                    case.name, found.name, found.error, report.output_error
                );
                assert!(report.ok, "{}: {found:?}, {:.1e}", case.name, report.output_error);
                worst = (worst.0.max(found.error), worst.1.max(report.output_error));
            }
            assert!(worst.0 <= layer && worst.1 <= output, "{precision:?}: {worst:?}");
        }
    });
}

/// Every way of fusing: each fused layer as its CPU function says, and ε as the unfused network's. In 16 bits a layer rounds
/// what it normalises as well as what it stores.
#[test]
fn fused_networks_agree_with_unfused_ones() {
    let golden = Golden::load("matrix/unets");
    let cases: Vec<Case> = golden::list("matrix/unets");
    pollster::block_on(async {
        let gpu = Gpu::open().await.unwrap();
        let mut variants = HashSet::new();
        for (precision, layer, output) in [(Precision::F32, 5e-5, 5e-6), (Precision::F16, 7e-4, 2.5e-3)] {
            for (name, fusion) in
                [("staged", Fusion::STAGED), ("direct", Fusion::DIRECT), ("quads", Fusion::QUADS), ("cpu", Fusion::CPU)]
            {
                let mut worst: (f64, f64, f64) = (0.0, 0.0, 0.0);
                for case in &cases {
                    let (graph, inputs) = graph(case, &golden, precision);
                    let plan = Plan::new(&fuse(&graph, fusion).unwrap());
                    variants.extend(plan.steps.iter().map(|step| step.kernel().source().into_owned()));
                    let report = check(&gpu, &plan, &inputs, |_, _| {}).await.unwrap();
                    let found = &report.layers[report.worst];
                    assert!(report.ok, "{name} {}: {found:?}, {:.1e}", case.name, report.output_error);
                    worst = (worst.0.max(found.error), worst.1.max(report.output_error), worst.2);
                    if precision == Precision::F32 {
                        let executor = Backend::Cpu.compile(plan, &[], |_, _| {}).await.unwrap();
                        let epsilon = run(&executor, &inputs).await;
                        let expected = &golden.get(&format!("{}.output", case.name)).data;
                        worst.2 = worst.2.max(golden::relative_error(&epsilon, expected));
                    }
                }
                println!("{precision:?} {name}: {worst:?}");
                assert!(worst.0 <= layer && worst.1 <= output && worst.2 <= 1e-5, "{precision:?} {name}: {worst:?}");
            }
        }
        assert!(variants.len() > 60, "{}", variants.len());
    });
}

#[test]
fn blocks_that_are_not_supported_are_named() {
    for block in ["CrossAttnDownBlock2D", "SimpleCrossAttnDownBlock2D", "DownEncoderBlock2D", "KCrossAttnDownBlock2D"] {
        let config = serde_json::json!({"block_out_channels": [32], "down_block_types": [block]});
        let message = UNetConfig::from_json(&config.to_string()).unwrap_err().to_string();
        assert!(message.contains(block) && message.contains("`AttnSkipDownBlock2D`"), "{message}");
        let block = block.replace("Encoder", "Decoder").replace("Down", "Up");
        let config = serde_json::json!({"block_out_channels": [32], "up_block_types": [block]});
        let message = UNetConfig::from_json(&config.to_string()).unwrap_err().to_string();
        assert!(message.contains(&block) && message.contains("`AttnSkipUpBlock2D`"), "{message}");
    }
}

/// diffusers cannot run these either.
#[test]
fn blocks_that_do_not_go_together_are_an_error() {
    let cases: Vec<Case> = golden::list("matrix/unets");
    let message = |field: &str, block: &str| {
        let mut case = cases.iter().find(|case| case.name == "k_blocks").unwrap().clone();
        case.config[field] = serde_json::json!([block, block]);
        model(&case).err().unwrap().to_string()
    };
    let up = message("up_block_types", "UpBlock2D");
    assert!(up.contains("unet/config.json") && up.contains("go together"), "{up}");
    let down = message("down_block_types", "DownBlock2D");
    assert!(down.contains("unet/config.json") && down.contains("go together"), "{down}");
}

#[test]
fn shards_that_do_not_fit() {
    let cases: Vec<Case> = golden::list("matrix/unets");
    let case = cases.iter().find(|case| case.weights == "weights/centred.safetensors").unwrap();
    let config = UNetConfig::from_json(&case.config.to_string()).unwrap();
    let files = weights(&case.weights);
    let twice = files.iter().chain(&files).map(Vec::as_slice);
    let message = UNet2DModel::new(config, twice).err().unwrap().to_string();
    assert!(message.contains("has conv_in.bias in two of its shards"), "{message}");
    assert!(Weights::shards("{}").unwrap_err().to_string().contains("index is not valid"));
}

/// Published models by their configurations, with what WebGPU promises on every device: storage bindings of 128 MiB,
/// 65,535 workgroups side by side, eight storage buffers a shader. Attention in the fifth block down, as in the original.
#[test]
fn published_models_fit_the_default_limits() {
    for (name, config, parameters, batch) in
        [("google/ddpm-cifar10-32", CIFAR10, 35_746_307, 16), ("google/ddpm-celebahq-256", CELEBA_256, 113_673_219, 1)]
    {
        let config = UNetConfig::from_json(config).unwrap();
        for precision in [Precision::F32, Precision::F16] {
            let found = Inspection::new(config.clone(), batch, None, precision).unwrap();
            assert_eq!(found.parameters, parameters, "{name}");
            assert!(found.weight_bytes.abs_diff((parameters * precision.bytes()) as u64) < 1 << 20, "{name}");
            println!(
                "{name} {precision:?}: {} dispatches, {:.2} GMAC, values {} MB, the largest {} MB",
                found.layers.len(),
                found.macs as f64 * 1e-9,
                found.value_bytes >> 20,
                found.largest_bytes >> 20
            );
            assert!(found.largest_bytes <= 128 << 20, "{name}: a binding of {} bytes", found.largest_bytes);
        }
        let mut graph = Graph::new();
        let (height, width) = config.sample_size().unwrap();
        let unet = UNet2DModel::without_weights(config).unwrap();
        let output = unet.build(&mut graph, batch, height, width, Precision::F32).unwrap().output;
        graph.output("output", output);
        for step in Plan::new(&graph).steps {
            assert!(step.kernel().workgroups.iter().all(|&groups| groups <= 65_535), "{name}: {}", step.name);
            assert!(step.inputs.len() < 8, "{name}: {}", step.name);
        }
    }
}
