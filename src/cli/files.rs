//! Model folders and tensor files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use denoise::config::UNetConfig;
use denoise::unet::UNet2DModel;
use denoise::{Pipeline, Tensor, Weights};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

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

/// A model's folder: a pipeline's, or that of a U-Net alone.
pub struct ModelFolder {
    folder: PathBuf,
    unet: PathBuf,
}

impl ModelFolder {
    /// Finds the U-Net in a folder.
    pub fn open(folder: &Path) -> Result<Self> {
        let unets = [folder.join("unet"), folder.to_path_buf()];
        match unets.into_iter().find(|unet| unet.join("config.json").is_file()) {
            Some(unet) => Ok(ModelFolder { folder: folder.to_path_buf(), unet }),
            None => Err(format!(
                "{} is not a model folder: there is neither unet/config.json nor config.json in it.",
                folder.display()
            )
            .into()),
        }
    }

    /// The configuration of the U-Net.
    pub fn config(&self) -> Result<UNetConfig> {
        Ok(UNetConfig::from_json(&read_text(&self.unet.join("config.json"))?)?)
    }

    /// The U-Net with its weights.
    pub fn unet(&self) -> Result<UNet2DModel> {
        let shards = self.shards()?.iter().map(|shard| Ok(Weights::from_bytes(shard)?)).collect::<Result<Vec<_>>>()?;
        Ok(UNet2DModel::new(self.config()?, shards)?)
    }

    /// The U-Net with its weights and whatever of a scheduler and a card there is.
    pub fn pipeline(&self) -> Result<Pipeline> {
        let optional =
            |places: &[PathBuf]| places.iter().find(|path| path.is_file()).map(|path| read_text(path)).transpose();
        let scheduler = "scheduler_config.json";
        let scheduler = optional(&[self.folder.join("scheduler").join(scheduler), self.folder.join(scheduler)])?;
        let card = optional(&[self.folder.join("card.json")])?;
        if scheduler.is_none() {
            eprintln!(
                "There is no scheduler_config.json in {}: the defaults of DDPM are taken.",
                self.folder.display()
            );
        }
        let config = read_text(&self.unet.join("config.json"))?;
        let shards = self.shards()?;
        let shards = shards.iter().map(Vec::as_slice);
        Ok(Pipeline::from_files(&config, shards, scheduler.as_deref(), card.as_deref())?)
    }

    /// The files with the weights: one, or the shards of an index.
    fn shards(&self) -> Result<Vec<Vec<u8>>> {
        const STEM: &str = "diffusion_pytorch_model";
        let variants = ["", ".fp16", ".bf16", ".non_ema"];
        for variant in variants {
            let whole = self.unet.join(format!("{STEM}{variant}.safetensors"));
            if whole.is_file() {
                return Ok(vec![read(&whole)?]);
            }
            let names =
                [format!("{STEM}.safetensors.index{variant}.json"), format!("{STEM}{variant}.safetensors.index.json")];
            if let Some(index) = names.iter().map(|name| self.unet.join(name)).find(|path| path.is_file()) {
                let names = Weights::shards(&read_text(&index)?)?;
                return names.iter().map(|name| read(&self.unet.join(name))).collect();
            }
        }
        let folder = self.unet.display();
        if self.unet.join(format!("{STEM}.bin")).is_file() {
            return Err(format!(
                "{folder} has its weights as {STEM}.bin only, a pickle, which may run any code when it is read. Save the \
                 model again with `save_pretrained(..., safe_serialization=True)`."
            )
            .into());
        }
        Err(format!("{folder} has no weights: there is no {STEM}.safetensors and no index of shards in it.").into())
    }
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
            Dtype::F64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect(),
            Dtype::I64 => bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f32).collect(),
            Dtype::I32 => bytes.as_chunks().0.iter().map(|&b| i32::from_le_bytes(b) as f32).collect(),
            other => return Err(format!("{name}: {key} is {other:?}; F32 and I64 are supported.").into()),
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
    let views = tensors.iter().map(|(name, tensor)| {
        let bytes: &[u8] = bytemuck::cast_slice(&tensor.data);
        Ok((*name, TensorView::new(Dtype::F32, tensor.shape.clone(), bytes)?))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    write(path, &safetensors::serialize(views, None)?)
}
