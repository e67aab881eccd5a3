//! The shipped model against diffusers: its ε, and whole trajectories with torch's seeds, on both backends.

use std::rc::Rc;

use denoise::backend::{Backend, Gpu};
use denoise::config::{SchedulerKind, TimestepSpacing, UNetConfig, VarianceType};
use denoise::graph::Graph;
use denoise::passes::{Fusion, fuse};
use denoise::plan::Plan;
use denoise::schedule::StepOptions;
use denoise::tuning::Tuning;
use denoise::unet::UNet2DModel;
use denoise::{Pipeline, Precision, Prepared, Sampler, Settings, Share, Tensor, rgba8};
use serde::Deserialize;

use crate::golden::{self, Array, Golden, assert_close};

/// The shipped model.
pub fn pipeline() -> Pipeline {
    crate::runs::pipeline("digits")
}

/// Its network, which nothing else has.
pub fn network() -> UNet2DModel {
    let folder = "www/models/digits/unet";
    let config = UNetConfig::from_json(&golden::text(&format!("{folder}/config.json"))).unwrap();
    UNet2DModel::new(config, [&golden::bytes(&format!("{folder}/diffusion_pytorch_model.safetensors"))[..]]).unwrap()
}

/// Both backends.
pub async fn backends() -> [Backend; 2] {
    [Backend::Cpu, Backend::Gpu(Gpu::open().await.unwrap())]
}

#[test]
fn epsilon_agrees_with_diffusers() {
    let golden = Golden::load("digits");
    let sample = golden.get("sample").tensor();
    let mut pipeline = pipeline();
    pollster::block_on(async {
        // The requirement is 1e-4; trajectories need a tenth of it, and both backends are far better.
        let [cpu, gpu] = backends().await;
        let fused = [None, Some(Fusion::STAGED), Some(Fusion::DIRECT)];
        let mut ways = vec![(&cpu, Precision::F32, None, 1e-5), (&cpu, Precision::F32, Some(Fusion::CPU), 1e-5)];
        ways.extend(fused.map(|fusion| (&gpu, Precision::F32, fusion, 1e-5)));
        // Unfused, what the network is given and what it gives are rounded too.
        ways.extend(fused.map(|fusion| (&gpu, Precision::F16, fusion, if fusion.is_some() { 3e-4 } else { 6e-4 })));
        for (backend, precision, fusion, tolerance) in ways {
            let mut graph = Graph::new();
            let values = pipeline.unet_mut().build(&mut graph, 2, 32, 32, precision).unwrap();
            graph.output("epsilon", values.output);
            let plan = match fusion {
                Some(fusion) => Plan::new(&fuse(&graph, fusion).unwrap()),
                None => Plan::new(&graph),
            };
            let executor = backend.compile(plan, &[], |_, _| {}).await.unwrap();
            executor.write("sample", &sample.to_device().unwrap()).unwrap();
            for t in [0, 10, 500, 999] {
                for (labels, key) in [([3.0, 7.0], "class"), ([10.0, 10.0], "null")] {
                    let write = |name: &str, data: [f32; 2]| {
                        let tensor = Tensor::new(&[2], data.to_vec()).unwrap();
                        executor.write(name, &tensor.to_device().unwrap()).unwrap();
                    };
                    write("timestep", [t as f32; 2]);
                    write("class_labels", labels);
                    executor.run(0).await.unwrap();
                    let shape = executor.plan().output("epsilon").unwrap().shape.clone();
                    let actual = Tensor::from_device(&shape, &executor.read("epsilon").await.unwrap()).unwrap();
                    let key = format!("eps.t{t}.{key}");
                    let error = assert_close(&key, &actual.data, &golden.get(&key).data, tolerance);
                    let fused =
                        fusion.map_or("unfused", |fusion| if fusion == Fusion::DIRECT { "direct" } else { "staged" });
                    println!("{} {precision:?} {fused} {key}: {error:.1e}", kind(backend));
                }
            }
        }
    });
}

fn kind(backend: &Backend) -> &'static str {
    if backend.gpu().is_some() { "gpu" } else { "cpu" }
}

