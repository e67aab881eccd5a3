//! A run of training as a library's user has it: steps, checkpoints and samples on the way.

use denoise::dataset::Dataset;
use denoise::training::{Checkpoint, Learner, Recipe};
use denoise::{Backend, Pipeline, Prepared, Sampler, Settings, Tensor};

use crate::digits::backends;
use crate::training::CONFIG;

/// Twelve images of two classes.
fn images() -> Dataset {
    let pixel = |i: usize| ((i * 37 + (i / 256) * 91) % 256) as u8;
    let labels = (0..12).map(|i| i % 2).collect();
    Dataset::new([12, 1, 16, 16], (0..12 * 256).map(pixel).collect(), Some(labels), Vec::new()).unwrap()
}

async fn begin(backend: &Backend) -> Learner {
    let recipe =
        Recipe { config: CONFIG.into(), batch: 4, lr: 1e-2, label_dropout: 0.2, flip: true, ..Recipe::default() };
    let recipe = recipe.for_dataset(&images()).unwrap();
    Learner::begin(backend, recipe, images(), None, &mut |_, _| {}).await.unwrap()
}

fn settings() -> Settings {
    Settings { steps: 3, count: 2, class_labels: vec![0.0, 1.0], seeds: vec![7], ..Settings::default() }
}

/// What a run ends with.
async fn finished(mut sampler: Sampler) -> Tensor {
    while sampler.next().await.unwrap().is_some() {}
    sampler.sample().await.unwrap()
}

/// The samples of a checkpoint's model, loaded as any model is.
async fn samples_of(backend: &Backend, checkpoint: &Checkpoint) -> Tensor {
    let files = checkpoint.model().unwrap();
    let file = |path: &str| &files.iter().find(|(other, _)| other == path).unwrap().1[..];
    let text = |path: &str| std::str::from_utf8(file(path)).unwrap();
    let weights = [file("unet/diffusion_pytorch_model.safetensors")];
    let [config, scheduler] = ["unet/config.json", "scheduler/scheduler_config.json"].map(text);
    let pipeline = Pipeline::from_files(config, weights, Some(scheduler), Some(text("card.json"))).unwrap();
    let (layout, _) = settings().check(&pipeline).unwrap();
    let prepared = Prepared::new(backend, &pipeline, layout, |_, _| {}).await.unwrap();
    finished(Sampler::new(&pipeline, &prepared, &settings()).unwrap()).await
}

#[test]
fn what_is_sampled_on_the_way_is_what_the_checkpoint_samples() {
    for backend in pollster::block_on(backends()) {
        pollster::block_on(async {
            let mut learner = begin(&backend).await;
            let mut before = None;
            for _ in 0..3 {
                for _ in 0..2 {
                    learner.step().await.unwrap();
                }
                let samples = finished(learner.sampler(&settings()).await.unwrap()).await;
                let checkpoint = learner.checkpoint().await.unwrap().unwrap();
                assert_eq!(samples.data, samples_of(&backend, &checkpoint).await.data, "step {}", checkpoint.step);
                assert_ne!(before.replace(samples.data.clone()), Some(samples.data));
            }
        });
    }
}

#[test]
fn sampling_changes_nothing_of_what_is_learned() {
    for backend in pollster::block_on(backends()) {
        pollster::block_on(async {
            let mut ends = Vec::new();
            for samples in [false, true] {
                let mut learner = begin(&backend).await;
                for _ in 0..4 {
                    learner.step().await.unwrap();
                    if samples {
                        finished(learner.sampler(&settings()).await.unwrap()).await;
                    }
                }
                ends.push(learner.checkpoint().await.unwrap().unwrap().files);
            }
            assert!(ends[0] == ends[1]);
        });
    }
}

#[test]
fn a_run_goes_on_from_its_checkpoint_with_the_same_bits() {
    let backend = Backend::Cpu;
    pollster::block_on(async {
        let mut unbroken = begin(&backend).await;
        let mut broken = begin(&backend).await;
        for _ in 0..2 {
            unbroken.step().await.unwrap();
            broken.step().await.unwrap();
        }
        let checkpoint = broken.checkpoint().await.unwrap().unwrap();
        // As somebody keeps it: files by their names.
        let read = |name: &str| {
            let file = checkpoint.files.iter().find(|(other, _)| other == name);
            file.map(|(_, bytes)| bytes.clone()).ok_or_else(|| denoise::Error::State(name.into()))
        };
        let checkpoint = Checkpoint::read(read).unwrap();
        let mut resumed = Learner::resume(&backend, &checkpoint, images(), &mut |_, _| {}).await.unwrap();
        for _ in 0..3 {
            unbroken.step().await.unwrap();
            resumed.step().await.unwrap();
        }
        let [a, b] = [&unbroken, &resumed].map(|learner| pollster::block_on(learner.checkpoint()).unwrap().unwrap());
        assert_eq!((a.step, b.step), (5, 5));
        for ((name, one), (_, other)) in a.files.iter().zip(&b.files) {
            assert!(one == other, "{name} differs");
        }
    });
}

#[test]
fn what_cannot_be_gone_on_with_is_refused() {
    pollster::block_on(async {
        let backend = Backend::Cpu;
        let whole = begin(&backend).await.checkpoint().await.unwrap().unwrap();
        let refused = async |checkpoint: &Checkpoint, images: Dataset, expected: &str| {
            let error = Learner::resume(&backend, checkpoint, images, &mut |_, _| {}).await.err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        };
        let without = |name: &str| Checkpoint {
            recipe: whole.recipe.clone(),
            step: whole.step,
            files: whole.files.iter().filter(|(other, _)| other != name).cloned().collect(),
        };
        refused(&without("generator.bin"), images(), "The checkpoint has no generator.bin").await;
        refused(&without("v.safetensors"), images(), "The checkpoint has no v.safetensors").await;
        let fewer = Dataset::new([8, 1, 16, 16], vec![0; 8 * 256], Some(vec![0; 8]), Vec::new()).unwrap();
        refused(&whole, fewer, "12 images").await;
        let large = Dataset::new([12, 1, 32, 32], vec![0; 12 << 10], Some(vec![0; 12]), Vec::new()).unwrap();
        refused(&whole, large, "expected 16×16, found 32×32").await;
        let record = Checkpoint::read(|_| Ok::<_, denoise::Error>(b"{".to_vec())).err().unwrap().to_string();
        assert!(record.contains("training.json is not what this version writes"), "{record}");
    });
}

#[test]
fn a_recipe_takes_only_what_it_has() {
    let with = |changes: serde_json::Value| Recipe::with(changes.as_object().unwrap().clone());
    let recipe = with(serde_json::json!({ "lr": 0.5, "steps": 7, "dropout": null })).unwrap();
    assert_eq!((recipe.lr, recipe.steps, recipe.batch, recipe.dropout), (0.5, 7, 16, None));
    let unknown = with(serde_json::json!({ "learning_rate": 1 })).unwrap_err().to_string();
    assert_eq!(unknown, "Training has no setting learning_rate.");
    let wrong = with(serde_json::json!({ "batch": "many" })).unwrap_err().to_string();
    assert!(wrong.contains("The settings of training are not valid"), "{wrong}");
    // What a checkpoint was asked to be is not made up.
    let mut record = serde_json::to_value(&recipe).unwrap();
    record.as_object_mut().unwrap().remove("seed");
    assert!(serde_json::from_value::<Recipe>(record).is_err());
}
