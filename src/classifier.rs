//! A classifier of noisy images, p(y | x_t, t): guided-diffusion's `EncoderUNetModel` as a graph (Dhariwal and Nichol 2021,
//! section 4), and the gradient of its log-probability by x_t, which sampling is guided by. The name of every layer is its path in
//! the checkpoint.
//!
//! It computes in 32 bits, whatever the network that it guides does: gradients have no other precision.

mod builder;
mod guidance;

use builder::Builder;

use crate::backend::{Backend, Executor};
use crate::config::ClassifierConfig;
use crate::graph::{Graph, ValueId};
use crate::network::{Layers, Parameters, ParametersOf, WeightsFile};
use crate::op::{Mix, Softmax};
use crate::passes::{Fusion, fuse, vector_jacobian_product};
use crate::plan::Plan;
use crate::{Error, Precision, Result, Shape, Tensor, Weights};

/// Names in a plan.
pub(crate) mod names {
    /// Input: t of each image, as the classifier is told it.
    pub const TIMESTEP: &str = "classifier.timestep";
    /// Input: the weight of each class in what is differentiated, `[N, K]`,
    pub const WEIGHTS: &str = "classifier.weights";
    /// minus their sum, `[N]`,
    pub const MINUS_SUM: &str = "classifier.minus_sum";
    /// and 1, `[N]`.
    pub const ONE: &str = "classifier.one";
    /// Output: the logits.
    pub const LOGITS: &str = "logits";
    /// Output: the gradient.
    pub const GRADIENT: &str = "gradient";
    /// Input: x_t.
    pub const SAMPLE: &str = "sample";
}

/// A classifier, ready to be laid out as a graph for any number of images.
pub struct Classifier {
    config: ClassifierConfig,
    parameters: Parameters,
}

/// What a classifier says of images.
#[derive(Clone, Copy, Debug)]
pub struct Classified {
    /// log p(k | x_t) of every class but for a sum over all: `[N, K]`.
    pub logits: ValueId,
    /// Σ_k w_k ∇ log p(k | x_t) by x_t: `[N, H, W, C]`.
    pub gradient: ValueId,
}

/// The weights of the classes whose log-probability is differentiated, as values of a graph.
#[derive(Clone, Copy, Debug)]
pub struct ClassWeights {
    /// w of each image and class: `[N, K]`.
    pub weights: ValueId,
    /// −Σ_k w_k of each image: `[N]`.
    pub minus_sum: ValueId,
    /// 1 of each image: `[N]`.
    pub one: ValueId,
}

impl ClassWeights {
    /// Inputs for `count` images and so many classes.
    ///
    /// # Errors
    /// When they would be too large.
    pub(crate) fn inputs(graph: &mut Graph, count: usize, classes: usize) -> Result<Self> {
        Ok(ClassWeights {
            weights: graph.input(names::WEIGHTS, Shape::new(&[count, classes]))?,
            minus_sum: graph.input(names::MINUS_SUM, Shape::new(&[count]))?,
            one: graph.input(names::ONE, Shape::new(&[count]))?,
        })
    }

    /// Writes the weights of each image, `[N, K]`, to these inputs of a plan.
    pub(crate) fn write(executor: &Executor, weights: &Tensor) -> Result<()> {
        let count = weights.shape[0];
        let minus_sums = weights.data.chunks_exact(weights.shape[1]).map(|weights| -weights.iter().sum::<f32>());
        let minus_sums = Tensor::new(&[count], minus_sums.collect())?;
        executor.write(names::WEIGHTS, &weights.to_device()?)?;
        executor.write(names::MINUS_SUM, &minus_sums.to_device()?)?;
        executor.write(names::ONE, &Tensor::new(&[count], vec![1.0; count])?.to_device()?)
    }
}

