//! A run of training: images in an order, noise and timesteps drawn for them, and steps that learn from them.

use std::num::NonZeroU32;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::{Batch, KEPT, Objective, Recipe, Trainee, Trainer};
use crate::backend::Progress;
use crate::classifier::Classifier;
use crate::config::ClassifierConfig;
use crate::dataset::Dataset;
use crate::epochs::Epochs;
use crate::initialise::{initial_classifier_weights, initial_weights};
use crate::random::Generator;
use crate::weights::to_safetensors;
use crate::{Backend, Error, Pipeline, Prepared, Result, Sampler, Settings, Tensor, Weights};

/// A network that learns, with all that its next step follows from: the same recipe, images and weights give the same bits on
/// the CPU, and so does going on from a [`Checkpoint`].
pub struct Learner {
    backend: Backend,
    recipe: Recipe,
    network: Network,
    dataset: Dataset,
    epochs: Epochs,
    generator: Generator,
    /// T of the forward process.
    timesteps: NonZeroU32,
    trainer: Trainer,
    /// The moving average, ready to be sampled.
    shown: Option<Shown>,
}

/// What learns.
enum Network {
    /// A model, to denoise.
    Denoiser(Box<Pipeline>),
    /// A classifier, to tell the classes of noisy images apart.
    Classifier(Box<Classifier>),
}

impl Network {
    /// That of a recipe, whose weights are still to come.
    fn of(recipe: &Recipe) -> Result<Self> {
        match &recipe.classifier {
            None => Ok(Network::Denoiser(Box::new(recipe.pipeline()?))),
            Some(config) => {
                let classifier = Classifier::without_weights(ClassifierConfig::from_json(config)?)?;
                Ok(Network::Classifier(Box::new(classifier)))
            }
        }
    }

    fn trainee(&self) -> Trainee<'_> {
        match self {
            Network::Denoiser(pipeline) => pipeline.unet().into(),
            Network::Classifier(classifier) => (&**classifier).into(),
        }
    }

    /// Height and width of its images.
    fn size(&self) -> Result<(usize, usize)> {
        match self {
            Network::Denoiser(pipeline) => pipeline.unet().config().sample_size(),
            Network::Classifier(classifier) => Ok((classifier.config().image_size, classifier.config().image_size)),
        }
    }

    fn objective(&self, recipe: &Recipe) -> Result<Objective> {
        match self {
            Network::Denoiser(pipeline) => recipe.objective(pipeline),
            Network::Classifier(_) => recipe.classifier_objective(),
        }
    }

    /// Takes the weights that a new network begins with.
    fn begin(&mut self, generator: &mut Generator) -> Result<()> {
        match self {
            Network::Denoiser(pipeline) => {
                let initial = initial_weights(pipeline.unet().config(), generator)?;
                pipeline.unet_mut().receive_all(initial)
            }
            Network::Classifier(classifier) => {
                let initial = initial_classifier_weights(classifier.config(), generator)?;
                classifier.receive_all(initial)
            }
        }
    }

    /// Takes the weights of a file.
    fn read(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Network::Denoiser(pipeline) => pipeline.unet_mut().read([bytes]),
            Network::Classifier(classifier) => classifier.read([bytes]),
        }
    }

    /// What it has that nothing is learned of.
    async fn fixed_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        match self {
            Network::Denoiser(pipeline) => pipeline.unet().fixed_tensors().await,
            Network::Classifier(_) => Ok(Vec::new()),
        }
    }
}

/// A model of the moving average.
struct Shown {
    pipeline: Pipeline,
    prepared: Rc<Prepared>,
}

/// All that a run goes on with but for its images, as files.
pub struct Checkpoint {
    /// What was asked for.
    pub recipe: Recipe,
    /// Steps taken.
    pub step: u64,
    /// Their names and bytes.
    pub files: Vec<(String, Vec<u8>)>,
}

/// What `training.json` says.
#[derive(Deserialize, Serialize)]
struct Record {
    step: u64,
    recipe: Recipe,
}

/// The file of a checkpoint with its [`Record`].
const RECORD: &str = "training.json";
/// The file with the state of the generator.
const GENERATOR: &str = "generator.bin";
/// The file with where the batches stand.
const EPOCHS: &str = "epochs.bin";
/// Where in a network's folder the weights are.
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// The file of a checkpoint with the tensors of one of [`KEPT`].
fn file_of(kept: &str) -> String {
    format!("{kept}.safetensors")
}

impl Checkpoint {
    /// Reads the files of a checkpoint, which `read` gives by their names.
    ///
    /// # Errors
    /// When one cannot be read, or the record is not one of this version.
    pub fn read<E: From<Error>>(
        read: impl Fn(&str) -> std::result::Result<Vec<u8>, E>,
    ) -> std::result::Result<Self, E> {
        let record = serde_json::from_slice(&read(RECORD)?);
        let Record { step, recipe } =
            record.map_err(|error| Error::State(format!("{RECORD} is not what this version writes: {error}.")))?;
        let names = KEPT.map(file_of).into_iter().chain([GENERATOR.into(), EPOCHS.into()]);
        let files = names.map(|name| Ok((name.clone(), read(&name)?))).collect::<std::result::Result<_, E>>()?;
        Ok(Checkpoint { recipe, step, files })
    }

