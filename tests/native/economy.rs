//! What a step costs, counted: dispatches, and bytes to and from memory.

use denoise::config::{Card, SchedulerFile, UNetConfig};
use denoise::passes::Fusion;
use denoise::plan::Plan;
use denoise::{Pipeline, Settings};

use crate::golden;
use crate::published::{CELEBA_256, CIFAR10};

fn plan(config: &str, count: usize, fusion: Fusion) -> Plan {
    let config = UNetConfig::from_json(config).unwrap();
    let pipeline = Pipeline::without_weights(config, SchedulerFile::default(), Card::default()).unwrap();
    let layout = Settings { count, ..Settings::default() }.layout(&pipeline).unwrap();
    pipeline.plan(&layout, Some(fusion)).unwrap()
}

/// Bytes that convolutions and attention cannot do without: every weight once, and the activations that they read and
/// write.
fn necessary(plan: &Plan) -> u64 {
    let products = plan.steps.iter().filter(|step| step.macs() > 0);
    products.flat_map(|step| step.inputs.iter().chain([step.output()])).map(|operand| operand.bytes() as u64).sum()
}

#[test]
fn a_step_moves_and_dispatches_little() {
    let digits = golden::text("www/models/digits/unet/config.json");
    for (name, config, dispatches) in
        [("digits", &*digits, 78), ("ddpm-cifar10-32", CIFAR10, 149), ("ddpm-celebahq-256", CELEBA_256, 187)]
    {
        let plan = plan(config, 1, Fusion::STAGED);
        let (moved, necessary) = (plan.bytes_moved(), necessary(&plan));
        println!(
            "{name}: {} dispatches, {:.2} GMAC, {:.1} MB moved, {:.1} necessary",
            plan.steps.len(),
            plan.macs() as f64 * 1e-9,
            moved as f64 * 1e-6,
            necessary as f64 * 1e-6
        );
        assert_eq!(plan.steps.len(), dispatches, "{name}");
        assert!(moved as f64 <= 1.3 * necessary as f64, "{name}: {moved} bytes, {necessary} necessary");
    }
}

/// A GPU with large buffers takes sixteen images of 256×256 at a time: neither a value nor a dispatch is too large.
#[test]
fn a_batch_of_large_images_is_within_limits() {
    for fusion in [Fusion::STAGED, Fusion::DIRECT, Fusion::QUADS] {
        let plan = plan(CELEBA_256, 16, fusion);
        let largest = plan.slots.iter().max().unwrap();
        assert!((129 << 20..=1 << 30).contains(largest), "{largest} bytes");
        for step in &plan.steps {
            let groups = step.kernel().workgroups;
            assert!(groups.iter().all(|&groups| groups < 1 << 16), "{}: {groups:?} workgroups", step.name);
        }
    }
}
