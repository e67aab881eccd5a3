//! diffusers' `UNet2DModel` as a graph (`models/unets/unet_2d.py`, `unet_2d_blocks.py`, `resnet.py`,
//! `attention_processor.py`). The name of every layer is its path in the checkpoint.

mod builder;
mod embeddings;
mod k_blocks;
mod layers;
mod plain_blocks;
mod skip_blocks;

use std::rc::Rc;

use builder::{Builder, ClassMix};

use crate::backend::fetch;
use crate::config::{TimeEmbeddingType, UNetConfig, UpBlockType};
use crate::graph::{Graph, ValueId};
pub use crate::network::WeightsFile;
use crate::network::{Learned, Parameter, Parameters, ParametersOf};
use crate::passes::read_by_conditions;
use crate::state::State;
use crate::weights::AwaitedTensor;
use crate::{Error, Precision, Result, Shape, Tensor, Weights};

/// Names of the network's inputs.
pub(crate) mod names {
    /// x_t.
    pub const SAMPLE: &str = "sample";
    /// t of each image.
    pub const TIMESTEP: &str = "timestep";
    /// The class of each image.
    pub const CLASS_LABELS: &str = "class_labels";
    /// Where classes are mixed, the class that each is mixed with,
    pub const CLASS_LABELS_TO: &str = "class_labels.to";
    /// how much of its own embedding there is in the mixture,
    pub const CLASS_SHARE: &str = "class_share";
    /// and how much of the other one's.
    pub const CLASS_SHARE_TO: &str = "class_share.to";
}

/// A U-Net, ready to be laid out as a graph for any number of images. Its weights may come later.
pub struct UNet2DModel {
    config: UNetConfig,
    parameters: Parameters,
}

/// Where the network's inputs and output are in a graph.
#[derive(Clone, Copy, Debug)]
pub struct UNetValues {
    /// x_t: `[N, H, W, in_channels]`.
    pub sample: ValueId,
    /// t of each image: `[N]`.
    pub timestep: ValueId,
    /// The class label of each image, `[N]`, or for `class_embed_type: "identity"` its embedding,
    /// `[N, time_embed_dim]`; for a model with classes.
    pub class_labels: Option<ValueId>,
    /// What the model predicts: `[N, H, W, out_channels]`.
    pub output: ValueId,
}

