//! Parameters as what a device holds once, whichever plans read them.

use std::rc::Rc;

use denoise::backend::{Executor, Gpu};
use denoise::config::SchedulerConfig;
use denoise::config::UNetConfig;
use denoise::graph::Graph;
use denoise::op::{AdamWSettings, Conv2d, Upsample};
use denoise::passes::{Fusion, fuse};
use denoise::plan::Plan;
use denoise::training::{Batch, LearningRate, Loss, Objective, Optimiser, Trainer};
use denoise::tuning::Tuning;
use denoise::unet::UNet2DModel;
use denoise::{Backend, Precision, Shape, Tensor};

use crate::golden;

const FOLDER: &str = "tests/golden/unet_tiny_class";

fn unet() -> UNet2DModel {
    let config = UNetConfig::from_json(&golden::text(&format!("{FOLDER}/config.json"))).unwrap();
    let file = golden::bytes(&format!("{FOLDER}/diffusion_pytorch_model.safetensors"));
    UNet2DModel::new(config, [&file[..]]).unwrap()
}

fn plan(unet: &UNet2DModel, fusion: Fusion, precision: Precision) -> Plan {
    let mut graph = Graph::new();
    let output = unet.build(&mut graph, 1, 16, 16, precision).unwrap().output;
    graph.output("epsilon", output);
    Plan::new(&fuse(&graph, fusion).unwrap())
}

/// The network's output for inputs that are the same each time.
async fn epsilon(backend: &Backend, plan: Plan) -> Vec<f32> {
    evaluate(&backend.compile(plan, &[], |_, _| {}).await.unwrap()).await
}

async fn evaluate(executor: &Executor) -> Vec<f32> {
    let sample = executor.plan().input("sample").unwrap().shape.clone();
    let pixels =
        (0..sample.len()).map(|i| if i % sample.stride() < sample.channels() { (i as f32).sin() } else { 0.0 });
    executor.write("sample", &pixels.collect::<Vec<_>>()).unwrap();
    executor.write("timestep", &[7.0, 0.0, 0.0, 0.0]).unwrap();
    executor.write("class_labels", &[1.0, 0.0, 0.0, 0.0]).unwrap();
    executor.run(0).await.unwrap();
    executor.read("epsilon").await.unwrap()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    let norm = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| x * x).sum::<f32>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}

#[test]
fn a_device_holds_a_parameter_once() {
    pollster::block_on(async {
        let gpu = Gpu::open().await.unwrap();
        let backend = Backend::Gpu(gpu.clone());
        let unet = unet();
        let mut made = Vec::new();
        let mut kept = Vec::new();
        for _ in 0..2 {
            let before = gpu.counters().buffers;
            let plan = plan(&unet, Fusion::STAGED, Precision::F32);
            kept.push(backend.compile(plan, &[], |_, _| {}).await.unwrap());
            made.push(gpu.counters().buffers - before);
        }
        let states = kept[0].plan().states.len();
        assert!(states >= 4, "weights and vectors, of conditions and not");
        assert_eq!(made[0] - made[1], states, "the second plan found them there");
    });
}

/// Once a GPU has all of a model's numbers the host lets them go; a plan for the CPU, or in 16 bits, gets them back.
#[test]
fn the_host_keeps_no_copy_of_what_a_gpu_has() {
    pollster::block_on(async {
        let gpu = Backend::Gpu(Gpu::open().await.unwrap());
        let unet = unet();
        let on_host = |plan: &Plan| plan.states.iter().filter(|used| used.state.on_host().is_some()).count();
        let on_gpu = plan(&unet, Fusion::STAGED, Precision::F32);
        assert_eq!(on_host(&on_gpu), on_gpu.states.len());
        let first = epsilon(&gpu, on_gpu.clone()).await;
        assert_eq!(on_host(&on_gpu), 0);
        let half = epsilon(&gpu, plan(&unet, Fusion::STAGED, Precision::F16)).await;
        assert!(distance(&half, &first) < 5e-3);
        let on_cpu = epsilon(&Backend::Cpu, plan(&unet, Fusion::CPU, Precision::F32)).await;
        assert!(distance(&on_cpu, &first) < 1e-5);
        assert!(epsilon(&gpu, on_gpu).await == first);
    });
}

