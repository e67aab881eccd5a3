//! Classifiers of noisy images, their gradients, and runs that they guide, against PyTorch (`tests/golden/classifier.py`).

use std::rc::Rc;

use denoise::backend::Backend;
use denoise::classifier::Classifier;
use denoise::config::{ClassifierConfig, Pool, SchedulerConfig, SchedulerKind};
use denoise::initialise::initial_classifier_weights;
use denoise::random::Generator;
use denoise::schedule::StepOptions;
use denoise::training::{Batch, Loss, Objective, loss_and_gradients};
use denoise::{ClassifierGuidance, Inpainting, Pipeline, Sampler, Settings, Share, Shifted, Start, Tensor, Weights};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::cli::{Folder, fail, succeed};
use crate::digits::{backends, prepare};
use crate::golden::{self, Golden, relative_error};
use crate::runs;

const NAMES: [&str; 3] = ["classifier_attention", "classifier_adaptive", "classifier_odd"];

fn classifier(name: &str) -> Classifier {
    let config = ClassifierConfig::from_json(&golden::text(&format!("tests/golden/{name}/config.json"))).unwrap();
    let weights = golden::bytes(&format!("tests/golden/{name}/diffusion_pytorch_model.safetensors"));
    Classifier::new(config, [&weights[..]]).unwrap()
}

#[test]
fn logits_and_gradients_agree_with_pytorch() {
    let golden = Golden::load("classifier");
    pollster::block_on(async {
        for (backend, device) in backends().await.iter().zip(["CPU", "GPU"]) {
            for name in NAMES {
                let tensor = |what: &str| golden.get(&format!("{name}.{what}")).tensor();
                let (sample, timesteps, labels) = (tensor("sample"), tensor("timestep"), tensor("class_labels"));
                let classifier = classifier(name);
                let (logits, gradient) =
                    classifier.classify(backend, &sample, &timesteps.data, &labels.data).await.unwrap();
                let expected = golden.get(&format!("{name}.logits"));
                assert_eq!(logits.shape, expected.shape);
                let of_logits = relative_error(&logits.data, &expected.data);
                let expected = golden.get(&format!("{name}.gradient"));
                assert_eq!(gradient.shape, expected.shape);
                let of_gradient = relative_error(&gradient.data, &expected.data);
                println!("{device} {name}: logits {of_logits:.1e}, gradient {of_gradient:.1e}");
                assert!(
                    of_logits <= 1e-5 && of_gradient <= 1e-5,
                    "{device} {name}: {of_logits:.1e}, {of_gradient:.1e}"
                );
            }
        }
    });
}

/// A run of `classifier.json`.
#[derive(Deserialize)]
struct Case {
    name: String,
    model: String,
    classifier: String,
    scheduler: String,
    #[serde(default)]
    config: Map<String, Value>,
    steps: usize,
    count: usize,
    seeds: Vec<u64>,
    scale: f64,
    /// For each image, classes and their weights.
    targets: Vec<Vec<(usize, f32)>>,
    #[serde(default)]
    classes: Vec<f32>,
    guidance: Option<f64>,
}

impl Case {
    fn pipeline(&self) -> Pipeline {
        runs::pipeline(&self.model).with_classifier(Rc::new(classifier(&self.classifier))).unwrap()
    }

    fn settings(&self, pipeline: &Pipeline) -> Settings {
        let mut changes = self.config.clone();
        changes.insert("_class_name".into(), self.scheduler.as_str().into());
        let classes = classifier(&self.classifier).classes();
        let mut weights = vec![0.0; self.count * classes];
        for (image, targets) in self.targets.iter().enumerate() {
            targets.iter().for_each(|&(label, weight)| weights[image * classes + label] = weight);
        }
        Settings {
            scheduler: Some(pipeline.scheduler().unwrap().with(None, &Value::Object(changes).to_string()).unwrap()),
            steps: self.steps,
            count: self.count,
            seeds: self.seeds.clone(),
            class_labels: self.classes.clone(),
            guidance: self.guidance.unwrap_or(1.0),
            classifier: Some(ClassifierGuidance {
                scale: self.scale,
                weights: Tensor::new(&[self.count, classes], weights).unwrap(),
                in_frames: false,
            }),
            ..Settings::default()
        }
    }
}

async fn end_of(backend: &Backend, pipeline: &mut Pipeline, settings: &Settings) -> Tensor {
    let prepared = prepare(backend, pipeline, settings).await;
    let mut sampler = Sampler::new(pipeline, &prepared, settings).unwrap();
    while sampler.next().await.unwrap().is_some() {}
    sampler.sample().await.unwrap()
}

