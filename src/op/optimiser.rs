//! What changes parameters.

use super::*;

mod adamw;
mod ema;
mod square_norm;

pub use adamw::{AdamW, AdamWSettings};
pub use ema::Ema;
pub use square_norm::SquareNorm;
