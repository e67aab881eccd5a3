//! The operations a network is made of: one file each here, one shader of the same name in `shaders/`.
//!
//! Each is an [`Op`], as a [graph](crate::graph) has them: it knows the shapes of its outputs, computes them on the CPU, and
//! describes the shader dispatch that computes them on the GPU. Adding an op is adding its file, its shader and an entry in the
//! list of test cases. An op's own fields are constants of the plan: whatever changes from step to step is an input.

use crate::Shape;

mod differentiable;
mod gradient;
mod loss;
mod network;
mod optimiser;
mod sampling;

pub use crate::graph::{Kernel, Op, View, ViewMut};
pub(crate) use differentiable::differentiable;
pub use differentiable::{Backward, Differentiable};
pub use gradient::*;
pub use loss::*;
pub use network::*;
pub use optimiser::*;
pub use sampling::*;

/// The row that an op is given.
fn row<'a>(view: View<'a>) -> &'a Coefficients {
    bytemuck::from_bytes(bytemuck::cast_slice(view.data))
}

/// Checks that `shape` is that of a row.
fn is_row(shape: &Shape) -> bool {
    shape.dims() == [Coefficients::LEN]
}

/// The shader of an op, by its name, with what it includes, as `build.rs` leaves it.
macro_rules! shader {
    ($name:literal) => {
        include_str!(concat!(env!("OUT_DIR"), "/shaders/", $name, ".wgsl"))
    };
}
use shader;
