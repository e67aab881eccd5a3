//! The bound of a single image at ever more timesteps: an estimate after a few evaluations, and in the end all of it.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use super::{Estimate, Mean, Point, draw, length, strata};
use crate::Result;
use crate::random::Generator;

/// How many ranges of timesteps there are at first, and with how many draws of noise L_0 is computed.
const RANGES: usize = 32;
const DECODERS: usize = 8;

/// A timestep that was drawn, to have its term computed, and noise for its x_t.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// From 0.
    pub timestep: usize,
    /// As many numbers as the image has.
    pub noise: Vec<f32>,
}

/// A range of timesteps, and the one that stands for all of it.
#[derive(Clone, Debug)]
struct Part {
    range: RangeInclusive<usize>,
    timestep: usize,
    term: f64,
}

/// Which terms are known, and which are asked for next.
///
/// The timesteps are parted in ranges, and in each one was drawn evenly, which stands for the range. Then each range is halved: the
/// timestep it has was drawn evenly from the half that it is in, too, so that only the other half has to draw one. At any time
/// that gives an estimate of the sum that is right on average, and no evaluation is in vain: in the end every range is a single
/// timestep.
#[derive(Clone)]
pub struct Gradual {
    generator: Generator,
    timesteps: usize,
    /// How many numbers the image has.
    len: usize,
    prior: f64,
    /// L_0, with different noise.
    decoder: Vec<f64>,
    /// What is known of the timesteps from 1 on, in their order.
    parts: Vec<Part>,
    /// What is to be computed next, and what was given out to be.
    next: VecDeque<(RangeInclusive<usize>, usize)>,
    asked: Vec<(RangeInclusive<usize>, usize)>,
}

impl Gradual {
    /// For an image of `len` numbers and a model of so many timesteps, with L_T of the image.
    ///
    /// # Errors
    /// When there are less than two timesteps.
    pub fn new(timesteps: usize, len: usize, prior: f64, seed: u64) -> Result<Self> {
        let mut generator = Generator::new(seed);
        let strata = strata(timesteps, timesteps.min(1 + RANGES))?;
        let mut next: VecDeque<_> = std::iter::repeat_n((0..=0, 0), DECODERS).collect();
        next.extend(strata.into_iter().skip(1).map(|range| {
            let timestep = draw(&range, &mut generator);
            (range, timestep)
        }));
        let (decoder, parts, asked) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Gradual { generator, timesteps, len, prior, decoder, parts, next, asked })
    }

    /// How many evaluations there are in all, of which how many are done.
    pub fn progress(&self) -> (usize, usize) {
        (self.decoder.len() + self.parts.len(), DECODERS + self.timesteps - 1)
    }

    /// Up to `most` timesteps whose terms [`Gradual::give`] is to be given; none once all are known. It depends on the seed
    /// alone which they are, in which order, and what noise they have.
    pub fn take(&mut self, most: usize) -> Vec<Drawn> {
        if self.next.is_empty() {
            self.halve();
        }
        let count = most.min(self.next.len());
        self.asked = self.next.drain(..count).collect();
        let drawn = |&(_, timestep): &(_, usize)| Drawn { timestep, noise: self.generator.randn(self.len) };
        self.asked.iter().map(drawn).collect()
    }

    /// The terms of what was taken last, in its order.
    ///
    /// # Panics
    /// When there are not as many.
    pub fn give(&mut self, terms: &[f64]) {
        assert_eq!(terms.len(), self.asked.len(), "a term for each timestep that was taken");
        for ((range, timestep), &term) in self.asked.drain(..).zip(terms) {
            if timestep == 0 {
                self.decoder.push(term);
                continue;
            }
            // Whose other half it is, if it is one.
            if let Some(whole) = self.parts.iter_mut().find(|part| part.range.contains(range.start())) {
                let (first, last) = (*whole.range.start(), *whole.range.end());
                whole.range =
                    if *range.start() == first { *range.end() + 1..=last } else { first..=*range.start() - 1 };
            }
            let place = self.parts.partition_point(|part| part.range.start() < range.start());
            self.parts.insert(place, Part { range, timestep, term });
        }
    }

    /// What is known by now; nothing until every timestep is in a range that has a term.
    pub fn estimate(&self) -> Option<Estimate> {
        let covered: usize = self.parts.iter().map(|part| length(&part.range)).sum();
        if self.decoder.is_empty() || covered < self.timesteps - 1 {
            return None;
        }
        let decoder = Mean::of(&self.decoder);
        let weighted = |part: &Part| length(&part.range) as f64 * part.term;
        let denoising = Mean {
            mean: self.parts.iter().map(weighted).sum(),
            standard_error: deviations(&self.parts).map(|deviations| {
                let parts = self.parts.iter().zip(deviations);
                parts.map(|(part, deviation)| (length(&part.range) as f64 * deviation).powi(2)).sum::<f64>().sqrt()
            }),
        };
        let error = |part: &Mean| part.standard_error;
        let sum = Mean {
            mean: self.prior + denoising.mean + decoder.mean,
            standard_error: error(&denoising).zip(error(&decoder)).map(|(a, b)| a.hypot(b)),
        };
        let curve = self.parts.iter().map(|part| Point {
            first: *part.range.start(),
            last: *part.range.end(),
            term: Mean { mean: part.term, standard_error: None },
        });
        let first = Point { first: 0, last: 0, term: decoder };
        let prior = Mean { mean: self.prior, standard_error: Some(0.0) };
        Some(Estimate { prior, denoising, decoder, sum, curve: [first].into_iter().chain(curve).collect() })
    }

    /// The halves of all ranges that have no timestep of their own yet.
    fn halve(&mut self) {
        for part in self.parts.iter().filter(|part| length(&part.range) > 1) {
            let (first, last) = (*part.range.start(), *part.range.end());
            let middle = first.midpoint(last);
            let other = if part.timestep > middle { first..=middle } else { middle + 1..=last };
            let timestep = draw(&other, &mut self.generator);
            self.next.push_back((other, timestep));
        }
    }
}

