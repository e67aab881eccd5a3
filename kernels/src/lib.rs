//! The arithmetic of the CPU backend: what takes its time.
//!
//! A package of its own because Cargo optimises package by package: this one is always built for speed, while the page
//! builds everything around it for size.

pub mod gemm;
pub mod math;
pub mod outer;
pub mod parallel;
mod scratch;
mod tile;
pub mod winograd;
pub mod winograd_gradient;

pub use scratch::scratch;

/// Numbers for tests, between −1 and 1.
#[cfg(test)]
fn numbers(seed: u32, len: usize) -> Vec<f32> {
    // A linear congruential generator (Numerical Recipes, section 7.1).
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}
