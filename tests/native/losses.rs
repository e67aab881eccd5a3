//! Losses, the gradients of whole networks, and steps of the optimiser, against PyTorch and diffusers.

use std::collections::HashMap;

use denoise::config::SchedulerFile;
use denoise::op::AdamWSettings;
use denoise::training::{Batch, LearningRate, Loss, Objective, Optimiser, Trainer, loss_and_gradients};
use denoise::{Result, Tensor, Weights};
use serde::Deserialize;

use crate::digits::backends;
use crate::dropout::PROBABILITY;
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

/// A network of the matrix.
pub fn network(name: &str) -> matrix::Case {
    let cases: Vec<matrix::Case> = golden::list("matrix/unets");
    cases.into_iter().find(|case| case.name == name).unwrap()
}

/// What a network of this prediction learns with DDPM's linear schedule.
fn objective(prediction_type: &str) -> Objective {
    with_scheduler(&format!("\"prediction_type\": \"{prediction_type}\""), Loss::Simple).unwrap()
}

/// The same with a learned variance and fewer timesteps, as `training_hybrid.py` has it.
fn hybrid(prediction_type: &str) -> Objective {
    let fields = "\"num_train_timesteps\": 400, \"variance_type\": \"learned_range\"";
    with_scheduler(&format!("{fields}, \"prediction_type\": \"{prediction_type}\""), Loss::Hybrid).unwrap()
}

