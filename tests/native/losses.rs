//! Losses, the gradients of whole networks, and steps of the optimiser, against PyTorch and diffusers.

use std::collections::HashMap;

use denoise::config::SchedulerFile;
use denoise::op::AdamWSettings;
use denoise::training::{Batch, LearningRate, Loss, Objective, Optimiser, Trainer, loss_and_gradients};
use denoise::{Tensor, Weights};
use serde::Deserialize;

use crate::digits::backends;
use crate::golden::{self, Golden};
use crate::matrix::{self, model};

/// ‖error‖ / ‖gradient‖ that is allowed of a tensor.
const TOLERANCE: f64 = 1e-3;

#[derive(Deserialize)]
struct Case {
    name: String,
    prediction_type: Option<String>,
    #[serde(default)]
    whole: bool,
}

fn network(name: &str) -> matrix::Case {
    let cases: Vec<matrix::Case> = golden::list("matrix/unets");
    cases.into_iter().find(|case| case.name == name).unwrap()
}

/// What a network of this prediction learns with DDPM's linear schedule.
fn objective(prediction_type: &str) -> Objective {
    let file = format!("{{\"_class_name\": \"DDPMScheduler\", \"prediction_type\": \"{prediction_type}\"}}");
    Objective::new(&SchedulerFile::from_json(&file).unwrap().config(None, "{}").unwrap(), Loss::Simple).unwrap()
}

/// Element i of the k-th vector of signs, as `tests/golden/README.md` has them.
fn sign(i: usize, k: usize) -> f64 {
    let mut x = (8 * i as u32 + k as u32).wrapping_mul(0x9E37_79B1);
    x = (x ^ (x >> 16)).wrapping_mul(0x85EB_CA6B);
    x = (x ^ (x >> 13)).wrapping_mul(0xC2B2_AE35);
    if x ^ (x >> 16) < 1 << 31 { 1.0 } else { -1.0 }
}

fn norm(numbers: impl Iterator<Item = f64>) -> f64 {
    numbers.map(|x| x * x).sum::<f64>().sqrt()
}

#[test]
fn gradients_of_networks_agree_with_pytorch() {
    let golden = Golden::load("loss");
    let cases: Vec<Case> = golden::list("loss");
    assert!(cases.len() >= 10);
    pollster::block_on(async {
        for (backend, name) in backends().await.iter().zip(["CPU", "GPU"]) {
            for case in &cases {
                let get = |what: &str| golden.find(&format!("{}.{what}", case.name));
                let batch = Batch {
                    images: get("sample").unwrap().tensor(),
                    noise: get("noise").unwrap().tensor(),
                    timesteps: get("timestep").unwrap().data.iter().map(|&t| t as usize).collect(),
                    class_labels: get("class_labels").map(|labels| labels.tensor().data),
                };
                let unet = model(&network(&case.name)).unwrap();
                let objective = objective(case.prediction_type.as_deref().unwrap_or("epsilon"));
                let (losses, gradients) = loss_and_gradients(backend, &unet, &objective, &batch).await.unwrap();
                for (loss, expected) in losses.iter().zip(&get("loss").unwrap().data) {
                    assert!((f64::from(*loss) - expected).abs() <= 1e-5 * expected, "{name} {}: {loss}", case.name);
                }
                let total = norm(gradients.iter().map(|(path, _)| get(&format!("norm.{path}")).unwrap().data[0]));
                let mut worst = (0.0, "");
                for (path, gradient) in &gradients {
                    let expected = get(&format!("norm.{path}")).unwrap().data[0];
                    // On average the squares of eight products with signs are that of the difference's norm.
                    let dots = &get(&format!("dots.{path}")).unwrap().data;
                    let of = |k: usize| {
                        gradient.data.iter().enumerate().map(|(i, &g)| sign(i, k) * f64::from(g)).sum::<f64>()
                    };
                    let estimated = norm((0..8).map(|k| of(k) - dots[k])) / 8_f64.sqrt();
                    let difference = match get(&format!("gradient.{path}")) {
                        Some(whole) => norm(gradient.data.iter().zip(&whole.data).map(|(&a, b)| f64::from(a) - b)),
                        None => estimated,
                    };
                    // What is zero is so but for rounding.
                    if path.ends_with("to_k.bias") {
                        assert!(difference <= 1e-6 * total, "{name} {}: {path} is {difference:.1e}", case.name);
                        continue;
                    }
                    if difference / expected > worst.0 {
                        worst = (difference / expected, path);
                    }
                }
                println!("{name} {}: {:.1e} of {}", case.name, worst.0, worst.1);
                assert!(worst.0 <= TOLERANCE, "{name} {}: {} is off by {:.1e}", case.name, worst.1, worst.0);
                let wholes = gradients.iter().filter(|(path, _)| get(&format!("gradient.{path}")).is_some()).count();
                assert_eq!(wholes, if case.whole { gradients.len() } else { 0 }, "{}", case.name);
            }
        }
    });
}

