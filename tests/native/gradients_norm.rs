//! Losses over all that a GroupNorm may be part of, and the optimiser: on the CPU against PyTorch's autograd and its optimiser,
//! and the shaders against the CPU functions.

use std::rc::Rc;

use denoise::backend::{Backend, Gpu};
use denoise::config::UNetConfig;
use denoise::graph::Graph;
use denoise::op::{
    Activation, ActivationGradient, AdamW, AdamWSettings, CrossEntropy, Ema, EmbeddingGradient, GroupNormGradient,
    MeanSquareError, Mix, ModulateGradient, MomentsGradient, Narrow, Op, ScaleShiftGradient, SquareNorm, Sum, Tiles,
    TimestepEmbedding, VariationalBound, View, ViewMut, Widen,
};
use denoise::passes::{Fusion, fuse, gradient};
use denoise::plan::{Operand, Place, Plan, Step};
use denoise::random::Generator;
use denoise::unet::UNet2DModel;
use denoise::{Precision, Shape, Tensor};

use crate::golden::{self, Golden, assert_close};
use crate::gradient_cases::{Case, Loss, TOLERANCE, lay_out, losses, time_row};
use crate::ops::{self, Evaluated, Inputs, compare, evaluate};

/// An output of an evaluated graph. Outputs have slots of their own.
fn output<'a>(graph: &Graph, evaluated: &'a [Evaluated], name: &str) -> (Shape, &'a [f32]) {
    let wanted = Plan::new(graph).outputs[name].clone();
    let written = evaluated.iter().flat_map(|(step, _, written)| step.outputs.iter().zip(written));
    let (_, data) =
        written.into_iter().find(|(operand, _)| operand.place == wanted.place).expect("an output is computed");
    (wanted.shape, data)
}

/// That the padding of every value that is written is zero.
fn assert_padded(name: &str, evaluated: &[Evaluated]) {
    for (step, _, written) in evaluated {
        for (operand, data) in step.outputs.iter().zip(written) {
            let rows = data.chunks_exact(operand.shape.stride());
            let zero = rows.into_iter().all(|row| row[operand.shape.channels()..].iter().all(|&x| x == 0.0));
            assert!(zero, "{name}: the padding of {} is zero", step.name);
        }
    }
}

/// The losses with a sum of gradients that the gradient by moments becomes part of, as they are and fused.
fn fused() -> Vec<(String, Graph, Graph, Inputs)> {
    let mut all = Vec::new();
    for Loss { case, graph, inputs, .. } in losses() {
        // A norm of two tensors is fused already.
        if Plan::new(&graph).all_steps().any(|step| step.op.name() == "group_norm" && step.inputs.len() > 3) {
            continue;
        }
        let fused = fuse(&graph, Fusion::STAGED).unwrap();
        let added = |step: &Step| step.op.name() == "moments_gradient" && step.inputs.len() == 4;
        if Plan::new(&fused).all_steps().any(added) {
            all.push((case.name, graph, fused, inputs));
        }
    }
    assert!(!all.is_empty(), "no gradient by moments is added to another");
    all
}

#[test]
fn fused_gradients_are_the_same() {
    for (name, graph, fused, inputs) in fused() {
        let (_, expected) = ops::run(&graph, &inputs);
        let (_, outputs) = ops::run(&fused, &inputs);
        for (what, expected) in &expected {
            assert_close(&format!("{what} of {name}"), &outputs[what], &golden::widen(expected), 1e-5);
        }
    }
}

/// The graphs that the shaders of gradients and losses are compared on.
pub fn graphs() -> Vec<(String, Graph, Inputs)> {
    let mut graphs: Vec<_> =
        losses().into_iter().map(|Loss { case, graph, inputs, .. }| (case.name, graph, inputs)).collect();
    graphs.extend(fused().into_iter().map(|(name, _, graph, inputs)| (format!("{name}, fused"), graph, inputs)));
    let mut generator = Generator::new(17);
    for shape in [vec![5], vec![3, 7], vec![2, 5, 9, 11], vec![4_200, 1_003]] {
        let x = Tensor::new(&shape, generator.randn(shape.iter().product())).unwrap();
        let mut graph = Graph::new();
        let id = graph.input("x", x.device_shape().unwrap()).unwrap();
        let squares = graph.op("square_norm", SquareNorm, &[id]).unwrap();
        let sum = graph.op("sum", Sum::PLAIN, &[squares]).unwrap();
        graph.output("sum", sum);
        graphs.push((format!("square norm of {shape:?}"), graph, vec![("x".into(), x)]));
    }
    graphs
}

