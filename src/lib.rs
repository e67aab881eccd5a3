//! Denoise: diffusion models on WebGPU, and on the CPU.
//!
//! A model compiles to a plan, a scheduler compiles to a table, and sampling runs the plan once per row of the table.
//!
//! - [`config`] reads the JSON files of a diffusers pipeline, [`Weights`] its safetensors.
//! - [`unet`] lays the network out as a [`graph`] of [`op`]s; [`plan`] orders it and gives its values memory.
//! - [`backend`] runs a plan: on the GPU through the shaders in `shaders/`, or on the CPU; [`check`] compares the two.
//! - [`schedule`] is the table, [`noise`] the seeded noise, and [`Sampler`] the loop that turns noise into images.
//! - [`fusion`] makes the graph of fewer and larger ops, in the variants that [`tuning`] finds the fastest.
//! - [`passes`] rewrites graphs: its [`passes::gradient`] appends the gradients of a loss.
//! - [`inspect`] counts what a network is made of.
//! - `web` is what JavaScript sees of it.

pub mod backend;
pub mod check;
mod conditions;
pub mod config;
mod error;
pub mod fusion;
pub mod graph;
pub mod inspect;
pub mod model_files;
pub mod noise;
mod numbers;
pub mod op;
pub mod passes;
mod pipeline;
pub mod plan;
mod sampler;
pub mod schedule;
mod template;
pub mod tensor;
pub mod tuning;
pub mod unet;
#[cfg(target_arch = "wasm32")]
pub mod web;
mod weights;

pub use backend::Backend;
pub use error::{Error, Result};
pub use numbers::Numbers;
pub use pipeline::{Extra, Layout, Pipeline};
pub use sampler::{Frame, Inpainting, Prepared, Sampler, Settings, Share};
pub use tensor::{Precision, Shape, Tensor};
pub use weights::{Weights, WeightsReader};
