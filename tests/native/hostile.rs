//! Files that are damaged, malicious or of another model: each gets its own clear error, and none a panic.

use denoise::backend::{Backend, Gpu};
use denoise::config::{Card, PredictionType, SchedulerConfig, SchedulerFile, SchedulerKind, UNetConfig};
use denoise::graph::Graph;
use denoise::op::{Affine, Conv2d, Linear, Narrow};
use denoise::plan::Plan;
use denoise::schedule::{Schedule, StepOptions};
use denoise::unet::{UNet2DModel, WeightsFile};
use denoise::{Error, Pipeline, Precision, Result, Settings, Shape, Weights, WeightsReader};

use crate::golden;

const MODEL: &str = "tests/golden/unet_tiny_plain";

fn model() -> (String, Vec<u8>) {
    (
        golden::text(&format!("{MODEL}/config.json")),
        golden::bytes(&format!("{MODEL}/diffusion_pytorch_model.safetensors")),
    )
}

/// A safetensors file of this header, which `data` follows.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// The header of a file as JSON, and its data.
fn parts(bytes: &[u8]) -> (serde_json::Value, Vec<u8>) {
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    (serde_json::from_slice(header).unwrap(), data.to_vec())
}

/// The weights in a file that arrives in pieces of so many bytes.
fn read(file: &[u8], piece: usize) -> Result<Weights> {
    let mut reader = WeightsReader::default();
    for bytes in file.chunks(piece) {
        reader.push(bytes)?;
    }
    reader.finish()
}

/// The message of loading these weights into the tiny model, the same however they arrive.
#[track_caller]
fn message(weights: &[u8]) -> String {
    let whole = message_in_pieces(weights, weights.len().max(1));
    for piece in [1, 7, 1000] {
        let pieces = message_in_pieces(weights, piece);
        // How much of the file was there when it was found out is what differs.
        assert_eq!(pieces.split('(').next(), whole.split('(').next(), "in pieces of {piece}");
    }
    whole
}

#[track_caller]
fn message_in_pieces(weights: &[u8], piece: usize) -> String {
    match load(weights, piece) {
        Err(error @ Error::Weights(_)) => error.to_string(),
        Err(other) => panic!("an error of the weights, not {other}"),
        Ok(_) => panic!("hostile weights were accepted"),
    }
}

/// The tiny model with the weights in a file that arrives in pieces of so many bytes.
fn load(weights: &[u8], piece: usize) -> Result<UNet2DModel> {
    let mut unet = UNet2DModel::without_weights(UNetConfig::from_json(&model().0).unwrap())?;
    let mut file = WeightsFile::default();
    for bytes in weights.chunks(piece) {
        file.push(&mut unet, bytes)?;
    }
    file.end()?;
    unet.finish()?;
    Ok(unet)
}

#[track_caller]
fn assert_message(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "«{part}» is not in: {message}");
    }
}

/// The tiny model's weights with a changed header.
fn with_header(change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) -> Vec<u8> {
    let (mut header, data) = parts(&model().1);
    change(header.as_object_mut().unwrap());
    file(&header.to_string(), &data)
}

#[test]
fn the_model_itself_is_accepted() {
    let (config, weights) = model();
    UNet2DModel::new(UNetConfig::from_json(&config).unwrap(), [&weights[..]]).unwrap();
    // Also with its data at an address that is not a multiple of four.
    let shifted = [vec![0], weights].concat();
    Weights::from_bytes(&shifted[1..]).unwrap();
}

#[test]
fn weights_are_the_same_in_pieces_of_any_size() {
    let weights = model().1;
    for piece in [1, 3, 8, 1000, weights.len()] {
        let whole: Vec<_> = Weights::from_bytes(&weights).unwrap().into_iter().collect();
        let pieces: Vec<_> = read(&weights, piece).unwrap().into_iter().collect();
        assert!(whole.len() > 50);
        assert!(whole == pieces, "in pieces of {piece}");
    }
}

#[test]
fn what_is_wrong_is_said_as_soon_as_it_has_arrived() {
    let mut reader = WeightsReader::default();
    assert!(reader.push(&u64::MAX.to_le_bytes()).is_err(), "a header that is too long");
    let weights = with_header(|header| header["conv_in.weight"]["dtype"] = "F64".into());
    let mut reader = WeightsReader::default();
    assert!(reader.push(&weights[..weights.len() / 2]).is_err(), "a header that is not valid");
}