#[test]
fn guided_runs_end_where_those_of_pytorch_do() {
    let golden = Golden::load("classifier");
    let mut failures = Vec::new();
    pollster::block_on(async {
        for (backend, device) in backends().await.iter().zip(["CPU", "GPU"]) {
            for case in golden::list::<Case>("classifier") {
                // The whole way of the digits takes long on a GPU of software.
                if device == "GPU" && !["ddpm_large", "ddim_with_guidance", "ddpm_learned"].contains(&&case.name[..]) {
                    continue;
                }
                let mut pipeline = case.pipeline();
                let settings = case.settings(&pipeline);
                let found = end_of(backend, &mut pipeline, &settings).await;
                let expected = golden.get(&format!("{}.x_0", case.name));
                assert_eq!(found.shape, expected.shape);
                let error = relative_error(&found.data, &expected.data);
                let alone = Settings { classifier: None, ..settings };
                let alone = end_of(&Backend::Cpu, &mut pipeline, &alone).await;
                let moved = relative_error(&alone.data, &expected.data);
                println!("{device} {}: {error:.1e}, without the classifier {moved:.1e}", case.name);
                // A classifier that changes nothing would show nothing.
                if !(error <= 1e-3 && moved > 0.05) {
                    failures.push(format!("{device} {}: {error:.1e}, {moved:.1e}", case.name));
                }
            }
        }
    });
    assert!(failures.is_empty(), "{failures:#?}");
}

fn case(name: &str) -> Case {
    golden::list::<Case>("classifier").into_iter().find(|case| case.name == name).unwrap()
}

#[test]
fn the_scheduler_tells_what_is_shifted_and_no_scale_is_no_guidance() {
    let case = case("ddpm_learned");
    let mut pipeline = case.pipeline();
    let settings = case.settings(&pipeline);
    let with = |kind| {
        let scheduler = pipeline.scheduler_file().config(Some(kind), "{}").unwrap();
        Settings { scheduler: Some(scheduler), ..settings.clone() }
    };
    let shifted = |kind| with(kind).layout(&pipeline).unwrap().classifier;
    assert_eq!(shifted(SchedulerKind::Ddpm), Some(Shifted::Mean));
    for kind in [SchedulerKind::Ddim, SchedulerKind::Euler, SchedulerKind::UniPc, SchedulerKind::DdimInverse] {
        assert_eq!(shifted(kind), Some(Shifted::Epsilon), "{kind:?}");
    }
    let mut without = settings.clone();
    without.classifier.as_mut().unwrap().scale = 0.0;
    assert_eq!(without.layout(&pipeline).unwrap().classifier, None);
    let alone = Settings { classifier: None, ..settings };
    pollster::block_on(async {
        let ends =
            [end_of(&Backend::Cpu, &mut pipeline, &without).await, end_of(&Backend::Cpu, &mut pipeline, &alone).await];
        assert_eq!(ends[0].data, ends[1].data);
    });
}

#[test]
fn a_guided_run_goes_on_from_a_snapshot_and_is_shared_out() {
    pollster::block_on(async {
        for (backend, device) in backends().await.iter().zip(["CPU", "GPU"]) {
            let case = case("ddpm_learned");
            let mut pipeline = case.pipeline();
            let settings = Settings { seeds: vec![5, 6], ..case.settings(&pipeline) };
            let whole = end_of(backend, &mut pipeline, &settings).await;

            let prepared = prepare(backend, &mut pipeline, &settings).await;
            let mut sampler = Sampler::new(&pipeline, &prepared, &settings).unwrap();
            sampler.end_at(4);
            while sampler.next().await.unwrap().is_some() {}
            let snapshot = sampler.snapshot().await.unwrap();
            let mut sampler = Sampler::resume(&pipeline, &prepared, &settings, &snapshot).unwrap();
            while sampler.next().await.unwrap().is_some() {}
            assert_eq!(sampler.sample().await.unwrap().data, whole.data, "{device}");

            for first in 0..2 {
                let mut share = settings.clone();
                (share.count, share.share) = (1, Some(Share { total: 2, first }));
                let all = &mut share.classifier.as_mut().unwrap().weights;
                let classes = all.shape[1];
                *all = Tensor::new(&[1, classes], all.data[first * classes..][..classes].to_vec()).unwrap();
                let part = end_of(backend, &mut pipeline, &share).await;
                assert_eq!(
                    part.data,
                    whole.data[first * part.data.len()..][..part.data.len()],
                    "{device}, image {first}"
                );
            }
        }
    });
}

