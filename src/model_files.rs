//! Where in a folder a model's files are: the one rule for a folder of the disk, dropped files, a repository and a server.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

/// A file of a folder, however deep.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify))]
pub struct Listed {
    /// Its path, with slashes.
    pub path: String,
    /// What a `config.json` says it is of, if that was read.
    #[serde(default)]
    #[cfg_attr(target_arch = "wasm32", tsify(type = "string | null"))]
    pub class_name: Option<String>,
}

/// A U-Net in a folder, and what belongs to it.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify), tsify(missing_as_null))]
pub struct Network {
    /// The folder that it is in.
    pub folder: String,
    /// Its `config.json`.
    pub config: String,
    /// The `model_index.json` of the pipeline that it is of.
    pub model_index: Option<String>,
    /// The `scheduler_config.json` that goes with it.
    pub scheduler: Option<String>,
    /// The `card.json` that goes with it.
    pub card: Option<String>,
    /// The classifier of noisy images that lies beside it, if there is one.
    pub classifier: Option<ClassifierFiles>,
    /// Its weights, the best choice first; at least one.
    pub variants: Vec<Variant>,
}

/// A classifier that runs of a network may be guided by.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify), tsify(missing_as_null))]
pub struct ClassifierFiles {
    /// Its `config.json`.
    pub config: String,
    /// Its weights.
    pub weights: Variant,
}

/// Weights of a network.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify), tsify(missing_as_null))]
pub struct Variant {
    /// diffusers' name of it, as `fp16`; nothing for the plain ones.
    pub name: String,
    /// The file, or all its shards. Empty if only the index can tell.
    pub files: Vec<String>,
    /// The index that names the shards, where they are not called as diffusers calls them, or some are missing.
    pub index: Option<String>,
}

/// What was found in a folder.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify), tsify(missing_as_null))]
pub struct Found {
    /// The U-Nets with weights, the best choice first.
    pub networks: Vec<Network>,
    /// Why there is none.
    pub problem: Option<String>,
}

/// What weights are called: by diffusers' models, and by `accelerate`.
const STEMS: [&str; 2] = ["diffusion_pytorch_model", "model"];
/// Variants by what they are worth for sampling; others come after them.
const VARIANTS: [&str; 6] = ["", "fp32", "fp16", "bf16", "ema", "non_ema"];
const CONFIG: &str = "config.json";
const SCHEDULER: &str = "scheduler_config.json";
const MODEL_INDEX: &str = "model_index.json";
const CARD: &str = "card.json";
/// The folder of a classifier, beside that of its network.
const CLASSIFIER: &str = "classifier";

/// Where the files of a model may be on a server that does not list its folders, in the order to look for them.
pub fn candidates() -> Vec<String> {
    let mut paths = vec!["unet/config.json".into(), CONFIG.into()];
    paths.extend([MODEL_INDEX.into(), format!("scheduler/{SCHEDULER}"), SCHEDULER.into(), CARD.into()]);
    for folder in ["unet/", ""] {
        for stem in STEMS {
            for variant in VARIANTS {
                let dotted = if variant.is_empty() { String::new() } else { format!(".{variant}") };
                paths.push(format!("{folder}{stem}{dotted}.safetensors"));
                paths.push(format!("{folder}{stem}.safetensors.index{dotted}.json"));
            }
        }
        paths.push(format!("{folder}diffusion_pytorch_model.bin"));
    }
    paths.extend([format!("{CLASSIFIER}/{CONFIG}"), format!("{CLASSIFIER}/{}.safetensors", STEMS[0])]);
    paths
}

/// What a `config.json` is of, by its own words or, where it is too old to say, by what it has.
pub fn class_of(config: &str) -> Option<String> {
    let config: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(config.trim_start_matches('\u{feff}')).ok()?;
    let named = ["_class_name", "model_type"].iter().find_map(|field| config.get(*field)?.as_str());
    let is_unet =
        || ["block_out_channels", "block_channels", "down_block_types"].iter().any(|key| config.contains_key(*key));
    Some(named.unwrap_or(if is_unet() { "UNet2DModel" } else { "model of another kind" }).into())
}

/// Finds the U-Nets among the files of a folder.
pub fn find(files: &[Listed]) -> Found {
    let paths: Vec<&str> = files.iter().map(|file| &file.path[..]).collect();
    let top = common_folder(&paths);
    let configs: Vec<&Listed> =
        files.iter().filter(|file| base(&file.path) == CONFIG && is_of_unet(file, top)).collect();
    let found = configs
        .iter()
        .map(|file| {
            let folder = parent(&file.path);
            Network {
                folder: folder.into(),
                config: file.path.clone(),
                model_index: nearest(&paths, folder, &[MODEL_INDEX]),
                scheduler: nearest(&paths, folder, &[&format!("scheduler/{SCHEDULER}"), SCHEDULER])
                    .or_else(|| only(&paths, SCHEDULER)),
                card: nearest(&paths, folder, &[CARD]),
                classifier: classifier(&paths, folder),
                variants: variants(&paths, folder),
            }
        })
        .filter(|network| !network.variants.is_empty());
    // A handful at most: not worth a sort of their own in what a page downloads.
    let mut networks: Vec<Network> = Vec::new();
    for network in found {
        let key = rank(&network.folder);
        let place = networks.iter().take_while(|other| rank(&other.folder) <= key).count();
        networks.insert(place, network);
    }
    let problem = networks.is_empty().then(|| problem(files, &paths, configs.first().copied()));
    Found { networks, problem }
}

