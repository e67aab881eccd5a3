//! What a picture costs, as the page computes it: what is found here is what `tests/e2e/measuring.test.mjs` asks of the page.

use denoise::bound::{self, Bound, Estimate, Gradual};
use denoise::likelihood::{self, Likelihood, Method, Solver};
use denoise::random::Generator;
use denoise::{Backend, Tensor};
use serde::{Deserialize, Serialize};

use crate::golden::{self, Golden};
use crate::runs;

const FILE: &str = "tests/e2e/measuring.json";
const SEED: u64 = 5;
const STEPS: usize = 20;

/// A picture of a class, and what it costs the digits in bits a number.
#[derive(Deserialize, Serialize)]
struct Costs {
    /// [32, 32], of 256.
    levels: Vec<u8>,
    class: f32,
    seed: u64,
    /// After so many evaluations, and in the end.
    first: (usize, [f64; 4]),
    last: (usize, [f64; 4]),
    /// L_0, and the terms of some timesteps.
    terms: Vec<(usize, f64)>,
    /// Of the likelihood's solver, and of half as many steps.
    steps: usize,
    bits_per_dim: [f64; 2],
}

/// The prior, the denoising, the decoder and their sum.
fn parts(Estimate { prior, denoising, decoder, sum, .. }: &Estimate) -> [f64; 4] {
    [prior, denoising, decoder, sum].map(|part| part.mean)
}

async fn measured(levels: Vec<u8>, class: f32) -> Costs {
    let pipeline = runs::pipeline("digits");
    let picture: Vec<f32> = levels.iter().map(|&level| f32::from(level) / 127.5 - 1.0).collect();
    let len = picture.len();
    let picture = Tensor::new(&[1, 1, 32, 32], picture).unwrap();
    let config = bound::scheduler(&pipeline, "{}").unwrap();
    let bound = Bound::new(&Backend::Cpu, &pipeline, &config, 8, (32, 32)).await.unwrap();
    let prior = bound.prior(&picture).unwrap()[0];
    let mut gradual = Gradual::new(bound.terms().timesteps(), len, prior, SEED).unwrap();
    let mut first = None;
    loop {
        let drawn = gradual.take(8);
        if drawn.is_empty() {
            break;
        }
        let shape = [drawn.len(), 1, 32, 32];
        let images = Tensor::new(&shape, picture.data.repeat(drawn.len())).unwrap();
        let noise = Tensor::new(&shape, drawn.iter().flat_map(|one| one.noise.clone()).collect()).unwrap();
        let timesteps: Vec<usize> = drawn.iter().map(|one| one.timestep).collect();
        gradual.give(&bound.at(&images, &noise, &timesteps, &vec![class; drawn.len()]).await.unwrap());
        if let (None, Some(estimate)) = (&first, gradual.estimate()) {
            first = Some((gradual.progress().0, parts(&estimate)));
        }
    }
    let last = gradual.estimate().unwrap();
    let terms = [0, 1, 20, 500, 999].map(|t| (t, last.curve[t].term.mean)).to_vec();

    let mut generator = Generator::new(SEED);
    let dequantised = likelihood::dequantised(&picture, &mut generator).unwrap();
    let probe = [likelihood::probe(&picture.shape, &mut generator).unwrap()];
    let config = likelihood::scheduler(&pipeline, "{}").unwrap();
    let likelihood = Likelihood::new(&Backend::Cpu, &pipeline, &config, 1, (32, 32)).await.unwrap();
    let bits = async |steps: usize| {
        let solver = Solver { method: Method::Heun, steps };
        likelihood.encode(&dequantised, &probe, &[class], solver, || ()).await.unwrap().bits_per_dim[0]
    };
    let bits_per_dim = [bits(STEPS).await, bits(STEPS / 2).await];
    let last = (gradual.progress().0, parts(&last));
    Costs { levels, class, seed: SEED, first: first.unwrap(), last, terms, steps: STEPS, bits_per_dim }
}

#[test]
fn a_digit_costs_what_the_page_is_asked_for() {
    let golden = Golden::load("bound");
    let levels = golden.get("digits.sample").data[..1024].iter().map(|x| ((x + 1.0) * 127.5).round() as u8).collect();
    let found = pollster::block_on(measured(levels, golden.get("digits.class_labels").data[0] as f32));
    if std::env::var_os("UPDATE_MEASURING").is_some() {
        std::fs::write(golden::path(FILE), serde_json::to_string(&found).unwrap() + "\n").unwrap();
    }
    let expected: Costs = serde_json::from_str(&golden::text(FILE)).unwrap();
    assert_eq!((&found.levels, found.class, found.seed), (&expected.levels, expected.class, expected.seed));
    assert_eq!((found.first.0, found.last.0, found.steps), (expected.first.0, expected.last.0, expected.steps));
    let numbers = |costs: &Costs| {
        let terms = costs.terms.iter().map(|(_, term)| *term);
        [costs.first.1, costs.last.1].concat().into_iter().chain(terms).chain(costs.bits_per_dim).collect::<Vec<_>>()
    };
    for (found, expected) in numbers(&found).iter().zip(numbers(&expected)) {
        assert!((found - expected).abs() <= 1e-4, "{found} and {expected}");
    }
}
