//! The command line, as a person uses it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use denoise::Tensor;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::golden::{self, Golden};

/// A folder that is gone when the test is over.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("denoise-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // what is left there harms nobody
    }
}

pub fn denoise(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_denoise");
    Command::new(program).args(arguments).current_dir(golden::path("")).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
pub fn succeed(arguments: &[&str]) -> String {
    let output = denoise(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
pub fn fail(arguments: &[&str], expected: &[&str]) {
    let output = denoise(arguments);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    assert!(output.stdout.is_empty());
    for expected in expected {
        assert!(message.contains(expected), "{arguments:?} does not say {expected:?}: {message}");
    }
}

fn read(path: &str, name: &str) -> Tensor {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor(name).unwrap();
    assert_eq!((view.dtype(), file.len()), (Dtype::F32, 1));
    let data = view.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    Tensor::new(view.shape(), data).unwrap()
}

fn write(path: &str, tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn f32s(data: &[f32]) -> Vec<u8> {
    bytemuck::cast_slice(data).to_vec()
}

const DIGITS: &str = "www/models/digits";

#[test]
fn eps_is_that_of_diffusers() {
    let folder = Folder::new("eps");
    let (input, out) = (folder.path("io.safetensors"), folder.path("out.safetensors"));
    let golden = Golden::load("digits");
    let sample = golden.get("sample").tensor();
    let labels: Vec<u8> = [3_i64, 7].iter().flat_map(|label| label.to_le_bytes()).collect();
    let whole = [
        ("sample", Dtype::F32, &[2, 1, 32, 32][..], f32s(&sample.data)),
        ("timestep", Dtype::F32, &[1], f32s(&[500.0])),
        ("class_labels", Dtype::I64, &[2], labels),
    ];
    write(&input, &whole);
    for model in [DIGITS, "www/models/digits/unet"] {
        for (options, tolerance) in
            [(&["--backend", "cpu"][..], 1e-5), (&["--backend", "gpu"], 1e-5), (&["--f16"], 5e-3)]
        {
            succeed(&[&["eps", model, "--in", &input, "--out", &out], options].concat());
            let output = read(&out, "model_output");
            assert_eq!(output.shape, [2, 1, 32, 32]);
            let error = golden::relative_error(&output.data, &golden.get("eps.t500.class").data);
            println!("{model} {options:?}: {error:.1e}");
            assert!(error <= tolerance, "{model} {options:?}: {error:.1e}");
            std::fs::remove_file(&out).unwrap();
        }
    }
    let arguments = ["eps", DIGITS, "--in", &input, "--out", &out];
    write(&input, &whole[..2]);
    fail(&arguments, &["error: The model has classes, but", "has no class_labels"]);
    write(&input, &whole[..1]);
    fail(&arguments, &["has no timestep"]);
    write(&input, &[("sample", Dtype::F32, &[2, 3, 4], f32s(&[0.0; 24])), whole[1].clone(), whole[2].clone()]);
    fail(&arguments, &["sample has the shape [2, 3, 4]; it must be [B, C, H, W]"]);
    write(&input, &[("sample", Dtype::F32, &[2, 3, 4, 4], f32s(&[0.0; 96])), whole[1].clone(), whole[2].clone()]);
    fail(&arguments, &["sample is [2, 4, 4, 3] channels last", "[2, 4, 4, 1]"]);
    let label = |label: i64| ("class_labels", Dtype::I64, &[1][..], label.to_le_bytes().to_vec());
    write(&input, &[whole[0].clone(), whole[1].clone(), label(11)]);
    fail(&arguments, &["Class 11 does not exist; this model has 0 to 10"]);
    write(&input, &[whole[0].clone(), whole[1].clone(), label(-1)]);
    fail(&arguments, &["Class -1 does not exist"]);
    fail(&["eps", DIGITS, "--in", &input, "--out", "nowhere/out.safetensors"], &["there is no folder nowhere"]);
    std::fs::write(&input, "not tensors").unwrap();
    fail(&arguments, &["is not safetensors"]);
    assert!(!Path::new(&out).exists(), "nothing is half written");
    fail(&[&arguments[..], &["--f16", "--backend", "cpu"]].concat(), &["not safetensors"]);
    write(&input, &whole);
    fail(&[&arguments[..], &["--f16", "--backend", "cpu"]].concat(), &["32 bits only"]);
}

#[test]
fn sample_ends_where_diffusers_does() {
    let folder = Folder::new("sample");
    let (out, trajectory) = (folder.path("x0.safetensors"), folder.path("run.safetensors"));
    let golden = Golden::load("runs");
    let close = |x_0: &[f32], case: &str| {
        let error = golden::relative_error(x_0, &golden.get(&format!("{case}.x_0")).data);
        assert!(error <= 1e-3, "{case}: {error:.1e}");
    };
    let sample = ["sample", DIGITS, "--out", &out];
    let options =
        ["--scheduler", "ddpm", "--steps", "10", "--seed", "7", "--class", "3,7,0,10", "--trajectory", &trajectory];
    succeed(&[&sample[..], &options].concat());
    let x_0 = read(&out, "x_0");
    close(&x_0.data, "ddpm_batch_4");
    let run = read(&trajectory, "trajectory");
    assert_eq!(run.shape, [10, 4, 1, 32, 32]);
    assert_eq!(run.data[9 * x_0.data.len()..], x_0.data, "the run ends at x_0");
    assert_ne!(run.data[8 * x_0.data.len()..][..x_0.data.len()], x_0.data, "each x is another");

    let options =
        ["--scheduler", "DDIMScheduler", "--steps", "8", "--eta", "1", "--seed", "9,8,7,6", "--class", "5,6,1,2"];
    succeed(&[&sample[..], &options, &["--backend", "cpu"]].concat());
    close(&read(&out, "x_0").data, "ddim_eta_generators");

    let spacing = folder.path("trailing.json");
    std::fs::write(&spacing, r#"{"timestep_spacing": "trailing"}"#).unwrap();
    let guided = ["sample", "www/models/sprites", "--out", &out, "--steps", "8", "--seed", "3", "--class", "11,4"];
    for json in [&spacing, r#"{"_class_name": "DDIMScheduler", "timestep_spacing": "trailing"}"#] {
        succeed(&[&guided[..], &["--guidance", "2.5", "--scheduler", "ddim", "--scheduler-config", json]].concat());
        close(&read(&out, "x_0").data, "guided");
    }
}

#[test]
fn sample_takes_noise_and_makes_pictures() {
    let folder = Folder::new("picture");
    let (noise, out) = (folder.path("noise.safetensors"), folder.path("grid.png"));
    let golden = Golden::load("digits");
    write(&noise, &[("x_T", Dtype::F32, &[2, 1, 32, 32], f32s(&golden.get("sample").tensor().data))]);
    succeed(&["sample", DIGITS, "--noise", &noise, "--steps", "2", "--backend", "cpu", "--out", &out]);
    let mut reader =
        png::Decoder::new(std::io::BufReader::new(std::fs::File::open(&out).unwrap())).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height), (64, 32), "two pictures side by side");
    // RePaint keeps the half of an image that a mask says.
    let half: Vec<f32> = (0..32 * 32).map(|i| f32::from(i % 32 < 16)).collect();
    let painted = folder.path("painted.safetensors");
    let repaint = ["--scheduler", "repaint", "--steps", "4", "--jump-length", "2", "--jump-n-sample", "2"];
    let image = folder.path("image.safetensors");
    let known: Vec<f32> = golden.get("sample").tensor().data.iter().map(|x| x.clamp(-1.0, 1.0)).collect();
    let half = f32s(&half);
    write(&image, &[("image", Dtype::F32, &[2, 1, 32, 32], f32s(&known)), ("mask", Dtype::F32, &[1, 1, 32, 32], half)]);
    let kept = ["--image", &image, "--mask", &image, "--count", "2", "--backend", "cpu", "--out", &painted];
    succeed(&[&["sample", DIGITS][..], &repaint, &kept].concat());
    let painted = read(&painted, "x_0");
    for (i, (x, known)) in painted.data.iter().zip(&known).enumerate() {
        assert!(i % 32 >= 16 || (x - known).abs() < 1e-5, "{i}: {x} instead of {known}");
    }
    // Of an image that hardly any of the run is made of most stays; of one that all of it is made of little does.
    let off = |strength: &str| {
        let edited = folder.path("edited.safetensors");
        let edit = ["--image", &image, "--strength", strength, "--steps", "10", "--count", "2", "--backend", "cpu"];
        succeed(&[&["sample", DIGITS, "--scheduler", "ddim", "--class", "3"][..], &edit, &["--out", &edited]].concat());
        let edited = read(&edited, "x_0");
        let known: Vec<f64> = known.iter().map(|&x| f64::from(x)).collect();
        golden::relative_error(&edited.data, &known)
    };
    let (weak, strong) = (off("0.1"), off("1"));
    assert!(weak < 0.3 && strong > 2.0 * weak, "{weak} and {strong}");
}

/// A grey PNG of 32 × 32 pixels.
fn write_png(path: &str, pixel: impl Fn(usize, usize) -> u8) {
    let pixels: Vec<u8> = (0..32 * 32).map(|i| pixel(i % 32, i / 32)).collect();
    let mut encoder = png::Encoder::new(std::fs::File::create(path).unwrap(), 32, 32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
}

#[test]
fn sample_makes_anew_what_is_white_in_a_mask() {
    let folder = Folder::new("inpaint");
    let (image, mask, out) = (folder.path("image.png"), folder.path("mask.png"), folder.path("x_0.safetensors"));
    write_png(&image, |x, y| (4 * x + 3 * y) as u8);
    write_png(&mask, |x, _| if x < 12 { 0 } else { 255 });
    let inpaint = ["sample", DIGITS, "--image", &image, "--mask", &mask, "--count", "2", "--out", &out];
    for options in [
        &["--scheduler", "ddim", "--steps", "4", "--backend", "cpu"][..],
        &["--scheduler", "ddpm", "--steps", "4", "--backend", "gpu"],
        &["--scheduler", "dpm_solver", "--steps", "8", "--strength", "0.5", "--backend", "cpu"],
        &["--scheduler", "repaint", "--steps", "4", "--jump-length", "2", "--jump-n-sample", "2", "--backend", "cpu"],
    ] {
        succeed(&[&inpaint[..], options].concat());
        let made = read(&out, "x_0");
        let given = |i: usize| ((4 * (i % 32) + 3 * (i / 32 % 32)) as f32) / 127.5 - 1.0;
        let (kept, anew): (Vec<usize>, Vec<usize>) = (0..made.data.len()).partition(|i| i % 32 < 12);
        assert!(kept.iter().all(|&i| (made.data[i] - given(i)).abs() < 1e-6), "{options:?}: black is kept");
        let changed = anew.iter().filter(|&&i| (made.data[i] - given(i)).abs() > 1e-3).count();
        assert!(changed * 10 > anew.len() * 9, "{options:?}: white is made anew");
    }
    fail(&[&inpaint[..], &["--scheduler", "ddim_inverse"]].concat(), &["nothing of it is made anew"]);
}

#[test]
fn invert_finds_the_noise_of_an_image() {
    let folder = Folder::new("invert");
    let (image, x_t, again) = (folder.path("4.png"), folder.path("x_T.safetensors"), folder.path("again.safetensors"));
    let unclipped = ["--scheduler", "ddim", "--scheduler-config", r#"{"clip_sample": false}"#, "--class", "4"];
    let sample = [&["sample", DIGITS, "--backend", "cpu"][..], &unclipped].concat();
    succeed(&[&sample[..], &["--steps", "25", "--out", &image]].concat());
    let invert = ["invert", DIGITS, &image, "--class", "4", "--steps", "60", "--out", &x_t];
    succeed(&[&invert[..], &["--backend", "cpu"]].concat());
    assert_eq!(read(&x_t, "x_T").shape, [1, 1, 32, 32]);
    succeed(&[&sample[..], &["--steps", "60", "--noise", &x_t, "--out", &again]].concat());
    let file = std::fs::File::open(&image).unwrap();
    let mut decoder = png::Decoder::new(std::io::BufReader::new(file));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    let pixels: Vec<f64> = pixels.chunks_exact(4).map(|pixel| f64::from(pixel[0]) / 127.5 - 1.0).collect();
    let error = golden::relative_error(&read(&again, "x_0").data, &pixels);
    println!("{error:.3}");
    assert!(error < 0.25, "{error:.3}");
    fail(&["invert", "tests/golden/unet_number", &image, "--out", &x_t], &["the images here have 8×8"]);
    fail(&[&invert[..], &["--steps", "5"]].concat(), &["cannot be used multiple times"]);
    fail(&["invert", DIGITS, "nowhere.png", "--out", &x_t], &["nowhere.png could not be read"]);
    let linspace = ["--scheduler-config", r#"{"timestep_spacing": "linspace"}"#];
    fail(&[&invert[..], &linspace].concat(), &["DDIM's inversion has no linspace spacing"]);
    let of_x0 = ["--scheduler-config", "{\"prediction_type\": \"sample\"}"];
    fail(&[&invert[..], &of_x0].concat(), &["a model that predicts x_0 says nothing", "set_alpha_to_one"]);
}

#[test]
fn sample_goes_from_one_seed_or_class_to_another() {
    let folder = Folder::new("between");
    let out = folder.path("x_0.safetensors");
    let made = |options: &[&str]| {
        let sample = ["sample", DIGITS, "--scheduler", "ddim", "--steps", "4", "--backend", "cpu", "--out", &out];
        succeed(&[&sample[..], options].concat());
        read(&out, "x_0").data
    };
    let near = |a: &[f32], b: &[f32]| golden::relative_error(a, &golden::widen(b)) < 1e-5;
    let (from, to) = (made(&["--class", "3", "--seed", "5"]), made(&["--class", "3", "--seed", "6"]));
    let strip = made(&["--class", "3", "--seed", "5", "--seed-to", "6", "--count", "3"]);
    let image = from.len();
    assert!(near(&strip[..image], &from) && near(&strip[2 * image..], &to));
    assert!(!near(&strip[image..2 * image], &from) && !near(&strip[image..2 * image], &to));
    let eight = made(&["--class", "3", "--seed", "5", "--seed-to", "6"]);
    assert!(eight.len() == 8 * image && near(&eight[7 * image..], &to), "who says no number gets some between");
    let other = made(&["--class", "8", "--seed", "5"]);
    let strip = made(&["--class", "3", "--class-to", "8", "--seed", "5,5,5"]);
    assert!(near(&strip[..image], &from) && near(&strip[2 * image..], &other));
    assert!(!near(&strip[image..2 * image], &from) && !near(&strip[image..2 * image], &other));
    fail(
        &["sample", "tests/golden/unet_number", "--class", "0.5", "--class-to", "2", "--out", &out],
        &["Only learned classes can be mixed"],
    );
}

#[test]
fn mistakes_are_explained() {
    let folder = Folder::new("mistakes");
    let out = folder.path("x.png");
    let sample = ["sample", DIGITS, "--out", &out];
    let with = |more: &[&'static str]| [&sample[..], more].concat().into_iter().map(String::from).collect::<Vec<_>>();
    for (more, expected) in [
        (&["--steps", "0"][..], "Steps is 0; this model takes between 1 and 1000"),
        (&["--scheduler", "dalle"], "There is no scheduler dalle"),
        (&["--strength", "0.5"], "--image"),
        (&["--mask", "m.png"], "--image"),
        (&["--seed-to", "5", "--noise", "x.safetensors"], "cannot be used with"),
        (&["--seed", "1,2", "--seed-to", "5"], "the run has 2"),
        (&["--class", "1", "--class-to", "20"], "Class 20 does not exist; this model has 0 to 10"),
        (&["--class", "11"], "Class 11 does not exist; this model has 0 to 10"),
        (&["--class", "1,2", "--count", "3"], "There are 2 class labels for 3 images"),
        (&["--seed", "1,2", "--count", "3"], "There are 2 seeds for 3 images"),
        (&["--scheduler-config", "nothing.json"], "nothing.json could not be read"),
        (&["--scheduler-config", "{\"beta\": 1}"], "\"beta\""),
        (&["--eta", "2", "--scheduler", "ddim"], "η is 2; it must be between 0 and 1"),
        (&["--eta", "0.5", "--scheduler", "euler"], "only DDIM, TCD and RePaint have an η"),
        (&["--size", "33"], "multiples of 4; found 33×33"),
        (&["--size", "33x"], "is not a number of pixels"),
        (&["--scheduler", "repaint"], "RePaint needs an image and a mask"),
        (&["--guidance", "2", "--null-class", "12"], "The null class is 12, which does not exist"),
        (&["--backend", "tpu"], "invalid value 'tpu'"),
        (&["--count", "9223372036854775807"], "fewer or smaller images"),
        (&["--count", "100000000000", "--class", "7"], "fewer or smaller images"),
        (&["--count", "0"], "at least one element"),
        (&["--guidance", "1e39"], "it must be a number"),
        (&["--guidance", "NaN"], "Guidance is NaN"),
        (&["--scheduler-config", r#"{"variance_type": "learned_range"}"#], "no output for the variance"),
        (
            &[
                "--scheduler",
                "repaint",
                "--jump-length",
                "1",
                "--jump-n-sample",
                "1000",
                "--steps",
                "1000",
                "--image",
                "x.png",
                "--mask",
                "x.png",
            ],
            "x.png could not be read",
        ),
        (&["--jump-length", "3"], "are RePaint's"),
        (&["--noise", "tests/golden/unet_tiny_class.safetensors"], "has no tensor x_T"),
        (&["--trajectory", "nowhere/run.safetensors"], "there is no folder nowhere"),
    ] {
        let arguments = with(more);
        fail(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &[expected]);
    }
    fail(&["sample", DIGITS, "--out", "nowhere/x.png"], &["there is no folder nowhere"]);
    let same = folder.path("same.safetensors");
    fail(&["sample", DIGITS, "--out", &same, "--trajectory", &same], &["name the same file"]);
    let vectors = ["sample", "tests/golden/unet_vector", "--out", &out];
    fail(&vectors, &["There are 0 numbers for the classes of 1 images; this model takes 32 for each"]);
    fail(&[&vectors[..], &["--guidance", "2"]].concat(), &["no learned classes to be guided by"]);
    fail(&["sample", DIGITS, "--out", "x.jpeg"], &["x.jpeg is neither .png nor .safetensors"]);
    fail(&["sample", "src", "--out", &out], &["src: There is no config.json of a U-Net, but"]);
    assert!(!Path::new(&out).exists());

    let pickled = folder.path("pickled");
    std::fs::create_dir_all(&pickled).unwrap();
    std::fs::copy(golden::path("www/models/digits/unet/config.json"), format!("{pickled}/config.json")).unwrap();
    fail(&["check", &pickled], &["no weights"]);
    std::fs::write(format!("{pickled}/diffusion_pytorch_model.bin"), "").unwrap();
    fail(&["check", &pickled], &["diffusion_pytorch_model.bin has the weights as a pickle", "save_file"]);
    let index = format!("{pickled}/diffusion_pytorch_model.safetensors.index.json");
    for (json, expected) in [
        (r#"{"weight_map": {"conv_in.weight": "../x.safetensors"}}"#, "not one beside it"),
        (r#"{"weight_map": {}}"#, "names no files"),
        (r#"{"weight_map": {"conv_in.weight": "x.safetensors"}}"#, "x.safetensors could not be read"),
    ] {
        std::fs::write(&index, json).unwrap();
        fail(&["check", &pickled], &[expected]);
    }
    let table = succeed(&["inspect", &pickled]);
    assert!(table.contains("1,114,209  parameters"), "the weights are not needed");
    assert!(table.contains("notes\n") && table.contains("x.safetensors could not be read"), "{table}");
    fail(&[], &["Usage: denoise"]);
}

/// Copies the tiny model as a folder's U-Net, with these weights, and changes of its configuration.
fn put_unet(folder: &str, weights: &str, changes: &[(&str, serde_json::Value)]) {
    const MODEL: &str = "tests/golden/unet_tiny_plain";
    std::fs::create_dir_all(folder).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&golden::text(&format!("{MODEL}/config.json"))).unwrap();
    changes.iter().for_each(|(field, value)| config[*field] = value.clone());
    std::fs::write(format!("{folder}/config.json"), config.to_string()).unwrap();
    let from = golden::path(&format!("{MODEL}/diffusion_pytorch_model.safetensors"));
    std::fs::copy(from, format!("{folder}/{weights}")).unwrap();
}

/// What a command says on standard error although it succeeds.
#[track_caller]
fn notes(arguments: &[&str]) -> String {
    let output = denoise(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stderr)
}

#[test]
fn a_folder_with_several_models_is_asked_which() {
    let folder = Folder::new("several");
    let (root, out) = (folder.path("run"), folder.path("x.png"));
    put_unet(&format!("{root}/unet"), "diffusion_pytorch_model.safetensors", &[]);
    put_unet(&format!("{root}/unet"), "diffusion_pytorch_model.fp16.safetensors", &[]);
    put_unet(
        &format!("{root}/unet_ema"),
        "model.safetensors",
        &[("optimization_step", 3.into()), ("decay", 0.9999.into())],
    );
    put_unet(&format!("{root}/checkpoint-500/unet"), "diffusion_pytorch_model.safetensors", &[("surprise", 1.into())]);
    let sample = ["sample", &root, "--steps", "1", "--backend", "cpu", "--out", &out];
    let says = notes(&sample);
    assert!(says.contains("unet is taken; --network chooses another: unet_ema, checkpoint-500/unet."), "{says}");
    assert!(says.contains("plain is taken; --variant chooses another: fp16."), "{says}");
    let says = notes(&[&sample[..], &["--network", "unet", "--variant", "fp16"]].concat());
    assert!(!says.contains("is taken"), "{says}");
    let says = notes(&[&sample[..], &["--network", "unet_ema"]].concat());
    assert!(!says.contains("decay"), "what is known to do nothing is not worth a word: {says}");
    let says = notes(&[&sample[..], &["--network", "checkpoint-500/unet"]].concat());
    assert!(says.contains("unet/config.json has fields that do nothing here: surprise."), "{says}");
    fail(
        &[&sample[..], &["--network", "vae"]].concat(),
        &["has no network vae; it has unet, unet_ema, checkpoint-500/unet"],
    );
    fail(
        &[&sample[..], &["--variant", "bf16"]].concat(),
        &["has no weights bf16 for unet/config.json; it has plain, fp16"],
    );
    let table = succeed(&["inspect", &root, "--network", "checkpoint-500/unet"]);
    assert!(table.contains("files\n  checkpoint-500/unet/config.json\n  checkpoint-500/unet/diffusion"), "{table}");
    assert!(table.contains("notes\n") && table.contains("surprise"), "{table}");
}

#[test]
fn a_scheduler_that_is_not_supported_is_gone_round() {
    let folder = Folder::new("round");
    let (root, out) = (folder.path("model"), folder.path("x.safetensors"));
    put_unet(&format!("{root}/unet"), "diffusion_pytorch_model.safetensors", &[]);
    let scheduler = format!("{root}/scheduler_config.json");
    let sample = ["sample", &root, "--steps", "3", "--backend", "cpu", "--out", &out];
    std::fs::write(
        &scheduler,
        r#"{"_class_name": "SASolverScheduler", "beta_end": 0.01, "tau_func": {}, "surprise": 1}"#,
    )
    .unwrap();
    fail(
        &sample,
        &["SASolverScheduler is not supported; this model can be sampled with", "DDIMScheduler", "--scheduler"],
    );
    let says = notes(&[&sample[..], &["--scheduler", "ddim"]].concat());
    assert!(says.contains("scheduler_config.json has fields that do nothing here: surprise."), "{says}");
    let round = read(&out, "x_0").data;
    std::fs::write(&scheduler, r#"{"_class_name": "DDIMScheduler", "beta_end": 0.01}"#).unwrap();
    succeed(&sample);
    assert_eq!(round, read(&out, "x_0").data, "it takes what it shares");
    // The pipeline's own index says which scheduler counts.
    std::fs::write(
        format!("{root}/model_index.json"),
        r#"{"_class_name": "DDPMPipeline", "scheduler": ["diffusers", "DDIMScheduler"]}"#,
    )
    .unwrap();
    std::fs::write(&scheduler, r#"{"_class_name": "DDPMScheduler", "beta_end": 0.01}"#).unwrap();
    let says = notes(&sample);
    assert!(
        says.contains("model_index.json names DDIMScheduler and scheduler_config.json DDPMScheduler: the first counts"),
        "{says}"
    );
    assert_eq!(round, read(&out, "x_0").data);
    std::fs::write(
        format!("{root}/model_index.json"),
        r#"{"_class_name": "LDMPipeline", "vqvae": ["diffusers", "VQModel"]}"#,
    )
    .unwrap();
    fail(&sample, &["model_index.json: LDMPipeline makes latents, which its vqvae turns into pictures"]);
}

#[test]
fn a_model_is_inspected_and_checked() {
    let table = succeed(&["inspect", DIGITS]);
    assert!(table.contains("down_blocks.1.attentions.0.qkv"), "{table}");
    assert!(table.contains("1,114,209  parameters") && table.contains("dispatches"), "{table}");
    let report = succeed(&["check", DIGITS]);
    assert!(report.contains("worst layer: ") && report.contains("tolerance 1e-3"), "{report}");
    assert!(succeed(&["--help"]).contains("Examples:"));
    assert!(succeed(&["sample", "--help"]).contains("--trajectory"));
}
