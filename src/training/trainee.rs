//! What is trained.

use super::{Batch, Loss, Objective};
use crate::classifier::Classifier;
use crate::config::TimeEmbeddingType;
use crate::network::Parameters;
use crate::unet::UNet2DModel;
use crate::{Error, Result};

/// A network that learns from noisy images.
#[derive(Clone, Copy)]
pub enum Trainee<'a> {
    /// To denoise them.
    UNet(&'a UNet2DModel),
    /// To tell their classes.
    Classifier(&'a Classifier),
}

impl<'a> From<&'a UNet2DModel> for Trainee<'a> {
    fn from(unet: &'a UNet2DModel) -> Self {
        Trainee::UNet(unet)
    }
}

impl<'a> From<&'a Classifier> for Trainee<'a> {
    fn from(classifier: &'a Classifier) -> Self {
        Trainee::Classifier(classifier)
    }
}

impl<'a> Trainee<'a> {
    /// What it learns.
    pub(super) fn parameters(self) -> &'a Parameters {
        match self {
            Trainee::UNet(unet) => unet.packed(),
            Trainee::Classifier(classifier) => classifier.packed(),
        }
    }

    /// Checks that this is a loss of it.
    pub(super) fn check_loss(self, objective: &Objective) -> Result<()> {
        match matches!(self, Trainee::Classifier(_)) == (objective.loss() == Loss::CrossEntropy) {
            true => Ok(()),
            false => Err(Error::Settings("The cross entropy is the loss of a classifier, and of nothing else.".into())),
        }
    }

    /// Checks that it can learn at all times.
    pub(super) fn check_times(self) -> Result<()> {
        match self {
            Trainee::UNet(unet) if unet.config().time_embedding_type == TimeEmbeddingType::Fourier => Err(Error::Config {
                file: "unet/config.json",
                problem: "time_embedding_type is fourier: such a network takes the logarithm of the time and divides by it, \
                          so at timestep 0 its output is not finite, in diffusers too. Training is for positional or learned."
                    .into(),
            }),
            _ => Ok(()),
        }
    }

    /// Checks that the times and the labels of a batch exist.
    pub(super) fn check_batch(self, batch: &Batch) -> Result<()> {
        let timesteps: Vec<f32> = batch.timesteps.iter().map(|&t| t as f32).collect();
        let labels = batch.class_labels.as_ref();
        match self {
            Trainee::UNet(unet) => {
                unet.check_timesteps(&timesteps)?;
                labels.map_or(Ok(()), |labels| unet.check_labels(labels, timesteps.len()))
            }
            Trainee::Classifier(classifier) => labels.map_or(Ok(()), |labels| match labels.len() == timesteps.len() {
                true => classifier.check_labels(labels),
                false => Err(Error::Settings(format!(
                    "There are {} class labels for {} images.",
                    labels.len(),
                    timesteps.len()
                ))),
            }),
        }
    }
}
