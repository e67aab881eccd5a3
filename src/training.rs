//! Training: the loss of a batch, its gradients, and the step that makes it smaller (Ho et al. 2020, Algorithm 1).
//!
//! A step is one plan: x_t from x_0 and ε, the network, the loss, the gradients by all parameters, AdamW and the moving
//! average. What it changes are states, which the device keeps, so nothing is read back but the loss.

mod learner;
mod objective;
mod optimiser;
mod recipe;
mod trainee;

use std::rc::Rc;

pub use learner::{Checkpoint, Learner};
pub use objective::{Loss, Objective};
pub use optimiser::{LearningRate, Optimiser};
pub use recipe::{Rate, Recipe, WhichLoss, default_scheduler, object};
pub use trainee::Trainee;

use crate::backend::{Executor, Pending, fetch};
use crate::classifier::Classifier;
use crate::graph::{Graph, ValueId};
use crate::op::{
    AdamW, AdamWSettings, Add, Affine, CrossEntropy, Dropout, Ema, MeanSquareError, Mix, Slice, SquareNorm, Sum,
    VariationalBound,
};
use crate::passes::{Fusion, Recompute, assemble, fuse, gradient, recompute};
use crate::plan::Plan;
use crate::state::State;
use crate::tuning::Tuning;
use crate::unet::UNet2DModel;
use crate::{Backend, Error, Precision, Result, Shape, Tensor};

/// Names of the inputs and outputs of a step.
mod names {
    /// Input: x_0.
    pub const IMAGES: &str = "images";
    /// Input: ε.
    pub const NOISE: &str = "noise";
    /// Inputs: what x_0 and ε are multiplied by for x_t, and for what the network is to predict.
    pub const MIXES: [&str; 4] = ["x_t.from_x0", "x_t.from_noise", "target.from_x0", "target.from_noise"];
    /// Input: what the loss of each image is multiplied by.
    pub const WEIGHTS: &str = "weights";
    /// Input, if a variance is learned: [`crate::op::VariationalBound::row`] of each image.
    pub const BOUNDS: &str = "bounds";
    /// Input: t of each image.
    pub const TIMESTEP: &str = "timestep";
    /// Input, of a step with dropout: [`crate::op::Dropout::seed_row`].
    pub const DROPOUT_SEED: &str = "dropout_seed";
    /// Input: the class of each image.
    pub const CLASS_LABELS: &str = "class_labels";
    /// Input: [`crate::op::AdamWSettings::row`].
    pub const OPTIMISER: &str = "optimiser";
    /// Input: 1 − the decay of the moving average.
    pub const AVERAGE: &str = "average";
    /// Output: the loss of each image.
    pub const LOSSES: &str = "losses";
    /// Output, and frame: the mean of these.
    pub const LOSS: &str = "loss";
    /// Output, and frame, of a classifier: its logits.
    pub const LOGITS: &str = "logits";
}

/// A batch of what a network learns from.
#[derive(Clone, Debug)]
pub struct Batch {
    /// x_0 over [−1, 1], `[N, C, H, W]`.
    pub images: Tensor,
    /// ε, of the same shape.
    pub noise: Tensor,
    /// t of each image.
    pub timesteps: Vec<usize>,
    /// For a model with classes, and for a classifier, the label of each image, or for `class_embed_type: "identity"` the numbers
    /// of its embedding.
    pub class_labels: Option<Vec<f32>>,
    /// What the masks of a step follow from, for a model with dropout: another one a step.
    pub dropout_seed: Option<u64>,
}

impl Batch {
    /// The shape of the images, and checks that the rest fits them.
    ///
    /// # Errors
    /// When it does not.
    fn shape(&self) -> Result<[usize; 4]> {
        let &[n, c, h, w] = &self.images.shape[..] else {
            return Err(Error::shape("images", "[N, C, H, W]", format!("{:?}", self.images.shape)));
        };
        if self.noise.shape != self.images.shape {
            return Err(Error::shape("noise", format!("{:?}", self.images.shape), format!("{:?}", self.noise.shape)));
        }
        if self.timesteps.len() != n {
            return Err(Error::shape("timestep", format!("{n} of them, one an image"), self.timesteps.len()));
        }
        Ok([n, c, h, w])
    }
}

/// A state with the values that belong to it in a graph.
struct Trained {
    state: Rc<State>,
    gradient: ValueId,
}