#[derive(Deserialize)]
struct Trajectory {
    name: String,
    scheduler: SchedulerKind,
    steps: usize,
    eta: f64,
    timestep_spacing: TimestepSpacing,
    variance_type: Option<VarianceType>,
    seed: u64,
    classes: Vec<usize>,
    saved_steps: Vec<usize>,
}

impl Trajectory {
    fn settings(&self, pipeline: &Pipeline) -> Settings {
        let mut scheduler = pipeline.scheduler().unwrap().with_kind(self.scheduler).unwrap();
        scheduler.timestep_spacing = self.timestep_spacing;
        scheduler.variance_type = self.variance_type.unwrap_or(scheduler.variance_type);
        Settings {
            scheduler: Some(scheduler),
            steps: self.steps,
            options: StepOptions { eta: Some(self.eta), ..StepOptions::default() },
            count: self.classes.len(),
            seeds: vec![self.seed],
            class_labels: self.classes.iter().map(|&label| label as f32).collect(),
            ..Settings::default()
        }
    }
}

/// A pipeline on a device, ready for these settings.
pub async fn prepare(backend: &Backend, pipeline: &mut Pipeline, settings: &Settings) -> Rc<Prepared> {
    let layout = settings.layout(pipeline).unwrap();
    Prepared::new(backend, pipeline, layout, |_, _| {}).await.unwrap()
}

/// Root mean square of the difference: x_0 is of the order of 1, so this is a relative error too.
fn rms(actual: &Tensor, expected: &Array) -> f64 {
    assert_eq!(actual.data.len(), expected.data.len());
    let error = actual.data.iter().zip(&expected.data).map(|(&a, e)| (f64::from(a) - e).powi(2)).sum::<f64>();
    (error / expected.data.len() as f64).sqrt()
}

#[test]
fn trajectories_end_where_those_of_diffusers_do() {
    let golden = Golden::load("digits");
    let mut pipeline = pipeline();
    pollster::block_on(async {
        for backend in backends().await {
            let mut prepared = None;
            for trajectory in golden::list::<Trajectory>("trajectories") {
                let key = |what: &str| format!("{}.{what}", trajectory.name);
                let settings = trajectory.settings(&pipeline);
                if prepared.is_none() {
                    prepared = Some(prepare(&backend, &mut pipeline, &settings).await);
                }
                let mut sampler = Sampler::new(&pipeline, prepared.as_ref().unwrap(), &settings).unwrap();
                let timesteps: Vec<f64> = sampler.schedule().rows.iter().map(|row| row.timestep).collect();
                // diffusers' are f32 where they are not whole.
                let expected = &golden.get(&key("timesteps")).data;
                assert_eq!(timesteps.len(), expected.len(), "{}", trajectory.name);
                assert!(timesteps.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3), "{}", trajectory.name);
                let mut frames = 0;
                while let Some(frame) = sampler.next().await.unwrap() {
                    assert_eq!(frame.step, frames);
                    frames += 1;
                    if trajectory.saved_steps.contains(&frames) {
                        let x = rms(&frame.prev, golden.get(&key(&format!("x.{frames}"))));
                        let x0 = rms(&frame.x0, golden.get(&key(&format!("pred_x0.{frames}"))));
                        assert!(x < 1e-3 && x0 < 1e-3, "{} after {frames} steps: {x:.1e}, {x0:.1e}", trajectory.name);
                    }
                }
                assert_eq!(frames, timesteps.len());
                let error = rms(&sampler.sample().await.unwrap(), golden.get(&key("x0")));
                println!("{} {}: {error:.1e}", kind(&backend), trajectory.name);
                assert!(error <= 1e-3, "{}: x_0 is {error:.1e} away", trajectory.name);
            }
        }
    });
}

/// All frames of a run.
async fn run(pipeline: &Pipeline, prepared: &Rc<Prepared>, settings: &Settings) -> Vec<f32> {
    let mut sampler = Sampler::new(pipeline, prepared, settings).unwrap();
    let mut numbers = sampler.initial().data.clone();
    while let Some(frame) = sampler.next().await.unwrap() {
        numbers.extend(frame.prev.data);
        numbers.extend(frame.x0.data);
    }
    numbers
}