impl UNet2DModel {
    /// A network of this configuration with the weights of these files: all shards of its checkpoint, or the one file.
    ///
    /// # Errors
    /// When a file is damaged or of another network, or a tensor is missing or stands in two of them.
    pub fn new<'a>(config: UNetConfig, files: impl IntoIterator<Item = &'a [u8]>) -> Result<Self> {
        let mut model = Self::without_weights(config)?;
        model.read(files)?;
        Ok(model)
    }

    /// Reads all files of the checkpoint.
    ///
    /// # Errors
    /// As [`UNet2DModel::new`].
    pub fn read<'a>(&mut self, files: impl IntoIterator<Item = &'a [u8]>) -> Result<()> {
        for bytes in files {
            let mut file = WeightsFile::default();
            file.push(self, bytes)?;
            file.end()?;
        }
        self.finish()
    }

    /// A network whose weights are still to come, by [`UNet2DModel::receive`]. It can be laid out, counted and compiled, but
    /// not run.
    ///
    /// # Errors
    /// When the configuration contradicts itself.
    pub fn without_weights(config: UNetConfig) -> Result<Self> {
        match declare(&config) {
            Ok(parameters) => Ok(UNet2DModel { parameters, config }),
            Err(error @ Error::Shape { .. }) => Err(Error::Config {
                file: "unet/config.json",
                problem: format!("its layers do not go together: {error}.{}", config.hint()),
            }),
            Err(error) => Err(error),
        }
    }

    /// Says of each tensor of a file under which path the network wants it, if it does: what a header promises.
    ///
    /// # Errors
    /// When the file has several networks, or one of another configuration.
    pub fn name<'a>(&mut self, tensors: impl IntoIterator<Item = &'a mut AwaitedTensor>) -> Result<()> {
        self.parameters.name(&mut tensors.into_iter())
    }

    /// Packs a tensor of the checkpoint. They may come in any order.
    ///
    /// # Errors
    /// When the network has no place for it, or one of another shape, or it has come before.
    pub fn receive(&mut self, path: &str, tensor: Tensor) -> Result<()> {
        self.parameters.receive(path, tensor)
    }

    /// Packs all tensors of the checkpoint.
    ///
    /// # Errors
    /// As [`UNet2DModel::receive`] and [`UNet2DModel::finish`].
    pub fn receive_all(&mut self, weights: Weights) -> Result<()> {
        for (path, tensor) in weights {
            self.receive(&path, tensor)?;
        }
        self.finish()
    }

    /// What a person may want to know of how the weights were read: a prefix that was taken off, tensors left aside.
    pub fn notes(&self) -> &[String] {
        self.parameters.notes()
    }

    /// Takes back what came of these tensors, so that they can come again.
    pub fn forget(&mut self, paths: &[String]) {
        self.parameters.forget(paths);
    }

    /// Checks that all tensors have come.
    ///
    /// # Errors
    /// When one is missing.
    pub fn finish(&mut self) -> Result<()> {
        self.parameters.finish()
    }

    /// The network's configuration.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// How many numbers were learned.
    pub fn parameters(&self) -> usize {
        self.parameters.count()
    }

    /// Checks what `count` images are told of their class: labels that exist, or as many finite numbers as the network
    /// takes; nothing for a model without classes.
    ///
    /// # Errors
    /// When there are too few or too many, or one does not exist.
    pub fn check_labels(&self, labels: &[f32], count: usize) -> Result<()> {
        let invalid = |problem: String| Err(Error::Settings(problem));
        let found = labels.len();
        match (self.config.class_width(), self.config.class_embed_type) {
            (None, _) if found == 0 => Ok(()),
            (None, _) => invalid("This model has no classes, so no class can be chosen.".into()),
            (Some(_), None) => {
                if found != count {
                    return invalid(format!("There are {found} class labels for {count} images."));
                }
                let classes = self.config.num_class_embeds.unwrap_or(0);
                let exists = |label: f32| label.fract() == 0.0 && label >= 0.0 && label < classes as f32;
                match labels.iter().find(|&&label| !exists(label)) {
                    Some(label) => {
                        invalid(format!("Class {label} does not exist; this model has 0 to {}.", classes - 1))
                    }
                    None => Ok(()),
                }
            }
            (Some(width), Some(_)) => {
                if Some(found) != count.checked_mul(width) {
                    return invalid(format!(
                        "There are {found} numbers for the classes of {count} images; this model takes {width} for each."
                    ));
                }
                match labels.iter().find(|label| !label.is_finite()) {
                    Some(label) => invalid(format!("Class {label} is not a finite number.")),
                    None => Ok(()),
                }
            }
        }
    }

    /// Checks that a model with a learned time embedding has a row for each of these timesteps.
    ///
    /// # Errors
    /// When it has not.
    pub fn check_timesteps(&self, timesteps: &[f32]) -> Result<()> {
        let rows = match self.config.time_embedding_type {
            TimeEmbeddingType::Learned => self.config.num_train_timesteps.unwrap_or(0),
            TimeEmbeddingType::Positional | TimeEmbeddingType::Fourier => return Ok(()),
        };
        let exists = |t: f32| t.fract() == 0.0 && t >= 0.0 && t < rows as f32;
        match timesteps.iter().find(|&&t| !exists(t)) {
            Some(t) => Err(Error::Settings(format!(
                "Timestep {t} does not exist; this model learned those from 0 to {}. Choose another sampler or spacing.",
                rows - 1
            ))),
            None => Ok(()),
        }
    }

    /// What its weights are packed into.
    pub(crate) fn packed(&self) -> &Parameters {
        &self.parameters
    }

    /// How many numbers of the checkpoint are in the parameter of this name.
    pub(crate) fn parameters_of(&self, parameter: &str) -> usize {
        self.parameters.count_of(parameter)
    }

    /// What training changes.
    pub(crate) fn learned(&self) -> impl Iterator<Item = Learned<'_>> {
        self.parameters.learned()
    }

    /// The states of all parameters.
    pub(crate) fn states(&self) -> Vec<Rc<State>> {
        self.parameters.states()
    }

    /// All tensors of the checkpoint.
    ///
    /// # Errors
    /// When a GPU that has them was lost.
    pub async fn all_tensors(&self) -> Result<Weights> {
        Ok(Weights::from_tensors(self.tensors_of(&self.states()).await?))
    }

    /// The tensors of the checkpoint that training leaves as they are.
    ///
    /// # Errors
    /// When a GPU that has them was lost.
    pub async fn fixed_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let is_learned = |state: &Rc<State>| self.learned().any(|one| Rc::ptr_eq(one.state, state));
        let fixed: Vec<Rc<State>> = self.states().into_iter().filter(|state| !is_learned(state)).collect();
        self.tensors_of(&fixed).await
    }

    /// The checkpoint's tensors that are in these states.
    async fn tensors_of(&self, states: &[Rc<State>]) -> Result<Vec<(String, Tensor)>> {
        for state in states {
            fetch(state).await?;
        }
        let held: Vec<_> = states.iter().map(|state| state.on_host()).collect();
        Ok(self.parameters.tensors(|state| {
            let index = states.iter().position(|other| Rc::ptr_eq(other, state))?;
            held[index].as_deref()
        }))
    }

    /// Puts the checkpoint's tensors where numbers lie that lie as the parameters do: in what `of` says for a state.
    ///
    /// # Errors
    /// When one is missing or of another shape, or there is no memory for it.
    pub(crate) fn put_tensors(&self, tensors: &Weights, of: impl Fn(&Rc<State>) -> Option<Rc<State>>) -> Result<()> {
        self.parameters.put_tensors(tensors, of)
    }

    /// Replaces all that was learned by other numbers, the checkpoint's tensors by their paths. Whatever was made ready with this
    /// network takes them over by [`crate::Prepared::upload`].
    ///
    /// # Errors
    /// When one is missing or of another shape, or a GPU that has the old ones was lost.
    pub async fn replace(&self, tensors: &Weights) -> Result<()> {
        let learned: Vec<Rc<State>> = self.learned().map(|one| one.state.clone()).collect();
        for state in &learned {
            fetch(state).await?;
        }
        self.put_tensors(tensors, |state| learned.iter().find(|other| Rc::ptr_eq(other, state)).cloned())?;
        for one in self.learned() {
            one.state.changed(one.state.range_at(one.first));
        }
        Ok(())
    }

    /// Appends the network for `count` images of `height` × `width` pixels, and an input for them, to `graph`. The
    /// network's inputs and its output have 32 bits in either precision.
    ///
    /// # Errors
    /// When the network cannot take images of this size.
    pub fn build(
        &self,
        graph: &mut Graph,
        count: usize,
        height: usize,
        width: usize,
        precision: Precision,
    ) -> Result<UNetValues> {
        let sample = graph.input(names::SAMPLE, Shape::new(&[count, height, width, self.config.in_channels]))?;
        self.append(graph, sample, precision)
    }

    /// Appends the network to `graph`, on images that are there already.
    ///
    /// # Errors
    /// When the network cannot take images of this size.
    pub fn append(&self, graph: &mut Graph, sample: ValueId, precision: Precision) -> Result<UNetValues> {
        let parameters = ParametersOf::Placed(&self.parameters);
        lay_out(graph, &self.config, parameters, sample, precision, Variant::Plain)
    }

    /// The same as [`UNet2DModel::build`] for square images in 32 bits, with inputs for a second class of each image, if the
    /// classes are learned ones, and for the shares that the embeddings of both have in what it is told.
    ///
    /// # Errors
    /// As [`UNet2DModel::build`].
    pub(crate) fn build_mixing(&self, graph: &mut Graph, count: usize, side: usize) -> Result<UNetValues> {
        let sample = graph.input(names::SAMPLE, Shape::new(&[count, side, side, self.config.in_channels]))?;
        let parameters = ParametersOf::Placed(&self.parameters);
        lay_out(graph, &self.config, parameters, sample, Precision::F32, Variant::Mixing)
    }

    /// The same in 32 bits as it learns: with the configuration's dropout in every residual block, whose masks follow from
    /// `seed`, `[4]` ([`crate::op::Dropout::seed_row`]). The k-th block has the mask of layer k.
    ///
    /// # Errors
    /// As [`UNet2DModel::append`], or when `dropout` is not a probability below 1.
    pub fn append_with_dropout(&self, graph: &mut Graph, sample: ValueId, seed: ValueId) -> Result<UNetValues> {
        let probability = self.config.dropout;
        if !(0.0..1.0).contains(&probability) {
            let problem = format!("dropout is {probability}; it must be at least 0 and less than 1.");
            return Err(Error::Config { file: "unet/config.json", problem });
        }
        let parameters = ParametersOf::Placed(&self.parameters);
        lay_out(graph, &self.config, parameters, sample, Precision::F32, Variant::Learning(seed))
    }
}

