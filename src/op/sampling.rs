//! What a step of sampling does beside the network.

use super::*;

mod guide;
mod inpaint;
mod langevin;
mod learned_noise;
mod norm;
mod predict_x0;
mod quantile;
mod remember;
mod renoise;
mod rescale;
mod rgba8;
mod row_scale;
mod threshold;
mod update;

pub use guide::Guide;
pub use inpaint::Inpaint;
pub use langevin::Langevin;
pub use learned_noise::LearnedNoise;
pub use norm::Norm;
pub use predict_x0::PredictX0;
pub use quantile::Quantile;
pub use remember::Remember;
pub use renoise::Renoise;
pub use rescale::Rescale;
pub use rgba8::Rgba8;
pub use row_scale::RowScale;
pub use threshold::Threshold;
pub use update::Update;
