//! Named, shape-checked tensors out of the bytes of a safetensors file.

mod header;
mod reader;
mod writer;

use std::collections::{BTreeMap, BTreeSet};

pub use header::AwaitedTensor;
pub(crate) use header::Dtype;
pub use reader::WeightsReader;
pub use writer::to_safetensors;

use crate::{Error, Result, Tensor};

/// The tensors of a checkpoint, or of a part of it, as `f32`, by their path (`down_blocks.0.resnets.0.conv1.weight`).
#[derive(Debug, Default)]
pub struct Weights {
    tensors: Vec<(String, Tensor)>,
}

impl Weights {
    /// Reads a safetensors file of `f32`, `f64`, `f16`, `bf16` or 8-bit float tensors; [`WeightsReader`] reads one that is still arriving.
    ///
    /// # Errors
    /// When the file is truncated or malformed, repeats a name, holds another dtype, or a number that is not finite.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = WeightsReader::default();
        reader.push(bytes)?;
        reader.finish()
    }

    /// The tensor at a path.
    pub(crate) fn get(&self, path: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|(other, _)| other == path).map(|(_, tensor)| tensor)
    }

    /// Tensors that were made here, by their paths.
    pub fn from_tensors(tensors: Vec<(String, Tensor)>) -> Self {
        Weights { tensors }
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
}

impl IntoIterator for Weights {
    type Item = (String, Tensor);
    type IntoIter = std::vec::IntoIter<(String, Tensor)>;

    fn into_iter(self) -> Self::IntoIter {
        self.tensors.into_iter()
    }
}