/// Appends the loss of images of this shape, `[N, C, H, W]`, and its gradients by all that is learned; if it `drops`, with the
/// network's dropout.
fn append_loss(
    trainee: Trainee<'_>,
    bound_scale: Option<f64>,
    shape: [usize; 4],
    drops: bool,
) -> Result<(Graph, Vec<Trained>)> {
    let mut graph = Graph::new();
    let losses = match trainee {
        Trainee::UNet(unet) => append_denoising(&mut graph, unet, bound_scale, shape, drops)?,
        Trainee::Classifier(classifier) => append_classifying(&mut graph, classifier, shape, drops)?,
    };
    let loss = graph.op(names::LOSS, Sum::mean(shape[0]), &[losses])?;
    graph.output(names::LOSSES, losses);
    graph.output(names::LOSS, loss);

    let parameters = trainee.parameters();
    let learned: Vec<_> = parameters.learned().collect();
    let values: Vec<ValueId> = learned
        .iter()
        .map(|one| graph.parameter(one.name, Precision::F32, one.shape.clone(), (one.state, one.first)))
        .collect();
    let gradients = gradient(&mut graph, loss, &values)?;
    let mut trained = Vec::new();
    for state in parameters.states() {
        let ranges = learned.iter().zip(&gradients).filter(|(one, _)| Rc::ptr_eq(one.state, &state));
        let parts: Vec<(ValueId, usize)> = ranges.map(|(one, &gradient)| (gradient, one.first)).collect();
        if !parts.is_empty() {
            let gradient = assemble(&mut graph, &format!("{}.gradient", state.name()), state.size(), &parts)?;
            trained.push(Trained { state, gradient });
        }
    }
    Ok((graph, trained))
}

/// The inputs of what x_t is made of, and it: x_0, ε and x_t.
fn append_x_t(graph: &mut Graph, [n, c, h, w]: [usize; 4]) -> Result<[ValueId; 3]> {
    let images = graph.input(names::IMAGES, Shape::new(&[n, h, w, c]))?;
    let noise = graph.input(names::NOISE, Shape::new(&[n, h, w, c]))?;
    let from_images = graph.input(names::MIXES[0], Shape::new(&[n]))?;
    let from_noise = graph.input(names::MIXES[1], Shape::new(&[n]))?;
    let x = graph.op("x_t", Mix, &[images, noise, from_images, from_noise])?;
    Ok([images, noise, x])
}

/// The loss of a classifier, image by image: −ln p(y | x_t).
fn append_classifying(graph: &mut Graph, classifier: &Classifier, shape: [usize; 4], drops: bool) -> Result<ValueId> {
    let [n, c, h, w] = shape;
    classifier.check_images(c, (h, w))?;
    let [_, _, x] = append_x_t(graph, shape)?;
    let timestep = graph.input(names::TIMESTEP, Shape::new(&[n]))?;
    let labels = graph.input(names::CLASS_LABELS, Shape::new(&[n]))?;
    let logits = match drops && classifier.config().dropout != 0.0 {
        true => {
            let seed = graph.input(names::DROPOUT_SEED, Shape::new(&[4]))?;
            classifier.append_with_dropout(graph, x, timestep, seed)?
        }
        false => classifier.append(graph, x, timestep)?,
    };
    graph.output(names::LOGITS, logits);
    graph.op("cross_entropy", CrossEntropy, &[logits, labels])
}

