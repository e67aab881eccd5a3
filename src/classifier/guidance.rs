//! A classifier as what guides sampling.
//!
//! Only [`Pipeline::with_classifier`] names the classifier to a pipeline, which otherwise knows no more of it than
//! [`ClassifierOfSamples`]: so a module that never calls it, as that of the page, is made without gradients.

use std::rc::Rc;

use super::{ClassWeights, Classified, Classifier, names};
use crate::backend::Executor;
use crate::graph::{Graph, ValueId};
use crate::op::{LearnedNoise, Shift};
use crate::pipeline::ClassifierOfSamples;
use crate::{Pipeline, Result, Shape, Tensor};

impl Pipeline {
    /// The same pipeline with a classifier that its runs may be guided by ([`crate::Settings::classifier`]). It is of noisy images
    /// as the pipeline's forward process makes them, and told the same t.
    ///
    /// # Errors
    /// When it is of images of other channels.
    pub fn with_classifier(mut self, classifier: Rc<Classifier>) -> Result<Self> {
        self.set_classifier(classifier)?;
        Ok(self)
    }

    /// As [`Pipeline::with_classifier`], where it is.
    ///
    /// # Errors
    /// As [`Pipeline::with_classifier`].
    pub fn set_classifier(&mut self, classifier: Rc<Classifier>) -> Result<()> {
        let side = classifier.config.image_size;
        classifier.check_images(self.channels(), (side, side))?;
        self.guide_by(classifier);
        Ok(())
    }
}

impl ClassifierOfSamples for Classifier {
    fn classes(&self) -> usize {
        Classifier::classes(self)
    }

    fn check_images(&self, channels: usize, size: (usize, usize)) -> Result<()> {
        Classifier::check_images(self, channels, size)
    }

    fn append_gradient(&self, graph: &mut Graph, x: ValueId) -> Result<Classified> {
        let [count, ..] = graph.shape(x).nhwc(names::SAMPLE)?;
        let timestep = graph.input(names::TIMESTEP, Shape::new(&[count]))?;
        let weights = ClassWeights::inputs(graph, count, Classifier::classes(self))?;
        Classifier::append_gradient(self, graph, x, timestep, weights)
    }

    fn shift_model(&self, graph: &mut Graph, model: ValueId, gradient: ValueId, row: ValueId) -> Result<ValueId> {
        graph.op("shifted_model", Shift::Model, &[model, gradient, row])
    }

    fn shift_noise(
        &self,
        graph: &mut Graph,
        noise: ValueId,
        gradient: ValueId,
        variance: Option<ValueId>,
        row: ValueId,
    ) -> Result<ValueId> {
        let mut gradient = gradient;
        if let Some(variance) = variance {
            // Σ is the square of what the noise is multiplied by.
            for name in ["gradient.sigma", "gradient.variance"] {
                gradient = graph.op(name, LearnedNoise, &[gradient, variance, row])?;
            }
        }
        graph.op("shifted_noise", Shift::Noise, &[noise, gradient, row])
    }

    fn write(&self, executor: &Executor, timesteps: &[f32], weights: &Tensor) -> Result<()> {
        let count = weights.shape[0];
        let stride = executor.plan().input(names::TIMESTEP)?.shape.len();
        let of_row = |&t: &f32| (0..stride).map(move |image| if image < count { t } else { 0.0 });
        let rows: Vec<f32> = timesteps.iter().flat_map(of_row).collect();
        executor.set_rows(names::TIMESTEP, &rows)?;
        ClassWeights::write(executor, weights)
    }
}
