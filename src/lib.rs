//! Denoise: diffusion models on WebGPU, and on the CPU.
//!
//! A model compiles to a plan, a scheduler compiles to a table, and sampling runs the plan once per row of the table.
//!
//! - [`config`] reads the JSON files of a diffusers pipeline, [`Weights`] its safetensors.
//! - [`unet`] lays the network out as a [`graph`] of [`op`]s; [`plan`] orders it and gives its values memory.
//! - [`backend`] runs a plan: on the GPU through the shaders in `shaders/`, or on the CPU; [`check`] compares the two.
//! - [`schedule`] is the table, [`random`] the seeded noise, and [`Sampler`] the loop that turns noise into images.
//! - [`passes`] rewrites graphs: into fewer and larger ops, in the variants that [`tuner`] finds the fastest, or with the
//!   gradients of a loss. [`state`] is what devices hold for all plans.
//! - [`classifier`] tells the classes of noisy images apart, which sampling can be guided by.
//! - [`initialise`] draws the weights of a network that has learned nothing yet.
//! - `checkpoint` writes folders whole or not at all, `loss_curve` notes and draws how a loss went.
//! - [`dataset`] has the images that a network learns from, [`epochs`] the order in which it sees them.
//! - [`training`] is the step that makes a loss smaller.
//! - [`bound`] says how many bits a number of an image takes a model at most, [`likelihood`] how many by its ODE.
//! - [`inspect`] counts what a network is made of.
//! - `web` is what JavaScript sees of it.

pub mod backend;
pub mod bound;
pub mod check;
#[cfg(not(target_arch = "wasm32"))]
pub mod checkpoint;
pub mod classifier;
pub mod config;
pub mod dataset;
pub mod epochs;
mod error;
pub mod graph;
pub mod initialise;
pub mod inspect;
pub mod likelihood;
#[cfg(not(target_arch = "wasm32"))]
pub mod loss_curve;
pub mod model_files;
mod network;
pub mod op;
pub mod passes;
mod picture;
mod pipeline;
pub mod plan;
pub mod random;
mod sampler;
pub mod schedule;
pub mod state;
mod template;
pub mod tensor;
pub mod training;
pub mod tuner;
pub mod tuning;
pub mod unet;
#[cfg(target_arch = "wasm32")]
pub mod web;
mod weights;

pub use backend::Backend;
pub use error::{Error, Result};
pub use picture::{Shown, rgba8};
pub use pipeline::{Layout, Pipeline, Shifted, StepKind};
pub use sampler::{
    ClassMix, Classification, ClassifierGuidance, Frame, Inpainting, Prepared, Sampler, Settings, Share, Slerp,
    Snapshot, Start,
};
pub use tensor::{Precision, Shape, Tensor};
pub use weights::{Weights, WeightsReader, to_safetensors};
