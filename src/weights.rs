//! Named, shape-checked tensors out of the bytes of a safetensors file.

mod reader;

use std::collections::{BTreeMap, BTreeSet};

pub use reader::WeightsReader;

use crate::graph::LARGEST;
use crate::{Error, Result, Tensor};

/// The tensors of a checkpoint, as `f32`, by their path (`down_blocks.0.resnets.0.conv1.weight`).
///
/// Tensors are taken out one by one as a network is built, so that [`Weights::finish`] can say which nothing asked for.
#[derive(Debug)]
pub struct Weights {
    tensors: BTreeMap<String, Tensor>,
    /// How many numbers were taken.
    taken: usize,
    /// Whether any tensor that is asked for is there, without elements.
    blank: bool,
}

impl Weights {
    /// Reads a safetensors file of `f32`, `f16` or `bf16` tensors; [`WeightsReader`] reads one that is still arriving.
    ///
    /// # Errors
    /// When the file is truncated or malformed, repeats a name, holds another dtype, or a number that is not finite.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = WeightsReader::default();
        reader.push(bytes)?;
        reader.finish()
    }

    /// Weights of whatever shapes are asked for, without elements: what is made of them can be counted but not run.
    pub(crate) fn blank() -> Self {
        Weights { tensors: BTreeMap::new(), taken: 0, blank: true }
    }

    /// The names of the files that a sharded checkpoint consists of, from its `….safetensors.index.json`.
    ///
    /// # Errors
    /// When the index is not what `save_pretrained` writes.
    pub fn shards(index: &str) -> Result<BTreeSet<String>> {
        #[derive(serde::Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let index: Index = serde_json::from_str(index)
            .map_err(|error| Error::Weights(format!("index is not valid: {error}. It maps tensors to files.")))?;
        let mut names = BTreeSet::new();
        names.extend(index.weight_map.into_values());
        // They are read from the folder of the index, and from nowhere else.
        let plain = |name: &&String| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', ':']);
        match names.iter().find(|name| !plain(name)) {
            Some(name) => Err(Error::Weights(format!("index names the file \"{name}\", which is not one beside it."))),
            None if names.is_empty() => Err(Error::Weights("index names no files.".into())),
            None => Ok(names),
        }
    }

    /// The tensors of all shards of a checkpoint.
    ///
    /// # Errors
    /// When two of them hold a tensor of the same name.
    pub fn merge(shards: impl IntoIterator<Item = Weights>) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for (path, tensor) in shards.into_iter().flat_map(|shard| shard.tensors) {
            if tensors.insert(path.clone(), tensor).is_some() {
                return Err(Error::Weights(format!("has {path} in two of its shards.")));
            }
        }
        Ok(Weights { tensors, taken: 0, blank: false })
    }

    /// Gives tensors of old checkpoints the paths they have today, and drops those that stand there twice
    /// (diffusers `models/modeling_utils.py`, `_convert_deprecated_attention_blocks`, and
    /// `scripts/change_naming_configs_and_checkpoints.py`).
    pub fn rename_legacy(&mut self) {
        const PARTS: [(&str, &str); 3] =
            [("downsample_blocks.", "down_blocks."), ("upsample_blocks.", "up_blocks."), ("mid.", "mid_block.")];
        const LAYERS: [(&str, &str); 6] = [
            (".query.", ".to_q."),
            (".key.", ".to_k."),
            (".value.", ".to_v."),
            (".proj_attn.", ".to_out.0."),
            (".op.", ".conv."),
            (".Conv2d_0.", ".conv."),
        ];
        for (path, tensor) in std::mem::take(&mut self.tensors) {
            let mut today = path.clone();
            if let Some((old, new)) = PARTS.iter().find(|(old, _)| path.starts_with(old)) {
                today = today.replacen(old, new, 1);
            }
            for (old, new) in LAYERS {
                today = today.replace(old, new);
            }
            // Of a layer that stands there under two names, that of today counts.
            if today == path {
                self.tensors.insert(today, tensor);
            } else {
                self.tensors.entry(today).or_insert(tensor);
            }
        }
    }

    /// Whether these are no weights at all.
    pub(crate) fn is_blank(&self) -> bool {
        self.blank
    }

    /// How many numbers there were in the tensors that have been taken.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Takes the tensor at `path`, which must have exactly this shape.
    ///
    /// # Errors
    /// When there is none, or it has another shape.
    pub fn take(&mut self, path: &str, shape: &[usize]) -> Result<Tensor> {
        let len = shape.iter().try_fold(1_usize, |len, &dim| len.checked_mul(dim)).unwrap_or(usize::MAX);
        self.taken = self.taken.saturating_add(len);
        if self.blank {
            return match len {
                0..=LARGEST => Ok(Tensor { shape: shape.to_vec(), data: Vec::new() }),
                _ => Err(Error::Weights(format!("would need {path} with shape {shape:?}, which is more than 1 GiB."))),
            };
        }
        let Some(tensor) = self.tensors.remove(path) else {
            return Err(Error::Weights(format!(
                "has no tensor {path}, which the configuration asks for with shape {shape:?}. The configuration and \
                 the weights may be of different models."
            )));
        };
        if tensor.shape != shape {
            return Err(Error::Weights(format!(
                "has {path} with shape {:?}, but the configuration asks for {shape:?}. The configuration and the \
                 weights may be of different models.",
                tensor.shape
            )));
        }
        Ok(tensor)
    }

    /// Checks that every tensor was taken.
    ///
    /// # Errors
    /// When some are left: the configuration then describes another network than the one trained.
    pub fn finish(self) -> Result<()> {
        let unused: Vec<_> = self.tensors.keys().collect();
        if unused.is_empty() {
            return Ok(());
        }
        let shown = unused.iter().take(3).map(|path| path.as_str()).collect::<Vec<_>>().join(", ");
        let more = if unused.len() > 3 { format!(" and {} more", unused.len() - 3) } else { String::new() };
        Err(Error::Weights(format!(
            "has tensors that the configuration has no place for: {shown}{more}. The configuration and the weights may \
             be of different models."
        )))
    }
}
