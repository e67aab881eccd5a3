//! `denoise loss`: the loss of a batch and its gradients, for whoever wants to compare them.

use std::path::PathBuf;

use denoise::Tensor;
use denoise::training::{Batch, Loss, Objective, loss_and_gradients};

use super::files::{ModelArguments, ModelFolder, check_place, read_tensors, write_tensors};
use super::{Device, Result, open};

/// The input has sample (x_0) and noise [B, C, H, W], timestep [B], and class_labels [B] if the model has classes; the
/// output has loss [B], the mean square error of what the model's scheduler says it predicts, and the gradient of the
/// batch's mean loss by every parameter, under its path.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// A safetensors file with sample, noise, timestep and class_labels
    #[arg(long = "in", value_name = "IO.safetensors")]
    input: PathBuf,
    /// Where loss and the gradients are written
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
    let (images, noise, timesteps) = (take("sample")?, take("noise")?, take("timestep")?);
    let class_labels = take("class_labels").ok();
    let timesteps = whole(&timesteps, "timestep")?;
    let class_labels = class_labels.map(|labels| labels.data);
    let batch = Batch { images, noise, timesteps, class_labels, dropout_seed: None };

    let pipeline = ModelFolder::open(&arguments.model)?.pipeline()?;
    check_place(&arguments.out)?;
    let objective = Objective::new(pipeline.scheduler()?, Loss::Simple)?;
    let backend = open(arguments.backend).await?;
    let (losses, gradients) = loss_and_gradients(&backend, pipeline.unet(), &objective, &batch).await?;
    let losses = Tensor::new(&[losses.len()], losses)?;
    let gradients = gradients.iter().map(|(path, gradient)| (path.as_str(), gradient));
    write_tensors(&arguments.out, &[("loss", &losses)].into_iter().chain(gradients).collect::<Vec<_>>())
}

/// The numbers of a tensor, which have to be whole and not negative.
pub(super) fn whole(tensor: &Tensor, name: &str) -> Result<Vec<usize>> {
    let number = |&number: &f32| match number >= 0.0 && number.fract() == 0.0 {
        true => Ok(number as usize),
        false => Err(format!("{name} has {number}, which is not a whole number from 0 up.").into()),
    };
    tensor.data.iter().map(number).collect()
}