#[test]
fn truncated_anywhere() {
    let weights = model().1;
    for length in (0..64).chain([1000, 10_000, weights.len() - 1]) {
        assert_message(&message(&weights[..length]), &["The weights file", "download it again"]);
    }
}

#[test]
fn a_header_longer_than_the_file() {
    assert_message(&message(&u64::MAX.to_le_bytes()), &["says its header is over 100 MB long"]);
    let million = 1_000_000_u64.to_le_bytes();
    assert_message(&message(&million), &["ends within its header", "8 bytes in all"]);
}

#[test]
fn bytes_after_the_end() {
    let weights = [model().1, vec![0; 4]].concat();
    assert_message(&message(&weights), &["does not have the length its header promises"]);
}

#[test]
fn a_pointer_in_place_of_the_file() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 143\n";
    assert_message(&message(pointer), &["a pointer of git-lfs", "git lfs pull"]);
}

#[test]
fn not_safetensors_at_all() {
    // A zip, as PyTorch's .bin files are.
    let mut zip = 12_u64.to_le_bytes().to_vec();
    zip.extend(b"PK\x03\x04 something else");
    assert_message(&message(&zip), &["does not start with '{'", "safe_serialization=True"]);
    assert_message(&message(&file(" {}", b"")), &["does not start with '{'"]);
    assert_message(&message(&file("{\"a\":", b"")), &["header that is not valid"]);
    assert_message(&message(&file("{]", b"")), &["header that is not valid"]);
    assert_message(&message(&file("{\"\u{fffd}\": 3}", b"")), &["header that is not valid"]);
}

#[test]
fn overlapping_tensors() {
    let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    assert_message(&message(&file(header, &[0; 12])), &["overlap or leave a gap at b"]);
}

#[test]
fn a_gap_between_tensors() {
    let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}"#;
    assert_message(&message(&file(header, &[0; 12])), &["overlap or leave a gap at b"]);
}

#[test]
fn a_name_that_stands_twice() {
    let entry = r#""conv_in.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    let weights = file(&format!("{{{entry},{entry}}}"), &[0; 4]);
    assert_message(&message(&weights), &["the tensor conv_in.weight stands in it twice"]);
}

#[test]
fn a_dtype_that_is_not_supported() {
    for (dtype, bytes) in [("I64", 8), ("I32", 4), ("F8_E8M0", 1)] {
        let header =
            format!(r#"{{"conv_in.bias":{{"dtype":"{dtype}","shape":[9],"data_offsets":[0,{}]}}}}"#, 9 * bytes);
        let message = message(&file(&header, &vec![0; 9 * bytes]));
        assert_message(
            &message,
            &["conv_in.bias of dtype", "F32, F64, F16, BF16, F8_E4M3 and F8_E5M2 are supported", "torch.float32"],
        );
    }
    let header = r#"{"a":{"dtype":"Q9","shape":[1],"data_offsets":[0,4]}}"#;
    assert_message(
        &message(&file(header, &[0; 4])),
        &["header that is not valid", "F32, F64, F16, BF16, F8_E4M3 and F8_E5M2 are supported"],
    );
}

#[test]
fn a_shape_that_overflows() {
    let huge = usize::MAX / 2;
    let header = format!(r#"{{"a":{{"dtype":"F32","shape":[{huge},{huge}],"data_offsets":[0,4]}}}}"#);
    assert_message(&message(&file(&header, &[0; 4])), &["The weights file"]);
}

#[test]
fn a_shape_that_does_not_fit_its_data() {
    let header = r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,4]}}"#;
    assert_message(&message(&file(header, &[0; 4])), &["shape and dtype do not fit its data offsets"]);
}

#[test]
fn another_shape() {
    let weights = with_header(|header| {
        let entry = header["conv_out.weight"].as_object_mut().unwrap();
        let shape = entry["shape"].as_array_mut().unwrap();
        shape.swap(0, 1);
    });
    assert_message(&message(&weights), &["has conv_out.weight with shape [9, 1, 3, 3]", "asks for [1, 9, 3, 3]"]);
}

