//! Model folders and tensor files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use denoise::checkpoint;
use denoise::classifier::Classifier;
use denoise::config::{ClassifierConfig, UNetConfig};
use denoise::dataset::Dataset;
use denoise::model_files::{self, Found, Listed, Network, Variant, class_of};
use denoise::unet::UNet2DModel;
use denoise::{Pipeline, Tensor, Weights, to_safetensors};
use safetensors::tensor::{Dtype, SafeTensors};

use super::Result;

/// A file's bytes.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| format!("{} could not be read: {error}.", path.display()).into())
}

/// A file's text.
pub fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|_| format!("{} is not text.", path.display()).into())
}

/// Checks that a file can be put in its place, before any work is done for it.
pub fn check_place(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    match (folder.is_dir(), path.is_dir()) {
        (true, false) => Ok(()),
        (false, _) => {
            Err(format!("{} cannot be written: there is no folder {}.", path.display(), folder.display()).into())
        }
        (true, true) => Err(format!("{} cannot be written: it is a folder.", path.display()).into()),
    }
}

/// Writes a file whole or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |error: std::io::Error| format!("{} could not be written: {error}.", path.display());
    let mut name = path.file_name().ok_or_else(|| format!("{} is not the name of a file.", path.display()))?.to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let written = std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&part); // it may not be there; the error that counts is the other one
    }
    Ok(written.map_err(failed)?)
}

/// Which model.
#[derive(clap::Args)]
pub struct ModelArguments {
    /// A pipeline folder or a bare U-Net folder
    model_dir: PathBuf,
    /// Which U-Net of the folder, where there are several, as unet_ema or checkpoint-500/unet
    #[arg(long, value_name = "FOLDER")]
    network: Option<String>,
    /// Which weights of the U-Net, where there are several, as fp16, bf16 or ema
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
}

/// How deep in a folder models are looked for, and among how many files.
const DEEPEST: usize = 5;
const MOST_FILES: usize = 20_000;
/// A configuration is a page of text; what is larger is something else.
const MOST_CONFIG_BYTES: u64 = 1 << 20;

/// A model's folder: a pipeline's, or that of a U-Net alone.
pub struct ModelFolder {
    folder: PathBuf,
    network: Network,
    variant: Option<Variant>,
}

