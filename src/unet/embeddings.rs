//! What the time and the class are to the network.

use super::builder::{Builder, ClassMix};
use crate::config::{ClassEmbedType, TimeEmbeddingType};
use crate::graph::ValueId;
use crate::network::FREQUENCIES;
use crate::op::{Activation, Add, Embedding, Mix, TimestepEmbedding};
use crate::{Result, Tensor};

impl Builder<'_> {
    /// The sum of the embeddings of the time and the class, `[N, time_embed_dim]`.
    pub(super) fn time_and_class(
        &mut self,
        timestep: ValueId,
        class_labels: Option<ValueId>,
        class_mix: Option<ClassMix>,
    ) -> Result<ValueId> {
        let config = self.config;
        let width = config.time_embed_dim();
        let x = self.time_proj("time_proj", timestep)?;
        let mut embedding = self.time_embedding("time_embedding", x)?;
        if let Some(labels) = class_labels {
            let class = match (config.class_embed_type, config.num_class_embeds) {
                (Some(ClassEmbedType::Identity), _) => self.narrow("class_labels.narrow", labels)?,
                (Some(ClassEmbedType::Timestep), _) => {
                    let x = self.time_proj("class_proj", labels)?;
                    self.time_embedding("class_embedding", x)?
                }
                (None, classes) => {
                    let table = self.layers.table("class_embedding.weight", classes.unwrap_or(0), width)?;
                    let class = self.layers.graph.op("class_embedding", Embedding, &[labels, table])?;
                    match class_mix {
                        None => class,
                        Some(ClassMix { labels, shares: [share, share_to] }) => {
                            let to = self.layers.graph.op("class_embedding.to", Embedding, &[labels, table])?;
                            self.layers.graph.op("class_embedding.mix", Mix, &[class, to, share, share_to])?
                        }
                    }
                }
            };
            embedding = self.layers.graph.op("embedding", Add::PLAIN, &[embedding, class])?;
        }
        Ok(embedding)
    }

    /// `time_proj` of the configured type: from `[N]` to features.
    fn time_proj(&mut self, name: &str, values: ValueId) -> Result<ValueId> {
        let config = self.config;
        let dim = config.block_out_channels[0];
        let precision = self.layers.precision;
        match config.time_embedding_type {
            TimeEmbeddingType::Positional => {
                let frequencies = Tensor::new(&[dim / 2], TimestepEmbedding::frequencies(dim, config.freq_shift))?;
                let frequencies = (frequencies.device_shape()?, frequencies.to_device()?);
                let frequencies = self.layers.graph.constant("time_proj.frequencies", frequencies);
                let op = TimestepEmbedding { dim, flip_sin_to_cos: config.flip_sin_to_cos, fourier: false, precision };
                self.layers.graph.op(name, op, &[values, frequencies])
            }
            TimeEmbeddingType::Fourier => {
                let frequencies = self.layers.vector(FREQUENCIES, dim)?;
                let op = TimestepEmbedding { dim: 2 * dim, flip_sin_to_cos: false, fourier: true, precision };
                self.layers.graph.op(name, op, &[values, frequencies])
            }
            TimeEmbeddingType::Learned => {
                let table = self.layers.table("time_proj.weight", config.num_train_timesteps.unwrap_or(0), dim)?;
                self.layers.graph.op(name, Embedding, &[values, table])
            }
        }
    }

    /// `TimestepEmbedding.forward`: two linear layers with SiLU between them, whatever the network's activation.
    fn time_embedding(&mut self, path: &str, x: ValueId) -> Result<ValueId> {
        let width = self.config.time_embed_dim();
        let x = self.layers.linear(&format!("{path}.linear_1"), x, width)?;
        let x = self.layers.graph.op(&format!("{path}.act"), Activation::Silu, &[x])?;
        self.layers.linear(&format!("{path}.linear_2"), x, width)
    }
}
