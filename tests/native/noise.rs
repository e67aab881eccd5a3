//! The generator against `torch.randn`.

use denoise::noise::Generator;

use crate::golden::{Array, Golden};

/// PyTorch's vectorised logarithm and cosine differ from libm's in the last bits.
const TOLERANCE: f64 = 3e-7;

#[track_caller]
fn check(key: &str, actual: &[f32], expected: &Array) {
    assert_eq!(actual.len(), expected.data.len(), "{key}");
    for (i, (&actual, expected)) in actual.iter().zip(&expected.data).enumerate() {
        let error = (f64::from(actual) - expected).abs();
        assert!(error <= TOLERANCE, "{key}[{i}] is {actual}, torch has {expected}");
    }
}

#[test]
fn draws_equal_torch() {
    let golden = Golden::load("noise");
    let keys: Vec<&str> = golden.keys().filter(|key| key.starts_with("randn.")).collect();
    assert!(keys.len() >= 40);
    for key in keys {
        let [_, seed, len] = *key.split('.').collect::<Vec<_>>() else { panic!("{key}") };
        let actual = Generator::new(seed.parse().unwrap()).randn(len.parse().unwrap());
        check(key, &actual, golden.get(key));
    }
}

#[test]
fn successive_draws_of_one_generator_equal_torch() {
    let golden = Golden::load("noise");
    let mut sequences = 0;
    for seed in [1234, 4_294_967_295] {
        for sequence in 0.. {
            if golden.find(&format!("sequence.{seed}.{sequence}.0")).is_none() {
                break;
            }
            sequences += 1;
            let mut generator = Generator::new(seed);
            for draw in 0.. {
                let key = format!("sequence.{seed}.{sequence}.{draw}");
                let Some(expected) = golden.find(&key) else { break };
                check(&key, &generator.randn(expected.data.len()), expected);
            }
        }
    }
    assert!(sequences >= 4, "{sequences} sequences");
}

/// The very bits, which must be the same on every platform; `tests/web.rs` checks them in the browser.
#[test]
fn bits_are_fixed() {
    let long = Generator::new(1234).randn(1000);
    let short = Generator::new(1234).randn(15);
    let hash = |values: &[f32]| {
        values
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, x| (hash ^ u64::from(x.to_bits())).wrapping_mul(0x100_0000_01b3))
    };
    assert_eq!((hash(&long), hash(&short)), (NOISE_HASH_LONG, NOISE_HASH_SHORT));
}

const NOISE_HASH_LONG: u64 = 12_042_802_307_104_709_732;
const NOISE_HASH_SHORT: u64 = 2_660_644_803_255_449_964;
