//! What networks of every kind are made of: parameters that arrive in files, and layers that read them.

mod layers;
mod naming;
mod parameters;
mod weights_file;

pub(crate) use layers::{FREQUENCIES, Heads, Layers, ParametersOf};
pub(crate) use parameters::{Learned, PackedTensor, Parameter, Parameters};
pub use weights_file::WeightsFile;
