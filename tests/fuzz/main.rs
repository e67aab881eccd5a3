//! Random damage to small files of every kind: whatever a user gives, reading it never panics.
//!
//! `cargo test --test fuzz` reads a few ten thousand files; `FUZZ_CASES=1000000` sets another number. A case depends on
//! its number only, so a failure names the number that brings it back: `FUZZ_FIRST=123456 FUZZ_CASES=1`.

#![cfg(not(target_arch = "wasm32"))]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use denoise::config::{Card, SchedulerConfig, SchedulerFile, UNetConfig};
use denoise::dataset::Dataset;
use denoise::graph::Graph;
use denoise::model_files::{self, Listed};
use denoise::schedule::{Schedule, StepOptions};
use denoise::unet::{UNet2DModel, WeightsFile};
use denoise::{Error, Precision, Weights, WeightsReader};
use safetensors::tensor::{SafeTensorError, SafeTensors};
use serde_json::{Value, json};

/// SplitMix64 (Steele et al. 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `n` − 1; 0 if there is none.
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// The files of a folder of the corpus, in the order of their names.
fn corpus(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(folder);
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeMap<_, _> = paths
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_string(), std::fs::read(&path).unwrap()))
        .collect();
    assert!(files.len() > 10);
    files.into_iter().collect()
}

/// Numbers at which something may overflow, round or divide by zero.
const NUMBERS: [&str; 24] = [
    "0",
    "1",
    "2",
    "3",
    "4",
    "8",
    "31",
    "32",
    "64",
    "1000",
    "65535",
    "65536",
    "65537",
    "-1",
    "-0.0",
    "0.5",
    "1e-45",
    "1e-308",
    "1e39",
    "1e308",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
];

/// A value that a field of some configuration has, or none could have.
fn value(random: &mut Random) -> Value {
    let other = ["null", "true", "false", "[]", "{}", "\"\"", "\"linear\"", "\"DownBlock2D\"", "[1,2]", "[[1]]", "NaN"];
    let text = if random.one_in(3) { *random.pick(&other) } else { *random.pick(&NUMBERS) };
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// A value somewhere in a tree of JSON.
fn place<'a>(tree: &'a mut Value, random: &mut Random) -> &'a mut Value {
    let length = match tree {
        Value::Object(object) => object.len(),
        Value::Array(list) => list.len(),
        _ => 0,
    };
    if length == 0 || random.one_in(8) {
        return tree;
    }
    let at = random.below(length);
    match tree {
        Value::Object(object) => place(object.values_mut().nth(at).unwrap(), random),
        Value::Array(list) => place(&mut list[at], random),
        _ => unreachable!("only objects and arrays have a length"),
    }
}

/// Changes a tree of JSON, an object: sets, swaps, repeats or drops some of it, mostly so that it is still of the kind.
fn mutate_json(tree: &mut Value, others: &[Value], random: &mut Random) {
    for _ in 0..1 + random.below(2) {
        let Some(object) = tree.as_object() else { return };
        let keys: Vec<String> = object.keys().cloned().collect();
        match random.below(8) {
            0 if !keys.is_empty() => {
                tree.as_object_mut().unwrap().remove(random.pick(&keys));
            }
            // A field of another file.
            1 | 2 => {
                if let Some(other) = random.pick(others).as_object().filter(|other| !other.is_empty()) {
                    let (key, value) = other.iter().nth(random.below(other.len())).unwrap();
                    tree[key] = value.clone();
                }
            }
            // An element of a list twice, or not at all.
            3 if !keys.is_empty() => {
                let key = random.pick(&keys);
                if let Some(list) = tree[key].as_array_mut().filter(|list| !list.is_empty()) {
                    let at = random.below(list.len());
                    match random.one_in(2) {
                        true => list.insert(at, list[at].clone()),
                        false => drop(list.remove(at)),
                    }
                }
            }
            4 if !keys.is_empty() => tree[random.pick(&keys)] = value(random),
            _ => {
                let value = value(random);
                *place(tree, random) = value;
            }
        }
    }
}

