//! `denoise classify`: what a classifier says of noisy images, for whoever wants its numbers.

use std::path::PathBuf;

use super::files::{check_place, classifier, read_tensors, write_tensors};
use super::{Device, Result, eps, open};

/// The input has sample (x_t) [B, C, H, W], and timestep and class_labels, [B] each; the output has logits [B, K], and
/// gradient [B, C, H, W], that of Σ log p(y | x_t) by the sample.
#[derive(clap::Args)]
pub struct Arguments {
    /// A classifier's folder, with config.json and diffusion_pytorch_model.safetensors, or a pipeline's with classifier/ in it
    #[arg(value_name = "CLASSIFIER_DIR")]
    classifier: PathBuf,
    /// A safetensors file with sample, timestep and class_labels
    #[arg(long = "in", value_name = "IO.safetensors")]
    input: PathBuf,
    /// Where logits and gradient are written
    #[arg(long, value_name = "OUT.safetensors")]
    out: PathBuf,
    /// Where to run [default: the GPU if there is one]
    #[arg(long)]
    backend: Option<Device>,
}

pub async fn run(arguments: Arguments) -> Result<()> {
    let mut given = read_tensors(&arguments.input)?;
    let input = arguments.input.display();
    let mut take = |name: &str| given.remove(name).ok_or_else(|| format!("{input} has no {name}."));
    let (sample, timesteps, labels) = (take("sample")?, take("timestep")?, take("class_labels")?);
    let [count, ..] = *sample.shape.as_slice() else {
        return Err(format!("{input}: sample has no shape; it must be [B, C, H, W].").into());
    };
    let timesteps = eps::each(timesteps, count, "timestep")?;
    let labels = eps::each(labels, count, "class_labels")?;
    let classifier = classifier(&arguments.classifier)?;
    check_place(&arguments.out)?;
    let backend = open(arguments.backend).await?;
    let (logits, gradient) = classifier.classify(&backend, &sample, &timesteps.data, &labels.data).await?;
    write_tensors(&arguments.out, &[("logits", &logits), ("gradient", &gradient)])
}
