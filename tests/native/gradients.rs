//! Gradients: of every op against PyTorch's autograd, of whole graphs against finite differences, and their shaders against
//! their CPU functions.

use std::collections::HashMap;

use denoise::backend::{Backend, Gpu};
use denoise::graph::{Graph, ValueId};
use denoise::op::{
    Add, Affine, Attention, Concat, Conv2d, Linear, Op, PredictX0, Repeat, Slice, Softmax, Upfirdn2d, Upsample,
};
use denoise::passes::{fuse, gradient, vector_jacobian_product};
use denoise::random::Generator;
use denoise::schedule::Coefficients;
use denoise::{Shape, Tensor};

use crate::golden::{Golden, assert_close, widen};
use crate::gradient_cases::{self, golden_gradient, tolerance};
use crate::ops::{self, Inputs};

#[test]
fn gradients_agree_with_autograd() {
    let goldens = Golden::load("gradients");
    let mut worst: HashMap<String, f64> = HashMap::new();
    for (case, graph, mut inputs) in ops::gradients() {
        let seed = golden_gradient(&case, &goldens, "output");
        let (_, given) = inputs.last_mut().unwrap();
        let shape = given.device_shape().unwrap();
        *given = Tensor::from_device(&shape, &seed).unwrap();
        let (_, outputs) = ops::run(&graph, &inputs);
        let mut compared = 0;
        for (name, actual) in &outputs {
            let Some((by, value)) = name.split_once(".gradient") else { continue };
            let expected = golden_gradient(&case, &goldens, by);
            let what = format!("{}: {by}{value}", case.name);
            let error = assert_close(&what, actual, &widen(&expected), tolerance(&case));
            let worst = worst.entry(format!("{} {by}{value}", case.op)).or_insert(0.0);
            *worst = error.max(*worst);
            compared += 1;
        }
        assert!(compared > 0, "{} has no gradient", case.name);
    }
    for (what, error) in worst {
        println!("{what}: {error:.1e}");
    }
}

/// Random tensors, and graphs made of them.
struct Maker {
    generator: Generator,
    graph: Graph,
    inputs: Inputs,
}

impl Maker {
    fn new(seed: u64) -> Self {
        Maker { generator: Generator::new(seed), graph: Graph::new(), inputs: Vec::new() }
    }

    fn random(&mut self, shape: &[usize], scale: f32) -> Tensor {
        let data = self.generator.randn(shape.iter().product());
        Tensor::new(shape, data.into_iter().map(|x| scale * x).collect()).unwrap()
    }

    fn input(&mut self, name: &str, shape: &[usize]) -> ValueId {
        let tensor = self.random(shape, 1.0);
        let id = self.graph.input(name, tensor.device_shape().unwrap()).unwrap();
        self.inputs.push((name.to_string(), tensor));
        id
    }

    fn constant(&mut self, name: &str, tensor: Tensor) -> ValueId {
        self.graph.constant(name, (tensor.device_shape().unwrap(), tensor.to_device().unwrap()))
    }

    fn op(&mut self, name: &str, op: impl Op + 'static, inputs: &[ValueId]) -> ValueId {
        self.graph.op(name, op, inputs).unwrap()
    }

    fn conv(&mut self, name: &str, x: ValueId, out: usize, op: Conv2d) -> ValueId {
        let (channels, kernel) = (self.graph.shape(x).channels(), op.kernel);
        let weight = self.random(&[out, channels, kernel, kernel], 1.0 / ((channels * kernel * kernel) as f32).sqrt());
        let weight = self.graph.constant(&format!("{name}.weight"), Conv2d::pack(&weight));
        let bias = self.random(&[out], 1.0);
        let bias = self.constant(&format!("{name}.bias"), bias);
        self.op(name, op, &[x, weight, bias])
    }

    fn linear(&mut self, name: &str, x: ValueId, out: usize) -> ValueId {
        let channels = self.graph.shape(x).channels();
        let weight = self.random(&[out, channels], 1.0 / (channels as f32).sqrt());
        let weight = self.graph.constant(&format!("{name}.weight"), Linear::pack(&weight));
        let bias = self.random(&[out], 1.0);
        let bias = self.constant(&format!("{name}.bias"), bias);
        self.op(name, Linear, &[x, weight, bias])
    }
}