#[test]
fn a_missing_tensor() {
    let (mut header, data) = parts(&model().1);
    let tensors = header.as_object_mut().unwrap();
    // The last one, so that there is no gap.
    let end = |entry: &serde_json::Value| entry["data_offsets"][1].as_u64();
    let (path, entry) = tensors.iter().max_by_key(|(_, entry)| end(entry)).unwrap();
    let (path, entry) = (path.clone(), entry.clone());
    tensors.remove(&path);
    let left = entry["data_offsets"][0].as_u64().unwrap() as usize;
    let shape: Vec<usize> = serde_json::from_value(entry["shape"].clone()).unwrap();
    let message = message(&file(&header.to_string(), &data[..left]));
    assert_message(&message, &[&format!("has no tensor {path}"), &format!("with shape {shape:?}")]);
}

#[test]
fn a_tensor_by_another_name() {
    let weights = with_header(|header| {
        let entry = header.remove("mid_block.resnets.1.norm1.weight").unwrap();
        header.insert("somewhere.else".into(), entry);
    });
    assert_message(&message(&weights), &["no tensor mid_block.resnets.1.norm1.weight", "It has somewhere.else"]);
}

#[test]
fn a_tensor_too_many() {
    let weights = with_header(|header| {
        let end = header.values().filter_map(|entry| entry["data_offsets"][1].as_u64()).max().unwrap();
        let one = serde_json::json!({"dtype": "F8_E4M3", "shape": [4], "data_offsets": [end, end + 4]});
        header.insert("up_blocks.7.conv.weight".into(), one);
    });
    let weights = [weights, vec![0; 4]].concat();
    assert_message(&message(&weights), &["no place for: up_blocks.7.conv.weight (F8_E4M3)"]);
}

#[test]
fn a_value_that_is_not_a_number() {
    for value in [f32::NAN, f32::INFINITY] {
        let (header, mut data) = parts(&model().1);
        let start = header["conv_out.bias"]["data_offsets"][0].as_u64().unwrap() as usize;
        data[start..start + 4].copy_from_slice(&value.to_le_bytes());
        let message = message(&file(&header.to_string(), &data));
        assert_message(&message, &["not a finite number", "at element 0 of conv_out.bias", "earlier checkpoint"]);
    }
}

/// The message of the tiny model's configuration with one field set.
#[track_caller]
fn config_message(field: &str, value: serde_json::Value) -> String {
    let mut config: serde_json::Value = serde_json::from_str(&model().0).unwrap();
    config[field] = value;
    match UNetConfig::from_json(&config.to_string()) {
        Err(error @ Error::Config { .. }) => error.to_string(),
        Err(other) => panic!("an error of the configuration, not {other}"),
        Ok(_) => panic!("{config} was accepted"),
    }
}

#[test]
fn configurations_that_are_not_supported_name_the_field_and_what_is() {
    let cases = [
        ("time_embedding_type", "gaussian".into(), "`positional`"),
        ("time_embedding_type", "learned".into(), "num_train_timesteps is missing"),
        ("act_fn", "tanh".into(), "expected silu, swish, mish, gelu or relu"),
        ("resnet_time_scale_shift", "ada_group".into(), "`scale_shift`"),
        ("class_embed_type", "projection".into(), "`timestep`"),
        ("center_input_sample", 1.into(), "expected a boolean"),
        ("downsample_type", "fir".into(), "`resnet`"),
        ("upsample_type", "fir".into(), "`resnet`"),
        ("mid_block_type", "UNetMidBlock2DCrossAttn".into(), "`UNetMidBlock2D`"),
        ("mid_block_scale_factor", 0.into(), "must be positive"),
        ("attn_norm_num_groups", 0.into(), "must be between 1 and 65536"),
        ("downsample_padding", 2.into(), "0 and 1 are supported"),
        ("norm_num_groups", 5.into(), "does not divide block_out_channels 9"),
        ("norm_num_groups", 0.into(), "must be between 1 and 65536"),
        ("block_out_channels", serde_json::json!([]), "the same number of entries"),
        ("block_out_channels", serde_json::json!([9, 9]), "the same number of entries"),
        ("block_out_channels", serde_json::json!([9, 9, 1_000_000_000_000_u64]), "must be between 1 and 65536"),
        ("block_out_channels", serde_json::json!([1_u64 << 62, 9, 9]), "must be between 1 and 65536"),
        ("norm_eps", (-1.0).into(), "must be positive"),
        ("norm_eps", 1e-60.into(), "must be positive"),
        ("sample_size", 0.into(), "must be between 1 and 65536"),
        ("sample_size", serde_json::json!([8, 1_000_000]), "must be between 1 and 65536"),
        ("sample_size", "32".into(), "a whole number, or height and width"),
        ("layers_per_block", "two".into(), "\"two\""),
        ("layers_per_block", (-1).into(), "-1"),
        ("layers_per_block", 65.into(), "between 1 and 64"),
        ("freq_shift", 100.into(), "less than half of block_out_channels[0]"),
    ];
    for (field, value, expected) in cases {
        assert_message(&config_message(field, value), &["unet/config.json", field, expected]);
    }
    let message =
        config_message("down_block_types", serde_json::json!(["DownEncoderBlock2D", "DownBlock2D", "DownBlock2D"]));
    assert_message(&message, &["down_block_types is [", "DownEncoderBlock2D", "`AttnDownBlock2D`"]);
    let levels = 40;
    let mut config: serde_json::Value = serde_json::from_str(&model().0).unwrap();
    config["block_out_channels"] = serde_json::json!(vec![9; levels]);
    config["down_block_types"] = serde_json::json!(vec!["DownBlock2D"; levels]);
    config["up_block_types"] = serde_json::json!(vec!["UpBlock2D"; levels]);
    let message = UNetConfig::from_json(&config.to_string()).unwrap_err().to_string();
    assert_message(&message, &["block_out_channels has 40 entries; at most 16"]);
}