#[test]
fn a_seed_gives_the_same_pictures_again_and_on_both_backends() {
    let mut pipeline = pipeline();
    let settings = Settings {
        scheduler: Some(pipeline.scheduler().unwrap().with_kind(SchedulerKind::Ddpm).unwrap()),
        steps: 8,
        count: 3,
        seeds: vec![99],
        class_labels: vec![0.0, 5.0, 10.0],
        ..Settings::default()
    };
    pollster::block_on(async {
        let mut runs = Vec::new();
        for backend in backends().await {
            let prepared = prepare(&backend, &mut pipeline, &settings).await;
            let first = run(&pipeline, &prepared, &settings).await;
            let other = run(&pipeline, &prepared, &Settings { seeds: vec![100], ..settings.clone() }).await;
            let again = run(&pipeline, &prepared, &settings).await;
            assert!(first == again, "the same seed gives the same numbers");
            assert!(first != other, "another seed gives others");
            let fresh = prepare(&backend, &mut pipeline, &settings).await;
            assert!(first == run(&pipeline, &fresh, &settings).await, "and so it does on a fresh executor");
            runs.push(first);
        }
        let last = runs[0].len() - 3 * 32 * 32;
        let pixels = runs[0][last..].iter().zip(&runs[1][last..]);
        let difference: f64 = pixels.map(|(a, b)| f64::from((a.clamp(-1.0, 1.0) - b.clamp(-1.0, 1.0)).abs())).sum();
        let mean = 127.5 * difference / (3.0 * 32.0 * 32.0);
        println!("mean difference between backends: {mean:.4} of 255");
        assert!(mean <= 1.0);
    });
}

/// Shares of a batch are, bit for bit, what a run of all of it makes on the CPU.
#[test]
fn shares_of_a_batch_are_what_the_whole_batch_is() {
    let mut pipeline = pipeline();
    let labels = [0.0, 5.0, 10.0, 3.0, 8.0];
    let whole = Settings {
        scheduler: Some(pipeline.scheduler().unwrap().with_kind(SchedulerKind::Ddpm).unwrap()),
        steps: 4,
        count: 5,
        seeds: vec![99],
        class_labels: labels.to_vec(),
        guidance: 1.5,
        ..Settings::default()
    };
    pollster::block_on(async {
        let mut samples = Vec::new();
        for (first, count) in [(0, 5), (0, 2), (2, 1), (3, 2)] {
            let class_labels = labels[first..first + count].to_vec();
            let share = Some(Share { total: 5, first });
            let settings = Settings { count, class_labels, share, ..whole.clone() };
            let prepared = prepare(&Backend::Cpu, &mut pipeline, &settings).await;
            let mut sampler = Sampler::new(&pipeline, &prepared, &settings).unwrap();
            while sampler.next().await.unwrap().is_some() {}
            samples.push(sampler.sample().await.unwrap().data);
        }
        assert!(samples[0] == samples[1..].concat());
        // Also with a seed for each image, a share of one image among them.
        let seeds = vec![7, 8, 9, 10, 11];
        let mut each = Vec::new();
        for (first, count) in [(0, 5), (0, 2), (2, 1), (3, 2)] {
            let class_labels = labels[first..first + count].to_vec();
            let share = Some(Share { total: 5, first });
            let settings = Settings { count, class_labels, share, seeds: seeds.clone(), ..whole.clone() };
            let prepared = prepare(&Backend::Cpu, &mut pipeline, &settings).await;
            let mut sampler = Sampler::new(&pipeline, &prepared, &settings).unwrap();
            while sampler.next().await.unwrap().is_some() {}
            each.push(sampler.sample().await.unwrap().data);
        }
        assert!(each[0] == each[1..].concat() && each[0] != samples[0]);
        let own = Settings {
            count: 1,
            class_labels: vec![0.0],
            share: Some(Share { total: 5, first: 2 }),
            seeds: vec![7, 8],
            ..whole.clone()
        };
        let message = own.check(&pipeline).err().unwrap().to_string();
        assert_eq!(message, "There are 2 seeds for 5 images; give one for all of them, or one for each.");
        let beyond =
            Settings { count: 2, class_labels: vec![0.0; 2], share: Some(Share { total: 5, first: 4 }), ..whole };
        let message = beyond.check(&pipeline).err().unwrap().to_string();
        assert_eq!(message, "2 images from number 4 on are no share of 5.");
    });
}