#[test]
fn ten_steps_agree_with_pytorch() {
    let golden = Golden::load("training");
    let steps = ["sample", "noise", "timestep", "class_labels"].map(|what| golden.get(&format!("steps.{what}")));
    let [count, n, c, h, w] = *steps[0].shape else { panic!("ten batches") };
    let adamw = AdamWSettings { rate: 1e-3, decay: 1e-2, limit: Some(1.0), ..AdamWSettings::default() };
    let optimiser = Optimiser { adamw, warmup: 0, schedule: LearningRate::Constant, ema: 0.9999 };
    pollster::block_on(async {
        for (backend, name) in backends().await.iter().zip(["CPU", "GPU"]) {
            let unet = model(&network("class_index")).unwrap();
            let objective = objective("epsilon");
            let shape = [n, c, h, w];
            let mut trainer = Trainer::new(backend, &unet, objective, optimiser, shape, |_, _| {}).await.unwrap();
            let mut losses = Vec::new();
            for step in 0..count {
                let len = n * c * h * w;
                let image = |which: usize| {
                    let data = steps[which].data[step * len..][..len].iter().map(|&x| x as f32).collect();
                    Tensor::new(&shape, data).unwrap()
                };
                let numbers = |which: usize| &steps[which].data[step * n..][..n];
                let batch = Batch {
                    images: image(0),
                    noise: image(1),
                    timesteps: numbers(2).iter().map(|&t| t as usize).collect(),
                    class_labels: Some(numbers(3).iter().map(|&label| label as f32).collect()),
                };
                losses.extend(trainer.step(&unet, &batch).await.unwrap());
            }
            losses.extend(trainer.finish().await.unwrap());
            assert_eq!(losses.len(), count);
            for (step, (&loss, expected)) in losses.iter().zip(&golden.get("losses").data).enumerate() {
                let error = (f64::from(loss) - expected).abs() / expected;
                assert!(error <= 1e-4, "{name}: the loss of step {step} is off by {error:.1e}");
            }
            let [weights, _, _, average] = trainer.kept(&unet).await.unwrap();
            for (kind, tensors) in [("weights", weights), ("ema", average)] {
                let mut worst: f64 = 0.0;
                for (path, tensor) in tensors {
                    let expected = &golden.get(&format!("{kind}.{path}")).data;
                    let difference = norm(tensor.data.iter().zip(expected).map(|(&a, b)| f64::from(a) - b));
                    let error = difference / norm(expected.iter().copied());
                    // Adam divides a gradient of zero by its own rounding, so a key's bias walks at random.
                    if !path.ends_with("to_k.bias") {
                        worst = worst.max(error);
                    }
                }
                println!("{name} {kind}: {worst:.1e}");
                assert!(worst <= 1e-3, "{name}: {kind} are off by {worst:.1e}");
            }
        }
    });
}

/// What is kept of a run is all of it: another trainer goes on with the same bits.
#[test]
fn a_trainer_is_restored() {
    let unet = || model(&network("class_index")).unwrap();
    let optimiser =
        Optimiser { adamw: AdamWSettings::default(), warmup: 2, schedule: LearningRate::Cosine(6), ema: 0.9 };
    let batch = |seed: u64| {
        let mut generator = denoise::random::Generator::new(seed);
        let mut image = || Tensor::new(&[2, 3, 8, 8], generator.randn(2 * 3 * 64)).unwrap();
        Batch {
            images: image(),
            noise: image(),
            timesteps: vec![seed as usize, 500],
            class_labels: Some(vec![1.0, 2.0]),
        }
    };
    pollster::block_on(async {
        for backend in backends().await {
            let shape = [2, 3, 8, 8];
            let (first, second) = (unet(), unet());
            let mut whole =
                Trainer::new(&backend, &first, objective("sample"), optimiser, shape, |_, _| {}).await.unwrap();
            let mut half: HashMap<usize, Vec<(String, Tensor)>> = HashMap::new();
            for step in 0..6 {
                if step == 3 {
                    half = whole.kept(&first).await.unwrap().into_iter().enumerate().collect();
                }
                whole.step(&first, &batch(step)).await.unwrap();
            }
            let mut rest =
                Trainer::new(&backend, &second, objective("sample"), optimiser, shape, |_, _| {}).await.unwrap();
            let kept = [0, 1, 2, 3].map(|i| Weights::from_tensors(half.remove(&i).unwrap()));
            rest.restore(&second, 3, &kept).await.unwrap();
            for step in 3..6 {
                rest.step(&second, &batch(step)).await.unwrap();
            }
            assert!(whole.kept(&first).await.unwrap() == rest.kept(&second).await.unwrap());
        }
    });
}
