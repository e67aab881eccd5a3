//! The variational bound against improved-diffusion's formulas on diffusers' networks (`tests/golden/bound.py`).

use denoise::bound::{Bound, Terms};
use denoise::config::{SchedulerConfig, SchedulerKind};
use denoise::{Backend, Error, Pipeline, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::cli::{Folder, denoise, fail, succeed};
use crate::digits::backends;
use crate::golden::{self, Golden};
use crate::runs;

/// Bits a number that a term may be off, of the number itself or, below 1, of 1.
const TOLERANCE: f64 = 1e-4;

#[derive(Deserialize)]
struct Case {
    name: String,
    model: Option<String>,
    config: Map<String, Value>,
}

impl Case {
    fn list() -> Vec<Case> {
        golden::list("bound")
    }

    /// The scheduler of the case's model, or DDPM's defaults, with what the case changes.
    fn scheduler(&self, pipeline: Option<&Pipeline>) -> SchedulerConfig {
        let changes = Value::Object(self.config.clone()).to_string();
        match pipeline {
            Some(pipeline) => pipeline.scheduler_file().config(Some(SchedulerKind::Ddpm), &changes).unwrap(),
            None => SchedulerConfig::default().with(None, &changes).unwrap(),
        }
    }
}

#[track_caller]
fn close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) -> f64 {
    assert_eq!(found.len(), expected.len(), "{what}");
    let off = |(found, expected): (&f64, &f64)| (found - expected).abs() / expected.abs().max(1.0);
    // A NaN would not be the larger of two.
    assert!(found.iter().all(|term| term.is_finite()), "{what}: {found:?}");
    let worst = found.iter().zip(expected).map(off).fold(0.0, f64::max);
    assert!(worst <= tolerance, "{what}: off by {worst:.1e}: {found:?} instead of {expected:?}");
    worst
}

/// Of every variance and prediction, clipped and not, from what a network might say.
#[test]
fn terms_agree_with_improved_diffusion() {
    let golden = Golden::load("bound");
    let cases: Vec<Case> = Case::list().into_iter().filter(|case| case.model.is_none()).collect();
    assert!(cases.len() >= 10);
    for case in cases {
        let get = |what: &str| golden.get(&format!("{}.{what}", case.name));
        let narrow = |what: &str| get(what).tensor().data;
        let terms = Terms::new(&case.scheduler(None)).unwrap();
        let (x0, x_t, model) = (narrow("sample"), narrow("x_t"), narrow("model_output"));
        let (count, image) = (get("sample").shape[0], x0.len() / get("sample").shape[0]);
        let given = model.len() / x_t.len() * image;
        let mut found = Vec::new();
        for (k, &t) in get("timestep").data.iter().enumerate() {
            for i in 0..count {
                let (at, x0) = (k * count + i, &x0[i * image..][..image]);
                let (x_t, model) = (&x_t[at * image..][..image], &model[at * given..][..given]);
                found.push(terms.image(t as usize, x0, x_t, model).unwrap());
            }
        }
        // Golden numbers that would all be alike would compare nothing.
        assert!(found.iter().any(|term| (term - found[0]).abs() > 0.01), "{found:?}");
        let worst = close(&case.name, &found, &get("terms").data, 1e-9);
        let prior: Vec<f64> = x0.chunks(image).map(|x0| terms.prior(x0)).collect();
        println!("{}: {worst:.1e}, {:.1e}", case.name, close(&case.name, &prior, &get("prior").data, 1e-12));
    }
}