/// The networks of a folder from the one that is most likely meant: finished before checkpoints of its training and these
/// from the last, plain before averages, outside before inside.
fn rank(folder: &str) -> (bool, Reverse<u64>, bool, usize, &str) {
    let checkpoint = folder.split('/').find_map(|part| part.strip_prefix("checkpoint-"));
    let number = checkpoint.and_then(|number| number.parse().ok()).unwrap_or(0);
    let is_average = base(folder).split(['_', '-', '.']).any(|part| part == "ema");
    (checkpoint.is_some(), Reverse(number), is_average, folder.split('/').count(), folder)
}

/// The folder that all files are in.
fn common_folder<'a>(paths: &[&'a str]) -> &'a str {
    let mut common = paths.first().map_or("", |path| parent(path));
    while !paths.iter().all(|path| within(path, common)) {
        common = parent(common);
    }
    common
}

fn within(path: &str, folder: &str) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether a `config.json` is a U-Net's. One that was not read is, where a U-Net's would be.
fn is_of_unet(file: &Listed, top: &str) -> bool {
    let folder = parent(&file.path);
    match &file.class_name {
        Some(class) => class.starts_with("UNet") || class == "NCSNpp",
        None => folder == top || is_unet_folder(folder),
    }
}

fn is_unet_folder(folder: &str) -> bool {
    base(folder).starts_with("unet")
}

/// One of these files in a folder, or else in the nearest around it.
fn nearest(paths: &[&str], mut folder: &str, names: &[&str]) -> Option<String> {
    loop {
        let found = names.iter().map(|name| join(folder, name)).find(|path| paths.contains(&&path[..]));
        if found.is_some() || folder.is_empty() {
            return found;
        }
        folder = parent(folder);
    }
}

/// The classifier that goes with the network of a folder: one with weights, beside it or in the nearest folder around it.
fn classifier(paths: &[&str], folder: &str) -> Option<ClassifierFiles> {
    let config = nearest(paths, folder, &[&join(CLASSIFIER, CONFIG)])?;
    let weights = variants(paths, parent(&config)).into_iter().next()?;
    Some(ClassifierFiles { config, weights })
}

/// The path of the only file of this name.
fn only(paths: &[&str], name: &str) -> Option<String> {
    let mut found = paths.iter().filter(|path| base(path) == name);
    match (found.next(), found.next()) {
        (Some(path), None) => Some(path.to_string()),
        _ => None,
    }
}

/// The weights of a folder, the best choice first.
fn variants(paths: &[&str], folder: &str) -> Vec<Variant> {
    /// What lies there of one variant: the whole file, and the index and the shards.
    struct Parts<'a> {
        rank: (usize, usize, String),
        whole: Option<&'a str>,
        shards: Vec<&'a str>,
        index: Option<&'a str>,
    }

    let mut found: Vec<Parts> = Vec::new();
    for name in paths.iter().filter(|path| parent(path) == folder).map(|path| base(path)) {
        let Some(Weights { stem, variant, part }) = parse(name) else { continue };
        let by_stem = STEMS.iter().position(|known| *known == stem).unwrap_or(STEMS.len());
        let variant = match (by_stem < STEMS.len(), variant.is_empty()) {
            (true, _) => variant.to_string(),
            // Weights by another name are called by it.
            (false, true) => stem.to_string(),
            (false, false) => [stem, ".", variant].concat(),
        };
        let by_variant = VARIANTS.iter().position(|known| *known == variant).unwrap_or(VARIANTS.len());
        let rank = (by_stem, by_variant, variant);
        let place = found.iter().take_while(|parts| parts.rank < rank).count();
        if found.get(place).is_none_or(|parts| parts.rank != rank) {
            found.insert(place, Parts { rank, whole: None, shards: Vec::new(), index: None });
        }
        let parts = &mut found[place];
        match part {
            Part::Whole => parts.whole = Some(name),
            Part::Index => parts.index = Some(name),
            Part::Shard => parts.shards.insert(parts.shards.iter().take_while(|shard| **shard < name).count(), name),
        }
    }
    let mut variants: Vec<Variant> = Vec::new();
    for Parts { rank: (_, _, name), whole, shards, index } in found {
        // Shards go before a file beside them, as in diffusers: the later of two models saved in one place is often in shards.
        let files = if is_complete(&shards) { shards } else { whole.into_iter().collect() };
        let index = index.filter(|_| files.is_empty()).map(|index| join(folder, index));
        let is_new = !variants.iter().any(|variant| variant.name == name);
        if is_new && (index.is_some() || !files.is_empty()) {
            variants.push(Variant { name, files: files.into_iter().map(|file| join(folder, file)).collect(), index });
        }
    }
    variants
}