    fn file(&self, name: &str) -> Result<&[u8]> {
        let file = self.files.iter().find(|(other, _)| other == name);
        file.map(|(_, bytes)| &bytes[..]).ok_or_else(|| Error::State(format!("The checkpoint has no {name}.")))
    }

    /// The pipeline that was learned, as files by their paths in its folder: what diffusers' `DDPMPipeline.from_pretrained`
    /// loads, with the moving average as its weights. Of a classifier it is what a pipeline's folder has of that.
    ///
    /// # Errors
    /// When the checkpoint lacks them.
    pub fn model(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let folder = self.recipe.folder();
        let mut files = vec![(format!("{folder}/{WEIGHTS}"), self.file(&file_of(KEPT[3]))?.to_vec())];
        files.extend(self.recipe.files()?.into_iter().map(|(path, text)| (path.into(), text.into_bytes())));
        Ok(files)
    }
}

impl Learner {
    /// A run that begins: with `network`, or with a new one of the recipe, whose weights its seed gives. `dataset` has the
    /// network's channels and size ([`Dataset::fitted`]).
    ///
    /// # Errors
    /// When the recipe, the images and the network do not fit together, or the device cannot do it.
    pub async fn begin(
        backend: &Backend,
        recipe: Recipe,
        dataset: Dataset,
        network: Option<Pipeline>,
        progress: Progress<'_>,
    ) -> Result<Self> {
        recipe.check()?;
        let mut generator = Generator::new(recipe.seed);
        let network = match network {
            Some(_) if recipe.classifier.is_some() => {
                return Err(Error::Settings("A classifier does not go on from a model; it begins anew.".into()));
            }
            Some(pipeline) => Network::Denoiser(Box::new(pipeline)),
            None => {
                let mut network = Network::of(&recipe)?;
                network.begin(&mut generator)?;
                network
            }
        };
        Self::new(backend, recipe, dataset, network, generator, progress).await
    }

    /// A run that goes on, over the same images.
    ///
    /// # Errors
    /// As [`Learner::begin`], and when the checkpoint is damaged or of other images.
    pub async fn resume(
        backend: &Backend,
        checkpoint: &Checkpoint,
        dataset: Dataset,
        progress: Progress<'_>,
    ) -> Result<Self> {
        let recipe = checkpoint.recipe.clone();
        recipe.check()?;
        let mut network = Network::of(&recipe)?;
        network.read(checkpoint.file(&file_of(KEPT[0]))?)?;
        let generator = Generator::from_state(checkpoint.file(GENERATOR)?)?;
        let epochs = Epochs::from_state(checkpoint.file(EPOCHS)?, dataset.count(), recipe.batch)?;
        let mut learner = Self::new(backend, recipe, dataset, network, generator, progress).await?;
        learner.epochs = epochs;
        let mut kept = Vec::with_capacity(KEPT.len());
        for name in KEPT {
            kept.push(Weights::from_bytes(checkpoint.file(&file_of(name))?)?);
        }
        let kept = <[Weights; 4]>::try_from(kept).expect("one is read of each of the four");
        learner.trainer.restore(learner.network.trainee(), checkpoint.step, &kept).await?;
        Ok(learner)
    }

    async fn new(
        backend: &Backend,
        recipe: Recipe,
        dataset: Dataset,
        network: Network,
        generator: Generator,
        progress: Progress<'_>,
    ) -> Result<Self> {
        let epochs = Epochs::new(dataset.count(), recipe.batch)?;
        let (height, width) = network.size()?;
        let [_, channels, h, w] = dataset.shape();
        if (h, w) != (height, width) {
            return Err(Error::shape("images", format!("{height}×{width}"), format!("{h}×{w}")));
        }
        let objective = network.objective(&recipe)?;
        let timesteps = u32::try_from(objective.timesteps()).ok().and_then(NonZeroU32::new);
        let timesteps = timesteps.ok_or_else(|| Error::Settings("There are no timesteps.".into()))?;
        let shape = [recipe.batch, channels, height, width];
        let (optimiser, again) = (recipe.optimiser(), recipe.recompute);
        let trainer =
            Trainer::with_recompute(backend, network.trainee(), objective, optimiser, shape, again, progress).await?;
        let backend = backend.clone();
        Ok(Learner { backend, recipe, network, dataset, epochs, generator, timesteps, trainer, shown: None })
    }

    /// What was asked for.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The model that learns.
    ///
    /// # Errors
    /// When it is a classifier that does.
    pub fn pipeline(&self) -> Result<&Pipeline> {
        match &self.network {
            Network::Denoiser(pipeline) => Ok(pipeline),
            Network::Classifier(_) => {
                Err(Error::Settings("A classifier learns: there is no model to be sampled.".into()))
            }
        }
    }

    /// What takes its steps.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// Takes a step. The loss it returns is that of the step before, so that the device need not wait; of the last one it is
    /// [`Learner::finish`].
    ///
    /// # Errors
    /// When the device was lost.
    pub async fn step(&mut self) -> Result<Option<f32>> {
        let batch = self.next_batch()?;
        self.trainer.step(self.network.trainee(), &batch).await
    }

