//! Small random networks against diffusers, activation by activation, on both backends.

use denoise::backend::{Backend, Gpu};
use denoise::config::UNetConfig;
use denoise::graph::Graph;
use denoise::plan::Plan;
use denoise::unet::UNet2DModel;
use denoise::{Precision, Tensor};

use crate::golden::{self, Golden, assert_close};

/// ‖error‖ / ‖activation‖ that a layer may have.
const TOLERANCE: f64 = 1e-5;

async fn check(name: &str, model: &str, backend: &Backend) {
    let golden = Golden::load(name);
    let config = UNetConfig::from_json(&golden::text(&format!("tests/golden/{model}/config.json"))).unwrap();
    let weights = golden::bytes(&format!("tests/golden/{model}/diffusion_pytorch_model.safetensors"));
    let unet = UNet2DModel::new(config, [&weights[..]]).unwrap();
    let input = |key: &str| golden.find(key).map(|array| array.tensor());
    let sample = input("sample").unwrap();
    let [count, _, height, width] = *sample.shape else { panic!("images are NCHW") };

    let mut graph = Graph::new();
    let values = unet.build(&mut graph, count, height, width, Precision::F32).unwrap();
    graph.output("output", values.output);
    let mut compared = Vec::new();
    for key in golden.keys() {
        let layer = match key {
            "sample" | "timestep" | "class_labels" | "output" => continue,
            "time_embedding" => "time_embedding.linear_2",
            other => other,
        };
        let Some(value) = graph.find(layer).or_else(|| last_of(&graph, layer)) else { panic!("no layer {layer}") };
        graph.output(key, value);
        compared.push(key);
    }
    let executor = backend.compile(Plan::new(&graph), &[], |_, _| {}).await.unwrap();
    for name in ["sample", "timestep", "class_labels"] {
        if let Some(tensor) = input(name) {
            executor.write(name, &tensor.to_device().unwrap()).unwrap();
        }
    }
    executor.run(0).await.unwrap();
    for key in compared.into_iter().chain(["output"]) {
        let shape = executor.plan().output(key).unwrap().shape.clone();
        let mut actual = Tensor::from_device(&shape, &executor.read(key).await.unwrap()).unwrap();
        let mut expected = golden.get(key).data.clone();
        if key == "conv_norm_out" {
            // Ours has SiLU in it.
            expected.iter_mut().for_each(|x| *x /= 1.0 + (-*x).exp());
        }
        if actual.shape != golden.get(key).shape {
            actual.shape.clone_from(&golden.get(key).shape);
        }
        assert_close(&format!("{name}: {key}"), &actual.data, &expected, TOLERANCE);
    }
}

/// The value a block hands on: that of its last layer.
fn last_of(graph: &Graph, block: &str) -> Option<denoise::graph::ValueId> {
    let layers: &[&str] = match block {
        "mid_block" => &["resnets"],
        _ => &["downsamplers", "upsamplers", "attentions", "resnets"],
    };
    let indexed = layers.iter().flat_map(|layer| (0..8).rev().map(move |i| format!("{block}.{layer}.{i}")));
    indexed
        .flat_map(|name| [format!("{name}.conv"), name])
        .chain([format!("{block}.conv")])
        .find_map(|name| graph.find(&name))
}

const MODELS: [(&str, &str); 5] = [
    ("unet_tiny_class", "unet_tiny_class"),
    ("unet_tiny_plain", "unet_tiny_plain"),
    ("unet_tiny_odd", "unet_tiny_odd"),
    ("unet_tiny_plain_f16", "unet_tiny_plain_f16"),
    ("unet_tiny_plain_bf16", "unet_tiny_plain_bf16"),
];

#[test]
fn cpu_agrees_with_diffusers() {
    for (golden, model) in MODELS {
        pollster::block_on(check(golden, model, &Backend::Cpu));
    }
}

#[test]
fn gpu_agrees_with_diffusers() {
    pollster::block_on(async {
        let backend = Backend::Gpu(Gpu::open().await.unwrap());
        for (golden, model) in MODELS {
            check(golden, model, &backend).await;
        }
    });
}