#[test]
fn bounds_of_networks_agree_with_improved_diffusion() {
    let golden = Golden::load("bound");
    pollster::block_on(async {
        for (backend, device) in backends().await.iter().zip(["CPU", "GPU"]) {
            for case in Case::list() {
                let Some(model) = &case.model else { continue };
                let get = |what: &str| golden.get(&format!("{}.{what}", case.name));
                let pipeline = runs::pipeline(model);
                let images = get("sample").tensor();
                let (count, size) = (images.shape[0], (images.shape[2], images.shape[3]));
                let labels = golden.find(&format!("{}.class_labels", case.name));
                let labels = labels.map_or(Vec::new(), |labels| labels.tensor().data);
                let timesteps: Vec<usize> = get("timestep").data.iter().map(|&t| t as usize).collect();
                // All at once, in batches of three, so that an image of another timestep is beside it and the last is not full.
                let repeat = |numbers: &[f32]| numbers.repeat(timesteps.len());
                let shape = [&[timesteps.len() * count][..], &images.shape[1..]].concat();
                let all = Tensor::new(&shape, repeat(&images.data)).unwrap();
                let noise = Tensor::new(&shape, get("noise").tensor().data).unwrap();
                let times: Vec<usize> = timesteps.iter().flat_map(|&t| vec![t; count]).collect();
                let scheduler = case.scheduler(Some(&pipeline));
                let bound = Bound::new(backend, &pipeline, &scheduler, 3, size).await.unwrap();
                let found = bound.at(&all, &noise, &times, &repeat(&labels)).await.unwrap();
                let worst = close(&case.name, &found, &get("terms").data, TOLERANCE);
                println!("{device} {}: {worst:.1e}", case.name);
                close(&case.name, &bound.prior(&images).unwrap(), &get("prior").data, 1e-12);
            }
        }
    });
}

