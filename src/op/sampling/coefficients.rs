//! A row of the schedule, as the ops read it.

use bytemuck::{Pod, Zeroable};

use super::REGISTERS;

/// How many registers a row may write.
pub const KEEPS: usize = 2;

/// A [`crate::schedule::Row`] as the device reads it, with what is the same in all rows of a run.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[allow(missing_docs)]
pub struct Coefficients {
    pub input_scale: f32,
    pub x0_from_x: f32,
    pub x0_from_model: f32,
    pub clip: f32,
    pub prev_from_x: f32,
    pub prev_from_model: f32,
    pub prev_from_x0: f32,
    pub prev_from_noise: f32,
    pub prev_from_kept: [f32; REGISTERS],
    pub keep: [Keep; KEEPS],
    pub threshold_ratio: f32,
    pub threshold_max: f32,
    /// How noise is scaled: 0 by 1, 1 by √v, 2 by exp(½(f · max_log + (1 − f) · min_log)).
    pub learned_sigma: f32,
    pub min_log: f32,
    pub max_log: f32,
    /// w: the model's output becomes null + w · (class − null).
    pub guidance: f32,
    /// φ: how much of the class's own spread the guided output is given back.
    pub guidance_rescale: f32,
    pub undo_scale: f32,
    pub known_from_original: f32,
    pub known_from_noise: f32,
    pub langevin: f32,
    /// What the gradient of a classifier is multiplied by where it is added to the model's output,
    pub model_from_gradient: f32,
    /// and where it is added to the noise.
    pub noise_from_gradient: f32,
    pub pad: [f32; 2],
}

/// What a row puts in a register.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Keep {
    /// The register that is written, or −1.
    pub to: f32,
    /// Weight of x_t.
    pub from_x: f32,
    /// Weight of the model's output.
    pub from_model: f32,
    /// Weight of x̂0.
    pub from_x0: f32,
}

impl Default for Keep {
    fn default() -> Self {
        Keep { to: -1.0, from_x: 0.0, from_model: 0.0, from_x0: 0.0 }
    }
}

impl Coefficients {
    /// How many floats a row is.
    pub const LEN: usize = size_of::<Self>() / size_of::<f32>();
}