/// What a graph is differentiated by.
const BY: [&str; 8] = ["x", "row", "conv.weight", "conv.bias", "odd.weight", "odd.bias", "qkv.weight", "qkv.bias"];

/// Ops of all kinds, values that are read several times, windows that no network has, and more pixels than are summed up at
/// once; the output is "end".
fn composite() -> (Graph, Inputs) {
    let mut m = Maker::new(23);
    let x = m.input("x", &[2, 5, 17, 18]);
    let row = m.input("row", &[2, 6]);
    let conv = m.conv("conv", x, 6, Conv2d::SAME);
    let conv = m.op("time", Add { scale: 0.7 }, &[conv, row]);
    // A stride of three, and more padding than the kernel reaches.
    let odd = m.conv("odd", conv, 7, Conv2d { kernel: 2, stride: 3, pad_before: 2, pad_after: 1 });
    let wide = m.conv("wide", odd, 7, Conv2d { kernel: 3, stride: 1, pad_before: 3, pad_after: 2 });
    let part = m.op("part", Slice { first: 2, channels: 3 }, &[wide]);
    let wide = m.op("twice", Add::PLAIN, &[wide, wide]);
    let joined = m.op("joined", Concat, &[part, wide]);
    let large = m.op("large", Upsample, &[joined]);
    let small = m.op("small", Upfirdn2d::K_DOWN, &[large]);
    let qkv = m.linear("qkv", small, 24);
    let attention = m.op("attention", Attention { heads: 2, head_dim: 3, serial: false }, &[qkv]);
    let softmax = m.op("softmax", Softmax::default(), &[qkv]);
    let shown = m.linear("shown", softmax, 8);
    let sum = m.op("sum", Add::PLAIN, &[shown, attention]);
    let both = m.op("both", Repeat, &[sum]);
    let end = m.op("end", Affine { scale: -1.5, offset: 0.3 }, &[both]);
    m.graph.output("end", end);
    (m.graph, m.inputs)
}

/// Every graph whose gradients' shaders are compared with their CPU functions.
pub fn graphs() -> Vec<(String, Graph, Inputs)> {
    let mut graphs: Vec<_> =
        ops::gradients().into_iter().map(|(case, graph, inputs)| (case.name, graph, inputs)).collect();
    let (graph, inputs) = composite();
    let (graph, inputs) = ops::with_gradients(graph, inputs, &["end"], &BY);
    graphs.push(("composite".into(), graph, inputs));
    let large = ops::large_heads(denoise::Precision::F32).into_iter().step_by(2);
    graphs.extend(large.map(|(name, graph, inputs)| {
        let (graph, inputs) = ops::with_gradients(graph, inputs, &["attention"], &["qkv"]);
        (name, graph, inputs)
    }));
    graphs
}

/// Each graph as a whole, as a device runs it.
#[test]
fn plans_of_gradients_agree_with_pytorch() {
    for backend in [Backend::Cpu, Backend::Gpu(pollster::block_on(Gpu::open()).unwrap())] {
        let (count, worst) = pollster::block_on(gradient_cases::check(&backend));
        println!("{count} gradients: at most {worst:.1e}");
        assert!(count > 100);
    }
}

#[test]
fn shaders_agree_with_cpu() {
    let gpu = pollster::block_on(Gpu::open()).unwrap();
    for (op, error) in pollster::block_on(ops::compare(&gpu, graphs(), ops::allowed)) {
        println!("{op}: {error:.1e}");
    }
}

