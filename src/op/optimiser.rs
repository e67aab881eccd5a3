//! What changes parameters.

use super::*;

mod adamw;
mod ema;
mod square_norm;

/// Numbers that are worth another core of the CPU.
const SHARE: usize = 1 << 14;

pub use adamw::{AdamW, AdamWSettings};
pub use ema::Ema;
pub use square_norm::SquareNorm;
