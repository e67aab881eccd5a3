//! Weights under other names than diffusers', and beside other tensors: what people save who do not use
//! `save_pretrained`. Each is the tiny model, so that all must give the same ε.

use std::collections::BTreeMap;

use denoise::config::UNetConfig;
use denoise::graph::Graph;
use denoise::plan::Plan;
use denoise::unet::{UNet2DModel, WeightsFile};
use denoise::{Backend, Precision, Result, Weights};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::golden::{self, Golden};

const MODEL: &str = "unet_tiny_plain";

/// A tensor: its dtype, shape and bytes.
type Entry = (Dtype, Vec<usize>, Vec<u8>);

/// The tensors of the tiny model by their names.
fn tensors() -> BTreeMap<String, Entry> {
    let bytes = golden::bytes(&format!("tests/golden/{MODEL}/diffusion_pytorch_model.safetensors"));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let entry = |view: TensorView| (view.dtype(), view.shape().to_vec(), view.data().to_vec());
    file.iter().map(|(name, view)| (name.to_string(), entry(view))).collect()
}

/// A file of tensors.
fn file(tensors: &BTreeMap<String, Entry>) -> Vec<u8> {
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap()
}

/// The tiny model with these weights, in pieces.
fn load(weights: &[u8]) -> Result<UNet2DModel> {
    let config = golden::text(&format!("tests/golden/{MODEL}/config.json"));
    let mut unet = UNet2DModel::without_weights(UNetConfig::from_json(&config)?)?;
    let mut file = WeightsFile::default();
    for bytes in weights.chunks(5000) {
        file.push(&mut unet, bytes)?;
    }
    file.end()?;
    unet.finish()?;
    Ok(unet)
}

