//! The folder of a run: a pipeline that others can load, and a checkpoint to go on from.
//!
//! `checkpoint/` is written whole or not at all and is all that counts when a run goes on. `unet/` is written so too, after it;
//! the small files beside it never change.

use std::path::{Path, PathBuf};

use denoise::checkpoint;
use denoise::epochs::Epochs;
use denoise::random::Generator;
use denoise::training::KEPT;
use denoise::{Tensor, Weights};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::recipe::Recipe;
use crate::cli::Result;
use crate::cli::files::{encode_tensors, read, read_text, write};

/// Where the weights are.
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
/// The folder of all that a run goes on with.
const CHECKPOINT: &str = "checkpoint";

/// A folder that a run writes to.
pub struct RunFolder {
    root: PathBuf,
    /// What it goes on with.
    pub checkpoint: Option<Checkpoint>,
}

/// All that a run goes on with.
pub struct Checkpoint {
    pub recipe: Recipe,
    /// Steps taken.
    pub step: u64,
    /// The file of its parameters.
    pub weights: Vec<u8>,
    /// For each of [`KEPT`], the network's tensors.
    pub kept: [Weights; 4],
    pub generator: Vec<u8>,
    pub epochs: Vec<u8>,
}

/// What `training.json` says.
#[derive(Deserialize, Serialize)]
struct Record {
    step: u64,
    recipe: Recipe,
}

impl RunFolder {
    /// The folder at `root`: with a run to go on with, or else without one.
    pub fn open(root: &Path, data: &Path, resume: bool) -> Result<Self> {
        let shown = root.display();
        let [inner, outer] = [root, data].map(|path| std::path::absolute(path).unwrap_or_else(|_| path.into()));
        if inner.starts_with(&outer) {
            return Err(format!(
                "{shown} is in {}, whose images are learned from: what is written there would be among them. Choose \
                 another folder.",
                data.display()
            )
            .into());
        }
        let place = root.join(CHECKPOINT);
        let found = checkpoint::find(&place);
        let checkpoint = match (found, resume) {
            (Some(found), true) => Some(Checkpoint::read(&found)?),
            (None, false) => None,
            (Some(_), false) => {
                return Err(format!(
                    "{shown} has a run of training already. Go on with it by --resume, or choose another folder."
                )
                .into());
            }
            (None, true) => return Err(format!("{shown} has no checkpoint to go on from. Leave --resume out.").into()),
        };
        // What a run leaves that was killed before it first saved.
        let is_begun = |name: &str| name == "loss.csv" || name.starts_with('.');
        let found = std::fs::read_dir(root).into_iter().flatten().flatten();
        let mut found = found.map(|entry| entry.file_name().to_string_lossy().into_owned());
        if let (false, Some(other)) = (resume, found.find(|name| !is_begun(name))) {
            return Err(format!("{shown} is not empty: it has {other}. Choose another folder.").into());
        }
        Ok(RunFolder { root: root.into(), checkpoint })
    }

    /// Makes the folder, if it is not there.
    pub fn create(&self) -> Result<()> {
        let failed = |error| format!("{} cannot be made: {error}.", self.root.display());
        Ok(std::fs::create_dir_all(&self.root).map_err(failed)?)
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes what the run goes on with, and the model. `fixed` are the tensors that nothing is learned of.
    pub fn save(
        &self,
        recipe: &Recipe,
        step: u64,
        kept: [Vec<(String, Tensor)>; 4],
        fixed: Vec<(String, Tensor)>,
        generator: &Generator,
        epochs: &Epochs,
    ) -> Result<()> {
        let record = serde_json::to_vec_pretty(&Record { step, recipe: recipe.clone() })?;
        let with_fixed = |tensors: &[(String, Tensor)]| serialize(tensors.iter().chain(&fixed));
        let [parameters, m, v, average] = &kept;
        let files = [with_fixed(parameters)?, serialize(m.iter())?, serialize(v.iter())?, with_fixed(average)?];
        let names = KEPT.map(|name| format!("{name}.safetensors"));
        let (generator, epochs) = (generator.state(), epochs.state());
        let mut all: Vec<(&str, &[u8])> =
            names.iter().map(String::as_str).zip(files.iter().map(Vec::as_slice)).collect();
        all.extend([("training.json", &record[..]), ("generator.bin", &generator[..]), ("epochs.bin", &epochs[..])]);
        checkpoint::write(&self.path(CHECKPOINT), &all)?;

        let unet = [("config.json", recipe.config.as_bytes()), (WEIGHTS, &files[3][..])];
        checkpoint::write(&self.path("unet"), &unet)?;
        let scheduler = self.path("scheduler");
        std::fs::create_dir_all(&scheduler)
            .map_err(|error| format!("{} cannot be made: {error}.", scheduler.display()))?;
        write(&scheduler.join("scheduler_config.json"), recipe.scheduler.as_bytes())?;
        write(&self.path("card.json"), recipe.card.as_bytes())?;
        write(&self.path("model_index.json"), model_index(&recipe.scheduler)?.as_bytes())
    }
}

/// What makes the folder a pipeline of diffusers: it names the class of the scheduler's configuration.
fn model_index(scheduler: &str) -> Result<String> {
    let scheduler: Value = serde_json::from_str(scheduler)?;
    let class = scheduler.get("_class_name").and_then(Value::as_str).unwrap_or("DDPMScheduler");
    Ok(serde_json::to_string_pretty(&json!({
        "_class_name": "DDPMPipeline",
        "_diffusers_version": "0.34.0",
        "scheduler": ["diffusers", class],
        "unet": ["diffusers", "UNet2DModel"]
    }))?)
}

impl Checkpoint {
    fn read(folder: &Path) -> Result<Self> {
        let record = folder.join("training.json");
        let Record { step, recipe } = serde_json::from_str(&read_text(&record)?)
            .map_err(|error| format!("{} is not what this version writes: {error}.", record.display()))?;
        let mut files = Vec::with_capacity(KEPT.len());
        for name in KEPT {
            files.push(read(&folder.join(format!("{name}.safetensors")))?);
        }
        let tensors = |i: usize| Weights::from_bytes(&files[i]);
        let kept = [tensors(0)?, tensors(1)?, tensors(2)?, tensors(3)?];
        let [generator, epochs] = ["generator.bin", "epochs.bin"].map(|name| read(&folder.join(name)));
        Ok(Checkpoint { recipe, step, kept, weights: files.swap_remove(0), generator: generator?, epochs: epochs? })
    }
}

/// The files of weights of a model's folder.
pub fn weights_of(model: &Path) -> Result<Vec<Vec<u8>>> {
    let folder = match checkpoint::find(&model.join("unet")) {
        Some(unet) => unet,
        None => model.to_path_buf(),
    };
    let index = folder.join(format!("{WEIGHTS}.index.json"));
    if index.is_file() {
        return Weights::shards(&read_text(&index)?)?.iter().map(|name| read(&folder.join(name))).collect();
    }
    Ok(vec![read(&folder.join(WEIGHTS))?])
}

/// Tensors as a safetensors file, as Python writes it.
fn serialize<'a>(tensors: impl Iterator<Item = &'a (String, Tensor)>) -> Result<Vec<u8>> {
    // Without its format Python's loaders do not know whose tensors they are.
    encode_tensors(tensors.map(|(name, tensor)| (name.as_str(), tensor)), Some("pt"))
}
