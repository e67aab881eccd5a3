//! Dropout: its masks, and where it stands in a network.

use std::collections::HashMap;

use denoise::Backend;
use denoise::graph::Graph;
use denoise::op::Dropout;
use denoise::passes::{Fusion, fuse, vector_jacobian_product};
use denoise::plan::Plan;
use denoise::random::Generator;
use denoise::training::{Batch, LearningRate, Loss, Objective, Optimiser, Trainer};
use denoise::{Precision, Shape, Tensor};

use crate::digits::backends;
use crate::golden::{Golden, assert_close};
use crate::losses::network;
use crate::matrix::model;

/// The dropout of the goldens, and the seed of those that are no training.
pub const PROBABILITY: f64 = 0.3;
const SEED: u64 = 0x0123_4567_89AB_CDEF;

/// How far a network's output may be from diffusers', ‖error‖ / ‖output‖.
const TOLERANCE: f64 = 1e-4;

/// Runs a graph with these inputs in device layout, as a backend would fuse it: its output "output".
async fn run(backend: &Backend, graph: &Graph, inputs: &[(&str, Vec<f32>)]) -> Vec<f32> {
    let plan = Plan::new(&fuse(graph, Fusion::new(backend.tuning())).unwrap());
    let executor = backend.compile(plan, &[], |_, _| {}).await.unwrap();
    for (name, data) in inputs {
        executor.write(name, data).unwrap();
    }
    executor.run(0).await.unwrap();
    executor.read("output").await.unwrap()
}

/// What dropout makes of 17 images of 5 × 31 × 16 ones.
async fn of_ones(backend: &Backend, probability: f64, layer: u32, seed: u64) -> Vec<f32> {
    let mut graph = Graph::new();
    let shape = Shape::new(&[17, 5, 31, 16]);
    let x = graph.input("x", shape.clone()).unwrap();
    let row = graph.input("seed", Shape::new(&[4])).unwrap();
    let y = graph.op("dropout", Dropout { probability, layer }, &[x, row]).unwrap();
    graph.output("output", y);
    run(backend, &graph, &[("x", vec![1.0; shape.len()]), ("seed", Dropout::seed_row(seed).to_vec())]).await
}

#[test]
fn masks_are_the_same_bits_on_both_backends() {
    pollster::block_on(async {
        let backends = backends().await;
        for (probability, layer, seed) in [(0.1, 0, 0), (0.5, 3, SEED), (0.999, u32::MAX, u64::MAX)] {
            let mut found = Vec::new();
            for backend in &backends {
                found.push(of_ones(backend, probability, layer, seed).await);
            }
            let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert!(bits(&found[0]) == bits(&found[1]), "dropout {probability}");
        }
    });
}

/// Of 42,160 numbers the share that is dropped, the mean of what is left, and what two masks have in common, are within five
/// standard deviations of what they should be.
#[test]
fn masks_are_fair_and_independent() {
    pollster::block_on(async {
        for probability in [0.1, 0.3, 0.5, 0.9] {
            let masks = [(0, 0), (1, 0), (0, 1), (0, 1 << 32), (0, SEED)];
            let mut dropped: Vec<Vec<bool>> = Vec::new();
            for (layer, seed) in masks {
                let out = of_ones(&Backend::Cpu, probability, layer, seed).await;
                let kept = (1.0 / (1.0 - probability)) as f32;
                assert!(out.iter().all(|&x| x == 0.0 || x == kept));
                let (count, mean) =
                    (out.len() as f64, out.iter().map(|&x| f64::from(x)).sum::<f64>() / out.len() as f64);
                let deviation = (probability * (1.0 - probability) / count).sqrt();
                let mask: Vec<bool> = out.iter().map(|&x| x == 0.0).collect();
                let share = mask.iter().filter(|&&dropped| dropped).count() as f64 / count;
                println!("{probability} layer {layer} seed {seed}: {share:.4} dropped, mean {mean:.4}");
                assert!((share - probability).abs() < 5.0 * deviation, "{share} of {probability}");
                assert!((mean - 1.0).abs() < 5.0 * deviation / (1.0 - probability), "{mean}");
                // Neighbours in a channel, a pixel and a row know nothing of each other, nor do other masks.
                let both = |a: &[bool], b: &[bool]| {
                    let both = a.iter().zip(b).filter(|(a, b)| **a && **b).count() as f64 / a.len().min(b.len()) as f64;
                    let expected = probability * probability;
                    let deviation = (expected * (1.0 - expected) / count).sqrt();
                    assert!((both - expected).abs() < 5.0 * deviation, "{both}, not {expected}");
                };
                for distance in [1, 4, 16, 16 * 31] {
                    both(&mask, &mask[distance..]);
                }
                dropped.iter().for_each(|other| both(&mask, other));
                dropped.push(mask);
            }
        }
    });
}

