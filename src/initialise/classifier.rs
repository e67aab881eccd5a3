//! A classifier that has learned nothing, as guided-diffusion makes it (`unet.py`, `EncoderUNetModel.__init__`).

use super::modules::Modules;
use crate::classifier::Classifier;
use crate::config::{ClassifierConfig, Pool};
use crate::random::Generator;
use crate::{Result, Weights};

/// The weights of a new classifier: with `Generator::new(seed)` those of `torch.manual_seed(seed); EncoderUNetModel(**config)`, by
/// their paths, in the order in which they are drawn. Uniform ones have PyTorch's bits, the embedding of places is within 3e-7 of
/// PyTorch's; the last layer of every block is zero (`zero_module`), though it is drawn.
///
/// # Errors
/// When the configuration contradicts itself.
pub fn initial_classifier_weights(config: &ClassifierConfig, generator: &mut Generator) -> Result<Weights> {
    Classifier::without_weights(config.clone())?; // all sizes are such as a network can have
    let mut encoder = Encoder { config, modules: Modules { generator, tensors: Vec::new() } };
    encoder.classifier()?;
    Ok(Weights::from_tensors(encoder.modules.tensors))
}

/// Makes the modules, in guided-diffusion's order.
struct Encoder<'a> {
    config: &'a ClassifierConfig,
    modules: Modules<'a>,
}

impl Encoder<'_> {
    fn classifier(&mut self) -> Result<()> {
        let config = self.config;
        let (widths, time) = (config.channels(), config.time_embed_dim());
        self.modules.linear("time_embed.0", config.model_channels, time)?;
        self.modules.linear("time_embed.2", time, time)?;
        let mut block = 0;
        let mut next = || {
            block += 1;
            format!("input_blocks.{}", block - 1)
        };
        let mut channels = widths[0];
        self.modules.conv(&format!("{}.0", next()), config.in_channels, channels, 3)?;
        for (level, &out) in widths.iter().enumerate() {
            for _ in 0..config.num_res_blocks {
                let path = next();
                self.res_block(&format!("{path}.0"), channels, out)?;
                channels = out;
                if config.attends(1 << level) {
                    self.attention_block(&format!("{path}.1"), channels)?;
                }
            }
            if level + 1 < widths.len() {
                let path = format!("{}.0", next());
                match (config.resblock_updown, config.conv_resample) {
                    (true, _) => self.res_block(&path, channels, channels)?,
                    (false, true) => self.modules.conv(&format!("{path}.op"), channels, channels, 3)?,
                    (false, false) => {}
                }
            }
        }
        self.res_block("middle_block.0", channels, channels)?;
        self.attention_block("middle_block.1", channels)?;
        self.res_block("middle_block.2", channels, channels)?;
        self.modules.norm("out.0", channels)?;
        match config.pool {
            Pool::Adaptive => self.zero("out.3", &[config.out_channels, channels, 1, 1]),
            Pool::Attention => {
                let side = config.image_size >> (widths.len() - 1);
                let tokens = side * side + 1;
                let scale = (channels as f64).sqrt() as f32;
                let places = self.modules.generator.randn(channels * tokens).into_iter().map(|x| x / scale).collect();
                self.modules.put("out.2.positional_embedding", &[channels, tokens], places)?;
                self.modules.layer("out.2.qkv_proj", &[3 * channels, channels, 1])?;
                self.modules.layer("out.2.c_proj", &[config.out_channels, channels, 1])
            }
        }
    }

    /// `ResBlock.__init__`.
    fn res_block(&mut self, path: &str, channels: usize, out: usize) -> Result<()> {
        let told = if self.config.use_scale_shift_norm { 2 * out } else { out };
        self.modules.norm(&format!("{path}.in_layers.0"), channels)?;
        self.modules.conv(&format!("{path}.in_layers.2"), channels, out, 3)?;
        self.modules.linear(&format!("{path}.emb_layers.1"), self.config.time_embed_dim(), told)?;
        self.modules.norm(&format!("{path}.out_layers.0"), out)?;
        self.zero(&format!("{path}.out_layers.3"), &[out, out, 3, 3])?;
        match channels == out {
            true => Ok(()),
            false => self.modules.conv(&format!("{path}.skip_connection"), channels, out, 1),
        }
    }

    /// `AttentionBlock.__init__`.
    fn attention_block(&mut self, path: &str, channels: usize) -> Result<()> {
        self.modules.norm(&format!("{path}.norm"), channels)?;
        self.modules.layer(&format!("{path}.qkv"), &[3 * channels, channels, 1])?;
        self.zero(&format!("{path}.proj_out"), &[channels, channels, 1])
    }

    /// `zero_module`, of a layer that was drawn before.
    fn zero(&mut self, path: &str, shape: &[usize]) -> Result<()> {
        self.modules.layer(path, shape)?;
        let drawn = self.modules.tensors.len() - 2;
        self.modules.tensors[drawn..].iter_mut().for_each(|(_, tensor)| tensor.data.fill(0.0));
        Ok(())
    }
}
