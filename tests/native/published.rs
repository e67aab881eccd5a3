//! The configurations of published models.

/// google/ddpm-cifar10-32.
pub const CIFAR10: &str = r#"{
    "sample_size": 32, "layers_per_block": 2, "attention_head_dim": null, "block_out_channels": [128, 256, 256, 256],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    "downsample_padding": 0, "flip_sin_to_cos": false, "freq_shift": 1, "norm_eps": 1e-6
}"#;

/// google/ddpm-celebahq-256, and those for churches, bedrooms and cats.
pub const CELEBA_256: &str = r#"{
    "sample_size": 256, "layers_per_block": 2, "attention_head_dim": null,
    "block_out_channels": [128, 128, 256, 256, 512, 512],
    "down_block_types": ["DownBlock2D", "DownBlock2D", "DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"],
    "downsample_padding": 0, "flip_sin_to_cos": false, "freq_shift": 1, "norm_eps": 1e-6
}"#;