/// The loss of a network that denoises, image by image.
fn append_denoising(
    graph: &mut Graph,
    unet: &UNet2DModel,
    bound_scale: Option<f64>,
    shape: [usize; 4],
    drops: bool,
) -> Result<ValueId> {
    let ([n, c, ..], config) = (shape, unet.config());
    if config.in_channels != c {
        return Err(Error::shape("images", format!("{} channels, as the network takes", config.in_channels), c));
    }
    if bound_scale.is_some() && config.out_channels != 2 * c {
        return Err(Error::Config {
            file: "unet/config.json",
            problem: format!(
                "out_channels is {}; of the hybrid loss the network learns a variance too, for which it has to be {}, \
                 twice the in_channels. Choose such a network, or the simple loss.",
                config.out_channels,
                2 * c
            ),
        });
    }
    let [images, noise, x] = append_x_t(graph, shape)?;
    let target_images = graph.input(names::MIXES[2], Shape::new(&[n]))?;
    let target_noise = graph.input(names::MIXES[3], Shape::new(&[n]))?;
    let weights = graph.input(names::WEIGHTS, Shape::new(&[n]))?;
    let target = graph.op("target", Mix, &[images, noise, target_images, target_noise])?;
    let network = match drops && config.dropout != 0.0 {
        true => {
            let seed = graph.input(names::DROPOUT_SEED, Shape::new(&[4]))?;
            unet.append_with_dropout(graph, x, seed)?
        }
        false => unet.append(graph, x, Precision::F32)?,
    };
    let output = network.output;
    let prediction = match config.out_channels == c {
        true => output,
        // The rest is what it says of the variance.
        false => graph.op("prediction", Slice { first: 0, channels: c }, &[output])?,
    };
    let mut losses = graph.op("mean_square_error", MeanSquareError, &[prediction, target, weights])?;
    if let Some(scale) = bound_scale {
        let variance = graph.op("variance", Slice { first: c, channels: c }, &[output])?;
        let rows = graph.input(names::BOUNDS, Shape::new(&[n, 4]))?;
        let bound = graph.op("bound", VariationalBound, &[prediction, target, variance, images, rows])?;
        let bound = graph.op("bound.scaled", Affine { scale: scale as f32, offset: 0.0 }, &[bound])?;
        losses = graph.op(names::LOSSES, Add::PLAIN, &[losses, bound])?;
    }
    Ok(losses)
}

/// The step of a network that learns from `shape` images, and for each state that is learned, that state, Adam's m and v, and
/// the moving average.
fn append_step(
    trainee: Trainee<'_>,
    bound_scale: Option<f64>,
    shape: [usize; 4],
) -> Result<(Graph, Vec<[Rc<State>; 4]>)> {
    let (mut graph, trained) = append_loss(trainee, bound_scale, shape, true)?;
    let mut norm = None;
    for one in &trained {
        let name = format!("{}.norm", one.state.name());
        let runs = graph.op(&format!("{name}.runs"), SquareNorm, &[one.gradient])?;
        let part = graph.op(&name, Sum::PLAIN, &[runs])?;
        norm = Some(match norm {
            Some(sum) => graph.op(&format!("{name}.sum"), Add::PLAIN, &[sum, part])?,
            None => part,
        });
    }
    let norm = norm.ok_or_else(|| Error::Settings("The network has nothing to learn.".into()))?;
    let settings = graph.input(names::OPTIMISER, Shape::new(&[AdamWSettings::LEN]))?;
    let rest = graph.input(names::AVERAGE, Shape::new(&[1]))?;
    let mut states = Vec::new();
    for Trained { state, gradient } in trained {
        let [m, v, average] = ["m", "v", "average"].map(|kind| Rc::new(State::beside(kind, &state)));
        let [p, m_value, v_value, shadow] = [&state, &m, &v, &average].map(|state| graph.state(state, Precision::F32));
        let name = state.name();
        let p = graph.op(&format!("{name}.adamw"), AdamW, &[gradient, settings, norm, p, m_value, v_value])?;
        graph.op(&format!("{name}.average"), Ema, &[p, rest, shadow])?;
        states.push([state, m, v, average]);
    }
    Ok((graph, states))
}

/// The plan of a graph with a loss and its gradients, for a GPU that is quickest with these variants, or for the CPU.
fn planned(graph: &Graph, tuning: Option<Tuning>, what: Recompute) -> Result<Plan> {
    let fused = fuse(graph, Fusion::new(tuning))?;
    Ok(Plan::new(&recompute(&fused, names::LOSS, what)?))
}

/// The plan of a step of training, before there are weights, and the states that it changes: those of the network, Adam's m
/// and v, and the moving average.
///
/// # Errors
/// When an op of the network has no gradient, or images of this size do not fit it.
pub(crate) fn plan_step(
    trainee: Trainee<'_>,
    bound_scale: Option<f64>,
    shape: [usize; 4],
    tuning: Option<Tuning>,
    what: Recompute,
) -> Result<(Plan, Vec<[Rc<State>; 4]>)> {
    let (graph, states) = append_step(trainee, bound_scale, shape)?;
    Ok((planned(&graph, tuning, what)?, states))
}