/// How far each term is off as a standard deviation, by the draw of its timestep and by its noise: how far it is from where a
/// straight line through two neighbours has it, in logarithms of term and timestep, since terms are much like a power of t.
/// Of fewer than three nobody knows.
fn deviations(parts: &[Part]) -> Option<Vec<f64>> {
    let place = |part: &Part| (0.5 * (part.range.start() + part.range.end()) as f64).ln();
    let term = |part: &Part| part.term.max(f64::MIN_POSITIVE).ln();
    let deviation = |i: usize| {
        let [a, b] = match i {
            0 => [1, 2],
            _ if i + 1 == parts.len() => [i - 1, i - 2],
            _ => [i - 1, i + 1],
        };
        let [a, here, b] = [a, i, b].map(|i| &parts[i]);
        let share = (place(b) - place(here)) / (place(b) - place(a));
        let expected = (share * term(a) + (1.0 - share) * term(b)).exp();
        (here.term - expected).abs() / (1.0 + share.powi(2) + (1.0 - share).powi(2)).sqrt()
    };
    (parts.len() > 2).then(|| (0..parts.len()).map(deviation).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMESTEPS: usize = 1000;

    /// A term like those of a network: a power of t, and a part of it that depends on the noise.
    fn term(drawn: &Drawn) -> f64 {
        let t = drawn.timestep as f64;
        let noise: f64 = drawn.noise.iter().map(|&x| f64::from(x)).sum::<f64>() / (drawn.noise.len() as f64).sqrt();
        (1.0 + 0.1 * noise) * if drawn.timestep == 0 { 0.4 } else { 0.2 * t.powf(-1.3) + 1e-4 }
    }

    fn exact() -> f64 {
        let rest: f64 = (1..TIMESTEPS).map(|t| 0.2 * (t as f64).powf(-1.3) + 1e-4).sum();
        0.01 + 0.4 + rest
    }

    /// Goes on until so many evaluations are done, or all are.
    fn advance(gradual: &mut Gradual, batch: usize, until: usize) {
        while gradual.progress().0 < until {
            let drawn = gradual.take(batch);
            if drawn.is_empty() {
                return;
            }
            gradual.give(&drawn.iter().map(term).collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_timestep_is_taken_once_in_an_order_of_the_seed_alone() {
        for timesteps in [1000, 41, 2, 3] {
            let taken = |batch: usize| {
                let mut gradual = Gradual::new(timesteps, 16, 0.0, 7).unwrap();
                let mut all = Vec::new();
                loop {
                    let drawn = gradual.take(batch);
                    gradual.give(&drawn.iter().map(term).collect::<Vec<_>>());
                    all.extend(drawn.iter().cloned());
                    if drawn.is_empty() {
                        break;
                    }
                }
                assert_eq!(gradual.progress(), (all.len(), all.len()));
                let curve = gradual.estimate().unwrap().curve;
                assert!(curve.iter().enumerate().all(|(t, point)| (point.first, point.last) == (t, t)));
                all
            };
            let all = taken(1);
            assert_eq!(all, taken(7));
            let mut timesteps_taken: Vec<usize> = all.iter().map(|drawn| drawn.timestep).collect();
            timesteps_taken.sort_unstable();
            assert!(timesteps_taken[..DECODERS].iter().all(|&t| t == 0));
            assert!(timesteps_taken[DECODERS..].iter().copied().eq(1..timesteps));
        }
        assert!(Gradual::new(1, 16, 0.0, 0).err().unwrap().to_string().contains("this model has 1"));
    }

    #[test]
    fn estimates_are_right_on_average_and_as_far_off_as_they_say() {
        let few = DECODERS + RANGES;
        // The second is in the middle of a round of halving.
        for until in [few, 100, 400, TIMESTEPS + DECODERS] {
            let (mut off, mut said) = (Vec::new(), Vec::new());
            for seed in 0..200 {
                let mut gradual = Gradual::new(TIMESTEPS, 16, 0.01, seed).unwrap();
                advance(&mut gradual, 4, few - 4);
                assert!(gradual.estimate().is_none());
                advance(&mut gradual, 4, until);
                let estimate = gradual.estimate().unwrap();
                let covered: usize = estimate.curve.iter().map(|point| point.last - point.first + 1).sum();
                assert_eq!(covered, TIMESTEPS);
                let Estimate { prior, denoising, decoder, sum, .. } = estimate;
                assert!((prior.mean + denoising.mean + decoder.mean - sum.mean).abs() < 1e-12);
                off.push(sum.mean - exact());
                said.push(sum.standard_error.unwrap());
            }
            let mean = Mean::of(&off);
            assert!(mean.mean.abs() < 4.0 * mean.standard_error.unwrap(), "{until}: {mean:?}");
            let root = |all: &[f64]| (all.iter().map(|x| x * x).sum::<f64>() / all.len() as f64).sqrt();
            let ratio = root(&said) / root(&off);
            println!("{until}: off by {:.4}, said {:.4}", root(&off), root(&said));
            assert!((0.6..1.7).contains(&ratio), "{until}: {ratio}");
        }
    }
}