impl Classifier {
    /// A classifier of this configuration with the weights of these files: all shards of its checkpoint, or the one file.
    ///
    /// # Errors
    /// When a file is damaged or of another network, or a tensor is missing or stands in two of them.
    pub fn new<'a>(config: ClassifierConfig, files: impl IntoIterator<Item = &'a [u8]>) -> Result<Self> {
        let mut classifier = Self::without_weights(config)?;
        classifier.read(files)?;
        Ok(classifier)
    }

    /// Reads all files of the checkpoint.
    ///
    /// # Errors
    /// As [`Classifier::new`].
    pub fn read<'a>(&mut self, files: impl IntoIterator<Item = &'a [u8]>) -> Result<()> {
        for bytes in files {
            let mut file = WeightsFile::default();
            file.push_to(&mut self.parameters, bytes)?;
            file.end()?;
        }
        self.finish()
    }

    /// The next bytes of a file of its weights, as it arrives: whether it has received tensors.
    ///
    /// # Errors
    /// When they are damaged or not supported, or the file is of another network, which its header tells; the file then has to
    /// begin anew, after what was [received](WeightsFile::received) is [forgotten](Classifier::forget).
    pub fn push(&mut self, file: &mut WeightsFile, bytes: &[u8]) -> Result<bool> {
        file.push_to(&mut self.parameters, bytes)
    }

    /// Forgets tensors of a file that broke off.
    pub fn forget(&mut self, paths: &[String]) {
        self.parameters.forget(paths);
    }

    /// All files have come.
    ///
    /// # Errors
    /// When a tensor is missing.
    pub fn finish(&mut self) -> Result<()> {
        self.parameters.finish()
    }

    /// Takes all tensors of the checkpoint.
    ///
    /// # Errors
    /// When one is missing or of another shape.
    pub fn receive_all(&mut self, weights: Weights) -> Result<()> {
        for (path, tensor) in weights {
            self.parameters.receive(&path, tensor)?;
        }
        self.parameters.finish()
    }

    /// A classifier whose weights are still to come. It can be laid out, but not run.
    ///
    /// # Errors
    /// When the configuration contradicts itself.
    pub fn without_weights(config: ClassifierConfig) -> Result<Self> {
        match declare(&config) {
            Ok(parameters) => Ok(Classifier { config, parameters }),
            Err(error @ (Error::Shape { .. } | Error::Settings(_))) => Err(Error::Config {
                file: "classifier/config.json",
                problem: format!("its layers do not go together: {error}"),
            }),
            Err(error) => Err(error),
        }
    }

    /// Its configuration.
    pub fn config(&self) -> &ClassifierConfig {
        &self.config
    }

    /// How many classes it tells apart.
    pub fn classes(&self) -> usize {
        self.config.out_channels
    }

    /// How many numbers were learned.
    pub fn parameters(&self) -> usize {
        self.parameters.count()
    }

    /// What its weights are packed into.
    pub(crate) fn packed(&self) -> &Parameters {
        &self.parameters
    }

    /// What a person may want to know of how its files were read: fields and tensors that were passed over.
    pub fn notes(&self) -> Vec<String> {
        let unknown = &self.config.unknown_fields;
        let fields = (!unknown.is_empty())
            .then(|| format!("classifier/config.json has fields that do nothing here: {}.", unknown.join(", ")));
        fields.into_iter().chain(self.parameters.notes().iter().cloned()).collect()
    }

    /// Checks that images of this shape can be classified.
    ///
    /// # Errors
    /// When they cannot.
    pub fn check_images(&self, channels: usize, (height, width): (usize, usize)) -> Result<()> {
        let ClassifierConfig { in_channels, image_size, .. } = self.config;
        if (channels, height, width) == (in_channels, image_size, image_size) {
            return Ok(());
        }
        Err(Error::Settings(format!(
            "The images have {channels} channels and {height}×{width} pixels, but the classifier is of images with \
             {in_channels} channels and {image_size}×{image_size} pixels."
        )))
    }

    /// Checks that each of these classes exists.
    ///
    /// # Errors
    /// When one does not.
    pub fn check_labels(&self, labels: &[f32]) -> Result<()> {
        let exists = |label: f32| label.fract() == 0.0 && label >= 0.0 && label < self.classes() as f32;
        match labels.iter().find(|&&label| !exists(label)) {
            None => Ok(()),
            Some(label) => Err(Error::Settings(format!(
                "Class {label} does not exist; this classifier has 0 to {}.",
                self.classes() - 1
            ))),
        }
    }

    /// Checks that timesteps are numbers that a time embedding can be made of.
    ///
    /// # Errors
    /// When one is negative or not finite.
    pub fn check_timesteps(&self, timesteps: &[f32]) -> Result<()> {
        match timesteps.iter().find(|t| !(t.is_finite() && **t >= 0.0)) {
            None => Ok(()),
            Some(t) => Err(Error::Settings(format!("Timestep {t} does not exist; they are numbers from 0 up."))),
        }
    }

    /// Appends the classifier of images x_t, `[N, H, W, C]`, at times `[N]`, to `graph`: its logits, `[N, K]`.
    ///
    /// # Errors
    /// When it cannot take such images.
    pub fn append(&self, graph: &mut Graph, x: ValueId, timestep: ValueId) -> Result<ValueId> {
        lay_out(graph, &self.config, ParametersOf::Placed(&self.parameters), [x, timestep], None)
    }

    /// The same as it learns: with the configuration's dropout in every residual block, whose masks follow from `seed`, `[4]`
    /// ([`crate::op::Dropout::seed_row`]).
    ///
    /// # Errors
    /// As [`Classifier::append`].
    pub fn append_with_dropout(
        &self,
        graph: &mut Graph,
        x: ValueId,
        timestep: ValueId,
        seed: ValueId,
    ) -> Result<ValueId> {
        lay_out(graph, &self.config, ParametersOf::Placed(&self.parameters), [x, timestep], Some(seed))
    }

    /// Appends the classifier, and the gradient by x_t of what it says of some classes.
    ///
    /// By the logits the gradient of Σ_k w_k log p_k is w − (Σ_k w_k) p, with p their softmax; from there it is taken back to x_t.
    ///
    /// # Errors
    /// As [`Classifier::append`].
    pub fn append_gradient(
        &self,
        graph: &mut Graph,
        x: ValueId,
        timestep: ValueId,
        ClassWeights { weights, minus_sum, one }: ClassWeights,
    ) -> Result<Classified> {
        let logits = self.append(graph, x, timestep)?;
        let softmax = Softmax { serial: false, precision: Precision::F32 };
        let probabilities = graph.op("classifier.softmax", softmax, &[logits])?;
        let by_logits = graph.op("classifier.by_logits", Mix, &[weights, probabilities, one, minus_sum])?;
        let gradient = vector_jacobian_product(graph, logits, by_logits, &[x])?[0];
        Ok(Classified { logits, gradient })
    }

    /// What the classifier says of images x_t, `[N, C, H, W]`, at times `[N]`: the logits, `[N, K]`, and the gradient by x_t of the
    /// log-probability of each image's label, of the shape of the images.
    ///
    /// # Errors
    /// When the images, times and labels do not fit together or the classifier, or the device fails.
    pub async fn classify(
        &self,
        backend: &Backend,
        x: &Tensor,
        timesteps: &[f32],
        labels: &[f32],
    ) -> Result<(Tensor, Tensor)> {
        let [count, channels, height, width] = *x.shape else {
            return Err(Error::shape("sample", "[N, C, H, W]", format!("{:?}", x.shape)));
        };
        self.check_images(channels, (height, width))?;
        for (what, found) in [("timesteps", timesteps.len()), ("class labels", labels.len())] {
            if found != count {
                return Err(Error::Settings(format!("There are {found} {what} for {count} images.")));
            }
        }
        self.check_timesteps(timesteps)?;
        self.check_labels(labels)?;
        let mut graph = Graph::new();
        let sample = graph.input(names::SAMPLE, x.device_shape()?)?;
        let timestep = graph.input(names::TIMESTEP, Shape::new(&[count]))?;
        let weights = ClassWeights::inputs(&mut graph, count, self.classes())?;
        let Classified { logits, gradient } = self.append_gradient(&mut graph, sample, timestep, weights)?;
        graph.output(names::LOGITS, logits);
        graph.output(names::GRADIENT, gradient);
        let plan = Plan::new(&fuse(&graph, Fusion::new(backend.tuning()))?);
        let executor = backend.compile(plan, &[], |_, _| {}).await?;
        executor.write(names::SAMPLE, &x.to_device()?)?;
        executor.write(names::TIMESTEP, &Tensor::new(&[count], timesteps.to_vec())?.to_device()?)?;
        ClassWeights::write(&executor, &one_of_each(labels, self.classes())?)?;
        executor.run(0).await?;
        let read = async |name: &str| {
            let shape = executor.plan().output(name)?.shape.clone();
            Tensor::from_device(&shape, &executor.read(name).await?)
        };
        Ok((read(names::LOGITS).await?, read(names::GRADIENT).await?))
    }
}

