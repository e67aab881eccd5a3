//! What training needs of memory: it is what is said beforehand, computing again takes less, and changes no bit.

use denoise::backend::{Backend, Gpu};
use denoise::config::{SchedulerFile, UNetConfig};
use denoise::inspect::TrainingMemory;
use denoise::op::AdamWSettings;
use denoise::passes::Recompute;
use denoise::random::Generator;
use denoise::training::{Batch, LearningRate, Loss, Objective, Optimiser, Trainer};
use denoise::unet::UNet2DModel;
use denoise::{Precision, Tensor};

use crate::cli::{Folder, succeed};
use crate::digits::{self, backends};
use crate::golden::{self, Golden};
use crate::matrix;
use crate::published::CIFAR10;

const ALL: [Recompute; 3] = [Recompute::Nothing, Recompute::Cheap, Recompute::Blocks];

async fn trainer(backend: &Backend, unet: &UNet2DModel, shape: [usize; 4], what: Recompute) -> Trainer {
    let file = SchedulerFile::from_json("{\"_class_name\": \"DDPMScheduler\"}").unwrap();
    let objective = Objective::new(&file.config(None, "{}").unwrap(), Loss::Simple).unwrap();
    let optimiser =
        Optimiser { adamw: AdamWSettings::default(), warmup: 0, schedule: LearningRate::Constant, ema: 0.99 };
    Trainer::with_recompute(backend, unet, objective, optimiser, shape, what, |_, _| {}).await.unwrap()
}

/// The losses of two steps, and all that is kept after them.
async fn two_steps(
    backend: &Backend,
    unet: &UNet2DModel,
    batch: &Batch,
    what: Recompute,
) -> (Vec<f32>, [Vec<(String, Tensor)>; 4]) {
    let [n, c, h, w] = *batch.images.shape else { panic!("images are NCHW") };
    let mut trainer = trainer(backend, unet, [n, c, h, w], what).await;
    let mut losses = Vec::new();
    for _ in 0..2 {
        losses.extend(trainer.step(unet, batch).await.unwrap());
    }
    losses.extend(trainer.finish().await.unwrap());
    (losses, trainer.kept(unet).await.unwrap())
}

/// Over a network of every family of blocks: the losses, the parameters, and m and v, which gradients leave.
#[test]
fn what_is_computed_again_has_the_same_bits() {
    let golden = Golden::load("loss");
    let cases: Vec<matrix::Case> = golden::list("matrix/unets");
    pollster::block_on(async {
        for (backend, device) in backends().await.iter().zip(["CPU", "GPU"]) {
            let names = ["skip_scale_shift", "k_blocks", "resnet_blocks", "class_index"];
            // The larger one takes too long on a processor that stands in for a GPU.
            for &name in names.iter().chain((device == "CPU").then_some(&"digits")) {
                let unet = || match cases.iter().find(|case| case.name == name) {
                    Some(case) => matrix::model(case).unwrap(),
                    None => digits::network(),
                };
                let get = |what: &str| golden.find(&format!("{name}.{what}")).map(golden::Array::tensor);
                let mut generator = Generator::new(5);
                let mut random = || Tensor::new(&[2, 1, 32, 32], generator.randn(2 * 32 * 32)).unwrap();
                let batch = Batch {
                    images: get("sample").unwrap_or_else(&mut random),
                    noise: get("noise").unwrap_or_else(&mut random),
                    timesteps: vec![20, 700],
                    class_labels: unet().config().num_class_embeds.map(|_| vec![1.0, 2.0]),
                    dropout_seed: None,
                };
                let first = two_steps(backend, &unet(), &batch, ALL[0]).await;
                assert!(first.0.len() == 2 && first.0.iter().all(|loss| loss.is_finite()), "{name}: {:?}", first.0);
                for what in &ALL[1..] {
                    let again = two_steps(backend, &unet(), &batch, *what).await;
                    assert!(first.0 == again.0, "{name} on the {device}, {what:?}: {:?} and {:?}", first.0, again.0);
                    for (a, b) in first.1.iter().flatten().zip(again.1.iter().flatten()) {
                        assert!(a.0 == b.0 && a.1.data == b.1.data, "{name} on the {device}, {what:?}: {}", a.0);
                    }
                }
            }
        }
    });
}

