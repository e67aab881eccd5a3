//! What gradients are computed with: each op's of its own name, and what several share.

use super::*;

mod activation_gradient;
mod attention_gradient;
mod attention_scores_gradient;
mod attention_values_gradient;
mod attention_weights_gradient;
mod conv2d_input_gradient;
mod cross_entropy_gradient;
mod embedding_gradient;
mod group_norm_gradient;
mod mean_square_error_gradient;
mod modulate_gradient;
mod moments_gradient;
mod pad_channels;
mod scale_shift_gradient;
mod softmax_gradient;
mod sum_rows;
mod transpose_kernel;
mod upfirdn2d_gradient;
mod variational_bound_gradient;
mod weight_gradient;

pub use activation_gradient::ActivationGradient;
pub use attention_gradient::AttentionGradient;
pub use attention_scores_gradient::AttentionScoresGradient;
pub use attention_values_gradient::AttentionValuesGradient;
pub use attention_weights_gradient::AttentionWeightsGradient;
pub use conv2d_input_gradient::Conv2dInputGradient;
pub use cross_entropy_gradient::CrossEntropyGradient;
pub use embedding_gradient::EmbeddingGradient;
pub use group_norm_gradient::GroupNormGradient;
pub use mean_square_error_gradient::MeanSquareErrorGradient;
pub use modulate_gradient::ModulateGradient;
pub use moments_gradient::MomentsGradient;
pub use pad_channels::PadChannels;
pub use scale_shift_gradient::ScaleShiftGradient;
pub use softmax_gradient::SoftmaxGradient;
pub use sum_rows::SumRows;
pub use transpose_kernel::TransposeKernel;
pub use upfirdn2d_gradient::Upfirdn2dGradient;
pub use variational_bound_gradient::VariationalBoundGradient;
pub use weight_gradient::WeightGradient;