/// The slope of Σ end · g along a random direction, by the gradients and by central differences (`torch.autograd.gradcheck`).
#[test]
fn gradients_agree_with_finite_differences() {
    const STEP: f32 = 1e-2;

    let (graph, inputs) = composite();
    let (graph, inputs) = ops::with_gradients(graph, inputs, &["end"], &["x", "row"]);
    let (_, outputs) = ops::run(&graph, &inputs);
    let seed = inputs.last().unwrap().1.to_device().unwrap();
    for (i, name) in ["x", "row"].into_iter().enumerate() {
        let mut direction = inputs[i].1.clone();
        assert_eq!(inputs[i].0, name);
        direction.data = Generator::new(5).randn(direction.data.len());
        let moved = |step: f32| {
            let mut inputs = inputs.clone();
            inputs[i].1.data.iter_mut().zip(&direction.data).for_each(|(x, d)| *x += step * d);
            product(&ops::run(&graph, &inputs).1["end"], &seed)
        };
        let slope = (moved(STEP) - moved(-STEP)) / f64::from(2.0 * STEP);
        let expected = product(&outputs[&format!("{name}.gradient")], &direction.to_device().unwrap());
        assert!((slope - expected).abs() <= 2e-3 * expected.abs(), "{name}: {slope}, not {expected}");
    }
}

/// Gradients are a part of the graph like any other, so they can be fused like any other.
#[test]
fn fused_gradients_are_the_same() {
    let (graph, inputs) = composite();
    let (graph, inputs) = ops::with_gradients(graph, inputs, &["end"], &BY);
    let (_, expected) = ops::run(&graph, &inputs);
    for (name, fusion) in ops::fusions() {
        let (steps, outputs) = ops::run(&fuse(&graph, fusion).unwrap(), &inputs);
        assert!(steps.iter().any(|(step, ..)| step.op.name() == "fused_conv2d"), "{name} fuses");
        for (what, expected) in &expected {
            assert_close(&format!("{what}, {name}"), &outputs[what], &widen(expected), 1e-5);
        }
    }
}

