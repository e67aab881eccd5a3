//! Everything that runs natively: each op, the schedules, the noise, the networks and the sampling loop against
//! PyTorch and diffusers (`tests/golden`), on the CPU and on the GPU.

#![cfg(not(target_arch = "wasm32"))]

mod golden;

mod arriving;
mod check;
mod cli;
mod digits;
mod docs;
mod economy;
mod gradients;
mod gradients_norm;
mod hostile;
mod matrix;
mod model_files;
mod naming;
mod noise;
mod ops;
mod published;
mod radv;
mod runs;
mod sampling_loop;
mod schedulers;
mod schedules;
mod shaders;
mod static_cost;
mod unets;