fn with_scheduler(fields: &str, loss: Loss) -> Result<Objective> {
    let file = format!("{{\"_class_name\": \"DDPMScheduler\", {fields}}}");
    Objective::new(&SchedulerFile::from_json(&file).unwrap().config(None, "{}").unwrap(), loss)
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
                    dropout_seed: None,
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

/// A seed of which the goldens have 16 bits a number, the lowest first.
fn seed_of(parts: &[f64]) -> u64 {
    parts.iter().rev().fold(0, |seed, &part| seed << 16 | part as u64)
}

/// What a golden's network is given, step by step.
fn batches(golden: &Golden) -> Vec<Batch> {
    let get = |what: &str| golden.find(&format!("steps.{what}"));
    let [count, n, c, h, w] = *get("sample").unwrap().shape else { panic!("ten batches") };
    let len = n * c * h * w;
    let batch = |step: usize| {
        let image = |what: &str| {
            let data = get(what).unwrap().data[step * len..][..len].iter().map(|&x| x as f32).collect();
            Tensor::new(&[n, c, h, w], data).unwrap()
        };
        let numbers = |what: &str| Some(get(what)?.data[step * n..][..n].to_vec());
        let class_labels = numbers("class_labels");
        Batch {
            images: image("sample"),
            noise: image("noise"),
            timesteps: numbers("timestep").unwrap().iter().map(|&t| t as usize).collect(),
            class_labels: class_labels.map(|labels| labels.iter().map(|&label| label as f32).collect()),
            dropout_seed: get("dropout_seed").map(|parts| seed_of(&parts.data[step * 4..][..4])),
        }
    };
    (0..count).map(batch).collect()
}

#[test]
fn ten_steps_agree_with_pytorch() {
    ten_steps("training", network("class_index"), &objective("epsilon"));
}

#[test]
fn ten_steps_of_a_learned_variance_agree_with_pytorch() {
    ten_steps("training_hybrid", network("learned_variance"), &hybrid("epsilon"));
}

/// Of all predictions, of which the variational bound has the means in different ways; the first and the last timestep are
/// among them.
#[test]
fn hybrid_losses_agree_with_pytorch() {
    let golden = Golden::load("training_hybrid");
    let batch = batches(&golden).swap_remove(0);
    assert_eq!(batch.timesteps[..2], [0, 399]);
    let unet = model(&network("learned_variance")).unwrap();
    pollster::block_on(async {
        for (backend, name) in backends().await.iter().zip(["CPU", "GPU"]) {
            for prediction in ["epsilon", "v_prediction", "sample"] {
                let (losses, gradients) =
                    loss_and_gradients(backend, &unet, &hybrid(prediction), &batch).await.unwrap();
                let expected = &golden.get(&format!("first.{prediction}")).data;
                let error = |(&loss, &expected): (&f32, &f64)| (f64::from(loss) - expected).abs() / expected;
                let worst = losses.iter().zip(expected).map(error).fold(0.0, f64::max);
                println!("{name} {prediction}: {worst:.1e}");
                assert!(worst <= 1e-5, "{name}: losses of {prediction} are off by {worst:.1e}");
                // Both halves of the last layer learn.
                let (_, last) = gradients.iter().find(|(path, _)| path == "conv_out.bias").unwrap();
                assert!(last.data.len() == 6 && last.data.iter().all(|&g| g != 0.0), "{last:?}");
            }
        }
    });
}

#[test]
fn a_variance_that_cannot_be_learned_is_refused() {
    let refused = |fields: &str, expected: &str| {
        let error = with_scheduler(fields, Loss::Hybrid).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused("\"variance_type\": \"fixed_small\"", "its variance is FixedSmall, which is not learned");
    refused("\"variance_type\": \"learned\"", "The hybrid loss teaches learned_range");
    let range = "\"variance_type\": \"learned_range\"";
    refused(&format!("{range}, \"num_train_timesteps\": 1"), "at timestep 0 the variational bound is infinite");
    let zero = format!("{range}, \"rescale_betas_zero_snr\": true");
    refused(&zero, "at timestep 999 the variational bound is infinite");
    with_scheduler(&format!("{zero}, \"prediction_type\": \"v_prediction\""), Loss::Hybrid).unwrap();
    let unet = model(&network("class_index")).unwrap();
    let batch = batches(&Golden::load("training")).swap_remove(0);
    let batch = Batch { timesteps: vec![1; 4], ..batch };
    let error = pollster::block_on(loss_and_gradients(&denoise::Backend::Cpu, &unet, &hybrid("epsilon"), &batch));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("out_channels is 3") && error.contains("it has to be 6"), "{error}");
}

/// With the masks that `dropout.py` made of each step's seed.
#[test]
fn ten_steps_with_dropout_agree_with_pytorch() {
    ten_steps("dropout", network("class_index").with_dropout(PROBABILITY), &objective("epsilon"));
}

/// Trains a network as a golden says, on both backends, and compares losses, weights and their average.
fn ten_steps(golden: &str, case: matrix::Case, objective: &Objective) {
    let golden = Golden::load(golden);
    let batches = batches(&golden);
    let shape: [usize; 4] = batches[0].images.shape[..].try_into().unwrap();
    let adamw = AdamWSettings { rate: 1e-3, decay: 1e-2, limit: Some(1.0), ..AdamWSettings::default() };
    let optimiser = Optimiser { adamw, warmup: 0, schedule: LearningRate::Constant, ema: 0.9999 };
    pollster::block_on(async {
        for (backend, name) in backends().await.iter().zip(["CPU", "GPU"]) {
            let unet = model(&case).unwrap();
            let objective = objective.clone();
            let mut trainer = Trainer::new(backend, &unet, objective, optimiser, shape, |_, _| {}).await.unwrap();
            let mut losses = Vec::new();
            for batch in &batches {
                losses.extend(trainer.step(&unet, batch).await.unwrap());
            }
            losses.extend(trainer.finish().await.unwrap());
            assert_eq!(losses.len(), batches.len());
            let mut worst_loss: f64 = 0.0;
            for (step, (&loss, expected)) in losses.iter().zip(&golden.get("losses").data).enumerate() {
                let error = (f64::from(loss) - expected).abs() / expected;
                assert!(error <= 1e-4, "{name}: the loss of step {step} is off by {error:.1e}");
                worst_loss = worst_loss.max(error);
            }
            println!("{name} losses: {worst_loss:.1e}");
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
            dropout_seed: None,
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
