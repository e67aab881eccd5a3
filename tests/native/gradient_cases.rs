//! The cases of gradients, against PyTorch's autograd: those of every op, and of losses over all that a GroupNorm may be part
//! of. The native tests and the browser's run them.

use denoise::Tensor;
use denoise::backend::Backend;
use denoise::graph::{Graph, ValueId};
use denoise::op::{
    Activation, Conv2d, CrossEntropy, GroupNorm, Linear, MeanSquareError, Mix, Modulate, Moments, Op, ScaleShift, Sum,
    Tiles, VariationalBound,
};
use denoise::passes::gradient;
use denoise::plan::Plan;
use serde::Deserialize;

use crate::golden::{self, Golden, assert_close, widen};
use crate::ops::{self, Inputs};

/// How far a gradient may be from PyTorch's, which is f64 rounded once.
pub fn tolerance(case: &ops::Case) -> f64 {
    match case.name.as_str() {
        // Scores of up to a hundred, whose last bits the softmax turns into relative errors.
        "attention_large_logits" => 2e-5,
        // A mean a thousand times the deviation costs three of f32's seven digits.
        "group_norm_big_mean" => 1e-4,
        _ => 2e-6,
    }
}

/// The gradient of a case by the input or weight `name`, in device layout.
pub fn golden_gradient(case: &ops::Case, goldens: &Golden, name: &str) -> Vec<f32> {
    let tensor = |name: &str| goldens.get(&format!("{}.{name}_gradient", case.name)).tensor();
    match (case.op.as_str(), name) {
        ("conv2d", "weight") => Conv2d::pack(&tensor(name)).1,
        ("linear", "weight") => Linear::pack(&tensor(name)).1,
        ("attention", "output") => ops::joined(case, &[tensor(name)]).to_device().unwrap(),
        ("attention", "qkv") => ops::joined(case, &["query", "key", "value"].map(tensor)).to_device().unwrap(),
        ("add_row", "a") => tensor("input").to_device().unwrap(),
        ("add_row", "b") => tensor("row").to_device().unwrap(),
        _ => tensor(name).to_device().unwrap(),
    }
}

/// A case of `tests/golden/gradients_norm.json`.
#[derive(Clone, Deserialize)]
pub struct Case {
    pub op: String,
    pub name: String,
    #[serde(default)]
    pub groups: usize,
    #[serde(default)]
    pub eps: f32,
    pub function: Option<Activation>,
    #[serde(default)]
    pub len: usize,
    #[serde(default)]
    pub steps: usize,
    #[serde(default)]
    pub rate: f64,
    #[serde(default)]
    pub limit: f64,
    #[serde(default)]
    pub decay: f64,
    #[serde(default)]
    pub ema: f64,
}

/// The graph of a case's loss with its gradients.
pub struct Loss {
    pub case: Case,
    pub graph: Graph,
    pub inputs: Inputs,
    /// What the gradients are by.
    pub leaves: Vec<String>,
}

/// How far a gradient may be from PyTorch's in f64.
pub const TOLERANCE: f64 = 1e-5;

/// What a graph is made from.
struct Builder<'a> {
    graph: Graph,
    inputs: Inputs,
    leaves: Vec<(String, ValueId)>,
    name: &'a str,
    goldens: &'a Golden,
}