/// Writes a batch, and what `objective` makes of its timesteps, to the inputs of a plan.
fn write_batch(executor: &Executor, objective: &Objective, batch: &Batch) -> Result<()> {
    let vector = |numbers: Vec<f32>| Tensor::new(&[numbers.len()], numbers)?.to_device();
    executor.write(names::IMAGES, &batch.images.to_device()?)?;
    executor.write(names::NOISE, &batch.noise.to_device()?)?;
    let coefficients = batch.timesteps.iter().map(|&t| objective.coefficients(t)).collect::<Result<Vec<_>>>()?;
    let is_asked = |name: &str| executor.plan().inputs.contains_key(name);
    for (i, name) in names::MIXES.into_iter().enumerate().filter(|(_, name)| is_asked(name)) {
        executor.write(name, &vector(coefficients.iter().map(|row| row.mixes[i]).collect())?)?;
    }
    if is_asked(names::WEIGHTS) {
        executor.write(names::WEIGHTS, &vector(coefficients.iter().map(|row| row.weight).collect())?)?;
    }
    if objective.bound_scale().is_some() {
        let rows: Vec<f32> = batch.timesteps.iter().flat_map(|&t| objective.bound(t)).collect();
        executor.write(names::BOUNDS, &rows)?;
    }
    executor.write(names::TIMESTEP, &vector(batch.timesteps.iter().map(|&t| t as f32).collect())?)?;
    match (&batch.class_labels, is_asked(names::CLASS_LABELS)) {
        (Some(labels), true) => {
            let shape = executor.plan().input(names::CLASS_LABELS)?.shape.clone();
            executor.write(names::CLASS_LABELS, &Tensor::new(shape.dims(), labels.clone())?.to_device()?)
        }
        (None, false) => Ok(()),
        (None, true) => Err(Error::Settings("The model has classes, so each image needs a class label.".into())),
        (Some(_), false) => Err(Error::Settings("The model has no classes, so images have no class labels.".into())),
    }?;
    match (batch.dropout_seed, is_asked(names::DROPOUT_SEED)) {
        (Some(seed), true) => executor.write(names::DROPOUT_SEED, &Dropout::seed_row(seed)),
        (None, true) => Err(Error::Settings("The model has dropout, so each batch needs a seed for it.".into())),
        (_, false) => Ok(()),
    }
}

/// The loss of each image of a batch, `[N]`, and the gradient of their mean by every tensor of the checkpoint that is
/// learned, by its path. There is no dropout, as when the network samples.
///
/// # Errors
/// When the batch does not fit the network, an op of it has no gradient, or the device fails.
pub async fn loss_and_gradients(
    backend: &Backend,
    trainee: impl Into<Trainee<'_>>,
    objective: &Objective,
    batch: &Batch,
) -> Result<(Vec<f32>, Vec<(String, Tensor)>)> {
    let (trainee, shape) = (trainee.into(), batch.shape()?);
    trainee.check_loss(objective)?;
    trainee.check_batch(batch)?;
    let (mut graph, trained) = append_loss(trainee, objective.bound_scale(), shape, false)?;
    for (i, one) in trained.iter().enumerate() {
        graph.output(&i.to_string(), one.gradient);
    }
    let plan = planned(&graph, backend.tuning(), Recompute::default())?;
    let executor = backend.compile(plan, &[], |_, _| {}).await?;
    write_batch(&executor, objective, batch)?;
    executor.run(0).await?;
    let losses = executor.read(names::LOSSES).await?[..shape[0]].to_vec();
    let mut gradients = Vec::with_capacity(trained.len());
    for i in 0..trained.len() {
        gradients.push(executor.read(&i.to_string()).await?);
    }
    let of = |state: &Rc<State>| {
        let index = trained.iter().position(|one| Rc::ptr_eq(&one.state, state))?;
        Some(&gradients[index][..])
    };
    Ok((losses, trainee.parameters().tensors(of)))
}

/// A network that is being trained on a device.
pub struct Trainer {
    executor: Executor,
    objective: Objective,
    optimiser: Optimiser,
    /// Steps taken so far.
    step: u64,
    shape: [usize; 4],
    /// For each state that is learned, that state, Adam's m and v, and the moving average.
    states: Vec<[Rc<State>; 4]>,
    pending: Option<Submitted>,
    /// Of a classifier, the share of a batch that it tells right.
    accuracy: Option<f32>,
}