#[test]
fn a_bound_that_cannot_be_computed_says_why() {
    let refused = |changes: &str| {
        let config = SchedulerConfig::default().with(None, changes).unwrap();
        Terms::new(&config).err().unwrap().to_string()
    };
    let zero = refused(r#"{"rescale_betas_zero_snr": true}"#);
    assert!(zero.contains("at timestep 999 the bound is infinite"), "{zero}");
    let single = refused(r#"{"num_train_timesteps": 1}"#);
    assert!(single.contains("num_train_timesteps is 1"), "{single}");
    let thresholding = refused(r#"{"thresholding": true, "clip_sample": false}"#);
    assert!(thresholding.contains("thresholding is true"), "{thresholding}");
    let flow = Terms::new(&SchedulerConfig::defaults(SchedulerKind::FlowEuler)).err().unwrap().to_string();
    assert!(flow.contains("FlowMatchEulerDiscreteScheduler is of models that are trained otherwise"), "{flow}");

    let learned = SchedulerConfig::default().with(None, r#"{"variance_type": "learned"}"#).unwrap();
    let error = Terms::new(&learned).unwrap().image(3, &[0.5], &[0.4], &[0.1, -0.25]).err().unwrap().to_string();
    assert!(error.contains("At timestep 3 the model says a variance of -0.25"), "{error}");
    let terms = Terms::new(&SchedulerConfig::default()).unwrap();
    let error = terms.image(0, &[0.5], &[0.4], &[f32::NAN]).err().unwrap().to_string();
    assert!(error.contains("At timestep 0 the model's output is not finite"), "{error}");

    pollster::block_on(async {
        let own = SchedulerConfig::default();
        let new = async |model: &str, config: &SchedulerConfig, batch, size| {
            let pipeline = runs::pipeline(model);
            let made = Bound::new(&Backend::Cpu, &pipeline, config, batch, size).await;
            made.err().map_or(String::new(), |error: Error| error.to_string())
        };
        let condition = new("unet_condition", &own, 1, (8, 8)).await;
        assert!(condition.contains("the model takes a condition beside x_t"), "{condition}");
        let silent = new("unet_number", &learned, 1, (8, 8)).await;
        assert!(silent.contains("out_channels is 3") && silent.contains("it has to be 6"), "{silent}");
        assert!(new("unet_number", &own, 0, (8, 8)).await.contains("no images at a time"));

        let pipeline = runs::pipeline("unet_tiny_class");
        let (height, width) = pipeline.unet().config().sample_size().unwrap();
        let bound = Bound::new(&Backend::Cpu, &pipeline, &own, 2, (height, width)).await.unwrap();
        let shape = [1, pipeline.channels(), height, width];
        let image = |x: f32| Tensor::new(&shape, vec![x; shape.iter().product()]).unwrap();
        let problem = async |images: &Tensor, times: &[usize], labels: &[f32]| {
            bound.at(images, &image(0.0), times, labels).await.err().unwrap().to_string()
        };
        assert!(problem(&image(1.5), &[0], &[1.0]).await.contains("The images have 1.5"));
        assert!(problem(&image(0.5), &[1000], &[1.0]).await.contains("Timestep 1000 does not exist"));
        assert!(problem(&image(0.5), &[0, 1], &[1.0]).await.contains("expected 1 of them"));
        assert!(problem(&image(0.5), &[0], &[99.0]).await.contains("Class 99 does not exist"));
        let wide = Tensor::new(&[1, 1, 2, 2], vec![0.0; 4]).unwrap();
        assert!(problem(&wide, &[0], &[1.0]).await.contains("found [1, 1, 2, 2]"));
    });
}

fn bytes(numbers: &[f64], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::I64 => numbers.iter().flat_map(|&x| (x as i64).to_le_bytes()).collect(),
        _ => numbers.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect(),
    }
}

#[test]
fn the_command_gives_the_terms_of_a_file() {
    let folder = Folder::new("bound");
    let (input, out) = (folder.path("io.safetensors"), folder.path("out.safetensors"));
    let golden = Golden::load("bound");
    let get = |what: &str| golden.get(&format!("digits.{what}"));
    let kinds = [("sample", Dtype::F32), ("noise", Dtype::F32), ("timestep", Dtype::I64), ("class_labels", Dtype::I64)];
    let write = |names: &[(&str, Dtype)]| {
        let data: Vec<_> = names.iter().map(|&(name, dtype)| bytes(&get(name).data, dtype)).collect();
        let views = names
            .iter()
            .zip(&data)
            .map(|(&(name, dtype), data)| (name, TensorView::new(dtype, get(name).shape.clone(), data).unwrap()));
        std::fs::write(&input, safetensors::serialize(views, None).unwrap()).unwrap();
    };
    write(&kinds);
    let arguments = ["bound", runs::folder("digits").leak(), "--in", &input, "--out", &out];
    for backend in ["cpu", "gpu"] {
        succeed(&[&arguments[..], &["--backend", backend]].concat());
        let written = std::fs::read(&out).unwrap();
        let file = SafeTensors::deserialize(&written).unwrap();
        let mut names = file.names();
        names.sort();
        assert_eq!(names, ["prior", "terms"]);
        for name in names {
            let view = file.tensor(name).unwrap();
            assert_eq!((view.dtype(), view.shape()), (Dtype::F32, &get(name).shape[..]));
            let found: Vec<f64> = view.data().as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect();
            close(name, &found, &get(name).data, TOLERANCE);
        }
        std::fs::remove_file(&out).unwrap();
    }
    write(&kinds[..3]);
    fail(&arguments, &["There are 0 class labels for 2 images"]);
    write(&[kinds[0], kinds[2], kinds[3]]);
    fail(&arguments, &["has no noise"]);
    fail(&arguments[..4], &["--out"]);
    assert!(!std::path::Path::new(&out).exists());
}

#[test]
fn the_command_estimates_the_bound_of_images() {
    let folder = Folder::new("bound-images");
    let curve = folder.path("curve.csv");
    let golden = Golden::load("bound");
    let images = golden.get("digits.sample");
    // A folder a class, with the bytes that the numbers are.
    let len = images.data.len() / 2;
    for (label, image) in images.data.chunks(len).enumerate() {
        std::fs::create_dir_all(folder.path(&label.to_string())).unwrap();
        let file = std::fs::File::create(folder.path(&format!("{label}/picture.png"))).unwrap();
        let mut encoder = png::Encoder::new(file, 32, 32);
        encoder.set_color(png::ColorType::Grayscale);
        let pixels: Vec<u8> = image.iter().map(|x| ((x + 1.0) * 127.5).round() as u8).collect();
        encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    }
    let path = folder.path("");
    let digits = runs::folder("digits");
    let bound = ["bound", &digits, &path, "--backend", "cpu", "--steps", "12", "--json"];
    let report: Value = serde_json::from_str(&succeed(&[&bound[..], &["--curve", &curve]].concat())).unwrap();
    assert_eq!((&report["images"], &report["timesteps"]), (&Value::from(2), &Value::from(12)));
    let mean = |report: &Value, part: &str| report[part]["mean"].as_f64().unwrap();
    let parts: f64 = ["prior", "denoising", "decoder"].iter().map(|part| mean(&report, part)).sum();
    assert!((mean(&report, "sum") - parts).abs() < 1e-9);
    assert!(report["sum"]["standard_error"].as_f64().unwrap() > 0.0);
    let prior = golden.get("digits.prior").data.iter().sum::<f64>() / 2.0;
    assert!((mean(&report, "prior") - prior).abs() < 1e-9, "the images are those of the folder");

    // The curve has the whole again.
    let text = std::fs::read_to_string(&curve).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("first_timestep,last_timestep,bits_per_dim,standard_error"));
    let rows: Vec<Vec<f64>> =
        lines.map(|line| line.split(',').map(|number| number.parse().unwrap()).collect()).collect();
    assert_eq!((rows.len(), rows[0][1], rows[11][1]), (12, 0.0, 999.0));
    let whole: f64 = rows[1..].iter().map(|row| (row[1] - row[0] + 1.0) * row[2]).sum();
    assert!((whole - mean(&report, "denoising")).abs() < 1e-9);

    // How many images the network is given makes no difference, and the seed does.
    let again = |more: &[&str]| -> Value { serde_json::from_str(&succeed(&[&bound[..], more].concat())).unwrap() };
    let one = mean(&again(&["--batch", "1"]), "sum");
    assert!((one - mean(&report, "sum")).abs() < 1e-4, "{one}");
    assert!((mean(&again(&["--seed", "1"]), "sum") - one).abs() > 1e-3);
    // Each image has had its own class: with another one it costs something else.
    assert!((mean(&again(&["--class", "5"]), "sum") - one).abs() > 1e-3);
    // A file of tensors has classes too, and they count.
    let tensors = folder.path("images.safetensors");
    let (sample, labels) = (bytes(&images.data, Dtype::F32), bytes(&[0.0, 1.0], Dtype::I64));
    let views = [
        ("sample", TensorView::new(Dtype::F32, images.shape.clone(), &sample).unwrap()),
        ("class_labels", TensorView::new(Dtype::I64, vec![2], &labels).unwrap()),
    ];
    std::fs::write(&tensors, safetensors::serialize(views, None).unwrap()).unwrap();
    let of_tensors = ["bound", &digits, &tensors, "--backend", "cpu", "--steps", "12", "--json"];
    let report: Value = serde_json::from_str(&succeed(&of_tensors)).unwrap();
    assert!((mean(&report, "sum") - one).abs() < 1e-4, "the same images, classes and noise");

    let table = succeed(&bound[..7]);
    for expected in ["2 images, 12 of 1000 timesteps", "L_T", "Σ L_{t−1}", "L_0", "sum", "standard error"] {
        assert!(table.contains(expected), "{table}");
    }
    let mistakes = |more: &[&str], expected: &str| fail(&[&bound[..5], more].concat(), &[expected]);
    mistakes(&["--count", "3"], "--count is 3;");
    mistakes(&["--steps", "1"], "The bound was to be computed at 1 timesteps");
    mistakes(&["--class", "11", "--steps", "2"], "Class 11 does not exist");
    mistakes(&["--curve", "nowhere/curve.csv"], "there is no folder nowhere");
    fail(&["bound", &digits], &["required"]);
    fail(&["bound", &digits, "nowhere"], &["there is no such file or folder"]);
    assert!(denoise(&["bound", "--help"]).status.success());
}
