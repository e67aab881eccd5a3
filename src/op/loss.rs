//! What a network learns from.

use super::*;

mod cross_entropy;
mod mean_square_error;
mod mix;
mod spread;
mod sum;
pub(super) mod variational_bound;

pub use cross_entropy::CrossEntropy;
pub use mean_square_error::MeanSquareError;
pub use mix::Mix;
pub use spread::Spread;
pub use sum::Sum;
pub use variational_bound::VariationalBound;
pub(crate) use variational_bound::{divergence, level};