/// Bytes that a GPU makes for a plan besides: the parameters of dispatches, and what a loss is read back through.
fn besides(trainer: &Trainer) -> u64 {
    let plan = trainer.executor().plan();
    let aligned = |bytes: usize| bytes.next_multiple_of(256) as u64;
    let kernels: Vec<_> = plan.all_steps().map(denoise::plan::Step::kernel).collect();
    // Of each kernel, and of 1,024 pieces where one can be dispatched in pieces.
    let pieces = if kernels.iter().any(|kernel| kernel.first.is_some()) { 1024 } else { 0 };
    let parameters = 256 * (kernels.len() + pieces) as u64;
    // Three buffers for the losses of sixteen steps each.
    let staging = 3 * 16 * plan.output("loss").unwrap().bytes() as u64;
    let rounding: u64 = plan.constants.iter().map(|one| aligned(one.bytes()) - one.bytes() as u64).sum();
    parameters + staging + rounding
}

/// What `denoise inspect --train` says of the digits model is what the GPU allocates, to the byte.
#[test]
fn what_training_needs_is_known_beforehand() {
    let said = succeed(&["inspect", "www/models/digits", "--train", "--batch", "16"]);
    let column = |what: &str| -> Vec<u64> {
        let line = said.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{said} has no {what}"));
        line.split_whitespace().map_while(|number| number.replace(',', "").parse().ok()).collect()
    };
    let totals = column("bytes to train with batches of 16 on the GPU");
    let unet = digits::network();
    let gpu = pollster::block_on(Gpu::open()).unwrap();
    for (i, what) in ALL.into_iter().enumerate() {
        let counted = TrainingMemory::new(unet.config().clone(), 16, None, Some(gpu.tuning()), what).unwrap();
        assert_eq!(totals[i], counted.total());
        let before = gpu.counters().bytes;
        // One of its own, so that no buffer is there already.
        let (unet, backend) = (digits::network(), Backend::Gpu(gpu.clone()));
        let trainer = pollster::block_on(trainer(&backend, &unet, [16, 1, 32, 32], what));
        let made = gpu.counters().bytes - before;
        assert_eq!(made, counted.total() + besides(&trainer), "{what:?}");
        assert_eq!(trainer.executor().plan().bytes(), counted.total());
        println!("{what:?}: {counted:?}, {} bytes besides", besides(&trainer));
    }
    // What is kept is less by these factors.
    let values = column("bytes of values, kept");
    assert!(values[1] as f64 <= 0.75 * values[0] as f64, "{values:?}");
    assert!(values[2] as f64 <= 0.42 * values[0] as f64, "{values:?}");
    let numbers = unet.parameters() as u64 * Precision::F32.bytes() as u64;
    for (what, least) in [("bytes of parameters", numbers), ("bytes of Adam's m and v", 2 * numbers)] {
        assert!(column(what).iter().all(|&bytes| (least..least + least / 50).contains(&bytes)), "{what}: {said}");
    }
}

/// Of a larger network, on both kinds of devices.
#[test]
fn blocks_take_less_memory_in_large_networks() {
    for (tuning, device) in [(None, "CPU"), (Some(denoise::tuning::Tuning::default()), "GPU")] {
        let config = UNetConfig::from_json(CIFAR10).unwrap();
        let [nothing, cheap, blocks] =
            ALL.map(|what| TrainingMemory::new(config.clone(), 16, None, tuning, what).unwrap().values);
        println!("{device}: {nothing}, {cheap}, {blocks} bytes of values");
        assert!(cheap as f64 <= 0.65 * nothing as f64 && blocks as f64 <= 0.42 * nothing as f64, "{device}");
    }
}

/// It is an option of a run, also of one that goes on, and leaves the same files.
#[test]
fn a_run_may_go_on_with_another_choice() {
    let folder = Folder::new("memory-runs");
    std::fs::create_dir_all(folder.path("data")).unwrap();
    for i in 0..4_u8 {
        let file = std::fs::File::create(folder.path(&format!("data/{i}.png"))).unwrap();
        let mut encoder = png::Encoder::new(file, 8, 8);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(&[60 * i; 64]).unwrap();
    }
    let (data, [whole, parts]) = (folder.path("data"), ["whole", "parts"].map(|out| folder.path(out)));
    let common = ["--batch", "2", "--sample-every", "0", "--backend", "cpu"];
    let train = |out: &str, more: &[&str]| succeed(&[&["train", &data, "--out", out], &common[..], more].concat());
    train(&whole, &["--steps", "4"]);
    train(&parts, &["--steps", "2", "--recompute", "blocks"]);
    train(&parts, &["--steps", "3", "--resume"]);
    train(&parts, &["--steps", "4", "--resume", "--recompute", "nothing"]);
    for file in ["parameters.safetensors", "m.safetensors", "v.safetensors", "average.safetensors"] {
        let [whole, parts] = [&whole, &parts].map(|out| std::fs::read(format!("{out}/checkpoint/{file}")).unwrap());
        assert!(whole == parts, "{file}");
    }
}