/// Steps of everything here, one at least for every shader, the optimiser's among them.
pub fn steps() -> Vec<Step> {
    let planned =
        graphs().into_iter().flat_map(|(_, graph, _)| Plan::new(&graph).all_steps().cloned().collect::<Vec<_>>());
    planned.chain([adamw(&Shape::new(&[7])), ema(&Shape::new(&[7]))]).collect()
}

/// A step whose outputs replace inputs: only what it reads is bound as an input.
fn in_place(op: impl Op + 'static, read: &[Shape], replaced: &Shape) -> Step {
    let operand =
        |shape: &Shape| Operand { shape: shape.clone(), precision: Precision::F32, place: Place::Slot(0), first: 0 };
    let outputs = vec![operand(replaced); op.replaces()];
    let all: Vec<&Shape> = read.iter().chain(std::iter::repeat_n(replaced, op.replaces())).collect();
    assert_eq!(op.output(&all).unwrap(), *replaced);
    Step { name: op.name().into(), op: Rc::new(op), inputs: read.iter().map(operand).collect(), outputs }
}

fn adamw(p: &Shape) -> Step {
    in_place(AdamW, &[p.clone(), Shape::new(&[AdamWSettings::LEN]), Shape::new(&[1])], p)
}

fn ema(p: &Shape) -> Step {
    in_place(Ema, &[p.clone(), Shape::new(&[1])], p)
}

/// What the op's CPU function makes of what it replaces.
fn on_cpu(step: &Step, inputs: &[&[f32]], replaced: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut written = replaced.to_vec();
    let views: Vec<View<'_>> =
        step.inputs.iter().zip(inputs).map(|(input, data)| View::new(&input.shape, data)).collect();
    let outputs = step.outputs.iter().zip(&mut written).map(|(output, data)| ViewMut::new(&output.shape, data));
    step.op.cpu(&views, &mut outputs.collect::<Vec<_>>());
    written
}

/// A list in device layout.
fn padded(data: &[f32]) -> Vec<f32> {
    let mut padded = data.to_vec();
    padded.resize(data.len().next_multiple_of(4), 0.0);
    padded
}

#[test]
fn gradients_agree_with_pytorch() {
    let golden = Golden::load("gradients_norm");
    let mut worst = 0.0_f64;
    for Loss { case, graph, inputs, leaves } in losses() {
        let name = &case.name;
        let evaluated = evaluate(&graph, &inputs);
        assert_padded(name, &evaluated);
        let check = |what: &str, key: &str, data: &[f32]| {
            let expected = &golden.get(&format!("{name}.{key}")).data;
            assert_close(&format!("{name}: {what}"), data, expected, TOLERANCE)
        };
        check("loss", "loss", &output(&graph, &evaluated, "loss").1[..1]);
        if golden.find(&format!("{name}.output")).is_some() {
            let (shape, data) = output(&graph, &evaluated, "output");
            check("output", "output", &data[..shape.channels()]);
        }
        for leaf in leaves {
            let (shape, data) = output(&graph, &evaluated, &format!("gradient.{leaf}"));
            let error = if leaf == "time" {
                let halves = ["scale", "shift"].map(|half| golden.get(&format!("{name}.gradient.{half}")).tensor());
                assert_close(
                    &format!("{name}: by time"),
                    data,
                    &golden::widen(&time_row(&halves[0], &halves[1]).data),
                    1e-5,
                )
            } else {
                let data = Tensor::from_device(&shape, data).unwrap().data;
                check(&format!("by {leaf}"), &format!("gradient.{leaf}"), &data)
            };
            println!("{name} by {leaf}: {error:.1e}");
            worst = worst.max(error);
        }
    }
    println!("at most {worst:.1e}");
}