#[test]
fn heads_that_are_wider_than_their_layer() {
    let (config, weights) = model();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["attention_head_dim"] = 100.into();
    let config = UNetConfig::from_json(&config.to_string()).unwrap();
    let message = UNet2DModel::new(config, [&weights[..]]).err().unwrap().to_string();
    assert_message(&message, &["attention_head_dim is 100", "more than the 12 channels of mid_block.attentions.0"]);
}

#[test]
fn a_network_of_another_class() {
    let message = UNetConfig::from_json(r#"{"_class_name": "UNet2DConditionModel"}"#).unwrap_err().to_string();
    assert_message(&message, &["_class_name is UNet2DConditionModel; only UNet2DModel is supported"]);
}

#[test]
fn configurations_that_are_not_json() {
    for json in ["", "{", "[]", "null", "<!DOCTYPE html>"] {
        let message = UNetConfig::from_json(json).unwrap_err().to_string();
        assert_message(&message, &["unet/config.json: this is not a JSON object"]);
        assert!(SchedulerConfig::from_json(json).is_err());
        assert!(Card::from_json(json).is_err());
    }
}

#[test]
fn schedulers_that_are_not_supported_name_the_field_and_what_is() {
    let cases = [
        ("beta_schedule", r#""quadratic""#, "`linear`"),
        ("prediction_type", r#""flow""#, "`epsilon`"),
        ("variance_type", r#""fixed_large_log""#, "`fixed_small`"),
        ("timestep_spacing", r#""random""#, "`leading`"),
        ("use_dynamic_shifting", "true", "set it to false"),
        ("dynamic_thresholding_ratio", "1.5", "between 0 and 1"),
        ("sample_max_value", "0", "must be positive"),
        ("snr", "-1", "must be positive"),
        ("interpolation_type", r#""cubic""#, "`linear`"),
        ("final_sigmas_type", r#""none""#, "`sigma_min`"),
        ("solver_order", "9", "between 1 and 4"),
        ("algorithm_type", r#""euler""#, "`dpmsolver++`"),
        ("trained_betas", "[0.1]", "must be 1000 numbers between 0 and 1; there are 1"),
        ("num_train_timesteps", "0", "between 1 and 100000"),
        ("num_train_timesteps", "-1", "-1"),
        ("beta_end", "2", "between 0 and 1"),
        ("clip_sample_range", "0", "must be positive"),
        ("prediction_type", r#""flow_prediction""#, "needs use_flow_sigmas"),
        ("shift", "0", "must be positive"),
        ("shift_terminal", "1.5", "between 0 and 1"),
        ("original_inference_steps", "1001", "between 1 and num_train_timesteps, 1000"),
        ("sigma_data", "-1", "must be positive"),
        ("sigma_schedule", r#""cosine""#, "`karras`"),
        ("steps_offset", "1000", "less than num_train_timesteps, 1000"),
        ("steps_offset", "4294967295", "less than num_train_timesteps, 1000"),
    ];
    for (field, value, expected) in cases {
        // A scheduler that has the field; what others have does not concern it.
        let class = match field {
            "use_dynamic_shifting" | "solver_order" => "UniPCMultistepScheduler",
            "algorithm_type" => "DPMSolverMultistepScheduler",
            "interpolation_type" | "final_sigmas_type" => "EulerDiscreteScheduler",
            "snr" => "ScoreSdeVeScheduler",
            "shift" | "shift_terminal" => "FlowMatchEulerDiscreteScheduler",
            "original_inference_steps" => "LCMScheduler",
            "sigma_data" | "sigma_schedule" => "EDMEulerScheduler",
            _ => "DDPMScheduler",
        };
        let json = format!(r#"{{"_class_name": "{class}", "{field}": {value}}}"#);
        let message = SchedulerConfig::from_json(&json).unwrap_err().to_string();
        assert_message(&message, &["scheduler/scheduler_config.json", field, expected]);
    }
}

#[test]
fn fields_of_other_schedulers_are_no_obstacle() {
    // DDPM, then LCM, then DDIM by from_config; numbers as Python writes them; and what only a later version has.
    let json = r#"{"_class_name": "DDIMScheduler", "variance_type": "fixed_big", "original_inference_steps": 50,
        "timestep_scaling": "\"NaN", "lambda_min_clipped": -Infinity, "sigma_max": Infinity, "snr": NaN, "eta": 7,
        "algorithm_type": "data_prediction", "beta_end": 0.01, "of_tomorrow": [1], "_diffusers_version": "9"}"#;
    let file = SchedulerFile::from_json(json).unwrap();
    assert_eq!(file.unknown_fields(), ["of_tomorrow"]);
    let config = file.config(None, "{}").unwrap();
    assert_eq!((config.kind, config.beta_end), (SchedulerKind::Ddim, 0.01));
    // What belongs to the scheduler that reads it counts.
    let message = file.config(Some(SchedulerKind::Ddpm), "{}").unwrap_err().to_string();
    assert_message(&message, &["variance_type", "fixed_big", "`fixed_small`"]);
    assert!(file.config(Some(SchedulerKind::DpmSolverMultistep), "{}").is_ok());
    let message = file.config(Some(SchedulerKind::Euler), "{}").unwrap_err().to_string();
    assert_message(&message, &["sigma_max", "Infinity", "not supported"]);
    // Who writes a field by hand wants it to do something.
    let message = file.config(None, r#"{"beta_stop": 1}"#).unwrap_err().to_string();
    assert_message(&message, &["\"beta_stop\""]);
}

#[test]
fn a_scheduler_that_is_not_supported_says_which_are() {
    use SchedulerKind::{DeisMultistep, DpmSolverMultistep, DpmSolverSinglestep, FlowEuler, FlowHeun, UniPc};
    let json = r#"{"_class_name": "SASolverScheduler", "algorithm_type": "data_prediction", "beta_end": 0.01,
        "tau_func": null, "lambda_min_clipped": -Infinity, "prediction_type": "v_prediction"}"#;
    let config = r#"{"sample_size": 8, "block_out_channels": [4, 4], "norm_num_groups": 2, "attention_head_dim": 2,
        "down_block_types": ["DownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "UpBlock2D"]}"#;
    let pipeline = Pipeline::from_json(config, Some(json), None).unwrap();
    let message = pipeline.scheduler().unwrap_err().to_string();
    let expected =
        ["SASolverScheduler is not supported", "DDPMScheduler, DDIMScheduler,", "choose one with --scheduler"];
    assert_message(&message, &expected);
    assert!(!message.contains("Inverse") && !message.contains("IPNDM") && !message.contains("ScoreSde"), "{message}");
    assert_eq!(Settings::default().check(&pipeline).unwrap_err().to_string(), message);
    for kind in pipeline.scheduler_file().kinds() {
        let scheduler = pipeline.scheduler_file().config(Some(kind), "{}").unwrap();
        assert_eq!((scheduler.beta_end, scheduler.prediction_type), (0.01, PredictionType::VPrediction));
        let settings = Settings { scheduler: Some(scheduler), ..Settings::default() };
        settings.check(&pipeline).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
    }
    // Another family's list is its own, and its ways of saying the same are understood.
    let flow = SchedulerFile::from_json(r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3}"#).unwrap();
    let expected =
        [FlowEuler, DpmSolverMultistep, DpmSolverSinglestep, DeisMultistep, UniPc, FlowHeun].map(SchedulerKind::class);
    assert_eq!(flow.kinds().into_iter().map(SchedulerKind::class).collect::<Vec<_>>(), expected);
    let unipc = flow.config(Some(UniPc), "{}").unwrap();
    assert_eq!((unipc.flow_shift, unipc.prediction_type), (3.0, PredictionType::FlowPrediction));
    assert!(unipc.use_flow_sigmas);
    assert_eq!(unipc.with_kind(FlowHeun).unwrap().shift, 3.0);
    assert!(flow.config(Some(SchedulerKind::Ddim), "{}").is_ok());
    let unknown = SchedulerFile::from_json(r#"{"_class_name": "FlowMatchLCMScheduler", "shift": 3}"#).unwrap();
    assert_eq!(unknown.kinds()[0], DpmSolverMultistep);
    // A field that cannot be used is found when it is.
    let pipeline = Pipeline::from_json(config, Some(r#"{"beta_end": 2}"#), None).unwrap();
    assert_message(&pipeline.scheduler().unwrap_err().to_string(), &["beta_end is 2; it must be between 0 and 1"]);
    assert!(Pipeline::from_json(config, Some("[]"), None).is_err());
}

#[test]
fn schedules_beyond_32_bit_numbers() {
    for json in [r#"{"num_train_timesteps": 20000}"#, r#"{"beta_start": 1e-20}"#] {
        let config = SchedulerConfig::from_json(json).unwrap();
        let message =
            Schedule::new(&config, config.num_train_timesteps, &StepOptions::default()).unwrap_err().to_string();
        assert_message(&message, &["leaves the range of 32-bit numbers", "do not go together"]);
    }
}

#[test]
fn zero_signal_of_which_the_model_says_nothing() {
    let json = r#"{"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": true, "timestep_spacing": "trailing"}"#;
    let run =
        |changes| Schedule::new(&SchedulerConfig::from_json(json)?.with(None, changes)?, 10, &StepOptions::default());
    assert_message(&run("{}").unwrap_err().to_string(), &["timestep 999", "rescale_betas_zero_snr", "predicts v"]);
    run(r#"{"timestep_spacing": "leading"}"#).unwrap();
    run(r#"{"prediction_type": "v_prediction"}"#).unwrap();
}

/// A plan for sampling so many images.
fn plan(pipeline: &mut Pipeline, count: usize) -> Result<Plan> {
    let layout = Settings { count, ..Settings::default() }.layout(pipeline)?;
    pipeline.plan(&layout, None)
}

/// Sizes whose products do not fit 32 bits, or any memory.
#[test]
fn sizes_that_are_too_large() {
    let (config, weights) = model();
    for (size, count) in [(4096, 1), (65_536, 1), (65_536, 256), (1024, 200)] {
        let mut other: serde_json::Value = serde_json::from_str(&config).unwrap();
        other["sample_size"] = size.into();
        let mut pipeline = Pipeline::from_files(&other.to_string(), [&weights[..]], None, None).unwrap();
        let message = plan(&mut pipeline, count).unwrap_err().to_string();
        assert_message(&message, &["which is more than 1 GiB", "fewer or smaller images"]);
    }
    // One value fits, all of them do not: not a GPU's buffers, and natively perhaps the memory.
    let mut other: serde_json::Value = serde_json::from_str(&config).unwrap();
    other["sample_size"] = 128.into();
    let mut pipeline = Pipeline::from_files(&other.to_string(), [&weights[..]], None, None).unwrap();
    pollster::block_on(async {
        let gpu = Backend::Gpu(Gpu::open().await.unwrap());
        let message = gpu.compile(plan(&mut pipeline, 60).unwrap(), &[], |_, _| {}).await.err().unwrap().to_string();
        assert_message(&message, &["takes 720 MB, but one buffer of a GPU holds at most", "or use the CPU"]);
        let small = gpu.compile(plan(&mut pipeline, 1).unwrap(), &[], |_, _| {}).await.unwrap();
        small.run(0).await.unwrap();
    });
}

/// A row for an input that has no table would be written nowhere.
#[test]
fn a_row_without_its_table() {
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::new(&[1, 4])).unwrap();
    let y = graph.op("y", Affine { scale: 2.0, offset: 1.0 }, &[x]).unwrap();
    graph.output("y", y);
    pollster::block_on(async {
        for backend in [Backend::Cpu, Backend::Gpu(Gpu::open().await.unwrap())] {
            let executor = backend.compile(Plan::new(&graph), &[], |_, _| {}).await.unwrap();
            let message = executor.write_row("x", 0, &[1.0; 4]).unwrap_err().to_string();
            assert_message(&message, &["x: expected a table, by set_rows, found none"]);
            executor.set_rows("x", &[0.0; 8]).unwrap();
            executor.write_row("x", 1, &[3.0; 4]).unwrap();
            executor.run(1).await.unwrap();
            assert_eq!(executor.read("y").await.unwrap(), [7.0; 4]);
        }
    });
}

/// Numbers, and devices, that do not go with 16 bits.
#[test]
fn sixteen_bits_where_they_do_not_do() {
    let plan = |value: f32| {
        let mut graph = Graph::new();
        let x = graph.input("x", Shape::new(&[1, 4])).unwrap();
        let x = graph.op("x.narrow", Narrow, &[x]).unwrap();
        let weight = graph.weight("proj.weight", Precision::F16, (Shape::new(&[4, 4]), vec![value; 16]));
        let bias = graph.constant("proj.bias", (Shape::new(&[4]), vec![1e9; 4]));
        let y = graph.op("proj", Linear, &[x, weight, bias]).unwrap();
        graph.output("y", y);
        Plan::new(&graph)
    };
    pollster::block_on(async {
        let message = Backend::Cpu.compile(plan(1.0), &[], |_, _| {}).await.err().unwrap().to_string();
        assert_eq!(message, "The CPU computes in 32 bits only; choose f32.");
        let gpu = Backend::Gpu(Gpu::open().await.unwrap());
        gpu.compile(plan(-65_504.0), &[], |_, _| {}).await.unwrap();
        let message = gpu.compile(plan(-65_505.0), &[], |_, _| {}).await.err().unwrap().to_string();
        assert_message(&message, &["The weights file has -65505 in proj.weight", "at most 65504", "choose f32"]);
    });
}

/// A dispatch with more workgroups side by side than WebGPU takes, in buffers that are small enough.
#[test]
fn dispatches_that_are_too_wide() {
    pollster::block_on(async {
        let gpu = Backend::Gpu(Gpu::open().await.unwrap());
        let mut graph = Graph::new();
        let x = graph.input("x", Shape::new(&[600_000, 1, 1, 4])).unwrap();
        let weight = graph.weight("weight", Precision::F32, (Shape::new(&[1, 1, 4, 4]), vec![1.0; 16]));
        let bias = graph.constant("bias", (Shape::new(&[4]), vec![0.0; 4]));
        let y = graph.op("conv_in", Conv2d::POINTWISE, &[x, weight, bias]).unwrap();
        graph.output("y", y);
        let message = gpu.compile(Plan::new(&graph), &[], |_, _| {}).await.err().unwrap().to_string();
        assert_message(&message, &["conv_in needs 75000 workgroups side by side", "at most 65535"]);
    });
}

#[test]
fn parts_that_do_not_belong_together() {
    let (config, weights) = model();
    let build = |config: &str, card: &str| {
        Pipeline::from_files(config, [&weights[..]], Some("{}"), Some(card)).err().unwrap().to_string()
    };
    let message = build(&config, r#"{"class_names": ["a"]}"#);
    assert_message(&message, &["card.json", "names 1 classes", "0 class embeddings"]);
    let mut other: serde_json::Value = serde_json::from_str(&config).unwrap();
    other["out_channels"] = 3.into();
    assert_message(&build(&other.to_string(), "{}"), &["in_channels is 1 and out_channels 3"]);
    other = serde_json::from_str(&config).unwrap();
    other["sample_size"] = serde_json::Value::Null;
    let mut pipeline = Pipeline::from_files(&other.to_string(), [&weights[..]], None, None).unwrap();
    assert_message(&plan(&mut pipeline, 1).unwrap_err().to_string(), &["sample_size is missing"]);
    other["sample_size"] = 21.into();
    let mut pipeline = Pipeline::from_files(&other.to_string(), [&weights[..]], None, None).unwrap();
    assert_message(&plan(&mut pipeline, 1).unwrap_err().to_string(), &["must be multiples of 4; found 21×21"]);
}