/// Changes bytes: flips, sets, inserts, drops, repeats or cuts them, or goes on with another file.
fn mutate_bytes(bytes: &mut Vec<u8>, others: &[(String, Vec<u8>)], random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len());
        let end = (at + random.below(20)).min(bytes.len());
        match random.below(8) {
            0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            2 if !bytes.is_empty() => bytes[at] = random.next() as u8,
            3 => drop(bytes.splice(at..at, random.pick(&NUMBERS).bytes())),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let part = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, part));
            }
            6 => bytes.truncate(at),
            _ => {
                let other = &random.pick(others).1;
                bytes.truncate(at);
                bytes.extend(&other[random.below(other.len())..]);
            }
        }
    }
}

/// Changes the header of a safetensors file as JSON, and says its length as it then is, mostly.
fn mutate_header(bytes: &mut Vec<u8>, random: &mut Random) {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return };
    let Some((header, data)) = rest.split_at_checked(u64::from_le_bytes(*length) as usize) else { return };
    let Ok(mut header) = serde_json::from_slice::<Value>(header) else { return };
    let others =
        [json!({"b": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}, "__metadata__": {"format": "pt"}})];
    mutate_json(&mut header, &others, random);
    if let (true, Some(tensors)) = (random.one_in(4), header.as_object_mut()) {
        let prefix = *random.pick(&["module.", "ema.", "a.b.", ".", "é."]);
        let other = random.one_in(4);
        let named = tensors.iter().map(|(name, entry)| {
            (if other && random.one_in(2) { name.clone() } else { format!("{prefix}{name}") }, entry.clone())
        });
        *tensors = named.collect();
    }
    let header = header.to_string();
    let length = if random.one_in(8) { random.next() >> random.below(64) } else { header.len() as u64 };
    *bytes = [&length.to_le_bytes(), header.as_bytes(), data].concat();
}

/// What there is to start from.
struct Corpus {
    weights: Vec<(String, Vec<u8>)>,
    unets: Vec<(String, Vec<u8>)>,
    schedulers: Vec<(String, Vec<u8>)>,
    unet_trees: Vec<Value>,
    scheduler_trees: Vec<Value>,
    /// A small network, of which the weights are a part.
    network: UNetConfig,
}

