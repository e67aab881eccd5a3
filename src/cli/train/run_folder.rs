//! The folder of a run: a pipeline that others can load, or what one has of a classifier, and a checkpoint to go on from.
//!
//! `checkpoint/` is written whole or not at all and is all that counts when a run goes on. `unet/` or `classifier/` is written so too, after it;
//! the small files beside it never change.

use std::path::{Path, PathBuf};

use denoise::checkpoint;
use denoise::training::Checkpoint;

use crate::cli::Result;
use crate::cli::files::{read, weights_in, write};

/// The folder of all that a run goes on with.
const CHECKPOINT: &str = "checkpoint";

/// A folder that a run writes to.
pub struct RunFolder {
    root: PathBuf,
    /// What it goes on with.
    pub checkpoint: Option<Checkpoint>,
}

impl RunFolder {
    /// The folder at `root`: with a run to go on with, or else without one. There may be a model in it if what is trained is to
    /// stand `beside` that.
    pub fn open(root: &Path, data: &Path, resume: bool, beside: bool) -> Result<Self> {
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
            (Some(found), true) => Some(read_checkpoint(&found)?),
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
        // What a run that came to an end leaves beside its model is its own.
        let is_model = |name: &str| beside && !["classifier", "loss.png"].contains(&name);
        let found = std::fs::read_dir(root).into_iter().flatten().flatten();
        let mut found = found.map(|entry| entry.file_name().to_string_lossy().into_owned());
        if let (false, Some(other)) = (resume, found.find(|name| !is_begun(name) && !is_model(name))) {
            return Err(format!("{shown} is not empty: it has {other}. Choose another folder.").into());
        }
        Ok(RunFolder { root: root.into(), checkpoint })
    }

    /// Makes the folder, if it is not there.
    pub fn create(&self) -> Result<()> {
        let failed = |error| format!("{} cannot be made: {error}.", self.root.display());
        Ok(std::fs::create_dir_all(&self.root).map_err(failed)?)
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes what the run goes on with, and the model.
    pub fn save(&self, checkpoint: &Checkpoint) -> Result<()> {
        let files: Vec<(&str, &[u8])> = checkpoint.files.iter().map(|(name, bytes)| (&name[..], &bytes[..])).collect();
        checkpoint::write(&self.path(CHECKPOINT), &files)?;
        let model = checkpoint.model()?;
        let folder = checkpoint.recipe.folder();
        let within = format!("{folder}/");
        let network = model.iter().filter_map(|(path, bytes)| Some((path.strip_prefix(&within)?, &bytes[..])));
        checkpoint::write(&self.path(folder), &network.collect::<Vec<_>>())?;
        for (path, bytes) in model.iter().filter(|(path, _)| !path.starts_with(&within)) {
            let path = self.path(path);
            let folder = path.parent().unwrap_or(&self.root);
            std::fs::create_dir_all(folder)
                .map_err(|error| format!("{} cannot be made: {error}.", folder.display()))?;
            write(&path, bytes)?;
        }
        Ok(())
    }
}

/// The checkpoint in a folder.
fn read_checkpoint(folder: &Path) -> Result<Checkpoint> {
    Checkpoint::read(|name| read(&folder.join(name)))
}

/// The files of weights of a model's folder.
pub fn weights_of(model: &Path) -> Result<Vec<Vec<u8>>> {
    let folder = match checkpoint::find(&model.join("unet")) {
        Some(unet) => unet,
        None => model.to_path_buf(),
    };
    weights_in(&folder)
}
