//! What a step costs, counted: dispatches, and bytes to and from memory.

use denoise::config::{SchedulerConfig, UNetConfig};
use denoise::fusion::Fusion;
use denoise::plan::Plan;
use denoise::{Pipeline, Settings};

use crate::golden;

/// The configuration of google/ddpm-cifar10-32.
const CIFAR10: &str = r#"{
    "sample_size": 32, "block_out_channels": [128, 256, 256, 256], "layers_per_block": 2,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": null, "downsample_padding": 0, "flip_sin_to_cos": false, "freq_shift": 1, "norm_eps": 1e-6
}"#;

/// The configuration of google/ddpm-celebahq-256.
const CELEBAHQ: &str = r#"{
    "sample_size": 256, "block_out_channels": [128, 128, 256, 256, 512, 512], "layers_per_block": 2,
    "down_block_types": ["DownBlock2D", "DownBlock2D", "DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"],
    "attention_head_dim": null, "downsample_padding": 0, "flip_sin_to_cos": false, "freq_shift": 1, "norm_eps": 1e-6
}"#;

fn plan(config: &str) -> Plan {
    let config = UNetConfig::from_json(config).unwrap();
    let mut pipeline = Pipeline::without_weights(config, SchedulerConfig::default()).unwrap();
    let layout = Settings::default().layout(&pipeline).unwrap();
    pipeline.plan(&layout, Some(Fusion::STAGED)).unwrap()
}

/// Bytes that convolutions and attention cannot do without: every weight once, and the activations that they read and
/// write.
fn necessary(plan: &Plan) -> u64 {
    let products = plan.steps.iter().filter(|step| step.macs() > 0);
    products.flat_map(|step| step.inputs.iter().chain([&step.output])).map(|operand| operand.bytes() as u64).sum()
}

#[test]
fn a_step_moves_and_dispatches_little() {
    let digits = golden::text("www/models/digits/unet/config.json");
    for (name, config, dispatches) in
        [("digits", &*digits, 90), ("ddpm-cifar10-32", CIFAR10, 150), ("ddpm-celebahq-256", CELEBAHQ, 220)]
    {
        let plan = plan(config);
        let (moved, necessary) = (plan.bytes_moved(), necessary(&plan));
        println!(
            "{name}: {} dispatches, {:.2} GMAC, {:.1} MB moved, {:.1} necessary",
            plan.steps.len(),
            plan.macs() as f64 * 1e-9,
            moved as f64 * 1e-6,
            necessary as f64 * 1e-6
        );
        assert!(plan.steps.len() <= dispatches, "{name}: {} dispatches", plan.steps.len());
        assert!(moved as f64 <= 1.3 * necessary as f64, "{name}: {moved} bytes, {necessary} necessary");
    }
}