impl Builder<'_> {
    /// A stored tensor of the case.
    fn tensor(&self, name: &str) -> Tensor {
        self.goldens.get(&format!("{}.{name}", self.name)).tensor()
    }

    fn input_of(&mut self, name: &str, tensor: Tensor) -> ValueId {
        let id = self.graph.input(name, tensor.device_shape().unwrap()).unwrap();
        self.inputs.push((name.into(), tensor));
        id
    }

    fn input(&mut self, name: &str) -> ValueId {
        self.input_of(name, self.tensor(name))
    }

    /// An input that the gradient is wanted by.
    fn leaf(&mut self, name: &str) -> ValueId {
        let id = self.input(name);
        self.leaves.push((name.into(), id));
        id
    }

    fn op(&mut self, name: &str, op: impl Op + 'static, inputs: &[ValueId]) -> ValueId {
        self.graph.op(name, op, inputs).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn moments(&mut self, name: &str, x: ValueId) -> (ValueId, Tiles) {
        let [_, h, w, _] = *self.graph.shape(x).dims() else { panic!("images") };
        (self.op(&format!("{name}.moments"), Moments, &[x]), Tiles::strips(h * w))
    }

    /// The scale and shift of a GroupNorm of one or two tensors.
    fn group_norm(&mut self, case: &Case, tensors: &[ValueId], [weight, bias]: [ValueId; 2]) -> ValueId {
        let mut inputs = Vec::new();
        let mut tiles = Vec::new();
        for (i, &x) in tensors.iter().enumerate() {
            let (moments, own) = self.moments(&format!("{i}"), x);
            inputs.push(moments);
            tiles.push(own);
        }
        inputs.extend([weight, bias]);
        let op = GroupNorm { groups: case.groups, eps: case.eps, tiles, serial: false };
        self.op("group_norm", op, &inputs)
    }

    /// The loss of an output, image by image.
    fn errors(&mut self, output: ValueId) -> ValueId {
        let (target, weights) = (self.input("target"), self.input("weights"));
        self.op("errors", MeanSquareError, &[output, target, weights])
    }
}

/// The scale and shift `[N, C]` of a modulation side by side, each padded by itself, as a row of the time embedding has them.
pub fn time_row(scale: &Tensor, shift: &Tensor) -> Tensor {
    let [n, channels] = *scale.shape else { panic!("[N, C]") };
    let width = channels.next_multiple_of(4);
    let mut data = vec![0.0; n * 2 * width];
    for image in 0..n {
        for (half, part) in [scale, shift].into_iter().enumerate() {
            let to = &mut data[(image * 2 + half) * width..][..channels];
            to.copy_from_slice(&part.data[image * channels..][..channels]);
        }
    }
    Tensor::new(&[n, 2 * width], data).unwrap()
}

/// Every case, as the graph of its loss and of its gradients: outputs "loss", "output" if it is stored, and
/// "gradient.{leaf}".
pub fn losses() -> Vec<Loss> {
    let goldens = Golden::load("gradients_norm");
    let cases = golden::list::<Case>("gradients_norm").into_iter();
    let cases = cases.filter(|case| !["optimiser", "unet"].contains(&case.op.as_str()));
    cases.map(|case| lay_out(case, &goldens)).collect()
}

pub fn lay_out(case: Case, goldens: &Golden) -> Loss {
    let name = case.name.clone();
    let mut b = Builder { graph: Graph::new(), inputs: Inputs::new(), leaves: Vec::new(), name: &name, goldens };
    let errors = match case.op.as_str() {
        "modulate" => {
            let (x, weight, bias) = (b.leaf("input"), b.leaf("weight"), b.leaf("bias"));
            let time = b.input_of("time", time_row(&b.tensor("scale"), &b.tensor("shift")));
            b.leaves.push(("time".into(), time));
            let affine = b.group_norm(&case, &[x], [weight, bias]);
            let affine = b.op("modulate", Modulate, &[affine, time]);
            let output = b.op("scale_shift", ScaleShift { activation: case.function }, &[x, affine]);
            b.errors(output)
        }
        "two_tensors" => {
            let (first, second, x) = (b.leaf("a"), b.leaf("b"), b.leaf("input"));
            let (weight, bias) = (b.leaf("weight"), b.leaf("bias"));
            let affine = b.group_norm(&case, &[first, second], [weight, bias]);
            let output = b.op("scale_shift", ScaleShift { activation: case.function }, &[x, affine]);
            b.errors(output)
        }
        "mean_square_error" => {
            let (x, target, weights) = (b.leaf("input"), b.leaf("target"), b.input("weights"));
            b.op("errors", MeanSquareError, &[x, target, weights])
        }
        "mix" => {
            let inputs = [b.leaf("x"), b.leaf("y"), b.input("a"), b.input("b")];
            let output = b.op("mix", Mix, &inputs);
            b.errors(output)
        }
        "cross_entropy" => {
            let (logits, labels) = (b.leaf("input"), b.input("labels"));
            b.op("errors", CrossEntropy, &[logits, labels])
        }
        "variational_bound" => {
            let (prediction, target) = (b.input("prediction"), b.input("target"));
            let (variance, x0) = (b.leaf("variance"), b.input("x0"));
            let rows = &goldens.get(&format!("{name}.rows")).data;
            let rows =
                rows.chunks_exact(4).flat_map(|row| VariationalBound::row(row[0], row[1], row[2], row[3] == 1.0));
            let rows: Vec<f32> = rows.collect();
            let rows = b.input_of("rows", Tensor::new(&[rows.len() / 4, 4], rows).unwrap());
            b.op("errors", VariationalBound, &[prediction, target, variance, x0, rows])
        }
        other => panic!("no such op: {other}"),
    };
    b.graph.output("output", errors);
    let images = b.graph.shape(errors).channels();
    let loss = b.op("loss", Sum::mean(images), &[errors]);
    b.graph.output("loss", loss);
    let by: Vec<ValueId> = b.leaves.iter().map(|&(_, id)| id).collect();
    let gradients = gradient(&mut b.graph, loss, &by).unwrap_or_else(|error| panic!("{name}: {error}"));
    for ((leaf, _), gradient) in b.leaves.iter().zip(gradients) {
        b.graph.output(&format!("gradient.{leaf}"), gradient);
    }
    let Builder { graph, inputs, leaves, .. } = b;
    Loss { case, graph, inputs, leaves: leaves.into_iter().map(|(leaf, _)| leaf).collect() }
}

