//! Training as a person uses it, and what it must never lose.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use denoise::Weights;
use denoise::random::Generator;

use crate::cli::{Folder, denoise, fail, succeed};
use crate::golden;

/// A network that learns in milliseconds.
pub const CONFIG: &str = r#"{
    "_class_name": "UNet2DModel", "sample_size": 16, "in_channels": 1, "out_channels": 1, "layers_per_block": 1,
    "block_out_channels": [8, 16], "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"], "norm_num_groups": 4, "attention_head_dim": 8,
    "num_class_embeds": 3
}"#;

/// Bars on the left, and bars on the right: a folder a class.
fn bars(folder: &Folder) {
    let brightness = Generator::new(3).rand(40);
    for (i, light) in brightness.into_iter().enumerate() {
        let class = folder.0.join("data").join(["left", "right"][i % 2]);
        std::fs::create_dir_all(&class).unwrap();
        let mut pixels = vec![0_u8; 256];
        let first = if i % 2 == 0 { 3 } else { 10 };
        for y in 4..12 {
            pixels[y * 16 + first..][..3].fill(200 + (50.0 * light) as u8);
        }
        let file = std::fs::File::create(class.join(format!("{i}.png"))).unwrap();
        let mut encoder = png::Encoder::new(file, 16, 16);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    }
    std::fs::write(folder.path("config.json"), CONFIG).unwrap();
}

/// What a run of these bars is told.
fn arguments(folder: &Folder, out: &str, backend: &str, more: &[&str]) -> Vec<String> {
    let (data, config, out) = (folder.path("data"), folder.path("config.json"), folder.path(out));
    let mut all: Vec<String> =
        ["train", &data, "--out", &out, "--config", &config, "--backend", backend].map(String::from).to_vec();
    let often = ["--batch", "4", "--lr", "1e-3", "--label-dropout", "0.1", "--flip", "--sample-every", "0"];
    all.extend(often.iter().chain(more).map(|text| text.to_string()));
    all
}