#[test]
fn gradients_are_what_the_loss_changes_by() {
    let goldens = Golden::load("gradients_norm");
    let mut generator = Generator::new(23);
    for case in golden::list::<Case>("gradients_norm") {
        // ReLU has a kink, the optimiser has no loss, and networks are compared below.
        if ["optimiser", "unet"].contains(&case.op.as_str()) || case.function == Some(Activation::Relu) {
            continue;
        }
        let Loss { case, graph, inputs, leaves } = lay_out(case, &goldens);
        let evaluated = evaluate(&graph, &inputs);
        for leaf in leaves {
            let at = inputs.iter().position(|(name, _)| *name == leaf).unwrap();
            let shape = inputs[at].1.device_shape().unwrap();
            let mut direction = Tensor::new(&inputs[at].1.shape, generator.randn(inputs[at].1.data.len())).unwrap();
            let (_, gradient) = output(&graph, &evaluated, &format!("gradient.{leaf}"));
            if leaf == "time" {
                // Where it is padded it stays zero.
                let keep = |(x, g): (&mut f32, &f32)| *x = if *g == 0.0 { 0.0 } else { *x };
                direction.data.iter_mut().zip(gradient).for_each(keep);
            }
            // Along the gradient as well, so that there is a slope.
            let gradient = Tensor::from_device(&shape, gradient).unwrap().data;
            let length =
                |data: &[f32]| data.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt().max(1e-30) as f32;
            let (across, along) = (length(&direction.data), length(&gradient));
            direction.data.iter_mut().zip(&gradient).for_each(|(x, g)| *x = 0.5 * *x / across + g / along);
            let expected: f64 = direction.data.iter().zip(&gradient).map(|(d, g)| f64::from(*d) * f64::from(*g)).sum();
            let step = 2e-2 * length(&inputs[at].1.data) / length(&direction.data);
            let loss = |sign: f32| {
                let mut moved = inputs.clone();
                moved[at].1.data.iter_mut().zip(&direction.data).for_each(|(x, d)| *x += sign * step * d);
                let evaluated = evaluate(&graph, &moved);
                f64::from(output(&graph, &evaluated, "loss").1[0])
            };
            let slope = (loss(1.0) - loss(-1.0)) / f64::from(2.0 * step);
            let (error, size) = ((slope - expected).abs(), slope.abs().max(expected.abs()));
            println!("{} by {leaf}: {slope:.4e} and {expected:.4e}", case.name);
            assert!(error <= 2e-2 * size, "{} by {leaf}: {slope} is not {expected}", case.name);
        }
    }
}

#[test]
fn shaders_of_gradients_agree_with_the_cpu() {
    let gpu = pollster::block_on(Gpu::open()).unwrap();
    for (op, error) in pollster::block_on(compare(&gpu, graphs(), |_| 5e-6)) {
        println!("{op}: {error:.1e}");
    }
}

#[test]
fn optimiser_agrees_with_pytorch() {
    let golden = Golden::load("gradients_norm");
    let gpu = pollster::block_on(Gpu::open()).unwrap();
    for case in golden::list::<Case>("gradients_norm").into_iter().filter(|case| case.op == "optimiser") {
        let tensor = |name: &str| golden.get(&format!("{}.{name}", case.name)).tensor();
        let shape = Shape::new(&[case.len]);
        let settings = AdamWSettings {
            rate: case.rate,
            decay: case.decay,
            limit: (case.limit > 0.0).then_some(case.limit),
            ..AdamWSettings::default()
        };
        let mut norm = Graph::new();
        let gradient = norm.input("gradient", shape.clone()).unwrap();
        let squares = norm.op("squares", SquareNorm, &[gradient]).unwrap();
        let sum = norm.op("norm", Sum::PLAIN, &[squares]).unwrap();
        norm.output("norm", sum);
        let (adamw, ema) = (adamw(&shape), ema(&shape));
        let rest = padded(&[(1.0 - case.ema) as f32]);

        let p = padded(&tensor("initial").data);
        let mut state = vec![p.clone(), vec![0.0; p.len()], vec![0.0; p.len()]];
        let mut shadow = vec![p];
        let mut on_gpu = (state.clone(), shadow.clone());
        let gradients = tensor("gradients");
        for (t, gradient) in gradients.data.chunks_exact(case.len).enumerate() {
            let given = vec![("gradient".into(), Tensor::new(&[case.len], gradient.to_vec()).unwrap())];
            let evaluated = evaluate(&norm, &given);
            let norm = output(&norm, &evaluated, "norm").1.to_vec();
            let (gradient, row) = (padded(gradient), padded(&settings.row(t as u32 + 1)));
            let read = [&gradient[..], &row, &norm];
            state = on_cpu(&adamw, &read, &state);
            shadow = on_cpu(&ema, &[&state[0], &rest], &shadow);
            let run = |step, read: &[&[f32]], replaced: &[Vec<f32>]| {
                let replaced: Vec<&[f32]> = replaced.iter().map(Vec::as_slice).collect();
                pollster::block_on(gpu.run_kernel(step, read, &replaced)).unwrap()
            };
            on_gpu.0 = run(&adamw, &read, &on_gpu.0);
            on_gpu.1 = run(&ema, &[&on_gpu.0[0], &rest], &on_gpu.1);
        }
        for (device, state, shadow) in [("CPU", state, shadow), ("GPU", on_gpu.0, on_gpu.1)] {
            for (name, data) in ["p", "m", "v", "shadow"].into_iter().zip(state.iter().chain(&shadow)) {
                let (data, padding) = data.split_at(case.len);
                assert!(padding.iter().all(|&x| x == 0.0), "{}: the padding of {name} on the {device}", case.name);
                let what = format!("{}: {name} on the {device}", case.name);
                let error = assert_close(&what, data, &golden.get(&format!("{}.{name}", case.name)).data, 3e-6);
                println!("{what}: {error:.1e}");
            }
        }
        assert_eq!(case.steps, gradients.shape[0]);
    }
}