/// The weights of one class of each image, `[N, K]`.
fn one_of_each(labels: &[f32], classes: usize) -> Result<Tensor> {
    let mut weights = vec![0.0; labels.len() * classes];
    for (weights, &label) in weights.chunks_exact_mut(classes).zip(labels) {
        weights[label as usize] = 1.0;
    }
    Tensor::new(&[labels.len(), classes], weights)
}

/// Appends a classifier to `graph`: its logits.
fn lay_out(
    graph: &mut Graph,
    config: &ClassifierConfig,
    parameters: ParametersOf<'_>,
    [x, timestep]: [ValueId; 2],
    dropout_seed: Option<ValueId>,
) -> Result<ValueId> {
    const EPS: f32 = 1e-5; // torch's own

    let layers = Layers { graph, parameters, precision: Precision::F32, norm_eps: EPS };
    Builder::new(layers, config, timestep, dropout_seed)?.classifier(x)
}

/// The parameters of a classifier of this configuration, found by laying it out once.
fn declare(config: &ClassifierConfig) -> Result<Parameters> {
    let mut graph = Graph::new();
    let side = config.image_size;
    let x = graph.input("x", Shape::new(&[1, side, side, config.in_channels]))?;
    let timestep = graph.input("timestep", Shape::new(&[1]))?;
    let mut declared = Vec::new();
    lay_out(&mut graph, config, ParametersOf::Declared(&mut declared), [x, timestep], None)?;
    Parameters::new(declared.into_iter().map(|(_, parameter)| parameter).collect())
}