    /// The loss of the last step, once it is computed.
    ///
    /// # Errors
    /// When the device was lost.
    pub async fn finish(&mut self) -> Result<Option<f32>> {
        self.trainer.finish().await
    }

    /// The next batch, all that is random in it drawn from one generator: at the beginning of an epoch its order; then ε; the
    /// timesteps; which images are mirrored; which labels are left out; the dropout's seed, 16 bits a number.
    fn next_batch(&mut self) -> Result<Batch> {
        const SEED_PART: NonZeroU32 = NonZeroU32::new(1 << 16).unwrap();

        let Learner { recipe, dataset, generator, .. } = self;
        let indices = self.epochs.next_batch(generator).to_vec();
        let count = indices.len();
        let mut shape = dataset.shape();
        shape[0] = count;
        let noise = Tensor::new(&shape, generator.randn(shape.iter().product()))?;
        let timesteps = generator.randint(self.timesteps, count).into_iter().map(|t| t as usize).collect();
        let flipped = if recipe.flip { generator.rand_below(0.5, count) } else { Vec::new() };
        let mut class_labels = if recipe.has_classes { dataset.labels_of(&indices)? } else { None };
        if let (Some(labels), Some(null), true) = (&mut class_labels, recipe.null_class, recipe.label_dropout > 0.0) {
            let dropped = generator.rand_below(recipe.label_dropout as f32, count);
            labels.iter_mut().zip(dropped).filter(|(_, dropped)| *dropped).for_each(|(label, _)| *label = null);
        }
        let class_labels = class_labels.map(|labels| labels.into_iter().map(|label| label as f32).collect());
        let joined = |seed: u64, part: u32| seed << 16 | u64::from(part);
        let dropout_seed = recipe.drops.then(|| generator.randint(SEED_PART, 4).into_iter().fold(0, joined));
        Ok(Batch { images: dataset.batch(&indices, &flipped)?, noise, timesteps, class_labels, dropout_seed })
    }

    /// All that the run goes on with. `None` if it has diverged: if its numbers are infinite, with which nothing can go on.
    ///
    /// # Errors
    /// When the device was lost.
    pub async fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        let kept = self.trainer.kept(self.network.trainee()).await?;
        if !kept.iter().flatten().all(is_finite) {
            return Ok(None);
        }
        let fixed = self.network.fixed_tensors().await?;
        let record = Record { step: self.trainer.step_count(), recipe: self.recipe.clone() };
        let text = serde_json::to_vec_pretty(&record)
            .map_err(|error| Error::State(format!("{RECORD} could not be written: {error}.")))?;
        let Record { step, recipe } = record;
        let mut files = Vec::with_capacity(KEPT.len() + 3);
        for (name, tensors) in KEPT.into_iter().zip(&kept) {
            // m and v are of what is learned alone; parameters and average are whole networks.
            let rest = if name == KEPT[0] || name == KEPT[3] { &fixed[..] } else { &[] };
            let all = tensors.iter().chain(rest).map(|(path, tensor)| (&path[..], tensor));
            files.push((file_of(name), to_safetensors(all, Some("pt"))?));
        }
        files.push((RECORD.into(), text));
        files.push((GENERATOR.into(), self.generator.state()));
        files.push((EPOCHS.into(), self.epochs.state()));
        Ok(Some(Checkpoint { recipe, step, files }))
    }

    /// Begins to sample what was learned so far: the moving average.
    ///
    /// # Errors
    /// When the settings are not possible with the model, its numbers are infinite, or the device was lost.
    pub async fn sampler(&mut self, settings: &Settings) -> Result<Sampler> {
        let unet = self.pipeline()?.unet();
        let mut tensors = self.trainer.average(unet).await?;
        if !tensors.iter().all(is_finite) {
            return Err(Error::State("The network has diverged: its numbers are infinite.".into()));
        }
        let (layout, _) = settings.check(self.pipeline()?)?;
        let is_ready = |shown: &Shown| *shown.prepared.layout() == layout;
        if let Some(shown) = self.shown.take_if(|shown| is_ready(shown)) {
            shown.pipeline.unet().replace(&Weights::from_tensors(tensors)).await?;
            shown.prepared.upload()?;
            self.shown = Some(shown);
        } else {
            tensors.extend(self.network.fixed_tensors().await?);
            let mut pipeline = self.recipe.pipeline()?;
            pipeline.unet_mut().receive_all(Weights::from_tensors(tensors))?;
            let prepared = Prepared::new(&self.backend, &pipeline, layout, |_, _| {}).await?;
            self.shown = Some(Shown { pipeline, prepared });
        }
        let shown = self.shown.as_ref().expect("it has just been made");
        Sampler::new(&shown.pipeline, &shown.prepared, settings)
    }
}

/// Whether a tensor has numbers with which something can go on.
fn is_finite((_, tensor): &(String, Tensor)) -> bool {
    tensor.data.iter().all(|number| number.is_finite())
}