impl Corpus {
    fn load() -> Self {
        let trees = |files: &[(String, Vec<u8>)]| {
            files.iter().filter_map(|(_, bytes)| serde_json::from_slice(bytes).ok()).collect()
        };
        let (unets, schedulers) = (corpus("unet"), corpus("scheduler"));
        let (unet_trees, scheduler_trees) = (trees(&unets), trees(&schedulers));
        let network = json!({
            "in_channels": 1, "out_channels": 1, "block_out_channels": [2, 2], "norm_num_groups": 1, "attention_head_dim": 2,
            "down_block_types": ["DownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "UpBlock2D"],
        });
        let network = UNetConfig::from_json(&network.to_string()).unwrap();
        Corpus { weights: corpus("weights"), unets, schedulers, unet_trees, scheduler_trees, network }
    }
}

/// A configuration: half of the time still JSON, half of the time perhaps not.
fn config(files: &[(String, Vec<u8>)], trees: &[Value], random: &mut Random) -> String {
    if random.one_in(2) {
        let mut bytes = random.pick(files).1.clone();
        mutate_bytes(&mut bytes, files, random);
        return String::from_utf8_lossy(&bytes).into_owned();
    }
    let mut tree = random.pick(trees).clone();
    mutate_json(&mut tree, trees, random);
    tree.to_string()
}

/// How many files were read, how many of them were accepted (weights, configurations of networks, of schedulers), and
/// what was made of those.
#[derive(Debug, Default)]
struct Counts {
    read: usize,
    accepted: [usize; 3],
    packed: usize,
    named: usize,
    folders: usize,
    schedules: usize,
    networks: usize,
}

/// Reads one file of one kind.
fn case(number: u64, corpus: &Corpus, counts: &mut Counts) {
    let random = &mut Random(number);
    counts.read += 1;
    match random.below(11) {
        10 => counts.folders += usize::from(finds_a_model(random)),
        0..4 => {
            let mut bytes = random.pick(&corpus.weights).1.clone();
            match random.one_in(2) {
                true => mutate_bytes(&mut bytes, &corpus.weights, random),
                false => mutate_header(&mut bytes, random),
            }
            counts.named += usize::from(arrives(corpus, &bytes, random));
            agrees_with_the_library(&bytes);
            if let Ok(weights) = Weights::from_bytes(&bytes) {
                counts.accepted[0] += 1;
                let mut model = UNet2DModel::without_weights(corpus.network.clone()).unwrap();
                for (path, tensor) in weights {
                    let packed = model.receive(&path, tensor.clone()).is_ok();
                    counts.packed += usize::from(packed);
                    if packed && random.one_in(4) {
                        model.forget(std::slice::from_ref(&path));
                        model.receive(&path, tensor).unwrap();
                    }
                }
                assert!(model.finish().is_err(), "there is more to the network");
            }
        }
        4..7 => {
            let json = config(&corpus.unets, &corpus.unet_trees, random);
            let _ = (Card::from_json(&json), Weights::shards(&json));
            if let Ok(config) = UNetConfig::from_json(&json) {
                counts.accepted[1] += 1;
                // A network for want of weights fails at the first; a small one gets them now and then.
                let nothing: &[u8] = b"\x02\0\0\0\0\0\0\0{}";
                assert!(UNet2DModel::new(config.clone(), [nothing]).is_err());
                if random.one_in(128) && small(&config) {
                    counts.networks += usize::from(lay_out(&config));
                }
            }
        }
        _ => {
            let json = config(&corpus.schedulers, &corpus.scheduler_trees, random);
            // Its own scheduler, or another that takes it over.
            let read = SchedulerFile::from_json(&json).and_then(|file| {
                let _ = file.unknown_fields();
                let kind = if random.one_in(4) { Some(*random.pick(&file.kinds())) } else { None };
                file.config(kind, "{}")
            });
            if let Ok(config) = read {
                counts.accepted[2] += 1;
                if config.num_train_timesteps <= 1000 {
                    let steps = random.below(config.num_train_timesteps.min(25) + 2);
                    let mut options = StepOptions::default();
                    if random.one_in(4) {
                        options.eta = Some(*random.pick(&[0.0, 0.5, 1.0, -1.0, f64::NAN]));
                        options.s_churn = *random.pick(&[0.0, 0.0, 2.0, f64::INFINITY, -1.0]);
                        options.s_tmin = *random.pick(&[0.0, 1.0, f64::NAN]);
                        options.order = random.below(6);
                        options.jump_length = random.below(12);
                        options.jump_n_sample = random.below(4);
                    }
                    counts.schedules += usize::from(Schedule::new(&config, steps, &options).is_ok());
                }
            }
        }
    }
}

/// Checks that a header is accepted where the `safetensors` library accepts it, but for a name that stands twice.
fn agrees_with_the_library(bytes: &[u8]) {
    let library = match SafeTensors::read_metadata(bytes) {
        Ok((_, metadata)) => Some(metadata.offset_keys().len()),
        // Which it says last, of a file whose data are not all there.
        Err(SafeTensorError::MetadataIncompleteBuffer) => None,
        Err(_) => Some(usize::MAX),
    };
    let mut reader = WeightsReader::default();
    match (reader.push_header(bytes).map(|_| ()), reader.awaited(), library) {
        (Ok(()), Some(tensors), Some(count)) => assert_eq!(tensors.len(), count),
        (Ok(()), _, None) | (Ok(()), None, Some(usize::MAX)) => {}
        (Err(_), _, Some(usize::MAX)) => {}
        (Err(error), _, _) if error.to_string().contains("stands in it twice") => {}
        // A header that names no tensor, with data behind it.
        (Err(error), _, None) if error.to_string().contains("the length its header promises") => {}
        (ours, _, library) => panic!("{ours:?} where the library says {library:?}"),
    }
}

/// Takes a file as it comes, in a few pieces: whether its header fits the network, whatever follows.
fn arrives(corpus: &Corpus, bytes: &[u8], random: &mut Random) -> bool {
    let mut unet = UNet2DModel::without_weights(corpus.network.clone()).unwrap();
    let mut file = WeightsFile::default();
    let came = bytes.chunks(1 + random.below(bytes.len())).all(|piece| file.push(&mut unet, piece).is_ok());
    let named = came || !file.received().is_empty();
    unet.forget(file.received());
    assert!(unet.notes().is_empty() && unet.finish().is_err());
    named
}

/// Looks for a model among files whose names are made of what names of weights are made of; whether there is one.
fn finds_a_model(random: &mut Random) -> bool {
    const FOLDERS: [&str; 8] =
        ["", "unet/", "unet_ema/", "a/unet/", "checkpoint-7/unet/", "checkpoint-/", "vae/", "é/-of-/"];
    const STEMS: [&str; 6] = ["diffusion_pytorch_model", "model", "config", "scheduler_config", "card", "-of-"];
    const PARTS: [&str; 8] =
        ["", ".fp16", "-00001-of-00002", "-00002-of-00002", "-1-of-", ".safetensors.index", ".ema", "é."];
    const ENDS: [&str; 5] = [".safetensors", ".json", ".bin", "", "."];
    let file = |random: &mut Random| Listed {
        path: [&FOLDERS[..], &STEMS, &PARTS, &PARTS, &ENDS].map(|parts| *random.pick(parts)).concat(),
        class_name: random.one_in(3).then(|| random.pick(&["UNet2DModel", "AutoencoderKL", ""]).to_string()),
    };
    let mut files: Vec<Listed> = (0..random.below(12)).map(|_| file(random)).collect();
    files.push(Listed { path: format!("{}config.json", random.pick(&FOLDERS)), class_name: None });
    let found = model_files::find(&files);
    assert_eq!(found.networks.is_empty(), found.problem.is_some());
    let there = |path: &String| files.iter().any(|file| file.path == *path);
    for network in &found.networks {
        assert!(there(&network.config) && network.scheduler.iter().chain(&network.card).all(there));
        assert!(!network.variants.is_empty());
        assert!(network.variants.iter().all(|variant| variant.files.iter().chain(&variant.index).all(there)));
    }
    !found.networks.is_empty()
}

/// Whether a network is small enough to be made here.
fn small(config: &UNetConfig) -> bool {
    let channels = config.block_out_channels.iter().copied().max().unwrap_or(0);
    let classes = config.num_class_embeds.unwrap_or(0).max(config.num_train_timesteps.unwrap_or(0));
    channels.max(config.in_channels).max(config.out_channels).max(config.time_embed_dim()) <= 128
        && config.layers_per_block <= 3
        && config.block_out_channels.len() <= 5
        && classes <= 1000
}

/// Makes the network with whatever weights it asks for, and lays it out for images of a few sizes; whether it can be
/// made.
fn lay_out(config: &UNetConfig) -> bool {
    let mut shapes = serde_json::Map::new();
    let mut end = 0;
    loop {
        let header = Value::Object(shapes.clone()).to_string();
        let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; end]].concat();
        match UNet2DModel::new(config.clone(), [&bytes[..]]) {
            Ok(model) => {
                for (count, height, width) in [(1, 0, 1), (1, 1, 1), (2, 16, 32), (1, 64, 48), (3, 5, 7)] {
                    for precision in [Precision::F32, Precision::F16] {
                        let _ = model.build(&mut Graph::new(), count, height, width, precision);
                    }
                }
                return true;
            }
            // "has no tensor NAME, which the configuration asks for with shape SHAPE. …"
            Err(Error::Weights(message)) if message.contains("has no tensor") => {
                let (name, rest) = message.split_once("has no tensor ").unwrap().1.split_once(',').unwrap();
                let shape = rest.split_once("with shape ").unwrap().1.split_once(". ").unwrap().0;
                let shape: Vec<usize> = serde_json::from_str(shape).unwrap();
                let begin = end;
                end += 4 * shape.iter().product::<usize>();
                let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, end]});
                assert!(shapes.insert(name.to_string(), entry).is_none(), "{name} is asked for again");
            }
            Err(_) => return false,
        }
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |value| value.parse().unwrap())
}