/// A convolution is linear in x and in its weight: Σ y · g, without the bias, is Σ x · gradient and Σ weight · gradient. Over
/// windows that skip pixels, lie in the padding or are of even size.
#[test]
fn gradients_of_any_window_are_adjoint() {
    for (kernel, stride, pad_before, pad_after) in
        [(1, 3, 0, 0), (2, 1, 0, 1), (2, 3, 2, 1), (3, 2, 2, 0), (3, 3, 1, 1), (4, 2, 1, 2), (5, 1, 2, 2), (3, 1, 3, 2)]
    {
        let mut m = Maker::new(31);
        let x = m.input("x", &[2, 5, 9, 6]);
        m.conv("y", x, 7, Conv2d { kernel, stride, pad_before, pad_after });
        let bias = m.graph.given("y.bias").unwrap();
        let weight = m.graph.given("y.weight").unwrap();
        for (name, id) in [("bias", bias), ("weight", weight)] {
            m.graph.output(name, id);
        }
        m.graph.output("y", m.graph.find("y").unwrap());
        let (graph, inputs) = ops::with_gradients(m.graph, m.inputs, &["y"], &["x", "y.weight", "y.bias"]);
        let (_, outputs) = ops::run(&graph, &inputs);
        let [x, g] = [&inputs[0].1, &inputs[1].1].map(|tensor| tensor.to_device().unwrap());
        let by_bias = product(&outputs["bias"], &outputs["y.bias.gradient"]);
        let expected = product(&outputs["y"], &g) - by_bias;
        for (name, value) in [("x", &x), ("y.weight", &outputs["weight"])] {
            let found = product(value, &outputs[&format!("{name}.gradient")]);
            let what = format!("{name} of {kernel}×{kernel}, stride {stride}, padding {pad_before} and {pad_after}");
            assert!((found - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{what}: {found}, not {expected}");
        }
    }
}

/// Σ a · b.
fn product(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// y = conv(x), z = linear(y) + y: what is read twice gets the sum of both gradients. The numbers are small enough to follow.
#[test]
fn a_value_that_is_read_twice_gets_both_gradients() {
    let mut graph = Graph::new();
    let constant =
        |graph: &mut Graph, name: &str, (shape, numbers): (Shape, Vec<f32>)| graph.constant(name, (shape, numbers));
    let vector = |data: &[f32]| {
        let tensor = Tensor::new(&[data.len()], data.to_vec()).unwrap();
        (tensor.device_shape().unwrap(), tensor.to_device().unwrap())
    };
    let x = graph.input("x", Shape::new(&[1, 1, 1, 1])).unwrap();
    let unread = graph.input("unread", Shape::new(&[2, 3])).unwrap();
    let w = constant(&mut graph, "w", Conv2d::pack(&Tensor::new(&[1, 1, 1, 1], vec![3.0]).unwrap()));
    let b = constant(&mut graph, "b", vector(&[0.5]));
    let y = graph.op("y", Conv2d::POINTWISE, &[x, w, b]).unwrap();
    let v = constant(&mut graph, "v", Linear::pack(&Tensor::new(&[1, 1], vec![-4.0]).unwrap()));
    let c = constant(&mut graph, "c", vector(&[0.25]));
    let z = graph.op("z", Linear, &[y, v, c]).unwrap();
    let sum = graph.op("sum", Add { scale: 2.0 }, &[z, y]).unwrap();
    let seed = graph.input("seed", Shape::new(&[1, 1, 1, 1])).unwrap();
    // sum = 2 (v y + c + y), y = w x + b.
    let by = [x, w, b, v, c, y, unread];
    let gradients = vector_jacobian_product(&mut graph, sum, seed, &by).unwrap();
    for (name, id) in ["x", "w", "b", "v", "c", "y", "unread"].into_iter().zip(gradients) {
        graph.output(name, id);
    }
    let one = |value: f32| Tensor::new(&[1, 1, 1, 1], vec![value]).unwrap();
    let unread = Tensor::new(&[2, 3], vec![1.0; 6]).unwrap();
    let (_, outputs) =
        ops::run(&graph, &[("x".into(), one(2.0)), ("unread".into(), unread), ("seed".into(), one(10.0))]);
    let by_y = 10.0 * 2.0 * (-4.0 + 1.0);
    for (name, expected) in
        [("y", by_y), ("x", by_y * 3.0), ("w", by_y * 2.0), ("b", by_y), ("v", 20.0 * 6.5), ("c", 20.0)]
    {
        assert_eq!(outputs[name][0], expected, "{name}");
        assert!(outputs[name][1..].iter().all(|&x| x == 0.0), "the padding of {name}");
    }
    assert_eq!(outputs["unread"], [0.0; 8]);
}

#[test]
fn a_loss_is_one_number_whose_gradient_by_itself_is_one() {
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::new(&[1])).unwrap();
    let loss = graph.op("loss", Affine { scale: 3.0, offset: 1.0 }, &[x]).unwrap();
    let [by_x, by_loss] = gradient(&mut graph, loss, &[x, loss]).unwrap()[..] else { panic!("two gradients") };
    graph.output("x", by_x);
    graph.output("loss", by_loss);
    let (_, outputs) = ops::run(&graph, &[("x".into(), Tensor::new(&[1], vec![7.0]).unwrap())]);
    assert_eq!(outputs["x"], [3.0, 0.0, 0.0, 0.0]);
    assert_eq!(outputs["loss"], [1.0, 0.0, 0.0, 0.0]);
    let rows = graph.input("rows", Shape::new(&[2, 3])).unwrap();
    let error = gradient(&mut graph, rows, &[rows]).unwrap_err().to_string();
    assert_eq!(error, "rows (the loss): expected [1], found [2, 3]");
}

#[test]
fn an_op_without_a_gradient_is_an_error() {
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::new(&[1, 2, 2, 3])).unwrap();
    let norm = graph.op("norm", denoise::op::Norm { centred: false }, &[x]).unwrap();
    let seed = graph.input("seed", graph.shape(norm).clone()).unwrap();
    let error = vector_jacobian_product(&mut graph, norm, seed, &[x]).unwrap_err().to_string();
    assert_eq!(error, "norm: norm has no gradient.");
}

#[test]
fn one_of_several_outputs_has_no_gradient() {
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::new(&[1, 2, 2, 3])).unwrap();
    let model = graph.input("model", Shape::new(&[2, 2, 2, 3])).unwrap();
    let row = graph.input("row", Shape::new(&[Coefficients::LEN])).unwrap();
    let guided = graph.op("x0", PredictX0 { guided: true }, &[x, model, row]).unwrap();
    let second = graph.further_outputs(guided).next().unwrap();
    let seed = graph.input("seed", graph.shape(second).clone()).unwrap();
    let error = vector_jacobian_product(&mut graph, second, seed, &[x]).unwrap_err().to_string();
    assert_eq!(error, "x0.1 is a part of what is computed, which has no gradient.");
}