fn train(folder: &Folder, out: &str, backend: &str, more: &[&str]) -> String {
    let all = arguments(folder, out, backend, more);
    succeed(&all.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The files of a run of which every bit counts.
const KEPT: [&str; 6] =
    ["parameters.safetensors", "m.safetensors", "v.safetensors", "average.safetensors", "generator.bin", "epochs.bin"];

fn kept(folder: &Folder, out: &str) -> Vec<Vec<u8>> {
    KEPT.map(|file| std::fs::read(Path::new(&folder.path(out)).join("checkpoint").join(file)).unwrap()).to_vec()
}

#[test]
fn both_backends_learn_the_same() {
    let folder = Folder::new("train-backends");
    bars(&folder);
    for backend in ["cpu", "gpu"] {
        let said = train(&folder, backend, backend, &["--steps", "6"]);
        assert!(said.starts_with("6 steps, 24 images, loss "), "{said}");
    }
    for (i, file) in KEPT[..4].iter().enumerate() {
        let [cpu, gpu] = ["cpu", "gpu"].map(|out| Weights::from_bytes(&kept(&folder, out)[i]).unwrap());
        let gpu: std::collections::HashMap<_, _> = gpu.into_iter().collect();
        for (path, cpu) in cpu {
            // The softmax does not change with a key's bias: its gradient is nothing but rounding.
            if path.ends_with("to_k.bias") {
                continue;
            }
            let norm = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| f64::from(x * x)).sum::<f64>().sqrt();
            let difference = norm(&mut cpu.data.iter().zip(&gpu[&path].data).map(|(a, b)| a - b));
            let size = norm(&mut cpu.data.iter().copied());
            assert!(difference <= 1e-3 * size, "{file}: {path} is off by {:.1e}", difference / size);
        }
    }
}

/// A pipeline folder that samples, a curve and a chart, and samples on the way.
#[test]
fn a_run_leaves_a_model() {
    let folder = Folder::new("train-model");
    bars(&folder);
    train(
        &folder,
        "model",
        "cpu",
        &["--steps", "20", "--sample-every", "10", "--loss", "min-snr", "--prediction", "sample"],
    );
    let curve = std::fs::read_to_string(folder.path("model/loss.csv")).unwrap();
    assert_eq!(curve.lines().count(), 3, "{curve}");
    for picture in ["samples.png", "loss.png"] {
        let file = std::fs::File::open(folder.path(&format!("model/{picture}"))).unwrap();
        let read = png::Decoder::new(std::io::BufReader::new(file)).read_info();
        read.unwrap_or_else(|error| panic!("{picture}: {error}"));
    }
    let card = std::fs::read_to_string(folder.path("model/card.json")).unwrap();
    assert!(card.contains("\"left\"") && card.contains("\"null_class\": 2"), "{card}");
    let model = folder.path("model");
    succeed(&[
        "sample",
        &model,
        "--steps",
        "3",
        "--class",
        "1",
        "--guidance",
        "2",
        "--backend",
        "cpu",
        "--out",
        &folder.path("x.png"),
    ]);
    // And it is gone on from: as a model for another run.
    let (data, out) = (folder.path("data"), folder.path("tuned"));
    succeed(&[
        "train",
        &data,
        "--out",
        &out,
        "--model",
        &model,
        "--steps",
        "2",
        "--batch",
        "2",
        "--backend",
        "cpu",
        "--sample-every",
        "0",
    ]);
}

/// With nothing but the loss said, the network and the scheduler are those of a learned variance, and DDPM samples with it.
#[test]
fn a_variance_is_learned() {
    let folder = Folder::new("train-variance");
    bars(&folder);
    let (data, out) = (folder.path("data"), folder.path("model"));
    let common = ["--steps", "2", "--batch", "2", "--sample-every", "0", "--backend", "cpu"];
    let train = |more: &[&str]| {
        let all: Vec<&str> = ["train", &data].iter().chain(more).chain(&common).copied().collect();
        denoise(&all)
    };
    let said = train(&["--out", &out, "--loss", "hybrid"]);
    assert!(said.status.success() && !String::from_utf8_lossy(&said.stderr).contains("learns nothing"), "{said:?}");
    let text = |file: &str| std::fs::read_to_string(folder.path(&format!("model/{file}"))).unwrap();
    assert!(text("unet/config.json").contains("\"out_channels\": 2"));
    assert!(text("scheduler/scheduler_config.json").contains("\"learned_range\""));
    let picture = folder.path("x.png");
    succeed(&["sample", &out, "--steps", "3", "--class", "1", "--backend", "cpu", "--out", &picture]);
    // Gone on from with the simple loss, its variance does not learn, and that is said.
    let said = train(&["--out", &folder.path("tuned"), "--model", &out]);
    let stderr = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && stderr.contains("a variance too, which learns nothing of this loss"), "{stderr}");
}

#[test]
fn a_resumed_run_ends_in_the_same_bits() {
    let folder = Folder::new("train-resume");
    bars(&folder);
    train(&folder, "whole", "cpu", &["--steps", "23"]);
    train(&folder, "parts", "cpu", &["--steps", "9"]);
    // Options that would change what is learned do not count.
    train(&folder, "parts", "cpu", &["--steps", "14", "--resume", "--seed", "7"]);
    train(&folder, "parts", "cpu", &["--steps", "23", "--resume"]);
    let said = train(&folder, "parts", "cpu", &["--resume"]);
    assert!(said.starts_with("23 steps are done already"), "{said}");
    assert!(kept(&folder, "whole") == kept(&folder, "parts"));
    // Every step's masks are another part of what the generator gives.
    let dropping: [&[&str]; 2] = [&["--steps", "9", "--dropout", "0.3"], &["--steps", "4", "--dropout", "0.3"]];
    train(&folder, "dropping", "cpu", dropping[0]);
    train(&folder, "dropping-parts", "cpu", dropping[1]);
    train(&folder, "dropping-parts", "cpu", &["--steps", "9", "--resume"]);
    assert!(kept(&folder, "dropping") == kept(&folder, "dropping-parts"));
    let config = std::fs::read_to_string(folder.path("dropping/unet/config.json")).unwrap();
    assert!(config.contains("\"dropout\": 0.3"), "{config}");
    let curves =
        ["whole", "parts"].map(|out| std::fs::read_to_string(folder.path(&format!("{out}/loss.csv"))).unwrap());
    assert!(curves.iter().all(|curve| curve.contains("\n20,") && curve.contains("\n23,")), "{curves:?}");
}