#[test]
fn what_has_no_gradient_says_so() {
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::new(&[2, 3])).unwrap();
    let squares = graph.op("squares", SquareNorm, &[x]).unwrap();
    let loss = graph.op("loss", Sum::PLAIN, &[squares]).unwrap();
    let error = gradient(&mut graph, loss, &[x]).unwrap_err().to_string();
    assert_eq!(error, "squares: square_norm has no gradient.");
}

#[test]
fn a_change_of_precision_changes_no_gradient() {
    let mut generator = Generator::new(29);
    let mut graph = Graph::new();
    let shape = Shape::new(&[2, 3, 3, 5]);
    let [x, target] = ["x", "target"].map(|name| graph.input(name, shape.clone()).unwrap());
    let weights = graph.input("weights", Shape::new(&[2])).unwrap();
    let narrowed = graph.op("narrow", Narrow, &[x]).unwrap();
    let widened = graph.op("widen", Widen, &[narrowed]).unwrap();
    for (name, output) in [("plain", x), ("narrowed", widened)] {
        let errors = graph.op("errors", MeanSquareError, &[output, target, weights]).unwrap();
        let loss = graph.op("loss", Sum::mean(2), &[errors]).unwrap();
        let by = gradient(&mut graph, loss, &[x]).unwrap();
        graph.output(name, by[0]);
    }
    let mut tensor = |shape: &[usize]| Tensor::new(shape, generator.randn(shape.iter().product())).unwrap();
    let inputs = vec![
        ("x".to_string(), tensor(&[2, 5, 3, 3])),
        ("target".to_string(), tensor(&[2, 5, 3, 3])),
        ("weights".to_string(), tensor(&[2])),
    ];
    let evaluated = evaluate(&graph, &inputs);
    let [plain, narrowed] = ["plain", "narrowed"].map(|name| output(&graph, &evaluated, name).1);
    assert_close("narrowed", narrowed, &golden::widen(plain), 1e-3);
}

