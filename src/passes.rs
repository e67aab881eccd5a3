//! Rewritings of graphs.

mod gradient;

pub use gradient::{gradient, vector_jacobian_product};