#[test]
fn frames_have_what_the_classifier_says_of_x_t_and_change_nothing() {
    pollster::block_on(async {
        for (backend, device) in backends().await.iter().zip(["CPU", "GPU"]) {
            // One that shifts the mean, and one whose ε̂ is shifted.
            for name in ["ddpm_learned", "ddim_with_guidance"] {
                let case = case(name);
                let mut pipeline = case.pipeline();
                let alone = Settings { steps: case.steps.min(4), ..case.settings(&pipeline) };
                let whole = end_of(backend, &mut pipeline, &alone).await;
                let mut settings = alone.clone();
                settings.classifier.as_mut().unwrap().in_frames = true;
                let prepared = prepare(backend, &mut pipeline, &settings).await;
                let mut sampler = Sampler::new(&pipeline, &prepared, &settings).unwrap();
                // These samplers keep x as the network sees it.
                let mut x_t = sampler.initial().clone();
                let weights = &settings.classifier.as_ref().unwrap().weights;
                let mut frames = 0;
                while let Some(frame) = sampler.next().await.unwrap() {
                    let said = frame.classification.expect("it is asked for");
                    let t = sampler.schedule().rows[frame.step].timestep as f32;
                    let times = vec![t; case.count];
                    let classifier = classifier(&case.classifier);
                    let mut gradient = vec![0.0; x_t.data.len()];
                    for label in 0..classifier.classes() {
                        let labels = vec![label as f32; case.count];
                        let (logits, of_label) = classifier.classify(backend, &x_t, &times, &labels).await.unwrap();
                        let error = relative_error(&said.logits.data, &golden::widen(&logits.data));
                        assert!(error < 1e-5, "{device} {name}, logits of frame {frames}: {error:.1e}");
                        assert_eq!(said.logits.shape, logits.shape);
                        let each = gradient.len() / case.count;
                        for (i, (sum, one)) in gradient.iter_mut().zip(&of_label.data).enumerate() {
                            let weight = weights.data[i / each * classifier.classes() + label];
                            *sum += f64::from(weight) * f64::from(*one);
                        }
                    }
                    let error = relative_error(&said.gradient.data, &gradient);
                    assert!(error < 1e-4, "{device} {name}, gradient of frame {frames}: {error:.1e}");
                    assert_eq!(said.gradient.shape, x_t.shape);
                    x_t = frame.prev;
                    frames += 1;
                }
                assert_eq!(frames, sampler.schedule().rows.len());
                assert_eq!(sampler.sample().await.unwrap().data, whole.data, "{device} {name}");
            }
        }
    });
}

#[test]
fn guidance_goes_with_pictures_and_masks() {
    let case = case("ddpm_learned");
    let mut pipeline = case.pipeline();
    let settings = case.settings(&pipeline);
    let shape = [2, 2, 8, 8];
    let picture: Vec<f32> = (0..256).map(|i| (i % 13) as f32 / 6.5 - 1.0).collect();
    let picture = Tensor::new(&shape, picture).unwrap();
    let mask = Tensor::new(&shape, (0..256).map(|i| f32::from(u8::from(i % 8 < 4))).collect()).unwrap();
    pollster::block_on(async {
        for kind in [SchedulerKind::Ddim, SchedulerKind::Ddpm, SchedulerKind::RePaint] {
            let scheduler = pipeline.scheduler_file().config(Some(kind), "{}").unwrap();
            let inpaint = Some(Inpainting { original: picture.clone(), mask: mask.clone() });
            let options = StepOptions { jump_length: 2, jump_n_sample: 2, ..StepOptions::default() };
            let options = if kind == SchedulerKind::RePaint { options } else { StepOptions::default() };
            let inpainting = Settings { scheduler: Some(scheduler.clone()), inpaint, options, ..settings.clone() };
            let alone = Settings { classifier: None, ..inpainting.clone() };
            let [guided, alone] = [
                end_of(&Backend::Cpu, &mut pipeline, &inpainting).await,
                end_of(&Backend::Cpu, &mut pipeline, &alone).await,
            ];
            let differences = |known: f32| {
                let places = mask.data.iter().zip(guided.data.iter().zip(&alone.data)).filter(|(m, _)| **m == known);
                places.map(|(_, (a, b))| (a - b).abs()).fold(0.0, f32::max)
            };
            println!("{kind:?}: {} where it is known, {} elsewhere", differences(1.0), differences(0.0));
            assert!(differences(0.0) > 0.01, "{kind:?}");
            if kind != SchedulerKind::RePaint {
                assert_eq!(differences(1.0), 0.0, "{kind:?}");
                let start = Some(Start { sample: picture.clone(), alpha_cumprod: 1.0 });
                let options = StepOptions { begin: 5, ..StepOptions::default() };
                let edit = Settings { scheduler: Some(scheduler), start, options, ..settings.clone() };
                let alone = Settings { classifier: None, ..edit.clone() };
                let guided = end_of(&Backend::Cpu, &mut pipeline, &edit).await;
                let alone = end_of(&Backend::Cpu, &mut pipeline, &alone).await;
                assert!(relative_error(&guided.data, &golden::widen(&alone.data)) > 0.01, "{kind:?}");
            }
        }
    });
}