impl WeightsFile {
    /// The next bytes of the file. Whether the network has received tensors.
    ///
    /// # Errors
    /// When they are damaged or not supported, or the file is of another network, which its header tells; the file then has
    /// to begin anew, after what was [received](WeightsFile::received) is [forgotten](UNet2DModel::forget).
    pub fn push(&mut self, unet: &mut UNet2DModel, bytes: &[u8]) -> Result<bool> {
        self.push_to(&mut unet.parameters, bytes)
    }
}

/// What a network is laid out for.
#[derive(Clone, Copy)]
enum Variant {
    /// To be evaluated.
    Plain,
    /// For classes that are mixed.
    Mixing,
    /// To learn, with dropout, whose masks follow from this.
    Learning(ValueId),
}

/// Appends a network to `graph`.
fn lay_out(
    graph: &mut Graph,
    config: &UNetConfig,
    parameters: ParametersOf<'_>,
    sample: ValueId,
    precision: Precision,
    variant: Variant,
) -> Result<UNetValues> {
    let [count, height, width, _] = graph.shape(sample).nhwc("sample")?;
    let divisor = 1 << (config.block_out_channels.len() - 1);
    if height == 0 || width == 0 || !height.is_multiple_of(divisor) || !width.is_multiple_of(divisor) {
        return Err(Error::Settings(format!(
            "The model halves its images {} times, so both sides must be multiples of {divisor}; found {height}×{width}.",
            config.block_out_channels.len() - 1
        )));
    }
    let timestep = graph.input(names::TIMESTEP, Shape::new(&[count]))?;
    let class_labels = match config.class_width() {
        None => None,
        Some(1) => Some(graph.input(names::CLASS_LABELS, Shape::new(&[count]))?),
        Some(width) => Some(graph.input(names::CLASS_LABELS, Shape::new(&[count, width]))?),
    };
    let class_mix = match (variant, config.class_width(), config.class_embed_type) {
        (Variant::Mixing, Some(_), None) => {
            let mut input = |name| graph.input(name, Shape::new(&[count]));
            let labels = input(names::CLASS_LABELS_TO)?;
            Some(ClassMix { labels, shares: [input(names::CLASS_SHARE)?, input(names::CLASS_SHARE_TO)?] })
        }
        _ => None,
    };
    let mut builder = Builder::new(graph, parameters, config, precision, timestep, class_labels, class_mix)?;
    if let Variant::Learning(seed) = variant {
        builder.dropout_seed = Some(seed);
    }
    let output = builder.unet(sample, timestep)?;
    Ok(UNetValues { sample, timestep, class_labels, output })
}

/// The parameters of a network of this configuration, found by laying it out once, on the smallest images it takes.
fn declare(config: &UNetConfig) -> Result<Parameters> {
    // K blocks cannot mirror a single pixel.
    let innermost = if config.up_block_types.contains(&UpBlockType::KUpBlock2D) { 2 } else { 1 };
    let side = innermost << (config.block_out_channels.len() - 1);
    let mut graph = Graph::new();
    let sample = graph.input(names::SAMPLE, Shape::new(&[1, side, side, config.in_channels]))?;
    let mut declared = Vec::new();
    lay_out(&mut graph, config, ParametersOf::Declared(&mut declared), sample, Precision::F32, Variant::Plain)?;
    let conditions = read_by_conditions(&graph, &[names::TIMESTEP, names::CLASS_LABELS]);
    let parameters = declared.into_iter().map(|(id, parameter)| {
        let is_condition = conditions.contains(id);
        Parameter { is_condition, ..parameter }
    });
    Parameters::new(parameters.collect())
}
