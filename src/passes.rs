//! Rewritings of graphs.

mod gradient;

pub use gradient::gradient;