/// A classifier beside the model that it is for: it learns, is resumed to the same bits, and tells images apart.
#[test]
fn a_classifier_learns() {
    let folder = Folder::new("train-classifier");
    bars(&folder);
    train(&folder, "model", "cpu", &["--steps", "1"]);
    let (data, model) = (folder.path("data"), folder.path("model"));
    let learn = |out: &str, more: &[&str]| {
        let out = folder.path(out);
        let all = ["train", &data, "--classifier", "--model", &model, "--out", &out, "--batch", "8", "--lr", "1e-3"];
        let all = [&all[..], &["--ema", "0", "--backend", "cpu"], more].concat();
        succeed(&all)
    };
    let said = learn("whole", &["--steps", "60"]);
    assert!(said.starts_with("60 steps, 480 images, loss ") && said.contains(", accuracy "), "{said}");
    assert!(said.contains("the classifier is in "), "{said}");
    learn("parts", &["--steps", "25"]);
    learn("parts", &["--steps", "60", "--resume"]);
    assert!(kept(&folder, "whole") == kept(&folder, "parts"));
    let config = std::fs::read_to_string(folder.path("whole/classifier/config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(
        (&config["image_size"], &config["out_channels"], &config["in_channels"]),
        (&16.into(), &2.into(), &1.into())
    );
    let curve = std::fs::read_to_string(folder.path("whole/loss.csv")).unwrap();
    let losses: Vec<f32> = curve.lines().skip(1).map(|line| line.split(',').nth(1).unwrap().parse().unwrap()).collect();
    println!("{losses:?}, {said}");
    assert!(losses[losses.len() - 1] < 0.8 * losses[0], "{losses:?}");

    // Without noise it tells every bar's side.
    let images: Vec<f32> = [3, 10]
        .into_iter()
        .flat_map(|first| (0..256).map(move |i| (i / 16, i % 16, first)))
        .map(|(y, x, first)| if (4..12).contains(&y) && (first..first + 3).contains(&x) { 0.7 } else { -1.0 })
        .collect();
    let weights = std::fs::read(folder.path("whole/classifier/diffusion_pytorch_model.safetensors")).unwrap();
    let config = denoise::config::ClassifierConfig::from_json(&config.to_string()).unwrap();
    let classifier = denoise::classifier::Classifier::new(config, [&weights[..]]).unwrap();
    let images = denoise::Tensor::new(&[2, 1, 16, 16], images).unwrap();
    let labels = [0.0, 1.0];
    let classified = classifier.classify(&denoise::Backend::Cpu, &images, &[0.0, 0.0], &labels);
    let (logits, _) = pollster::block_on(classified).unwrap();
    println!("{:?}", logits.data);
    let [left_of_left, right_of_left, left_of_right, right_of_right] = logits.data[..] else { panic!("2 × 2 logits") };
    assert!(right_of_left < left_of_left && left_of_right < right_of_right, "{logits:?}");

    // In the model's own folder, which keeps what it has; but not where a run of training is.
    fail(
        &["train", &data, "--classifier", "--model", &model, "--out", &model],
        &["has a run of training already. Go on with it by --resume"],
    );
    fail(
        &["train", &data, "--classifier", "--model", &model, "--out", &model, "--resume"],
        &["is of a model, not of a classifier"],
    );
    for entry in ["checkpoint", "loss.csv", "loss.png"] {
        let path = folder.0.join("model").join(entry);
        let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    }
    learn("model", &["--steps", "1"]);
    for file in ["unet/config.json", "scheduler/scheduler_config.json", "classifier/config.json"] {
        assert!(folder.0.join("model").join(file).is_file(), "{file}");
    }
    let picture = folder.path("x.png");
    let guided = ["sample", &model, "--classifier", &model, "--classifier-scale", "3", "--class", "1"];
    succeed(&[&guided[..], &["--steps", "3", "--backend", "cpu", "--out", &picture]].concat());

    let other = folder.path("other");
    let mistakes = |more: &[&str], expected: &[&str]| {
        let all = ["train", &data, "--classifier", "--out", &other, "--backend", "cpu"];
        fail(&[&all[..], more].concat(), expected);
    };
    let config = |text: &str| {
        std::fs::write(folder.path("classifier.json"), text).unwrap();
        folder.path("classifier.json")
    };
    let one = CLASSIFIER.replace("\"out_channels\": 2", "\"out_channels\": 1");
    mistakes(&["--config", &config(&one)], &["The images are of 2 classes, but the classifier tells only 1 apart"]);
    let small = CLASSIFIER.replace("16", "8");
    mistakes(&["--config", &config(&small)], &["The images are 16×16, larger than the 8×8"]);
    mistakes(&["--config", &folder.path("config.json")], &["_class_name is UNet2DModel"]);
    mistakes(&["--label-dropout", "0.1"], &["cannot be used with"]);
    let flat = folder.path("data/left");
    fail(
        &["train", &flat, "--classifier", "--out", &other, "--backend", "cpu"],
        &["A classifier learns classes, but the images have none"],
    );
    fail(
        &["train", &data, "--model", &model, "--config", &folder.path("config.json"), "--out", &other],
        &["--model has a configuration of its own"],
    );
    // One with dropout, of its own configuration, resumed.
    let dropping = config(&CLASSIFIER.replace("\"pool\"", "\"dropout\": 0.2, \"pool\""));
    for (out, steps, more) in
        [("dropping", "6", &[][..]), ("dropping-parts", "2", &[]), ("dropping-parts", "6", &["--resume"])]
    {
        let out = folder.path(out);
        let all =
            ["train", &data, "--classifier", "--config", &dropping, "--out", &out, "--steps", steps, "--batch", "4"];
        succeed(&[&all[..], &["--backend", "cpu"], more].concat());
    }
    assert!(kept(&folder, "dropping") == kept(&folder, "dropping-parts"));
}

/// A classifier's own configuration.
const CLASSIFIER: &str = r#"{
    "image_size": 16, "in_channels": 1, "model_channels": 32, "out_channels": 2, "num_res_blocks": 1,
    "attention_resolutions": [2], "channel_mult": [1, 1], "pool": "adaptive"
}"#;