/// A run in each precision on the GPU.
async fn in_both_precisions(model: &str, steps: usize, classes: &[f32]) -> [Sampler; 2] {
    let mut pipeline = crate::runs::pipeline(model);
    let gpu = Gpu::open().await.unwrap();
    gpu.set_tuning(Tuning::DIRECT).unwrap();
    let backend = Backend::Gpu(gpu);
    let mut samplers = Vec::new();
    for precision in [Precision::F32, Precision::F16] {
        let mut scheduler = pipeline.scheduler().unwrap().with_kind(SchedulerKind::Ddim).unwrap();
        scheduler.timestep_spacing = TimestepSpacing::Trailing;
        let settings = Settings {
            scheduler: Some(scheduler),
            steps,
            count: classes.len(),
            seeds: vec![7],
            class_labels: classes.to_vec(),
            precision,
            ..Settings::default()
        };
        let prepared = prepare(&backend, &mut pipeline, &settings).await;
        samplers.push(Sampler::new(&pipeline, &prepared, &settings).unwrap());
    }
    samplers.try_into().ok().unwrap()
}

/// In 16 bits a whole run makes the pictures that it makes in 32.
#[test]
fn half_the_bits_make_the_same_pictures() {
    pollster::block_on(async {
        for (model, steps, classes) in [("digits", 50, &[3.0, 8.0][..]), ("sprites", 20, &[0.0, 4.0, 12.0])] {
            let mut pictures = Vec::new();
            for mut sampler in in_both_precisions(model, steps, classes).await {
                while sampler.next().await.unwrap().is_some() {}
                let shown = sampler.schedule().shown(steps);
                pictures.push(rgba8(&sampler.sample().await.unwrap(), shown));
            }
            let differences = pictures[0].iter().zip(&pictures[1]).map(|(&a, &b)| f64::from(a.abs_diff(b)));
            let mean = differences.sum::<f64>() / pictures[0].len() as f64;
            println!("{model}: mean difference {mean:.3} of 255");
            assert!(mean <= 1.0, "{model}: {mean}");
        }
    });
}

/// x̂0 = a x_t + b · model, so in 16 bits it is off by |b| times what the model's output is: at the noisiest step of ε that is
/// √(1 − ᾱ)/√ᾱ times its error, 157 for the digits; of v it is about 1.
#[test]
fn half_the_bits_expect_the_same_picture_from_noise_alone() {
    pollster::block_on(async {
        // How far the output is off, root mean square; it is itself of the order of 1.
        for (model, classes, error) in [
            ("digits", vec![3.0], 1.8e-4),
            ("digits", (0..16).map(|i| (i % 11) as f32).collect(), 1.8e-4),
            ("sprites", vec![0.0, 4.0, 12.0], 5e-4),
        ] {
            let [mut wide, mut half] = in_both_precisions(model, 1, &classes).await;
            let row = &wide.schedule().rows[0];
            let (t, bound) = (row.timestep, row.x0_from_model.abs() * error);
            for sampler in [&mut wide, &mut half] {
                while sampler.next().await.unwrap().is_some() {}
            }
            let (wide, half) = (wide.pred_x0().await.unwrap(), half.pred_x0().await.unwrap());
            let expected = Array { shape: wide.shape, data: golden::widen(&wide.data) };
            let found = rms(&half, &expected);
            println!("{model}, {} images, t = {t}: x̂0 is {found:.1e} off, at most {bound:.1e}", classes.len());
            assert!(t == 999.0 && found <= bound, "{model}: {found:.1e} of {bound:.1e}");
        }
    });
}