#[test]
fn nothing_is_learned_of_times_and_labels() {
    let mut graph = Graph::new();
    let times = graph.input("times", Shape::new(&[3])).unwrap();
    let frequencies = graph.input("frequencies", Shape::new(&[4])).unwrap();
    let embedding = TimestepEmbedding { dim: 8, flip_sin_to_cos: false, fourier: true, precision: Precision::F32 };
    let row = graph.op("time", embedding, &[times, frequencies]).unwrap();
    let losses = graph.op("losses", CrossEntropy, &[row, times]).unwrap();
    let loss = graph.op("loss", Sum::mean(3), &[losses]).unwrap();
    let by = gradient(&mut graph, loss, &[times, frequencies]).unwrap();
    // Written as constants, of which a plan keeps none that nobody reads.
    for (gradient, given) in by.into_iter().zip([times, frequencies]) {
        assert_eq!(graph.shape(gradient), graph.shape(given));
        graph.output("gradient", gradient);
    }
    let constants = Plan::new(&graph).constants;
    let zero = constants.iter().filter(|constant| constant.numbers.iter().all(|&x| x == 0.0));
    assert_eq!(zero.count(), 2);
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let [images, other, rows, list, short] = [&[2, 3, 3, 5][..], &[2, 3, 4, 5], &[2, 5], &[2], &[3]].map(Shape::new);
    let affine = Shape::new(&[2, 2, 5]);
    let tiles = vec![Tiles::strips(9)];
    let moments = Shape::new(&[2, 1, 2, 5]);
    let vector = Shape::new(&[5]);
    let group_norm = GroupNormGradient { groups: 5, eps: 1e-5, tiles };
    let refused: [(&dyn Op, &[&Shape]); 14] = [
        (&ActivationGradient { function: Activation::Silu }, &[&images, &other]),
        (&ScaleShiftGradient { activation: None }, &[&images, &affine, &other]),
        (&ScaleShiftGradient { activation: None }, &[&images, &rows, &images]),
        (&MomentsGradient { added: false }, &[&images, &moments, &affine]),
        (&group_norm, &[&moments, &vector, &rows]),
        (&group_norm, &[&moments, &list, &affine]),
        (&ModulateGradient, &[&affine, &Shape::new(&[2, 16]), &rows]),
        (&EmbeddingGradient { rows: 4 }, &[&short, &rows]),
        (&MeanSquareError, &[&images, &images, &short]),
        (&Mix, &[&images, &other, &list, &list]),
        (&CrossEntropy, &[&rows, &short]),
        (&VariationalBound, &[&images, &images, &images, &images, &rows]),
        (&AdamW, &[&rows, &Shape::new(&[8]), &Shape::new(&[1]), &rows, &rows, &rows]),
        (&Ema, &[&rows, &Shape::new(&[1]), &images]),
    ];
    for (op, inputs) in refused {
        let error = op.output(inputs).unwrap_err().to_string();
        assert!(error.contains("expected"), "{}: {error}", op.name());
    }
}

/// Through all layers of whole networks, on both backends.
#[test]
fn gradients_of_networks_agree_with_diffusers() {
    let gradients = Golden::load("gradients_norm");
    let gpu = pollster::block_on(Gpu::open()).unwrap();
    let cases = golden::list::<Case>("gradients_norm").into_iter().filter(|case| case.op == "unet");
    for (name, backend) in
        cases.flat_map(|case| [(case.name.clone(), Backend::Cpu), (case.name, Backend::Gpu(gpu.clone()))])
    {
        let config = UNetConfig::from_json(&golden::text(&format!("tests/golden/{name}/config.json"))).unwrap();
        let weights = golden::bytes(&format!("tests/golden/{name}/diffusion_pytorch_model.safetensors"));
        let unet = UNet2DModel::new(config, [&weights[..]]).unwrap();
        let own = Golden::load(&name);
        let sample = own.get("sample").tensor();
        let [n, _, height, width] = *sample.shape else { panic!("images are NCHW") };
        let mut graph = Graph::new();
        let output = unet.build(&mut graph, n, height, width, Precision::F32).unwrap().output;
        let nothing = graph.shape(output).clone();
        let nothing = graph.constant("target", (nothing.clone(), vec![0.0; nothing.len()]));
        let ones = padded(&vec![1.0; n]);
        let ones = graph.constant("weights", (Shape::new(&[n]), ones));
        let errors = graph.op("errors", MeanSquareError, &[output, nothing, ones]).unwrap();
        let loss = graph.op("loss", Sum::mean(n), &[errors]).unwrap();
        let by = graph.given("sample").unwrap();
        let by = gradient(&mut graph, loss, &[by]).unwrap();
        graph.output("loss", loss);
        graph.output("gradient", by[0]);
        pollster::block_on(async {
            let executor = backend.compile(Plan::new(&graph), &[], |_, _| {}).await.unwrap();
            for name in ["sample", "timestep", "class_labels"] {
                if let Some(given) = own.find(name) {
                    executor.write(name, &given.tensor().to_device().unwrap()).unwrap();
                }
            }
            executor.run(0).await.unwrap();
            let loss = executor.read("loss").await.unwrap();
            assert_close(&format!("{name}: loss"), &loss[..1], &gradients.get(&format!("{name}.loss")).data, 1e-5);
            let shape = executor.plan().output("gradient").unwrap().shape.clone();
            let by = Tensor::from_device(&shape, &executor.read("gradient").await.unwrap()).unwrap().data;
            let expected = &gradients.get(&format!("{name}.gradient.sample")).data;
            let error = assert_close(&format!("{name}: by the sample"), &by, expected, TOLERANCE);
            println!("{name}: {error:.1e}");
        });
    }
}