/// A step that may still be under way.
struct Submitted {
    frames: Pending,
    /// Of a classifier, the labels of its batch.
    labels: Vec<f32>,
}

/// What [`Trainer::states`] are called in a checkpoint.
pub const KEPT: [&str; 4] = ["parameters", "m", "v", "average"];

impl Trainer {
    /// Makes a network ready to learn from batches of this shape, `[N, C, H, W]`. It is trained where it is: whatever samples it
    /// on the same device finds its newest weights.
    ///
    /// # Errors
    /// When an op of the network has no gradient, images of this size do not fit it, it says no variance and should learn one, or
    /// the device has not enough memory.
    pub async fn new(
        backend: &Backend,
        trainee: impl Into<Trainee<'_>>,
        objective: Objective,
        optimiser: Optimiser,
        shape: [usize; 4],
        progress: impl FnMut(usize, usize),
    ) -> Result<Self> {
        Self::with_recompute(backend, trainee, objective, optimiser, shape, Recompute::default(), progress).await
    }

    /// As [`Trainer::new`], with a choice of what is computed a second time instead of being kept. It changes memory and speed,
    /// but no bit of what is learned.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub async fn with_recompute(
        backend: &Backend,
        trainee: impl Into<Trainee<'_>>,
        objective: Objective,
        optimiser: Optimiser,
        shape: [usize; 4],
        what: Recompute,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Self> {
        let trainee = trainee.into();
        trainee.check_loss(&objective)?;
        trainee.check_times()?;
        let (plan, states) = plan_step(trainee, objective.bound_scale(), shape, backend.tuning(), what)?;
        for [state, m, v, average] in &states {
            fetch(state).await?;
            if let Some(awaited) = state.ranges().iter().find(|range| range.revision == 0) {
                let problem =
                    format!("has not arrived as far as {}. Load all of it before it is trained.", awaited.name);
                return Err(Error::Weights(problem));
            }
            let begun = state.on_host().map(|numbers| numbers.to_vec());
            average.put_host(begun.ok_or_else(|| Error::Gpu("The GPU that had the weights is gone.".into()))?);
            for state in [m, v] {
                state.host()?;
            }
            for state in [m, v, average] {
                state.changed(0);
                state.settle();
            }
        }
        let frames = match trainee {
            Trainee::UNet(_) => &[names::LOSS][..],
            Trainee::Classifier(_) => &[names::LOSS, names::LOGITS],
        };
        let executor = backend.compile(plan, frames, &mut progress).await?;
        Ok(Trainer { executor, objective, optimiser, step: 0, shape, states, pending: None, accuracy: None })
    }

    /// How many steps were taken.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// What takes a step.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// The learning rate of the next step.
    pub fn learning_rate(&self) -> f64 {
        self.optimiser.rate(self.step)
    }

    /// Learns from a batch. The loss it returns is that of the batch before, so that the device need not wait; of the last one
    /// it is [`Trainer::finish`].
    ///
    /// # Errors
    /// When the batch is not of the shape it was made ready for, or the device was lost.
    pub async fn step(&mut self, trainee: impl Into<Trainee<'_>>, batch: &Batch) -> Result<Option<f32>> {
        let found = batch.shape()?;
        if found != self.shape {
            return Err(Error::shape("images", format!("{:?}", self.shape), format!("{found:?}")));
        }
        let trainee = trainee.into();
        trainee.check_batch(batch)?;
        write_batch(&self.executor, &self.objective, batch)?;
        let row = self.optimiser.row(self.step);
        self.executor.write(names::OPTIMISER, &Tensor::new(&[row.len()], row.to_vec())?.to_device()?)?;
        let rest = 1.0 - self.optimiser.average_decay(self.step);
        self.executor.write(names::AVERAGE, &[rest as f32, 0.0, 0.0, 0.0])?;
        let frames = self.executor.submit(0..1).await?;
        self.step += 1;
        let labels = match trainee {
            Trainee::UNet(_) => Vec::new(),
            Trainee::Classifier(_) => batch.class_labels.clone().unwrap_or_default(),
        };
        let before = self.pending.replace(Submitted { frames, labels });
        self.outcome(before).await
    }

    /// The loss of the last batch, once it is computed.
    ///
    /// # Errors
    /// When the device was lost.
    pub async fn finish(&mut self) -> Result<Option<f32>> {
        let last = self.pending.take();
        self.outcome(last).await
    }