#[test]
fn a_run_that_cannot_be_guided_says_why() {
    let case = case("ddpm_learned");
    let pipeline = case.pipeline();
    let settings = case.settings(&pipeline);
    let message = |settings: &Settings, pipeline: &Pipeline| settings.layout(pipeline).unwrap_err().to_string();
    let assert_says =
        |found: String, expected: &str| assert!(found.contains(expected), "{expected:?} is not in {found}");
    assert_says(
        message(&settings, &runs::pipeline("unet_learned")),
        "guided by a classifier, but the pipeline has none",
    );
    let with = |change: &dyn Fn(&mut ClassifierGuidance)| {
        let mut settings = settings.clone();
        change(settings.classifier.as_mut().unwrap());
        message(&settings, &pipeline)
    };
    assert_says(with(&|guidance| guidance.scale = f64::NAN), "scale is NaN; it must be a number");
    assert_says(with(&|guidance| guidance.scale = 1e300), "it must be a number");
    assert_says(
        with(&|guidance| guidance.weights.data[3] = f32::INFINITY),
        "weights have inf, which is not a finite number",
    );
    assert_says(
        with(&|guidance| guidance.weights = Tensor::new(&[2, 3], vec![0.5; 6]).unwrap()),
        "[2, 4], one an image",
    );
    for kind in
        [SchedulerKind::FlowEuler, SchedulerKind::EdmEuler, SchedulerKind::ScoreSdeVe, SchedulerKind::Consistency]
    {
        let scheduler = pipeline.scheduler_file().config(Some(kind), "{}").unwrap();
        let class = kind.class();
        let found = message(&Settings { scheduler: Some(scheduler), ..settings.clone() }, &pipeline);
        assert_says(found, &format!("{class} has no timesteps with a β each"));
    }
    let flow = pipeline
        .scheduler_file()
        .config(Some(SchedulerKind::UniPc), r#"{"use_flow_sigmas": true, "prediction_type": "flow_prediction"}"#);
    assert_says(
        message(&Settings { scheduler: Some(flow.unwrap()), ..settings.clone() }, &pipeline),
        "has no timesteps",
    );
    assert_says(message(&Settings { size: Some((16, 16)), ..settings }, &pipeline), "2 channels and 16×16 pixels");
    let found =
        runs::pipeline("digits").with_classifier(Rc::new(classifier("classifier_odd"))).err().unwrap().to_string();
    assert_says(found, "The images have 1 channels");
    let found = ClassifierGuidance::to_classes(1.0, &[4], 4).unwrap_err().to_string();
    assert_says(found, "Class 4 does not exist; this classifier has 0 to 3");
}

/// The configuration of a classifier with a field changed, or without it.
fn config(field: &str, value: Value) -> Result<ClassifierConfig, denoise::Error> {
    let mut config: Map<String, Value> =
        serde_json::from_str(&golden::text("tests/golden/classifier_attention/config.json")).unwrap();
    match value {
        Value::Null => drop(config.remove(field)),
        value => drop(config.insert(field.into(), value)),
    }
    ClassifierConfig::from_json(&Value::Object(config).to_string())
}

#[test]
fn configurations_are_guided_diffusions_arguments() {
    let attends = |value: Value| {
        let config = config("attention_resolutions", value).unwrap();
        [1, 2, 4, 8].map(|factor| config.attends(factor))
    };
    // A list is of factors, a text of sides.
    assert_eq!(attends(json!([2, 4])), [false, true, true, false]);
    assert_eq!(attends(json!("32,16")), [true, true, false, false]);
    assert_eq!(attends(json!("8")), [false, false, true, false]);
    assert_eq!(attends(json!([])), [false; 4]);
    assert_eq!(config("num_head_channels", json!(8)).unwrap().heads(32), 4);
    let minimal = json!({"image_size": 64, "in_channels": 3, "model_channels": 128, "out_channels": 1000,
        "num_res_blocks": 2, "attention_resolutions": [2, 4, 8], "use_fp16": true, "num_classes": 3});
    let minimal = ClassifierConfig::from_json(&minimal.to_string()).unwrap();
    assert_eq!(minimal.channels(), [128, 256, 512, 1024]);
    assert_eq!((minimal.pool, minimal.heads(256), minimal.conv_resample), (Pool::Adaptive, 1, true));
    assert_eq!(minimal.unknown_fields, ["num_classes"]);
    // That of the 64×64 images that guided-diffusion's authors published.
    let published = json!({"image_size": 64, "in_channels": 3, "model_channels": 128, "out_channels": 1000,
        "num_res_blocks": 4, "attention_resolutions": "32,16,8", "channel_mult": [1, 2, 3, 4], "num_head_channels": 64,
        "use_scale_shift_norm": true, "resblock_updown": true, "pool": "attention"});
    let published = ClassifierConfig::from_json(&published.to_string()).unwrap();
    let published = Classifier::without_weights(published).unwrap();
    assert_eq!(published.parameters(), 65_438_568); // as PyTorch counts
    for (field, value, expected) in [
        ("image_size", Value::Null, "image_size is missing. It has the arguments of EncoderUNetModel"),
        ("out_channels", json!(0), "out_channels is 0; it must be between 1 and 65536"),
        ("image_size", json!("large"), "image_size is \"large\", which is not supported"),
        ("pool", json!("spatial"), "pool is spatial; only attention and adaptive are supported"),
        ("pool", json!("spatial_v2"), "pool is spatial_v2"),
        ("pool", json!("max"), "pool is \"max\", which is not supported"),
        ("dims", json!(3), "dims is 3; only images"),
        ("num_res_blocks", json!(0), "num_res_blocks is 0"),
        ("model_channels", json!(48), "makes 48 channels; it must be a multiple of 32"),
        ("model_channels", json!(33), "model_channels is 33; a time embedding takes an even number"),
        ("channel_mult", json!([]), "channel_mult has 0 entries"),
        ("channel_mult", json!([1, -1]), "makes 0 channels"),
        ("channel_mult", json!([1, 1, 1, 1, 1, 1, 1]), "image_size is 32, which cannot be halved 6 times"),
        ("num_head_channels", json!(5), "do not divide the 32 channels"),
        ("num_head_channels", json!(64), "do not divide the 32 channels"),
        ("num_head_channels", json!(0), "num_head_channels is 0; it must be positive"),
        ("num_head_channels", json!(-1), "pool is attention, for which num_head_channels must be given"),
        ("attention_resolutions", json!("16,x"), "a text of sides"),
        ("attention_resolutions", json!("0"), "a text of sides"),
        ("attention_resolutions", json!(2.5), "a list of factors"),
        ("dropout", json!(1.0), "dropout is 1"),
        ("_class_name", json!("UNet2DModel"), "_class_name is UNet2DModel; only guided-diffusion's EncoderUNetModel"),
    ] {
        let message = config(field, value.clone()).unwrap_err().to_string();
        assert!(
            message.starts_with("classifier/config.json: ") && message.contains(expected),
            "{field} {value}: {message}"
        );
    }
}

/// A file of the classifier's weights in which tensors were changed.
fn weights(change: impl Fn(&mut Vec<(String, Dtype, Vec<usize>, Vec<u8>)>)) -> Vec<u8> {
    let bytes = golden::bytes("tests/golden/classifier_attention/diffusion_pytorch_model.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<_> = file
        .iter()
        .map(|(name, view)| (name.to_string(), view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        .collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    change(&mut tensors);
    let views =
        tensors.iter().map(|(name, dtype, shape, data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn weights_of_another_network_are_refused() {
    let config = || config("dropout", json!(0.0)).unwrap();
    let read = |bytes: &[u8]| Classifier::new(config(), [bytes]).map(|classifier| classifier.notes());
    let says = |bytes: Vec<u8>, expected: &str| {
        let message = read(&bytes).unwrap_err().to_string();
        assert!(message.contains(expected), "{expected:?} is not in {message}");
    };
    assert!(read(&weights(|_| {})).unwrap().is_empty());
    let notes =
        read(&weights(|tensors| tensors.iter_mut().for_each(|tensor| tensor.0.insert_str(0, "module.")))).unwrap();
    assert_eq!(notes, ["The names of the weights begin with module., which was taken off."]);
    says(weights(|tensors| drop(tensors.pop())), "has no tensor time_embed.2.weight");
    says(weights(|tensors| tensors[0].0 = "input_blocks.9.0.op.weight".into()), "input_blocks.9.0.op.weight");
    says(
        weights(|tensors| {
            let place = tensors.iter().position(|tensor| tensor.0 == "out.2.positional_embedding").unwrap();
            tensors[place].2 = vec![65, 32];
        }),
        "has out.2.positional_embedding with shape [65, 32], but the configuration asks for [32, 65]",
    );
    let unet = golden::bytes("www/models/digits/unet/diffusion_pytorch_model.safetensors");
    says(unet, "of different models");
    says(weights(|_| {})[..1000].to_vec(), "cut off");
}

/// The tensors of a network in the order of their names, as the golden lists have them.
fn sorted(tensors: impl IntoIterator<Item = (String, Tensor)>) -> Vec<(String, Tensor)> {
    let mut tensors: Vec<_> = tensors.into_iter().collect();
    tensors.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    tensors
}

#[test]
fn a_new_classifier_begins_as_in_pytorch() {
    let golden = Golden::load("classifier");
    for (seed, name) in NAMES.into_iter().enumerate() {
        let config = classifier(name).config().clone();
        let mut generator = Generator::new(seed as u64);
        let weights = sorted(initial_classifier_weights(&config, &mut generator).unwrap());
        let get = |what: &str| &golden.get(&format!("{name}.initial.{what}")).data;
        assert_eq!(f64::from(generator.rand(1)[0]), get("next")[0], "{name} has drawn more or less than it should");
        assert_eq!(weights.len(), get("sums").len(), "{name}");
        for (i, (path, tensor)) in weights.iter().enumerate() {
            // Normal ones take their logarithms from elsewhere.
            let tolerance = if path.ends_with("positional_embedding") { 3e-7 } else { 0.0 };
            let sum: f64 = tensor.data.iter().map(|x| f64::from(x.abs())).sum();
            let expected = get("sums")[i];
            let allowed = tensor.data.len() as f64 * tolerance + 1e-12 * expected;
            assert!((sum - expected).abs() <= allowed, "{name}: Σ|{path}| is {sum}, torch has {expected}");
            for (j, expected) in get("first")[4 * i..4 * i + 4].iter().enumerate() {
                let x = tensor.data.get(j).map_or(0.0, |&x| f64::from(x));
                assert!((x - expected).abs() <= tolerance, "{name}: {path}[{j}] is {x}, torch has {expected}");
            }
        }
        let mut network = Classifier::without_weights(config).unwrap();
        network.receive_all(Weights::from_tensors(weights)).unwrap();
    }
}

#[test]
fn losses_and_their_gradients_agree_with_autograd() {
    let golden = Golden::load("classifier");
    let objective = Objective::new(&SchedulerConfig::default(), Loss::CrossEntropy).unwrap();
    pollster::block_on(async {
        for (backend, device) in backends().await.iter().zip(["CPU", "GPU"]) {
            for name in NAMES {
                let get = |what: &str| golden.get(&format!("{name}.learning.{what}"));
                let classifier = classifier(name);
                let batch = Batch {
                    images: get("images").tensor(),
                    noise: get("noise").tensor(),
                    timesteps: get("timestep").data.iter().map(|&t| t as usize).collect(),
                    class_labels: Some(get("class_labels").tensor().data),
                    dropout_seed: None,
                };
                let (losses, gradients) = loss_and_gradients(backend, &classifier, &objective, &batch).await.unwrap();
                let of_loss = relative_error(&losses, &get("loss").data);
                let gradients = sorted(gradients);
                assert_eq!(gradients.len(), get("norms").data.len());
                let largest = get("norms").data.iter().copied().fold(0.0, f64::max);
                let mut worst: f64 = 0.0;
                for (i, (path, gradient)) in gradients.iter().enumerate() {
                    let norm = gradient.data.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
                    let expected = get("norms").data[i];
                    // Some are zero but for rounding: that by a key's bias, and where a GroupNorm takes out what is added.
                    let scale = expected + 1e-3 * largest;
                    let off = (norm - expected).abs() / scale;
                    let first = &get("first").data[4 * i..4 * i + 4];
                    let differences = gradient.data.iter().zip(first).map(|(&x, e)| (f64::from(x) - e).abs());
                    worst = worst.max(off).max(differences.fold(0.0, f64::max) / scale);
                    assert!(worst <= 1e-3, "{device} {name}: {path} is off by {worst:.1e}");
                }
                println!("{device} {name}: loss {of_loss:.1e}, gradients {worst:.1e}");
                assert!(of_loss <= 1e-5, "{device} {name}: {of_loss:.1e}");
            }
        }
        // A loss is of one kind of network.
        let simple = Objective::new(&SchedulerConfig::default(), Loss::Simple).unwrap();
        let nothing = Tensor::new(&[1, 1, 32, 32], vec![0.0; 1024]).unwrap();
        let mut batch = Batch {
            images: nothing.clone(),
            noise: nothing,
            timesteps: vec![3],
            class_labels: Some(vec![2.0]),
            dropout_seed: None,
        };
        let classifier = classifier(NAMES[0]);
        let said = async |objective: &Objective, batch: &Batch| {
            loss_and_gradients(&Backend::Cpu, &classifier, objective, batch).await.unwrap_err().to_string()
        };
        assert!(said(&simple, &batch).await.contains("cross entropy is the loss of a classifier"));
        let digits = runs::pipeline("digits");
        let error = loss_and_gradients(&Backend::Cpu, digits.unet(), &objective, &batch).await.unwrap_err().to_string();
        assert!(error.contains("cross entropy is the loss of a classifier"), "{error}");
        batch.class_labels = Some(vec![10.0]);
        assert!(said(&objective, &batch).await.contains("Class 10 does not exist"));
        batch.class_labels = Some(vec![1.0, 2.0]);
        assert!(said(&objective, &batch).await.contains("There are 2 class labels for 1 images"));
        batch.class_labels = None;
        assert!(said(&objective, &batch).await.contains("each image needs a class label"));
        (batch.class_labels, batch.timesteps) = (Some(vec![1.0]), vec![1000]);
        assert!(said(&objective, &batch).await.contains("Timestep 1000 does not exist"));
    });
}

fn f32s(tensor: &Tensor) -> Vec<u8> {
    bytemuck::cast_slice(&tensor.data).to_vec()
}

type Given<'a> = (&'a str, Dtype, Vec<usize>, Vec<u8>);

fn write(path: &str, tensors: &[Given<'_>]) {
    let views =
        tensors.iter().map(|(name, dtype, shape, data)| (*name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn whole(numbers: &[i64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn read(path: &str, name: &str) -> Tensor {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.len(), 2);
    let view = file.tensor(name).unwrap();
    let data = view.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    Tensor::new(view.shape(), data).unwrap()
}

#[test]
fn the_command_writes_logits_and_gradients() {
    let folder = Folder::new("classify");
    let (input, out) = (folder.path("io.safetensors"), folder.path("out.safetensors"));
    let golden = Golden::load("classifier");
    let name = "classifier_attention";
    let sample = golden.get(&format!("{name}.sample")).tensor();
    let given = [
        ("sample", Dtype::F32, sample.shape.clone(), f32s(&sample)),
        ("timestep", Dtype::I64, vec![2], whole(&[3, 777])),
        ("class_labels", Dtype::I64, vec![2], whole(&[1, 9])),
    ];
    write(&input, &given);
    let model = format!("tests/golden/{name}");
    // Alone, and in a pipeline's folder.
    let beside = folder.path("model/classifier");
    std::fs::create_dir_all(&beside).unwrap();
    for file in ["config.json", "diffusion_pytorch_model.safetensors"] {
        std::fs::copy(golden::path(&format!("{model}/{file}")), format!("{beside}/{file}")).unwrap();
    }
    for (model, backend) in [(&model, "cpu"), (&folder.path("model"), "gpu")] {
        succeed(&["classify", model, "--in", &input, "--out", &out, "--backend", backend]);
        for what in ["logits", "gradient"] {
            let (found, expected) = (read(&out, what), golden.get(&format!("{name}.{what}")));
            assert_eq!(found.shape, expected.shape);
            let error = relative_error(&found.data, &expected.data);
            assert!(error <= 1e-5, "{model} {what}: {error:.1e}");
        }
        std::fs::remove_file(&out).unwrap();
    }

    let arguments = ["classify", &model, "--in", &input, "--out", &out, "--backend", "cpu"];
    let with = |which: usize, dtype: Dtype, shape: &[usize], data: Vec<u8>, expected: &[&str]| {
        let mut given = given.clone();
        given[which] = (given[which].0, dtype, shape.to_vec(), data);
        write(&input, &given);
        fail(&arguments, expected);
    };
    for (missing, name) in [(0, "sample"), (1, "timestep"), (2, "class_labels")] {
        let mut given = given.to_vec();
        given.remove(missing);
        write(&input, &given);
        fail(&arguments, &[&format!("has no {name}")]);
    }
    with(0, Dtype::F32, &[2, 4], f32s(&Tensor::new(&[8], vec![0.0; 8]).unwrap()), &["[N, C, H, W]", "[2, 4]"]);
    let zeros = |len: usize| vec![0; 4 * len];
    with(0, Dtype::F32, &[2, 3, 32, 32], zeros(6144), &["3 channels and 32×32 pixels", "1 channels and 32×32 pixels"]);
    with(0, Dtype::F32, &[2, 1, 16, 16], zeros(512), &["1 channels and 16×16 pixels"]);
    with(0, Dtype::F32, &[0, 1, 32, 32], Vec::new(), &["timestep has 2 values for 0 images"]);
    with(1, Dtype::I64, &[3], whole(&[1, 2, 3]), &["timestep has 3 values for 2 images"]);
    with(1, Dtype::I64, &[2], whole(&[1, -2]), &["Timestep -2 does not exist"]);
    with(1, Dtype::F32, &[2], f32s(&Tensor::new(&[2], vec![1.0, f32::NAN]).unwrap()), &["Timestep NaN does not exist"]);
    with(2, Dtype::I64, &[3], whole(&[1, 2, 3]), &["class_labels has 3 values for 2 images"]);
    with(2, Dtype::I64, &[2], whole(&[1, 10]), &["Class 10 does not exist; this classifier has 0 to 9"]);
    with(2, Dtype::I64, &[2], whole(&[-1, 1]), &["Class -1 does not exist"]);
    write(&input, &given);
    let run =
        |model: &str, out: &str, expected: &[&str]| fail(&["classify", model, "--in", &input, "--out", out], expected);
    run(&folder.path("nowhere"), &out, &["has neither classifier/config.json nor config.json"]);
    run("www/models/digits/unet", &out, &["_class_name is UNet2DModel; only guided-diffusion's EncoderUNetModel"]);
    std::fs::remove_file(format!("{beside}/diffusion_pytorch_model.safetensors")).unwrap();
    run(&folder.path("model"), &out, &["diffusion_pytorch_model.safetensors could not be read"]);
    run(&model, &folder.path("nowhere/out.safetensors"), &["there is no folder"]);
    fail(&["classify", &model, "--in", &folder.path("nowhere"), "--out", &out], &["could not be read"]);
}

#[test]
fn the_command_line_guides_runs() {
    let folder = Folder::new("guided");
    let out = folder.path("x0.safetensors");
    let golden = Golden::load("classifier");
    let guided = |more: &[&str]| {
        let arguments = [
            &[
                "sample",
                "www/models/digits",
                "--classifier",
                "tests/golden/classifier_attention",
                "--backend",
                "cpu",
                "--out",
                &out,
            ],
            more,
        ];
        succeed(&arguments.concat());
        let bytes = std::fs::read(&out).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let view = file.tensor("x_0").unwrap();
        view.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect::<Vec<_>>()
    };
    // The class is the classifier's, and the network is told none.
    let found =
        guided(&["--scheduler", "ddim", "--steps", "20", "--seed", "3", "--class", "3,7", "--classifier-scale", "20"]);
    assert!(relative_error(&found, &golden.get("ddim.x_0").data) <= 1e-3);
    // With guidance both are told it.
    let both = ["--scheduler", "ddim", "--steps", "10", "--seed", "3", "--class", "3,7", "--classifier-scale", "20"];
    let found = guided(&[&both[..], &["--guidance", "2"]].concat());
    assert!(relative_error(&found, &golden.get("ddim_with_guidance.x_0").data) <= 1e-3);
    // From one class to another, the classifier's weights go.
    let of = |more: &[&str]| {
        let common = ["--scheduler", "ddim", "--steps", "2", "--count", "3", "--classifier-scale", "20"];
        guided(&[&common[..], more].concat())
    };
    let (threes, sevens) = (of(&["--class", "3"]), of(&["--class", "7"]));
    let strip = of(&["--class", "3", "--class-to", "7"]);
    let away = |other: &[f32], image: usize| {
        let of = image * 1024..(image + 1) * 1024;
        let expected: Vec<f64> = other[of.clone()].iter().map(|&x| x.into()).collect();
        relative_error(&strip[of], &expected)
    };
    assert!(away(&threes, 0) <= 1e-5 && away(&sevens, 2) <= 1e-5);
    assert!(away(&threes, 1) > 1e-5 && away(&sevens, 1) > 1e-5);

    let run = |more: &[&str], expected: &[&str]| {
        fail(&[&["sample", "www/models/digits", "--out", &out, "--backend", "cpu"], more].concat(), expected);
    };
    let classifier = ["--classifier", "tests/golden/classifier_attention"];
    run(&[&classifier[..], &["--class", "10"]].concat(), &["Class 10 does not exist; this classifier has 0 to 9"]);
    run(&[&classifier[..], &["--class", "1.5"]].concat(), &["--class 1.5 is no class"]);
    run(&[&classifier[..], &["--class", "1,2,3", "--count", "2"]].concat(), &["There are 3 classes for 2 images"]);
    run(&[&classifier[..], &["--class", "1", "--classifier-scale", "nan"]].concat(), &["scale is NaN"]);
    run(
        &[&classifier[..], &["--class", "1", "--scheduler", "flow_euler"]].concat(),
        &["has no timesteps with a β each"],
    );
    run(&["--classifier", "tests/golden/classifier_odd", "--class", "1"], &["The images have 1 channels"]);
}

/// The shift of ε̂ is that of the x that the network saw, also where a sampler raises the noise before its step.
#[test]
fn churned_noise_is_guided_as_much() {
    let config = |kind: &str| {
        let file = denoise::config::SchedulerFile::from_json("{}").unwrap();
        file.config(Some(kind.to_string().try_into().unwrap()), "{}").unwrap()
    };
    let rows = |s_churn: f64| {
        let options = StepOptions { s_churn, ..StepOptions::default() };
        denoise::schedule::Schedule::new(&config("euler"), 10, &options).unwrap().rows
    };
    for (plain, churned) in rows(0.0).iter().zip(&rows(4.0)) {
        assert_eq!(plain.model_from_gradient, churned.model_from_gradient);
        let expected = -(1.0 - plain.alpha_cumprod).sqrt();
        assert!(
            (plain.model_from_gradient - expected).abs() <= 1e-9,
            "{} is not {expected}",
            plain.model_from_gradient
        );
    }
    assert!(rows(4.0).iter().any(|row| row.draws_noise));
}

/// Attention over a large image would be a table of all its pixels by all of them.
#[test]
fn attention_over_too_many_pixels_is_refused() {
    let text = golden::text("tests/golden/classifier_attention/config.json");
    let mut config: Map<String, Value> = serde_json::from_str(&text).unwrap();
    config.insert("image_size".into(), 512.into());
    config.insert("channel_mult".into(), json!([1]));
    config.insert("attention_resolutions".into(), json!([]));
    let config = ClassifierConfig::from_json(&Value::Object(config).to_string());
    let refused = config.and_then(Classifier::without_weights).err().unwrap().to_string();
    assert!(refused.contains("mean_and_pixels"), "{refused}");
}