/// Killed at any moment, most of them within a save, a run goes on, and ends in the same bits.
#[test]
fn a_killed_run_goes_on() {
    const KILLS: usize = 100;
    const STEPS: &str = "150";

    let folder = Folder::new("train-killed");
    bars(&folder);
    let moments = Generator::new(11).rand(KILLS);
    let mut ended = 0;
    for moment in moments {
        let begun = Path::new(&folder.path("killed/checkpoint")).exists()
            || Path::new(&folder.path("killed/.checkpoint.old")).exists();
        let all = arguments(&folder, "killed", "cpu", &["--steps", STEPS, "--save-every", "1"]);
        let resume = if begun { &["--resume"][..] } else { &[] };
        let mut run = spawn(&all, resume);
        sleep(Duration::from_secs_f32(0.02 + 0.1 * moment));
        let _ = run.kill(); // it may have ended
        let status = run.wait().unwrap();
        // It ends by itself or by the kill, and never with an error.
        assert_ne!(status.code(), Some(1));
        ended += usize::from(status.success());
        if !begun && !Path::new(&folder.path("killed/checkpoint")).exists() {
            let _ = std::fs::remove_dir_all(folder.path("killed")); // killed before its first save, it begins anew
        }
    }
    println!("{ended} of {KILLS} runs had come to their end");
    train(&folder, "killed", "cpu", &["--steps", STEPS, "--resume"]);
    train(&folder, "whole", "cpu", &["--steps", STEPS]);
    assert!(kept(&folder, "whole") == kept(&folder, "killed"));
}

