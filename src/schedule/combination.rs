//! Linear combinations of what is at hand at an evaluation of the model.

use std::ops::{Add, Mul, Sub};

use serde::Serialize;

use crate::op::REGISTERS;

/// `x · x_t + model · (the model's output) + x0 · x̂0 + noise · z + Σ kept[i] · (register i)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Combination {
    /// Weight of x_t.
    pub x: f64,
    /// Weight of the model's output.
    pub model: f64,
    /// Weight of x̂0.
    pub x0: f64,
    /// Weight of fresh noise z.
    pub noise: f64,
    /// Weights of what earlier evaluations kept.
    pub kept: [f64; REGISTERS],
}

impl Combination {
    /// Nothing.
    pub const ZERO: Combination = Combination { x: 0.0, model: 0.0, x0: 0.0, noise: 0.0, kept: [0.0; REGISTERS] };
    /// x_t.
    pub const X: Combination = Combination { x: 1.0, ..Self::ZERO };
    /// The model's output.
    pub const MODEL: Combination = Combination { model: 1.0, ..Self::ZERO };
    /// x̂0.
    pub const X0: Combination = Combination { x0: 1.0, ..Self::ZERO };
    /// Fresh noise.
    pub const NOISE: Combination = Combination { noise: 1.0, ..Self::ZERO };

    /// What is in a register.
    pub fn kept(register: usize) -> Self {
        let mut kept = [0.0; REGISTERS];
        kept[register] = 1.0;
        Combination { kept, ..Self::ZERO }
    }
}

/// The slope of a step by Adams and Bashforth's method, from the slope now and up to three before it, which `kept` has by
/// how far back they are (Liu et al. 2022, equation 9, and those of lower order).
pub fn adams_bashforth(earlier: usize, now: Combination, kept: impl Fn(usize) -> Combination) -> Combination {
    match earlier {
        0 => now,
        1 => (now * 3.0 - kept(1)) * (1.0 / 2.0),
        2 => (now * 23.0 - kept(1) * 16.0 + kept(2) * 5.0) * (1.0 / 12.0),
        _ => (now * 55.0 - kept(1) * 59.0 + kept(2) * 37.0 - kept(3) * 9.0) * (1.0 / 24.0),
    }
}

impl Add for Combination {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Combination {
            x: self.x + other.x,
            model: self.model + other.model,
            x0: self.x0 + other.x0,
            noise: self.noise + other.noise,
            kept: std::array::from_fn(|i| self.kept[i] + other.kept[i]),
        }
    }
}

impl Mul<f64> for Combination {
    type Output = Self;

    fn mul(self, factor: f64) -> Self {
        Combination {
            x: self.x * factor,
            model: self.model * factor,
            x0: self.x0 * factor,
            noise: self.noise * factor,
            kept: self.kept.map(|weight| weight * factor),
        }
    }
}

impl Sub for Combination {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + other * -1.0
    }
}