    /// Of a classifier, the share of images whose own class it found the likeliest, in the batch whose loss was returned last.
    pub fn accuracy(&self) -> Option<f32> {
        self.accuracy
    }

    /// The loss of a step, if there was one, with its accuracy noted.
    async fn outcome(&mut self, submitted: Option<Submitted>) -> Result<Option<f32>> {
        let Some(Submitted { frames, labels }) = submitted else { return Ok(None) };
        let frames = frames.wait().await?;
        let missing = || Error::Gpu("The loss is missing.".into());
        let frames = frames.first().ok_or_else(missing)?;
        let loss = *frames.first().and_then(|frame| frame.first()).ok_or_else(missing)?;
        if let (Some(logits), false) = (frames.get(1), labels.is_empty()) {
            let logits = Tensor::from_device(&self.executor.plan().output(names::LOGITS)?.shape, logits)?;
            let rows = logits.data.chunks_exact(logits.shape[1]).zip(&labels);
            let right = rows.filter(|(row, label)| likeliest(row) == **label as usize).count();
            self.accuracy = Some(right as f32 / labels.len() as f32);
        }
        Ok(Some(loss))
    }

    /// All that a checkpoint is to keep, of which training goes on with the same bits: for each of [`KEPT`], the network's
    /// tensors by their paths.
    ///
    /// # Errors
    /// When the device was lost.
    pub async fn kept(&self, trainee: impl Into<Trainee<'_>>) -> Result<[Vec<(String, Tensor)>; 4]> {
        let trainee = trainee.into();
        let mut all: [Vec<(String, Tensor)>; 4] = Default::default();
        for (which, kept) in all.iter_mut().enumerate() {
            *kept = self.tensors(trainee, which).await?;
        }
        Ok(all)
    }

    /// The moving average of what is learned: the network's tensors by their paths.
    ///
    /// # Errors
    /// When the device was lost.
    pub async fn average(&self, trainee: impl Into<Trainee<'_>>) -> Result<Vec<(String, Tensor)>> {
        self.tensors(trainee.into(), KEPT.len() - 1).await
    }

    /// The network's tensors for one of [`KEPT`].
    async fn tensors(&self, trainee: Trainee<'_>, which: usize) -> Result<Vec<(String, Tensor)>> {
        for states in &self.states {
            fetch(&states[which]).await?;
        }
        let held: Vec<_> = self.states.iter().map(|states| states[which].on_host()).collect();
        let of = |state: &Rc<State>| {
            let index = self.states.iter().position(|states| Rc::ptr_eq(&states[0], state))?;
            held[index].as_deref()
        };
        Ok(trainee.parameters().tensors(of))
    }

    /// Goes on where a checkpoint was made: after so many steps, with the network's tensors for each of [`KEPT`].
    ///
    /// # Errors
    /// When a tensor is missing or of another shape, or the device was lost.
    pub async fn restore(
        &mut self,
        trainee: impl Into<Trainee<'_>>,
        step: u64,
        kept: &[crate::Weights; 4],
    ) -> Result<()> {
        let trainee = trainee.into();
        for (which, tensors) in kept.iter().enumerate() {
            for states in &self.states {
                fetch(&states[which]).await?;
            }
            let of = |state: &Rc<State>| {
                self.states.iter().find(|states| Rc::ptr_eq(&states[0], state)).map(|states| states[which].clone())
            };
            trainee.parameters().put_tensors(tensors, of)?;
            for states in &self.states {
                let ranges = states[which].ranges().len();
                (0..ranges).for_each(|range| states[which].changed(range));
            }
        }
        self.step = step;
        Ok(())
    }
}

/// The class with the largest logit, the first of several, as torch's `argmax` has it.
fn likeliest(logits: &[f32]) -> usize {
    (1..logits.len()).fold(0, |best, class| if logits[class] > logits[best] { class } else { best })
}

#[cfg(test)]
mod tests {
    use super::likeliest;

    #[test]
    fn the_first_of_equal_logits_is_the_likeliest() {
        assert_eq!([likeliest(&[0.5; 4]), likeliest(&[0.0, 2.0, 2.0]), likeliest(&[f32::NAN, 1.0])], [0, 1, 0]);
    }
}