fn spawn(arguments: &[String], more: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_denoise"));
    command.args(arguments).args(more).current_dir(golden::path(""));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn mistakes_are_explained() {
    let folder = Folder::new("train-mistakes");
    bars(&folder);
    let tell = |more: &[&str], expected: &[&str]| {
        let all = arguments(&folder, "model", "cpu", more);
        fail(&all.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    };
    tell(&["--resume"], &["has no checkpoint to go on from"]);
    let inside = arguments(&folder, "data/model", "cpu", &[]);
    fail(&inside.iter().map(String::as_str).collect::<Vec<_>>(), &["whose images are learned from"]);
    tell(&["--lr", "7"], &["The learning rate (lr) is 7; it must be between 0 and 1"]);
    tell(&["--loss", "hybrid"], &["out_channels is 1", "it has to be 2, twice the in_channels"]);
    tell(
        &["--loss", "hybrid", "--scheduler-config", "{\"variance_type\": \"fixed_large\"}"],
        &["its variance is FixedLarge, which is not learned"],
    );
    tell(&["--steps", "1", "--batch", "41"], &["A batch of 41 cannot be made of 40 images"]);
    tell(&["--scheduler-config", "{]"], &["--scheduler-config is not valid JSON"]);
    tell(
        &["--scheduler-config", "{\"prediction_type\": \"flow_prediction\"}"],
        &["prediction_type is FlowPrediction, which DDPMScheduler cannot sample"],
    );
    let with = |from: &str, to: &str| std::fs::write(folder.path("config.json"), CONFIG.replace(from, to)).unwrap();
    with("\"num_class_embeds\": 3", "\"num_class_embeds\": 1");
    tell(&[], &["The images are of 2 classes, but the network has only 1 class embeddings"]);
    with("\"num_class_embeds\": 3", "\"num_class_embeds\": 2");
    tell(&[], &["Leaving labels out (label dropout) needs a class embedding that means no class: num_class_embeds 3"]);
    with("\"in_channels\": 1", "\"in_channels\": 5");
    tell(&[], &["The images have 1 channels, but the network takes 5"]);
    with("\"sample_size\": 16", "\"sample_size\": 16, \"time_embedding_type\": \"fourier\"");
    tell(&[], &["time_embedding_type is fourier", "at timestep 0 its output is not finite"]);
    with("\"sample_size\": 16", "\"sample_size\": 8");
    tell(&[], &["The images are 16×16, larger than the 8×8 that the network takes"]);
    with("\"sample_size\": 16", "\"sample_size\": 16, \"dropout\": 1.0");
    tell(&[], &["dropout is 1; it must be at least 0 and less than 1"]);
    tell(&["--dropout", "1"], &["The probability of dropout is 1; it must be between 0 and 0.99"]);
    std::fs::write(folder.path("config.json"), CONFIG).unwrap();
    std::fs::write(folder.0.join("data/left/bad.png"), b"no picture").unwrap();
    tell(&[], &["bad.png"]);
    std::fs::remove_file(folder.0.join("data/left/bad.png")).unwrap();
    train(&folder, "model", "cpu", &["--steps", "1"]);
    tell(&[], &["has a run of training already. Go on with it by --resume"]);
}
