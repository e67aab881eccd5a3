//! The weights of new networks against those that PyTorch draws for diffusers' modules.

use denoise::Tensor;
use denoise::config::UNetConfig;
use denoise::initialise::initial_weights;
use denoise::random::Generator;
use denoise::unet::UNet2DModel;
use serde::Deserialize;

use crate::golden::{self, Golden};

#[derive(Deserialize)]
struct Case {
    name: String,
    config: serde_json::Value,
}

/// How far a number may be from PyTorch's: normal ones take their logarithms from elsewhere, uniform ones are the same bits.
fn tolerance(path: &str) -> f64 {
    match path {
        "time_proj.weight" => 16.0 * 3e-7,
        "class_embedding.weight" => 3e-7,
        _ => 0.0,
    }
}

#[test]
fn every_network_starts_as_in_diffusers() {
    let golden = Golden::load("matrix/initial");
    let cases: Vec<Case> = golden::list("matrix/unets");
    assert!(cases.len() >= 40);
    for (seed, Case { name, config }) in cases.iter().enumerate() {
        let config = UNetConfig::from_json(&config.to_string()).unwrap();
        let mut generator = Generator::new(seed as u64);
        let weights = initial_weights(&config, &mut generator).unwrap();
        let get = |what: &str| &golden.get(&format!("{name}.{what}")).data;
        assert_eq!(f64::from(generator.rand(1)[0]), get("next")[0], "{name} has drawn more or less than it should");

        let mut tensors: Vec<(String, Tensor)> = weights.into_iter().collect();
        tensors.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        assert_eq!(tensors.len(), get("sums").len(), "{name}");
        for (i, (path, tensor)) in tensors.iter().enumerate() {
            let numbers = golden::widen(&tensor.data);
            let sum: f64 = numbers.iter().map(|x| x.abs()).sum();
            let expected = get("sums")[i];
            let error = (sum - expected).abs();
            let allowed = numbers.len() as f64 * tolerance(path) + 1e-12 * expected;
            assert!(error <= allowed, "{name}: Σ|{path}| is {sum}, torch has {expected}");
            for (j, expected) in get("first")[4 * i..4 * i + 4].iter().enumerate() {
                let x = numbers.get(j).copied().unwrap_or(0.0);
                assert!((x - expected).abs() <= tolerance(path), "{name}: {path}[{j}] is {x}, torch has {expected}");
            }
        }

        // They are all that the network asks for, and nothing else.
        let mut network = UNet2DModel::without_weights(config).unwrap();
        for (path, tensor) in tensors {
            network.receive(&path, tensor).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        network.finish().unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn a_configuration_that_contradicts_itself_is_refused() {
    let config = UNetConfig::from_json(r#"{"attention_head_dim": 4096}"#).unwrap();
    let error = initial_weights(&config, &mut Generator::new(0)).unwrap_err().to_string();
    assert!(error.contains("attention_head_dim is 4096"), "{error}");
}
