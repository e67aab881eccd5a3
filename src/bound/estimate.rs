//! What the terms of some images at some timesteps say of the whole bound.

use std::ops::RangeInclusive;

use serde::Serialize;

use super::length;

/// A mean over images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mean {
    /// The mean itself.
    pub mean: f64,
    /// How far it is off, as a standard deviation; of a single image nobody knows.
    pub standard_error: Option<f64>,
}

impl Mean {
    /// Of numbers that do not depend on one another.
    pub fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let standard_error = (values.len() > 1).then(|| (squares / (count - 1.0) / count).sqrt());
        Mean { mean, standard_error }
    }
}

/// The terms of a range of timesteps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// The first of them.
    pub first: usize,
    /// The last of them.
    pub last: usize,
    /// One of these terms, on average.
    pub term: Mean,
}

/// The bound and its parts, in bits a number.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// L_T.
    pub prior: Mean,
    /// Σ L_{t−1} over t > 1.
    pub denoising: Mean,
    /// L_0.
    pub decoder: Mean,
    /// The three together.
    pub sum: Mean,
    /// The terms by timestep, L_0 the first.
    pub curve: Vec<Point>,
}

impl Estimate {
    /// From L_T of each image, and for each of the [`super::strata`] the term of each image at a timestep of it. Where every image
    /// has drawn its own timesteps, the standard errors are of these draws too.
    pub fn new(strata: &[RangeInclusive<usize>], terms: &[Vec<f64>], prior: &[f64]) -> Self {
        let whole = |image: usize| {
            let rest = strata.iter().zip(terms).skip(1);
            rest.map(|(stratum, terms)| length(stratum) as f64 * terms[image]).sum::<f64>()
        };
        let denoising: Vec<f64> = (0..prior.len()).map(whole).collect();
        let sum: Vec<f64> = (0..prior.len()).map(|i| prior[i] + denoising[i] + terms[0][i]).collect();
        let point = |(stratum, terms): (&RangeInclusive<usize>, &Vec<f64>)| Point {
            first: *stratum.start(),
            last: *stratum.end(),
            term: Mean::of(terms),
        };
        Estimate {
            prior: Mean::of(prior),
            denoising: Mean::of(&denoising),
            decoder: Mean::of(&terms[0]),
            sum: Mean::of(&sum),
            curve: strata.iter().zip(terms).map(point).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_counts_as_often_as_its_stratum_is_long() {
        let strata = [0..=0, 1..=3, 4..=9];
        let estimate = Estimate::new(&strata, &[vec![1.0, 3.0], vec![0.5, 0.5], vec![0.0, 1.0]], &[0.25, 0.25]);
        assert_eq!(estimate.prior, Mean { mean: 0.25, standard_error: Some(0.0) });
        assert_eq!(estimate.decoder, Mean { mean: 2.0, standard_error: Some(1.0) });
        assert_eq!(estimate.denoising, Mean { mean: 4.5, standard_error: Some(3.0) });
        assert_eq!(estimate.sum, Mean { mean: 6.75, standard_error: Some(4.0) });
        assert_eq!(estimate.curve[2], Point { first: 4, last: 9, term: Mean { mean: 0.5, standard_error: Some(0.5) } });
        assert_eq!(Mean::of(&[2.0]), Mean { mean: 2.0, standard_error: None });
    }
}