#[test]
fn nothing_panics() {
    let corpus = Corpus::load();
    let (first, cases) = (number("FUZZ_FIRST", 0), number("FUZZ_CASES", 50_000));
    let mut counts = Counts::default();
    let start = Instant::now();
    let mut panics = Vec::new();
    for number in first..first + cases {
        if catch_unwind(AssertUnwindSafe(|| case(number, &corpus, &mut counts))).is_err() {
            panics.push(number);
            assert!(panics.len() < 20, "the cases {panics:?} panic");
        }
    }
    println!("{counts:?} in {:.0} s", start.elapsed().as_secs_f64());
    assert!(panics.is_empty(), "the cases {panics:?} panic");
    // Damage that is always found at once would test nothing behind it.
    let deep = counts.accepted.iter().all(|accepted| accepted * 100 > counts.read);
    assert!(
        cases < 10_000
            || deep
                && counts.packed > 0
                && counts.named > 0
                && counts.folders > 0
                && counts.networks > 0
                && counts.schedules * 100 > counts.read
    );
}

/// Damaged datasets: pictures, arrays and MNIST's files.
#[test]
fn no_dataset_panics() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dataset");
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(golden)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_string(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort_unstable();
    let idx = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4][..], &[9; 24]].concat();
    files.push(("train-images-idx3-ubyte".into(), idx));
    assert!(files.len() > 10);
    let folder = std::env::temp_dir().join(format!("denoise-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (first, cases) = (number("FUZZ_FIRST", 0), number("FUZZ_CASES", 50_000) / 10);
    let (mut read, mut panics) = (0, Vec::new());
    for number in first..first + cases {
        let mut random = Random(number);
        let (name, mut bytes) = random.pick(&files).clone();
        mutate_bytes(&mut bytes, &files, &mut random);
        let path = folder.join(&name);
        std::fs::write(&path, &bytes).unwrap();
        let is_picture = !name.ends_with("npz") && !name.ends_with("ubyte");
        let channels = *random.pick(&[None, Some(1), Some(3)]);
        match catch_unwind(|| Dataset::read(if is_picture { &folder } else { &path }, channels)) {
            Ok(dataset) => read += u64::from(dataset.is_ok_and(|dataset| dataset.batch(&[0], &[true]).is_ok())),
            Err(_) => panics.push(number),
        }
        std::fs::remove_file(&path).unwrap();
    }
    std::fs::remove_dir_all(&folder).unwrap();
    println!("{read} of {cases} are read");
    assert!(panics.is_empty(), "the cases {panics:?} panic");
    assert!(cases < 1000 || read > cases / 50);
}

/// The corpus is what it says: whole files are accepted, the others are not.
#[test]
fn the_corpus_is_accepted_where_it_is_whole() {
    let corpus = Corpus::load();
    let damaged = |name: &str| ["cut", "zip", "dtype"].iter().any(|stem| name.starts_with(stem));
    for (name, bytes) in &corpus.weights {
        assert_eq!(Weights::from_bytes(bytes).is_err(), damaged(name), "{name}");
    }
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    for (name, bytes) in &corpus.unets {
        let config = UNetConfig::from_json(&text(bytes));
        assert_eq!(config.is_err(), damaged(name), "{name}: {config:?}");
        assert!(config.map_or(true, |config| lay_out(&config)), "{name}");
    }
    for (name, bytes) in &corpus.schedulers {
        let config = SchedulerConfig::from_json(&text(bytes));
        assert_eq!(config.is_err(), damaged(name), "{name}: {config:?}");
        if let Ok(config) = config {
            Schedule::new(&config, config.num_train_timesteps / 2, &StepOptions::default())
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}