/// The gradients of a loss by `leaf`, in device layout.
pub fn golden_leaf(case: &Case, goldens: &Golden, leaf: &str) -> Vec<f32> {
    let tensor = |name: &str| goldens.get(&format!("{}.gradient.{name}", case.name)).tensor();
    match leaf {
        "time" => time_row(&tensor("scale"), &tensor("shift")).data,
        _ => tensor(leaf).to_device().unwrap(),
    }
}

/// A graph with gradients, and what PyTorch makes of those that are its outputs of these names, in device layout.
struct Compared {
    name: String,
    graph: Graph,
    inputs: Inputs,
    expected: Vec<(String, Vec<f32>)>,
}

fn all() -> Vec<Compared> {
    let goldens = Golden::load("gradients");
    let mut all = Vec::new();
    for (case, graph, mut inputs) in ops::gradients() {
        let seed = golden_gradient(&case, &goldens, "output");
        let (_, given) = inputs.last_mut().unwrap();
        let shape = given.device_shape().unwrap();
        *given = Tensor::from_device(&shape, &seed).unwrap();
        let expected = Plan::new(&graph).outputs.into_keys().filter_map(|name| {
            let (by, _) = name.split_once(".gradient")?;
            let golden = golden_gradient(&case, &goldens, by);
            Some((name, golden))
        });
        let expected = expected.collect();
        all.push(Compared { name: case.name, graph, inputs, expected });
    }
    let goldens = Golden::load("gradients_norm");
    all.extend(losses().into_iter().map(|Loss { case, graph, inputs, leaves }| {
        let expected = leaves.iter().map(|leaf| (format!("gradient.{leaf}"), golden_leaf(&case, &goldens, leaf)));
        let expected = expected.collect();
        Compared { name: case.name, graph, inputs, expected }
    }));
    all
}

/// Runs every case as a plan on a device and compares its gradients with PyTorch's: how many there were, and the largest error.
///
/// Up to 1e-4 is allowed.
pub async fn check(backend: &Backend) -> (usize, f64) {
    let (mut count, mut worst) = (0, 0.0_f64);
    for Compared { name, graph, inputs, expected } in all() {
        let executor = backend.compile(Plan::new(&graph), &[], |_, _| {}).await.unwrap();
        for (input, tensor) in &inputs {
            executor.write(input, &tensor.to_device().unwrap()).unwrap();
        }
        executor.run(0).await.unwrap();
        assert!(!expected.is_empty(), "{name} has no gradient");
        for (output, expected) in expected {
            let actual = executor.read(&output).await.unwrap();
            let error = assert_close(&format!("{name}: {output}"), &actual, &widen(&expected), 1e-4);
            worst = worst.max(error);
            count += 1;
        }
    }
    (count, worst)
}