/// A name of weights.
struct Weights<'a> {
    stem: &'a str,
    variant: &'a str,
    part: Part,
}

enum Part {
    Whole,
    Shard,
    Index,
}

/// The parts of a name as diffusers writes it, today or earlier: `STEM.VARIANT.safetensors`, shards
/// `STEM-00001-of-00002.VARIANT.safetensors` or `STEM.VARIANT-00001-of-00002.safetensors`, and their index
/// `STEM.safetensors.index.VARIANT.json` or `STEM.VARIANT.safetensors.index.json` (diffusers `utils/hub_utils.py`).
fn parse(name: &str) -> Option<Weights<'_>> {
    if let Some(name) = name.strip_suffix(".json") {
        let (weights, variant) = name.split_once(".safetensors.index")?;
        let (stem, before) = weights.split_once('.').unwrap_or((weights, ""));
        let variant = variant.strip_prefix('.').unwrap_or(before);
        return Some(Weights { stem, variant, part: Part::Index });
    }
    let name = name.strip_suffix(".safetensors")?;
    let (stem, variant) = name.split_once('.').unwrap_or((name, ""));
    let (stem_alone, variant_alone) = (without_shard(stem), without_shard(variant));
    let part = if stem_alone.is_some() || variant_alone.is_some() { Part::Shard } else { Part::Whole };
    Some(Weights { stem: stem_alone.unwrap_or(stem), variant: variant_alone.unwrap_or(variant), part })
}

/// A name without `-00001-of-00002` at its end.
fn without_shard(name: &str) -> Option<&str> {
    let (rest, count) = name.rsplit_once("-of-")?;
    let (rest, number) = rest.rsplit_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(count) && is_number(number)).then_some(rest)
}

/// Whether as many shards are there as their names say.
fn is_complete(shards: &[&str]) -> bool {
    let count = |name: &&str| name.split("-of-").nth(1)?.split('.').next()?.parse().ok();
    shards.first().and_then(count) == Some(shards.len())
}

/// Why there is no network, and what can be done.
fn problem(files: &[Listed], paths: &[&str], config: Option<&Listed>) -> String {
    const EXPECTED: &str =
        "A model's folder has unet/config.json and unet/diffusion_pytorch_model.safetensors, as diffusers saves them.";
    let Some(config) = config else {
        let others: Vec<String> = files
            .iter()
            .filter_map(|file| Some(format!("{} is of a {}", file.path, file.class_name.as_deref()?)))
            .collect();
        return match (others.is_empty(), paths.is_empty()) {
            (false, _) => format!("There is no config.json of a U-Net: {}. {EXPECTED}", list(&others)),
            (true, true) => format!("There are no files. {EXPECTED}"),
            (true, false) => format!("There is no config.json of a U-Net, but {}. {EXPECTED}", list(paths)),
        };
    };
    let folder = parent(&config.path);
    let beside: Vec<&str> =
        paths.iter().copied().filter(|path| parent(path) == folder && *path != config.path).collect();
    let is_pickle = |path: &&&str| [".bin", ".pt", ".pth", ".ckpt"].iter().any(|ending| path.ends_with(ending));
    if let Some(pickle) = beside.iter().find(is_pickle) {
        return format!(
            "{pickle} has the weights as a pickle, which can run code and is not read. Convert it, in Python: import torch, \
             safetensors.torch as s; d = torch.load('{0}', map_location='cpu', weights_only=True); s.save_file({{k: \
             v.clone().contiguous() for k, v in d.get('state_dict', d).items()}}, 'diffusion_pytorch_model.safetensors')",
            base(pickle)
        );
    }
    let here = if beside.is_empty() { "nothing".into() } else { list(&beside) };
    let shards = match beside.iter().any(|path| path.contains("-of-")) {
        true => " Some of its shards are missing.",
        false => "",
    };
    format!("There are no weights beside {}, but {here}.{shards} {EXPECTED}", config.path)
}

/// A few names, and how many more there are.
fn list(names: &[impl AsRef<str>]) -> String {
    let shown: Vec<&str> = names.iter().take(4).map(AsRef::as_ref).collect();
    let more = if names.len() > 4 { format!(" and {} more", names.len() - 4) } else { String::new() };
    shown.join(", ") + &more
}

fn base(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, base)| base)
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.into() } else { format!("{folder}/{name}") }
}