impl ModelFolder {
    /// Finds the U-Net that is asked for, and says on standard error what else there is.
    pub fn open(arguments: &ModelArguments) -> Result<Self> {
        let folder = &arguments.model_dir;
        let shown = folder.display();
        let mut files = Vec::new();
        walk(folder, "", DEEPEST, &mut files)?;
        let Found { mut networks, problem } = model_files::find(&files);
        if let Some(problem) = problem {
            return Err(format!("{shown}: {problem}").into());
        }
        let names: Vec<String> =
            networks.iter().map(|network| shown_name(&network.folder, "top").to_string()).collect();
        let chosen = match &arguments.network {
            None => 0,
            Some(wanted) => names
                .iter()
                .position(|name| name == wanted.trim_matches('/'))
                .ok_or_else(|| format!("{shown} has no network {wanted}; it has {}.", names.join(", ")))?,
        };
        let network = networks.swap_remove(chosen);
        let variants: Vec<&str> = network.variants.iter().map(|variant| shown_name(&variant.name, "plain")).collect();
        let variant = match &arguments.variant {
            None => 0,
            Some(wanted) => variants.iter().position(|name| name == wanted).ok_or_else(|| {
                format!("{shown} has no weights {wanted} for {}; it has {}.", network.config, variants.join(", "))
            })?,
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for (given, chosen, option, names) in [
            (arguments.network.is_some(), chosen, "--network", &names),
            (arguments.variant.is_some(), variant, "--variant", &variants),
        ] {
            let others: Vec<&str> = names.iter().copied().filter(|name| *name != names[chosen]).collect();
            if !given && !others.is_empty() {
                eprintln!("{shown}: {} is taken; {option} chooses another: {}.", names[chosen], others.join(", "));
            }
        }
        let variant = Some(network.variants[variant].clone());
        Ok(ModelFolder { folder: folder.clone(), network, variant })
    }

    /// Finds a U-Net that may have no weights.
    pub fn open_config(arguments: &ModelArguments) -> Result<Self> {
        let folder = &arguments.model_dir;
        let config = ["unet/config.json", "config.json"].into_iter().find(|path| folder.join(path).is_file());
        match (Self::open(arguments), config) {
            (Ok(found), _) => Ok(found),
            (Err(_), Some(config)) if arguments.network.is_none() && arguments.variant.is_none() => {
                let optional = |path: &str| folder.join(path).is_file().then(|| path.to_string());
                let network = Network {
                    folder: config.trim_end_matches("config.json").trim_end_matches('/').into(),
                    config: config.into(),
                    model_index: optional("model_index.json"),
                    scheduler: optional("scheduler/scheduler_config.json")
                        .or_else(|| optional("scheduler_config.json")),
                    card: optional("card.json"),
                    classifier: None,
                    variants: Vec::new(),
                };
                Ok(ModelFolder { folder: folder.clone(), network, variant: None })
            }
            (Err(error), _) => Err(error),
        }
    }

    /// The U-Net with its weights.
    pub fn unet(&self) -> Result<UNet2DModel> {
        let files = self.weights()?;
        let config = UNetConfig::from_json(&self.text(&self.network.config)?)?;
        let unet = UNet2DModel::new(config, files.iter().map(Vec::as_slice))?;
        tell(unet.notes());
        Ok(unet)
    }

    /// The U-Net and whatever of a scheduler and a card there is, without weights.
    pub fn pipeline_without_weights(&self) -> Result<Pipeline> {
        let optional = |path: &Option<String>| path.as_ref().map(|path| self.text(path)).transpose();
        let (scheduler, card) = (optional(&self.network.scheduler)?, optional(&self.network.card)?);
        let config = self.text(&self.network.config)?;
        let pipeline = Pipeline::from_json(&config, scheduler.as_deref(), card.as_deref())?;
        Ok(match optional(&self.network.model_index)? {
            Some(model_index) => pipeline.with_model_index(&model_index)?,
            None => pipeline,
        })
    }

    /// The U-Net with its weights and whatever of a scheduler and a card there is.
    pub fn pipeline(&self) -> Result<Pipeline> {
        if self.network.scheduler.is_none() && self.network.model_index.is_none() {
            let folder = self.folder.display();
            eprintln!("There is no scheduler_config.json in {folder}: the defaults of DDPM are taken.");
        }
        let mut pipeline = self.pipeline_without_weights()?;
        let files = self.weights()?;
        pipeline.unet_mut().read(files.iter().map(Vec::as_slice))?;
        tell(&pipeline.notes());
        Ok(pipeline)
    }

    /// What files are read, with their places in the folder.
    pub fn files(&self) -> Vec<&str> {
        let Network { config, model_index, scheduler, card, .. } = &self.network;
        let weights = self.variant.iter().flat_map(|variant| variant.index.iter().chain(&variant.files));
        [config]
            .into_iter()
            .chain(model_index)
            .chain(scheduler)
            .chain(card)
            .chain(weights)
            .map(String::as_str)
            .collect()
    }

    fn text(&self, path: &str) -> Result<String> {
        read_text(&self.folder.join(path))
    }

    /// Whether there is anything that may be weights.
    pub fn has_weights(&self) -> bool {
        self.variant.is_some()
    }

    /// The files with the weights: one, or all shards.
    pub fn weights(&self) -> Result<Vec<Vec<u8>>> {
        let Some(Variant { files, index, .. }) = &self.variant else { return Ok(Vec::new()) };
        let Some(index) = index else { return files.iter().map(|file| read(&self.folder.join(file))).collect() };
        let index = self.folder.join(index);
        let names = Weights::shards(&read_text(&index)?)?;
        names.iter().map(|name| read(&index.with_file_name(name))).collect()
    }
}

/// The classifier in a folder, or in `classifier/` of a pipeline's.
pub fn classifier(folder: &Path) -> Result<Classifier> {
    let shown = folder.display();
    let mut places = [folder.join("classifier"), folder.to_path_buf()]
        .into_iter()
        .filter_map(|place| checkpoint::find(&place).or_else(|| place.is_dir().then_some(place)));
    let place = places.find(|place| place.join("config.json").is_file()).ok_or_else(|| {
        format!("{shown} has neither classifier/config.json nor config.json: it is no classifier's folder.")
    })?;
    let config = ClassifierConfig::from_json(&read_text(&place.join("config.json"))?)?;
    let files = weights_in(&place)?;
    let classifier = Classifier::new(config, files.iter().map(Vec::as_slice))?;
    tell(&classifier.notes());
    Ok(classifier)
}

/// The files of weights of a folder: the one file as diffusers calls it, or all shards.
pub fn weights_in(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let index = folder.join(format!("{WEIGHTS}.index.json"));
    if index.is_file() {
        return Weights::shards(&read_text(&index)?)?.iter().map(|name| read(&folder.join(name))).collect();
    }
    Ok(vec![read(&folder.join(WEIGHTS))?])
}

/// Where the weights are.
pub const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// What a network or weights are called, also without a name.
fn shown_name<'a>(name: &'a str, without: &'a str) -> &'a str {
    if name.is_empty() { without } else { name }
}

/// Says on standard error what a person may want to know of a model.
pub fn tell(notes: &[String]) {
    notes.iter().for_each(|note| eprintln!("{note}"));
}

/// Lists the files of a folder, with the kind of each configuration.
fn walk(folder: &Path, name: &str, depth: usize, files: &mut Vec<Listed>) -> Result<()> {
    let failed = |error: std::io::Error| format!("{} is not a folder that can be read: {error}.", folder.display());
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let Some(base) = path.file_name().and_then(|base| base.to_str()) else { continue };
        let listed = if name.is_empty() { base.to_string() } else { format!("{name}/{base}") };
        // Links count as what they lead to: the hub's cache on disk consists of them.
        let Ok(about) = std::fs::metadata(&path) else { continue };
        if about.is_dir() && depth > 0 && !base.starts_with('.') {
            // What cannot be listed inside has nothing that could be read.
            let _ = walk(&path, &listed, depth - 1, files);
        } else if about.is_file() && files.len() < MOST_FILES {
            let is_config = base == "config.json" && about.len() <= MOST_CONFIG_BYTES;
            let class_name = if is_config { read_text(&path).ok().and_then(|text| class_of(&text)) } else { None };
            files.push(Listed { path: listed, class_name });
        }
    }
    Ok(())
}