/// Checks that a file gives diffusers' ε, and what is noted.
#[track_caller]
fn accepted(tensors: &BTreeMap<String, Entry>, notes: &[&str]) {
    let unet = load(&file(tensors)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(unet.notes(), notes);
    let golden = Golden::load(MODEL);
    let sample = golden.get("sample").tensor();
    let [count, _, height, width] = *sample.shape else { panic!("images are NCHW") };
    let mut graph = Graph::new();
    let values = unet.build(&mut graph, count, height, width, Precision::F32).unwrap();
    graph.output("output", values.output);
    pollster::block_on(async {
        let executor = Backend::Cpu.compile(Plan::new(&graph), &[], |_, _| {}).await.unwrap();
        for name in ["sample", "timestep"] {
            executor.write(name, &golden.get(name).tensor().to_device().unwrap()).unwrap();
        }
        executor.run(0).await.unwrap();
        let shape = &executor.plan().output("output").unwrap().shape;
        let actual = denoise::Tensor::from_device(shape, &executor.read("output").await.unwrap()).unwrap();
        let error = golden::relative_error(&actual.data, &golden.get("output").data);
        assert!(error <= 1e-5, "{error:.1e}");
    });
}

#[track_caller]
fn refused(tensors: &BTreeMap<String, Entry>, parts: &[&str]) {
    let message = load(&file(tensors)).err().expect("is refused").to_string();
    for part in parts {
        assert!(message.contains(part), "«{part}» is not in: {message}");
    }
}

fn renamed(name: impl Fn(&str) -> String) -> BTreeMap<String, Entry> {
    tensors().into_iter().map(|(path, entry)| (name(&path), entry)).collect()
}

/// The tensors and one more.
fn with(name: &str, dtype: Dtype, shape: &[usize], bytes: usize) -> BTreeMap<String, Entry> {
    let mut tensors = tensors();
    tensors.insert(name.into(), (dtype, shape.to_vec(), vec![0; bytes]));
    tensors
}

#[test]
fn a_prefix_of_all_names_is_taken_off() {
    for prefix in ["module.", "_orig_mod.", "model.", "unet.", "module._orig_mod.", "state_dict.ema_model."] {
        let note = format!("The names of the weights begin with {prefix}, which was taken off.");
        accepted(&renamed(|path| format!("{prefix}{path}")), &[&note]);
    }
    // A wrapper's own tensor by a name that the network has too does not make it the network.
    let mut wrapped = renamed(|path| format!("unet.{path}"));
    wrapped.insert("conv_out.bias".into(), (Dtype::F32, vec![7], vec![0; 28]));
    let notes = [
        "The names of the weights begin with unet., which was taken off.",
        "The network has no place for conv_out.bias: left aside.",
    ];
    accepted(&wrapped, &notes);
    // A network whose blocks were compiled one by one.
    accepted(&renamed(|path| path.replace("resnets.0.", "resnets.0._orig_mod.")), &[]);
}

#[test]
fn another_network_beside_it_is_left_aside_or_asked_about() {
    let count = tensors().len();
    let beside = |first: &str, second: &str| {
        let mut both = renamed(|path| format!("{first}{path}"));
        both.extend(renamed(|path| format!("{second}{path}")));
        both
    };
    accepted(&beside("", "ema."), &[&format!("Another network was left aside: ema.* ({count} tensors).")]);
    let ema = format!("ema.* ({count})");
    refused(&beside("unet.", "ema."), &["several networks", &ema, "unet.*", "save_file({k[4:]", "startswith('ema.')"]);
    // A few layers of another kind of network that happen to have the same names are none.
    let mut others = renamed(|path| format!("unet.{path}"));
    let entry = others["unet.conv_in.weight"].clone();
    others.insert("vae.conv_in.weight".into(), entry);
    let notes = [
        "The names of the weights begin with unet., which was taken off.",
        "Another network was left aside: vae.* (1 tensors).",
    ];
    accepted(&others, &notes);
}

#[test]
fn the_first_shard_says_how_all_are_called() {
    let half = |prefix: &str, first: bool| -> Vec<u8> {
        let all = renamed(|path| format!("{prefix}{path}"));
        let count = all.len() / 2;
        let part = all.into_iter().enumerate().filter(|(i, _)| (*i < count) == first);
        file(&part.map(|(_, tensor)| tensor).collect())
    };
    let config = golden::text(&format!("tests/golden/{MODEL}/config.json"));
    let load =
        |files: &[Vec<u8>]| UNet2DModel::new(UNetConfig::from_json(&config).unwrap(), files.iter().map(Vec::as_slice));
    load(&[half("module.", true), half("module.", false)]).unwrap();
    let whole = file(&tensors());
    let unet = load(&[whole.clone(), file(&renamed(|path| format!("ema.{path}")))]).unwrap();
    assert!(unet.notes()[0].starts_with("Another network was left aside: ema.*"));
    let extras: BTreeMap<_, _> = [("optimizer.step".to_string(), (Dtype::I64, vec![], vec![0; 8]))].into();
    let unet = load(&[whole, file(&extras)]).unwrap();
    assert_eq!(unet.notes(), ["The network has no place for optimizer.step: left aside."]);
}

#[test]
fn tensors_that_are_no_weights_are_left_aside() {
    let note = |path: &str| format!("The network has no place for {path}: left aside.");
    for (path, dtype, shape, bytes) in [
        ("logvar.weight", Dtype::F32, &[3][..], 12),
        ("unused", Dtype::F32, &[0], 0),
        ("mid_block.num_batches_tracked", Dtype::I64, &[], 8),
        ("step", Dtype::I64, &[1], 8),
        ("quantised", Dtype::F8_E4M3, &[4], 4),
    ] {
        accepted(&with(path, dtype, shape, bytes), &[&note(path)]);
    }
}

#[test]
fn a_layer_without_a_place_is_named_with_its_dtype() {
    refused(
        &with("up_blocks.7.conv.weight", Dtype::F8_E4M3, &[4], 4),
        &["no place for: up_blocks.7.conv.weight (F8_E4M3)"],
    );
    refused(&with("class_embedding.weight", Dtype::F32, &[4, 4], 64), &["no place for: class_embedding.weight (F32)"]);
    let other: BTreeMap<_, _> = [("encoder.weight".to_string(), (Dtype::F32, vec![1], vec![0; 4]))].into();
    refused(&other, &["none of the network's tensors, but encoder.weight", "different models"]);
}

#[test]
fn floats_of_8_bits_are_what_pytorch_reads() {
    // torch.tensor(bytes, dtype=torch.uint8).view(torch.float8_e4m3fn).float(), and of float8_e5m2.
    let bytes = [0x00_u8, 0x01, 0x08, 0x38, 0x7e, 0xb8, 0xc1, 0x87];
    for (dtype, expected) in [
        (Dtype::F8_E4M3, [0.0, 1.0 / 512.0, 1.0 / 64.0, 1.0, 448.0, -1.0, -2.25, -7.0 / 512.0]),
        (Dtype::F8_E5M2, [0.0, 2_f32.powi(-16), 2_f32.powi(-13), 0.5, f32::INFINITY, -0.5, -2.5, -7.0 / 65_536.0]),
    ] {
        for (byte, expected) in bytes.into_iter().zip(expected) {
            let one: BTreeMap<_, _> = [("x".to_string(), (dtype, vec![1], vec![byte]))].into();
            match Weights::from_bytes(&file(&one)) {
                Ok(weights) => {
                    assert_eq!(weights.into_iter().next().unwrap().1.data, [expected], "{dtype:?} {byte:#x}")
                }
                Err(error) => assert!(!expected.is_finite(), "{error}"),
            }
        }
    }
    let not_a_number: BTreeMap<_, _> = [("x".to_string(), (Dtype::F8_E4M3, vec![1], vec![0x7f]))].into();
    assert!(Weights::from_bytes(&file(&not_a_number)).unwrap_err().to_string().contains("NaN at element 0 of x"));
}

#[test]
fn doubles_are_narrowed() {
    let doubled = |scale: f64| {
        let mut tensors = tensors();
        for (_, entry) in tensors.iter_mut().filter(|(path, _)| path.ends_with("bias")) {
            let numbers = entry.2.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b)) * scale);
            *entry = (Dtype::F64, entry.1.clone(), numbers.flat_map(f64::to_le_bytes).collect());
        }
        tensors
    };
    accepted(&doubled(1.0), &[]);
    refused(&doubled(1e200), &["a value beyond the range of 32 bits at element 0 of"]);
    refused(&doubled(f64::NAN), &["not a finite number: NaN at element 0 of"]);
}
