//! What a step of sampling does beside the network.

use super::*;

mod coefficients;
mod guide;
mod inpaint;
mod input_scale;
mod langevin;
mod learned_noise;
mod norm;
mod predict_x0;
mod quantile;
mod remember;
mod renoise;
mod rescale;
mod shift;
mod threshold;
mod update;

pub use coefficients::{Coefficients, KEEPS, Keep};
pub use guide::Guide;
pub use inpaint::Inpaint;
pub use input_scale::InputScale;
pub use langevin::Langevin;
pub use learned_noise::LearnedNoise;
pub use norm::Norm;
pub use predict_x0::PredictX0;
pub use quantile::Quantile;
pub use remember::{REGISTERS, Remember};
pub use renoise::Renoise;
pub use rescale::Rescale;
pub use shift::Shift;
pub use threshold::Threshold;
pub use update::Update;