/// Linear in x, with a slope of mask / (1 − p): along a random direction its difference is the gradient's product with it.
#[test]
fn the_gradient_has_the_same_mask() {
    let mut graph = Graph::new();
    let shape = Shape::new(&[3, 5, 7, 6]);
    let [x, seed, g] = [("x", shape.clone()), ("seed", Shape::new(&[4])), ("g", shape.clone())]
        .map(|(name, shape)| graph.input(name, shape).unwrap());
    let y = graph.op("dropout", Dropout { probability: 0.25, layer: 9 }, &[x, seed]).unwrap();
    let by = vector_jacobian_product(&mut graph, y, g, &[x, seed]).unwrap();
    let mut slope = graph.clone();
    slope.output("output", by[0]);
    graph.output("output", y);
    let mut generator = Generator::new(6);
    let mut random = || {
        Tensor::from_device(&shape, &vec![0.0; shape.len()]).map(|mut tensor| {
            tensor.data = generator.randn(tensor.data.len());
            tensor.to_device().unwrap()
        })
    };
    let (x, direction, g) = (random().unwrap(), random().unwrap(), random().unwrap());
    pollster::block_on(async {
        for backend in backends().await {
            let seed = Dropout::seed_row(SEED).to_vec();
            let at = async |x: &[f32]| run(&backend, &graph, &[("x", x.to_vec()), ("seed", seed.clone())]).await;
            let by = run(&backend, &slope, &[("g", g.clone()), ("seed", seed.clone())]).await;
            let (y, moved) =
                (at(&x).await, at(&x.iter().zip(&direction).map(|(x, d)| x + d).collect::<Vec<_>>()).await);
            let product =
                |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
            let (found, expected) = (product(&moved, &g) - product(&y, &g), product(&by, &direction));
            assert!((found - expected).abs() < 1e-4 * expected.abs(), "{found}, not {expected}");
            // Exactly: what it makes of ones, times the gradient.
            let ones = at(&vec![1.0; x.len()]).await;
            assert!(by.iter().zip(&ones).zip(&g).all(|((&by, &mask), &g)| by == mask * g));
        }
    });
}

/// In blocks of every family it stands where diffusers has it, each with the mask of its own layer.
#[test]
fn networks_drop_out_where_diffusers_do() {
    let (golden, given) = (Golden::load("dropout"), Golden::load("matrix/unets"));
    let networks = [
        "scale_shift",
        "resnet_resampling",
        "resnet_blocks",
        "skip_scale_shift",
        "ncsnpp_attention_top",
        "k_blocks",
        "class_index",
    ];
    pollster::block_on(async {
        for (backend, device) in backends().await.iter().zip(["CPU", "GPU"]) {
            for name in networks {
                let unet = model(&network(name).with_dropout(PROBABILITY)).unwrap();
                let sample = given.get(&format!("{name}.sample")).tensor();
                let mut graph = Graph::new();
                let x = graph.input("sample", sample.device_shape().unwrap()).unwrap();
                let seed = graph.input("seed", Shape::new(&[4])).unwrap();
                let values = unet.append_with_dropout(&mut graph, x, seed).unwrap();
                graph.output("output", values.output);
                let mut inputs = vec![("seed", Dropout::seed_row(SEED).to_vec())];
                for what in ["sample", "timestep", "class_labels"] {
                    let found = given.find(&format!("{name}.{what}"));
                    inputs.extend(found.map(|found| (what, found.tensor().to_device().unwrap())));
                }
                let output = run(backend, &graph, &inputs).await;
                let output = Tensor::from_device(graph.shape(values.output), &output).unwrap().data;
                let what = format!("{device} {name}");
                let expected = &golden.get(&format!("output.{name}")).data;
                println!("{what}: {:.1e}", assert_close(&what, &output, expected, TOLERANCE));
                let plain = &given.get(&format!("{name}.output")).data;
                let differs = expected.iter().zip(plain).any(|(a, b)| (a - b).abs() > 0.01);
                assert!(differs, "{name}: something is dropped");
            }
        }
    });
}

/// Whatever its dropout, a network that samples has none.
#[test]
fn sampling_has_no_dropout() {
    let graphs = [0.0, PROBABILITY].map(|probability| {
        let mut graph = Graph::new();
        let unet = model(&network("class_index").with_dropout(probability)).unwrap();
        let values = unet.build(&mut graph, 2, 8, 8, Precision::F32).unwrap();
        graph.output("output", values.output);
        graph
    });
    let steps = graphs.map(|graph| {
        let of = |step: &denoise::plan::Step| (step.name.clone(), step.op.name());
        Plan::new(&graph).all_steps().map(of).collect::<Vec<_>>()
    });
    assert!(steps[0] == steps[1] && steps[0].iter().all(|(_, op)| *op != "dropout"));
}

#[test]
fn a_step_with_dropout_needs_a_seed() {
    let unet = model(&network("class_index").with_dropout(PROBABILITY)).unwrap();
    let objective = Objective::new(&denoise::config::SchedulerConfig::default(), Loss::Simple).unwrap();
    let optimiser = Optimiser { adamw: Default::default(), warmup: 0, schedule: LearningRate::Constant, ema: 0.9 };
    let image = Tensor::new(&[1, 3, 8, 8], vec![0.5; 192]).unwrap();
    let batch = |dropout_seed| Batch {
        images: image.clone(),
        noise: image.clone(),
        timesteps: vec![3],
        class_labels: Some(vec![0.0]),
        dropout_seed,
    };
    pollster::block_on(async {
        let mut losses: HashMap<u64, f32> = HashMap::new();
        for seed in [1, 1, 2] {
            let unet = model(&network("class_index").with_dropout(PROBABILITY)).unwrap();
            let shape = [1, 3, 8, 8];
            let mut trainer =
                Trainer::new(&Backend::Cpu, &unet, objective.clone(), optimiser, shape, |_, _| {}).await.unwrap();
            trainer.step(&unet, &batch(Some(seed))).await.unwrap();
            let loss = trainer.finish().await.unwrap().unwrap();
            assert_eq!(*losses.entry(seed).or_insert(loss), loss, "a seed is all that a mask follows from");
        }
        assert_ne!(losses[&1], losses[&2]);
        let mut trainer =
            Trainer::new(&Backend::Cpu, &unet, objective, optimiser, [1, 3, 8, 8], |_, _| {}).await.unwrap();
        let error = trainer.step(&unet, &batch(None)).await.unwrap_err().to_string();
        assert_eq!(error, "The model has dropout, so each batch needs a seed for it.");
    });
}
