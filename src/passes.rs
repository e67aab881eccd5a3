//! Rewritings of graphs.

mod assemble;
mod cut;
mod fuse;
mod gradient;
mod recompute;

pub(crate) use assemble::assemble;
pub(crate) use cut::{conditions, cut, ranges, read_by_conditions};
pub use fuse::{Fusion, fuse};
pub use gradient::{gradient, vector_jacobian_product};
pub use recompute::{Recompute, recompute};
