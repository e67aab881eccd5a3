//! Everything that runs natively: each op, the schedules, the random numbers, the networks and the sampling loop against
//! PyTorch and diffusers (`tests/golden`), on the CPU and on the GPU.

#![cfg(not(target_arch = "wasm32"))]

mod golden;

mod arriving;
mod bound;
mod check;
mod checkpoint;
mod classifier;
mod cli;
mod dataset;
mod digits;
mod docs;
mod dropout;
mod economy;
mod edits;
mod epochs;
mod gradient_cases;
mod gradients;
mod gradients_norm;
mod hostile;
mod initialise;
mod learner;
mod likelihood;
mod loss_curve;
mod losses;
mod matrix;
mod measuring;
mod memory;
mod model_files;
mod naming;
mod ops;
mod pictures;
mod published;
mod radv;
mod random;
mod runs;
mod sampling_loop;
mod schedulers;
mod schedules;
mod shaders;
mod snapshots;
mod starts;
mod states;
mod static_cost;
mod training;
mod unets;
