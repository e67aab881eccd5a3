//! Whole runs as diffusers' pipelines make them, from the same seeds: one generator for a batch or one an image, guidance,
//! learned variances, inpainting, the SDE, sizes and classes of every kind.

use denoise::backend::{Backend, Gpu};
use denoise::schedule::StepOptions;
use denoise::tuning::Tuning;
use denoise::{Inpainting, Pipeline, Sampler, Settings, Tensor};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::digits::prepare;
use crate::golden::{self, Golden};

/// ‖x_0 − diffusers' x_0‖ / ‖diffusers' x_0‖.
const TOLERANCE: f64 = 1e-3;

#[derive(Deserialize)]
pub struct Case {
    pub name: String,
    pub model: String,
    pub scheduler: String,
    #[serde(default)]
    pub config: Map<String, Value>,
    pub steps: usize,
    pub count: usize,
    pub seeds: Vec<u64>,
    #[serde(default)]
    pub step: Map<String, Value>,
    pub guidance: Option<f64>,
    pub guidance_rescale: Option<f64>,
    null_class: Option<usize>,
    pub size: Option<(usize, usize)>,
    eta: Option<f64>,
    jumps: Option<Map<String, Value>>,
}

/// The folder of a case's model.
pub fn folder(model: &str) -> String {
    if model.starts_with("unet_") { format!("tests/golden/{model}") } else { format!("www/models/{model}") }
}

/// The model of this name, with whatever of a scheduler and a card it has.
pub fn pipeline(model: &str) -> Pipeline {
    let folder = folder(model);
    let (unet, shipped) = match model.starts_with("unet_") {
        true => (folder.clone(), false),
        false => (format!("{folder}/unet"), true),
    };
    let weights = golden::bytes(&format!("{unet}/diffusion_pytorch_model.safetensors"));
    let text = |file: &str| shipped.then(|| golden::text(&format!("{folder}/{file}")));
    let (scheduler, card) = (text("scheduler/scheduler_config.json"), text("card.json"));
    let config = golden::text(&format!("{unet}/config.json"));
    Pipeline::from_files(&config, [&weights[..]], scheduler.as_deref(), card.as_deref()).unwrap()
}

impl Case {
    /// What is asked for, with the tensors of its golden file.
    pub fn settings(&self, pipeline: &Pipeline, golden: &Golden) -> Settings {
        let tensor = |what: &str| golden.find(&format!("{}.{what}", self.name)).map(|array| array.tensor());
        let mut changes = self.config.clone();
        changes.insert("_class_name".into(), self.scheduler.as_str().into());
        let number = |map: &Map<String, Value>, key: &str| map.get(key).and_then(Value::as_f64);
        let jump = |key: &str| self.jumps.as_ref().and_then(|jumps| number(jumps, key)).map_or(10, |n| n as usize);
        let inpaint = tensor("original").map(|original| Inpainting { original, mask: tensor("mask").unwrap() });
        Settings {
            scheduler: Some(pipeline.scheduler().unwrap().with(None, &Value::Object(changes).to_string()).unwrap()),
            steps: self.steps,
            options: StepOptions {
                eta: number(&self.step, "eta").or(self.eta),
                s_churn: number(&self.step, "s_churn").unwrap_or(0.0),
                jump_length: jump("jump_length"),
                jump_n_sample: jump("jump_n_sample"),
                ..StepOptions::default()
            },
            count: self.count,
            size: self.size,
            seeds: self.seeds.clone(),
            class_labels: tensor("classes").map_or(Vec::new(), |classes| classes.data),
            guidance: self.guidance.unwrap_or(1.0),
            guidance_rescale: self.guidance_rescale.unwrap_or(0.0),
            null_class: self.null_class,
            condition: tensor("condition"),
            inpaint,
            ..Settings::default()
        }
    }
}

async fn compare(backend: &Backend, device: &str) {
    let golden = Golden::load("runs");
    let mut failures = Vec::new();
    for case in golden::list::<Case>("runs") {
        let mut pipeline = pipeline(&case.model);
        let settings = case.settings(&pipeline, &golden);
        let prepared = prepare(backend, &mut pipeline, &settings).await;
        let mut sampler = Sampler::new(&pipeline, &prepared, &settings).unwrap();
        while sampler.next().await.unwrap().is_some() {}
        let actual: Tensor = sampler.sample().await.unwrap();
        let expected = golden.get(&format!("{}.x_0", case.name));
        assert_eq!(actual.shape, expected.shape, "{}", case.name);
        let error = golden::relative_error(&actual.data, &expected.data);
        println!("{device} {}: {error:.1e}", case.name);
        if error.is_nan() || error > TOLERANCE {
            failures.push(format!("{}: {error:.1e}", case.name));
        }
    }
    assert!(failures.is_empty(), "{device}: {failures:#?}");
}

#[test]
fn runs_on_the_cpu_end_where_those_of_diffusers_do() {
    pollster::block_on(compare(&Backend::Cpu, "cpu"));
}

/// In the kernels that the tuning chooses for lavapipe, which takes twice as long for the others. Those run in the other tests.
#[test]
fn runs_on_the_gpu_end_where_those_of_diffusers_do() {
    pollster::block_on(async {
        let gpu = Gpu::open().await.unwrap();
        gpu.set_tuning(Tuning::QUADS).unwrap();
        compare(&Backend::Gpu(gpu), "gpu").await;
    });
}