/// What follows from weights alone is computed once and not in every step: with a shortcut behind its convolution, and an
/// upsampling as four convolutions.
#[test]
fn what_follows_from_weights_is_computed_once() {
    let unet = unet();
    let staged = Fusion { tuning: Tuning::STAGED, ..Fusion::STAGED };
    let plan = plan(&unet, staged, Precision::F32);
    let ops = |steps: &[denoise::plan::Step]| steps.iter().map(|step| step.op.name()).collect::<Vec<_>>();
    let preparation = ops(&plan.preparation);
    assert!(preparation.contains(&"phases") && preparation.contains(&"stack"), "{preparation:?}");
    assert!(!ops(&plan.steps).iter().any(|op| ["phases", "stack"].contains(op)));
    let states: Vec<_> = plan.states.iter().map(|used| Rc::as_ptr(&used.state)).collect();
    assert!((1..states.len()).all(|i| !states[..i].contains(&states[i])), "each state is used once");
}

/// Also where there is nothing but constants, whose revisions never change.
#[test]
fn what_follows_from_constants_is_computed_too() {
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::new(&[1, 2, 3, 4])).unwrap();
    let numbers = |len: usize| (0..len).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<_>>();
    let weight = Shape::new(&[3, 3, 4, 8]);
    let weight = graph.weight("weight", Precision::F32, (weight.clone(), numbers(weight.len())));
    let bias = graph.constant("bias", (Shape::new(&[8]), numbers(8)));
    let large = graph.op("large", Upsample, &[x]).unwrap();
    let y = graph.op("conv", Conv2d::SAME, &[large, weight, bias]).unwrap();
    graph.output("y", y);
    pollster::block_on(async {
        let mut results = Vec::new();
        let gpu = Backend::Gpu(Gpu::open().await.unwrap());
        let staged = Fusion { tuning: Tuning::STAGED, ..Fusion::STAGED };
        for (backend, fusion) in [(Backend::Cpu, Fusion::CPU), (gpu, staged)] {
            let plan = Plan::new(&fuse(&graph, fusion).unwrap());
            assert!(plan.states.is_empty());
            let executor = backend.compile(plan, &[], |_, _| {}).await.unwrap();
            executor.write("x", &numbers(24)).unwrap();
            executor.run(0).await.unwrap();
            results.push(executor.read("y").await.unwrap());
        }
        assert!(distance(&results[1], &results[0]) < 1e-5);
    });
}

/// What was made ready before a network was trained has its newest weights, on the GPU that trains it and on the CPU.
#[test]
fn whoever_samples_a_network_in_training_has_its_newest_weights() {
    pollster::block_on(async {
        let gpu = Backend::Gpu(Gpu::open().await.unwrap());
        let unet = unet();
        let staged = Fusion { tuning: Tuning::STAGED, ..Fusion::STAGED };
        let here = gpu.compile(plan(&unet, staged, Precision::F32), &[], |_, _| {}).await.unwrap();
        let there = Backend::Cpu.compile(plan(&unet, Fusion::CPU, Precision::F32), &[], |_, _| {}).await.unwrap();
        let mut before = evaluate(&here).await;
        assert!(distance(&evaluate(&there).await, &before) < 1e-5);

        let channels = unet.config().in_channels;
        let shape = [1, channels, 16, 16];
        let images = || Tensor::new(&shape, vec![0.5; channels * 256]).unwrap();
        let batch = Batch {
            images: images(),
            noise: images(),
            timesteps: vec![500],
            class_labels: Some(vec![1.0]),
            dropout_seed: None,
        };
        let objective = Objective::new(&SchedulerConfig::default(), Loss::Simple).unwrap();
        let adamw = AdamWSettings { rate: 1e-2, ..AdamWSettings::default() };
        let optimiser = Optimiser { adamw, warmup: 0, schedule: LearningRate::Constant, ema: 0.9 };
        let mut trainer = Trainer::new(&gpu, &unet, objective, optimiser, shape, |_, _| {}).await.unwrap();
        for _ in 0..2 {
            trainer.step(&unet, &batch).await.unwrap();
            let after = evaluate(&here).await;
            assert!(distance(&after, &before) > 1e-3, "it has learned");
            assert!(distance(&evaluate(&there).await, &after) < 1e-4);
            before = after;
        }
    });
}