/// The tensors of a safetensors file, by name. Whole numbers become `f32`.
pub fn read_tensors(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let bytes = read(path)?;
    let name = path.display();
    let file = SafeTensors::deserialize(&bytes).map_err(|error| format!("{name} is not safetensors: {error}."))?;
    let mut tensors = BTreeMap::new();
    for (key, view) in file.iter() {
        let bytes = view.data();
        let data: Vec<f32> = match view.dtype() {
            Dtype::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            Dtype::F16 => bytes.as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f32()).collect(),
            Dtype::F64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect(),
            Dtype::I64 => bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f32).collect(),
            Dtype::I32 => bytes.as_chunks().0.iter().map(|&b| i32::from_le_bytes(b) as f32).collect(),
            other => {
                return Err(format!("{name}: {key} is {other:?}; F32, F64, F16, I64 and I32 are supported.").into());
            }
        };
        tensors.insert(key.to_string(), Tensor::new(view.shape(), data)?);
    }
    Ok(tensors)
}

/// The tensor of this name in a file, or the only one there is.
pub fn only_tensor(path: &Path, name: &str) -> Result<Tensor> {
    let mut tensors = read_tensors(path)?;
    if let Some(tensor) = tensors.remove(name) {
        return Ok(tensor);
    }
    let names: Vec<_> = tensors.keys().cloned().collect();
    match tensors.into_values().next() {
        Some(tensor) if names.len() == 1 => Ok(tensor),
        _ => Err(format!("{} has no tensor {name}, but {names:?}.", path.display()).into()),
    }
}

/// Writes tensors to a safetensors file.
pub fn write_tensors(path: &Path, tensors: &[(&str, &Tensor)]) -> Result<()> {
    write(path, &to_safetensors(tensors.iter().copied(), None)?)
}

/// Images as a network takes them ([`Dataset::fitted`]), which is said where it changes them.
pub fn fitted(dataset: Dataset, channels: usize, height: usize, width: usize) -> Result<Dataset> {
    let [.., h, w] = dataset.shape();
    let fitted = dataset.fitted(channels, height, width)?;
    if (h, w) != (height, width) {
        eprintln!("The images of {h}×{w} get a black border to be {height}×{width}, as the network takes them.");
    }
    Ok(fitted)
}
