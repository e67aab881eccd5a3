//! The timesteps at which the bound is computed where that is not at all of them.

use std::ops::RangeInclusive;

use crate::random::Generator;
use crate::{Error, Result};

/// `count` ranges of the timesteps 0 to T − 1. The first is timestep 0 alone, whose term is of another kind; the others
/// become longer with t, since most of the bound is in the first timesteps, where terms differ most: they end at squares. With a
/// timestep of each that is drawn evenly, the sum of the terms times the ranges' lengths is on average the sum over all
/// timesteps.
///
/// # Errors
/// When there would be more of them than timesteps, or less than two.
pub fn strata(timesteps: usize, count: usize) -> Result<Vec<RangeInclusive<usize>>> {
    if !(2..=timesteps).contains(&count) {
        return Err(Error::Settings(format!(
            "The bound was to be computed at {count} timesteps; this model has {timesteps}, of which it takes 2 or more."
        )));
    }
    // At least one timestep further each.
    let edge = |i: usize| 1 + i.max(i * i * (timesteps - 1) / (count - 1).pow(2));
    let rest = (1..count).map(|i| edge(i - 1)..=edge(i) - 1);
    Ok([0..=0].into_iter().chain(rest).collect())
}

/// How many timesteps there are in a range of them.
pub fn length(stratum: &RangeInclusive<usize>) -> usize {
    stratum.end() - stratum.start() + 1
}

/// A timestep of a range, each as likely. It takes a number of the generator only where there is a choice.
pub fn draw(stratum: &RangeInclusive<usize>, generator: &mut Generator) -> usize {
    let offset = match u32::try_from(length(stratum)).ok().and_then(std::num::NonZeroU32::new) {
        Some(high) if high.get() > 1 => generator.randint(high, 1)[0] as usize,
        _ => 0,
    };
    stratum.start() + offset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_timestep_is_in_one_stratum() {
        for (timesteps, count) in [(1000, 1000), (1000, 2), (1000, 37), (40, 39), (2, 2)] {
            let strata = strata(timesteps, count).unwrap();
            assert_eq!((strata.len(), &strata[0]), (count, &(0..=0)));
            assert!(strata.iter().cloned().flatten().eq(0..timesteps), "{timesteps} in {count}");
            let lengths: Vec<usize> = strata[1..].iter().map(length).collect();
            assert!(lengths.iter().all(|&length| length > 0), "{lengths:?}");
            assert!(lengths.windows(2).all(|pair| pair[1] + 1 >= pair[0]), "{lengths:?}");
            assert!(lengths[0] <= timesteps.div_ceil(count - 1), "{lengths:?}");
        }
        for count in [0, 1, 11] {
            assert!(strata(10, count).unwrap_err().to_string().contains("this model has 10"), "{count}");
        }
    }

    #[test]
    fn every_timestep_of_a_stratum_is_drawn() {
        let mut generator = Generator::new(0);
        let mut seen = [0; 4];
        (0..400).for_each(|_| seen[draw(&(3..=6), &mut generator) - 3] += 1);
        assert!(seen.iter().all(|&times| (60..140).contains(&times)), "{seen:?}");
    }
}
