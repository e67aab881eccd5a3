//! The generator against PyTorch's.

use std::num::NonZeroU32;

use denoise::random::Generator;

use crate::golden::{Array, Golden, widen};

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
fn normals_equal_torch() {
    let golden = Golden::load("draws");
    let keys: Vec<&str> = golden.keys().filter(|key| key.starts_with("randn.")).collect();
    assert!(keys.len() >= 40);
    for key in keys {
        let [_, seed, len] = *key.split('.').collect::<Vec<_>>() else { panic!("{key}") };
        let actual = Generator::new(seed.parse().unwrap()).randn(len.parse().unwrap());
        check(key, &actual, golden.get(key));
    }
}

#[test]
fn successive_normals_of_one_generator_equal_torch() {
    let golden = Golden::load("draws");
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

/// The draws `mixed.{seed}.*` in their order, each by its kind, its numbers and its key.
fn mixed(golden: &Golden, seed: u64) -> Vec<(Vec<&str>, &str)> {
    let prefix = format!("mixed.{seed}.");
    let split = |key: &'_ str| -> Option<usize> { key.strip_prefix(&prefix)?.split('.').next()?.parse().ok() };
    let mut keys: Vec<(usize, &str)> = golden.keys().filter_map(|key| Some((split(key)?, key))).collect();
    keys.sort_unstable();
    keys.into_iter().map(|(_, key)| (key.split('.').skip(3).collect(), key)).collect()
}

/// A draw of this kind, as numbers.
fn draw(generator: &mut Generator, kind: &[&str]) -> Vec<f64> {
    let number = |i: usize| kind[i].parse::<f64>().unwrap();
    let len = number(1) as usize;
    match kind[0] {
        "randn" => widen(&generator.randn(len)),
        "rand" => widen(&generator.rand(len)),
        "uniform" => widen(&generator.uniform((number(2) / 100.0) as f32, (number(3) / 100.0) as f32, len)),
        "rand_below" => generator
            .rand_below((number(2) / 100.0) as f32, len)
            .into_iter()
            .map(|yes| f64::from(u8::from(yes)))
            .collect(),
        "randint" => {
            let high = NonZeroU32::new(number(2) as u32).unwrap();
            generator.randint(high, len).into_iter().map(f64::from).collect()
        }
        "randperm" => generator.randperm(len).into_iter().map(|i| i as f64).collect(),
        other => panic!("{other}"),
    }
}

/// A state without the spare normal, whose last bits are PyTorch's own.
fn without_spare(state: &[u8]) -> Vec<u8> {
    [&state[..5024], &state[5032..]].concat()
}

#[test]
fn draws_of_every_kind_equal_torch() {
    let golden = Golden::load("draws");
    for seed in [0, 1234, (1 << 32) + 5] {
        let mut generator = Generator::new(seed);
        let draws = mixed(&golden, seed);
        assert!(draws.len() >= 28);
        for (kind, key) in draws {
            let actual = draw(&mut generator, &kind);
            let expected = &golden.get(key).data;
            if kind[0] == "randn" {
                check(key, &actual.iter().map(|&x| x as f32).collect::<Vec<_>>(), golden.get(key));
            } else {
                assert!(actual == *expected, "{key} is {actual:?}, torch has {expected:?}");
            }
        }
        let expected: Vec<u8> =
            golden.get(&format!("mixed.{seed}.state")).data.iter().map(|&byte| byte as u8).collect();
        let state = generator.state();
        assert_eq!(state.len(), expected.len());
        assert!(without_spare(&state) == without_spare(&expected), "the states of seed {seed} differ");
        let spare = |state: &[u8]| f64::from_le_bytes(state[5024..5032].try_into().unwrap());
        assert!((spare(&state) - spare(&expected)).abs() < 1e-14);
    }
}

#[test]
fn a_restored_generator_goes_on_with_the_same_bits() {
    let golden = Golden::load("draws");
    let draws = mixed(&golden, 0);
    let mut generator = Generator::new(77);
    let mut kept = 0;
    for (kind, key) in [&draws[..], &draws[..]].concat() {
        let state = generator.state();
        let mut restored = Generator::from_state(&state).unwrap();
        assert!(restored.state() == state, "before {key}");
        let same = |a: &[f64], b: &[f64]| a.iter().map(|x| x.to_bits()).eq(b.iter().map(|x| x.to_bits()));
        assert!(same(&draw(&mut generator, &kind), &draw(&mut restored, &kind)), "{key}");
        assert!(restored.state() == generator.state(), "after {key}");
        kept += usize::from(state[5040] == 1);
    }
    assert!(kept > 0, "no spare normal was ever kept");
    // Also when exactly all words are used up, and one short of it.
    for used in [623, 624, 625] {
        let mut generator = Generator::new(3);
        generator.rand(used);
        let mut restored = Generator::from_state(&generator.state()).unwrap();
        assert_eq!(generator.rand(700), restored.rand(700));
    }
}

#[test]
fn a_damaged_state_is_said_to_be_one() {
    let mut generator = Generator::new(1);
    generator.randn(1);
    let state = generator.state();
    let refused = |state: &[u8], why: &str| {
        let error = Generator::from_state(state).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(why), "{error:?} does not say {why:?}");
    };
    refused(&[], "0 bytes");
    refused(&state[1..], "5055 bytes");
    let with = |at: usize, bytes: &[u8]| {
        let mut state = state.clone();
        state[at..at + bytes.len()].copy_from_slice(bytes);
        state
    };
    refused(&with(16, &625_u64.to_le_bytes()), "word 625 is next");
    refused(&with(8, &700_u32.to_le_bytes()), "700 are left");
    refused(&with(12, &[0]), "is damaged");
    refused(&with(24 + 8 * 7 + 5, &[1]), "word 7");
    refused(&with(5024, &f64::NAN.to_le_bytes()), "the normal NaN");
    refused(&with(5040, &[2]), "the normal");
    // Any byte may be another: it is a state or an error.
    for at in 0..state.len() {
        let _ = Generator::from_state(&with(at, &[0xff]));
    }
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
