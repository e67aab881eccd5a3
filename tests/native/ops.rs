//! Every op: the CPU function against PyTorch, and the shader against the CPU function in both precisions, on the one
//! list of cases.

use std::collections::{BTreeMap, HashMap};

use denoise::backend::Gpu;
use denoise::graph::{Graph, ValueId};
use denoise::op::{
    Activation, Add, Affine, Attention, AttentionScores, AttentionValues, Concat, Conv2d, Divide, Dropout, Embedding,
    GroupNorm, Guide, Inpaint, InputScale, Langevin, LearnedNoise, Linear, MixTokens, Modulate, Moments, Narrow, Norm,
    PredictX0, Quantile, Remember, Renoise, Repeat, Rescale, ScaleShift, Shift, Slice, Softmax, Threshold, Tiles,
    TimestepEmbedding, Update, Upfirdn2d, Upsample, Variant, View, ViewMut, Widen,
};
use denoise::passes::vector_jacobian_product;
use denoise::passes::{Fusion, fuse};
use denoise::plan::{Operand, Place, Plan, Step};
use denoise::schedule::{Coefficients, KEEPS, Keep, REGISTERS};
use denoise::tuning::Tuning;
use denoise::{Precision, Shape, Tensor};
use serde::Deserialize;

use crate::golden::{self, Golden, assert_close, widen};

/// A case of `tests/golden/cases.json`: an op, a name and the op's parameters.
#[derive(Deserialize)]
pub struct Case {
    pub op: String,
    pub name: String,
    #[serde(default)]
    kernel: usize,
    #[serde(default)]
    stride: usize,
    #[serde(default)]
    padding: [usize; 2],
    #[serde(default)]
    groups: usize,
    #[serde(default)]
    eps: f32,
    #[serde(default)]
    silu: bool,
    #[serde(default)]
    heads: usize,
    #[serde(default)]
    head_dim: usize,
    #[serde(default)]
    dim: usize,
    #[serde(default)]
    flip_sin_to_cos: bool,
    #[serde(default)]
    freq_shift: f64,
    function: Option<Activation>,
    filter: Option<String>,
    #[serde(default = "one")]
    scale: f32,
    #[serde(default)]
    offset: f32,
    #[serde(default)]
    probability: f64,
    #[serde(default)]
    layer: u32,
    #[serde(default)]
    seed: u64,
    /// Height and width of what is made of an image; without, one token.
    size: Option<[usize; 2]>,
}

fn one() -> f32 {
    1.0
}

/// What is written to a graph, by the names of its inputs.
pub type Inputs = Vec<(String, Tensor)>;

/// How far an op may be from PyTorch's f64 result, and its shader from it.
fn tolerance(op: &str) -> f64 {
    match op {
        // Copies.
        "concat" | "upsample" | "embedding" | "repeat" | "slice" | "stack" | "pad_channels" | "transpose_kernel" => 0.0,
        "add" | "add_row" | "phases" => 1e-7,
        "activation"
        | "input_scale"
        | "remember"
        | "affine"
        | "divide"
        | "dropout"
        | "upfirdn2d"
        | "modulate"
        | "softmax"
        | "predict_x0"
        | "update"
        | "scale_shift"
        | "renoise"
        | "guide"
        | "rescale"
        | "norm"
        | "quantile"
        | "threshold"
        | "learned_noise"
        | "shift"
        | "langevin"
        | "inpaint"
        | "upfirdn2d_gradient"
        | "sum_rows"
        | "softmax_gradient"
        | "activation_gradient"
        | "scale_shift_gradient"
        | "moments_gradient"
        | "embedding_gradient" => 1e-6,
        // A mean a thousand times the deviation cannot be taken out more exactly in f32.
        "group_norm" | "group_norm_gradient" => 2e-4,
        // PyTorch's own f32 angle is off by up to 6e-5 at t = 999.
        // So are the angles of random frequencies, which go up to some thousand.
        "timestep_embedding" | "fourier" => 2e-4,
        "moments" => 1e-5,
        "conv2d"
        | "fused_conv2d"
        | "linear"
        | "attention"
        | "attention_scores"
        | "attention_values"
        | "sum_splits"
        | "weight_gradient"
        | "conv2d_input_gradient"
        | "attention_scores_gradient"
        | "attention_weights_gradient"
        | "attention_values_gradient"
        | "attention_rows"
        | "mix_tokens"
        | "mix_tokens_add" => 3e-6,
        // Weights are computed anew from scores of up to a hundred, whose last bits exp turns into relative errors.
        "attention_gradient" => 1e-5,
        other => panic!("no tolerance for {other}"),
    }
}

/// Cases of ops that know no other precision than 32 bits.
const F32_OPS: [&str; 5] = ["affine", "divide", "dropout", "mix_tokens", "mix_tokens_add"];

/// How far a step's shader may be from the op's CPU function.
pub fn allowed(step: &Step) -> f64 {
    match (step.op.name(), step.output().precision) {
        // These copy numbers, which have 16 bits already if they are to have them.
        ("concat" | "upsample" | "embedding" | "widen" | "stack", _) => 0.0,
        // The same mask, and one multiplication.
        ("dropout", _) => 0.0,
        ("narrow", _) => ROUNDING,
        // What it normalises it stages in 16 bits, also if what it leaves has 32.
        ("fused_conv2d", Precision::F32) if step.inputs[0].precision == Precision::F16 => {
            tolerance("fused_conv2d") + ROUNDING
        }
        (op, Precision::F32) => tolerance(op),
        (op, Precision::F16) => tolerance(op) + ROUNDING,
    }
}

/// The most that rounding to 16 bits changes a number by, relative to it: half a unit in the last of its 11 places.
const ROUNDING: f64 = 1.0 / 2048.0;

/// The cases of the list, as graphs of this precision whose output is "output".
pub fn cases(precision: Precision) -> Vec<(Case, Graph, Inputs)> {
    let goldens = Golden::load("ops");
    golden::list::<Case>("cases")
        .into_iter()
        .map(|case| {
            let mut inputs = Vec::new();
            let mut graph = Graph::new();
            let output = lay_out(&case, &mut graph, &mut inputs, &goldens, precision);
            graph.output("output", output);
            if precision == Precision::F16 && !F32_OPS.contains(&case.op.as_str()) {
                let widened = graph.op("widen", Widen, &[output]).unwrap();
                graph.output("widened", widened);
            }
            (case, graph, inputs)
        })
        .collect()
}

/// An input of a graph in this precision.
fn narrowed(graph: &mut Graph, name: &str, id: ValueId, precision: Precision) -> ValueId {
    match precision {
        Precision::F32 => id,
        Precision::F16 => graph.op(&format!("{name}.narrow"), Narrow, &[id]).unwrap(),
    }
}

/// The graph of a case. Its inputs are pushed to `inputs`.
fn lay_out(case: &Case, graph: &mut Graph, inputs: &mut Inputs, goldens: &Golden, precision: Precision) -> ValueId {
    let tensor = |name: &str| goldens.get(&format!("{}.{name}", case.name)).tensor();
    // Written in 32 bits, and then of this precision.
    let mut input = |graph: &mut Graph, name: &str, tensor: Tensor, precision: Precision| {
        let id = graph.input(name, tensor.device_shape().unwrap()).unwrap();
        inputs.push((name.to_string(), tensor));
        let narrow = narrowed(graph, name, id, precision);
        // Needed as it is, so that what is fused reads 16 bits; of `blocks` it reads 32.
        if narrow != id {
            graph.output(&format!("{name}.narrow"), narrow);
        }
        narrow
    };
    let vector = |graph: &mut Graph, name: &str| {
        let tensor = tensor(name);
        graph.constant(name, (tensor.device_shape().unwrap(), tensor.to_device().unwrap()))
    };
    match case.op.as_str() {
        "conv2d" => {
            let x = input(graph, "input", tensor("input"), precision);
            let weight = graph.weight("weight", precision, Conv2d::pack(&tensor("weight")));
            let bias = vector(graph, "bias");
            let [pad_before, pad_after] = case.padding;
            let op = Conv2d { kernel: case.kernel, stride: case.stride, pad_before, pad_after };
            graph.op("conv2d", op, &[x, weight, bias])
        }
        "linear" => {
            let x = input(graph, "input", tensor("input"), precision);
            let weight = graph.weight("weight", precision, Linear::pack(&tensor("weight")));
            let bias = vector(graph, "bias");
            graph.op("linear", Linear, &[x, weight, bias])
        }
        "group_norm" => {
            let x = tensor("input");
            let pixels = x.shape[2] * x.shape[3];
            let x = input(graph, "input", x, precision);
            let weight = vector(graph, "weight");
            let bias = vector(graph, "bias");
            let moments = graph.op("moments", Moments, &[x]).unwrap();
            let op =
                GroupNorm { groups: case.groups, eps: case.eps, tiles: vec![Tiles::strips(pixels)], serial: false };
            let affine = graph.op("group_norm", op, &[moments, weight, bias]).unwrap();
            let activation = case.silu.then_some(Activation::Silu);
            graph.op("scale_shift", ScaleShift { activation }, &[x, affine])
        }
        "attention" => {
            let qkv = joined(case, &[tensor("query"), tensor("key"), tensor("value")]);
            let qkv = input(graph, "qkv", qkv, precision);
            let (heads, head_dim) = (case.heads, case.head_dim);
            let scores = graph.op("scores", AttentionScores { heads, head_dim }, &[qkv]).unwrap();
            let weights = graph.op("softmax", Softmax { serial: false, precision }, &[scores]).unwrap();
            let values = graph.op("values", AttentionValues { heads, head_dim }, &[weights, qkv]);
            for (name, serial) in [("attention", false), ("serial attention", true)] {
                let whole = graph.op(name, Attention { heads, head_dim, serial }, &[qkv]).unwrap();
                graph.output(name, whole);
            }
            values
        }
        "activation" => {
            let x = input(graph, "input", tensor("input"), precision);
            graph.op("activation", case.function.unwrap(), &[x])
        }
        "affine" => {
            let x = input(graph, "input", tensor("input"), Precision::F32);
            graph.op("affine", Affine { scale: case.scale, offset: case.offset }, &[x])
        }
        "divide" => {
            let x = input(graph, "input", tensor("input"), Precision::F32);
            let divisor = input(graph, "divisor", tensor("divisor"), Precision::F32);
            graph.op("divide", Divide, &[x, divisor])
        }
        "dropout" => {
            let x = input(graph, "input", tensor("input"), Precision::F32);
            let seed = tensor("seed");
            assert_eq!(seed.data, Dropout::seed_row(case.seed));
            let seed = input(graph, "seed", seed, Precision::F32);
            graph.op("dropout", Dropout { probability: case.probability, layer: case.layer }, &[x, seed])
        }
        "mix_tokens" | "mix_tokens_add" => {
            let x = input(graph, "input", tensor("input"), Precision::F32);
            let mut inputs = vec![x, vector(graph, "matrix")];
            if case.op == "mix_tokens_add" {
                inputs.push(vector(graph, "rows"));
            }
            graph.op("mix_tokens", MixTokens { transposed: false, size: case.size }, &inputs)
        }
        "upfirdn2d" => {
            let x = input(graph, "input", tensor("input"), precision);
            let filter = match case.filter.as_deref() {
                Some("fir_up") => Upfirdn2d::FIR_UP,
                Some("fir_down") => Upfirdn2d::FIR_DOWN,
                Some("mean") => Upfirdn2d::MEAN,
                Some("k_up") => Upfirdn2d::K_UP,
                Some("k_down") => Upfirdn2d::K_DOWN,
                other => panic!("no such filter: {other:?}"),
            };
            graph.op("upfirdn2d", filter, &[x])
        }
        "fourier" => {
            let t = input(graph, "timesteps", tensor("timesteps"), Precision::F32);
            let frequencies = vector(graph, "weight");
            let op = TimestepEmbedding { dim: case.dim, flip_sin_to_cos: false, fourier: true, precision };
            graph.op("fourier", op, &[t, frequencies])
        }
        "add" | "add_row" => {
            let second = if case.op == "add" { "b" } else { "row" };
            let a = input(graph, "a", tensor(if case.op == "add" { "a" } else { "input" }), precision);
            let b = input(graph, "b", tensor(second), precision);
            graph.op("add", Add { scale: case.scale }, &[a, b])
        }
        "concat" => {
            let a = input(graph, "a", tensor("a"), precision);
            let b = input(graph, "b", tensor("b"), precision);
            graph.op("concat", Concat, &[a, b])
        }
        "upsample" => {
            let x = input(graph, "input", tensor("input"), precision);
            graph.op("upsample", Upsample, &[x])
        }
        "timestep_embedding" => {
            let t = input(graph, "timesteps", tensor("timesteps"), Precision::F32);
            let frequencies = TimestepEmbedding::frequencies(case.dim, case.freq_shift);
            let frequencies = Tensor::new(&[case.dim / 2], frequencies).unwrap();
            let frequencies = (frequencies.device_shape().unwrap(), frequencies.to_device().unwrap());
            let frequencies = graph.constant("frequencies", frequencies);
            let op =
                TimestepEmbedding { dim: case.dim, flip_sin_to_cos: case.flip_sin_to_cos, fourier: false, precision };
            graph.op("timestep_embedding", op, &[t, frequencies])
        }
        "embedding" => {
            let labels = input(graph, "labels", tensor("labels"), Precision::F32);
            let table = tensor("weight");
            let table = graph.weight("weight", precision, (table.device_shape().unwrap(), table.to_device().unwrap()));
            graph.op("embedding", Embedding, &[labels, table])
        }
        other => panic!("no such op: {other}"),
    }
    .unwrap_or_else(|error| panic!("{}: {error}", case.name))
}

/// Queries, keys and values, or one of them, [n, tokens, heads · d], as one image [n, parts · heads · padded d, tokens, 1].
pub fn joined(case: &Case, parts: &[Tensor]) -> Tensor {
    let [n, tokens, _] = *parts[0].shape else { panic!("attention inputs are [n, tokens, channels]") };
    let padded = case.head_dim.next_multiple_of(4);
    let channels = parts.len() * case.heads * padded;
    let mut data = vec![0.0; n * channels * tokens];
    for (p, part) in parts.iter().enumerate() {
        for (i, &value) in part.data.iter().enumerate() {
            let (row, channel) = (i / (case.heads * case.head_dim), i % (case.heads * case.head_dim));
            let (head, d) = (channel / case.head_dim, channel % case.head_dim);
            let channel = (p * case.heads + head) * padded + d;
            data[(row / tokens * channels + channel) * tokens + row % tokens] = value;
        }
    }
    Tensor::new(&[n, channels, tokens, 1], data).unwrap()
}

/// The case's output as the golden has it.
fn as_golden(case: &Case, shape: &Shape, device: &[f32]) -> Vec<f32> {
    match case.op.as_str() {
        "attention" => {
            let padded = case.head_dim.next_multiple_of(4);
            device.chunks_exact(padded).flat_map(|head| &head[..case.head_dim]).copied().collect()
        }
        _ => Tensor::from_device(shape, device).unwrap().data,
    }
}

/// A step, its inputs, and what it writes.
pub type Evaluated = (Step, Vec<Vec<f32>>, Vec<Vec<f32>>);

/// The values of every step of `graph` on the CPU.
pub fn evaluate(graph: &Graph, inputs: &[(String, Tensor)]) -> Vec<Evaluated> {
    run(graph, inputs).0
}

/// The values of every step of `graph` on the CPU, and those of its outputs. What a step reads is rounded to the
/// precision in which a GPU would hold it, so that a shader's error is its own.
pub fn run(graph: &Graph, inputs: &[(String, Tensor)]) -> (Vec<Evaluated>, HashMap<String, Vec<f32>>) {
    let plan = Plan::new(graph);
    let mut slots: Vec<Vec<f32>> = vec![Vec::new(); plan.slots.len()];
    for (name, tensor) in inputs {
        slots[plan.inputs[name].slot().unwrap()] = tensor.to_device().unwrap();
    }
    let mut evaluated = Vec::new();
    for step in plan.all_steps() {
        let value = |operand: &Operand| {
            let data = match operand.place {
                Place::Constant(index) => plan.constants[index].numbers.to_vec(),
                Place::Slot(index) => slots[index].clone(),
                Place::State(_) => panic!("these graphs have no states"),
            };
            operand.precision.decode(&operand.precision.encode(&data))
        };
        let given: Vec<Vec<f32>> = step.inputs.iter().map(value).collect();
        let views: Vec<View<'_>> =
            step.inputs.iter().zip(&given).map(|(input, data)| View::new(&input.shape, data)).collect();
        let mut written: Vec<Vec<f32>> =
            step.outputs.iter().map(|operand| vec![f32::NAN; operand.shape.len()]).collect();
        let shapes = step.outputs.iter().map(|operand| &operand.shape);
        let outputs = shapes.zip(&mut written).map(|(shape, data)| ViewMut::new(shape, data));
        step.op.cpu(&views, &mut outputs.collect::<Vec<_>>());
        for (operand, data) in step.outputs.iter().zip(&written) {
            slots[operand.slot().unwrap()] = data.clone();
        }
        evaluated.push((step.clone(), given, written));
    }
    let value = |operand: &Operand| match operand.place {
        Place::Constant(index) => plan.constants[index].numbers.to_vec(),
        Place::Slot(index) => slots[index][..operand.shape.len()].to_vec(),
        Place::State(_) => panic!("these graphs have no states"),
    };
    let outputs = plan.outputs.iter().map(|(name, operand)| (name.clone(), value(operand))).collect();
    (evaluated, outputs)
}

/// The CPU function of every op, against PyTorch.
pub fn check_cpu() {
    let goldens = Golden::load("ops");
    for (case, graph, inputs) in cases(Precision::F32) {
        let evaluated = evaluate(&graph, &inputs);
        // Those that are nobody's input.
        let last = evaluated.len() - if case.op == "attention" { 3 } else { 1 };
        for (step, _, written) in &evaluated[last..] {
            let actual = as_golden(&case, &step.output().shape, &written[0]);
            let expected = &goldens.get(&format!("{}.output", case.name)).data;
            assert_close(&format!("{}: {}", case.name, step.name), &actual, expected, tolerance(&case.op));
        }
    }
}

/// A value that no op produces, put around every buffer of a dispatch.
fn sentinel(precision: Precision) -> f32 {
    match precision {
        Precision::F32 => 1.25e30,
        Precision::F16 => 61_440.0,
    }
}
const MARGIN: usize = 64;

/// The shader of every op in this precision, against its CPU function; of the ops that were compared, the largest
/// error.
pub async fn check_gpu(gpu: &Gpu, precision: Precision) -> BTreeMap<&'static str, f64> {
    compare(gpu, graphs(precision), allowed).await
}

/// The shader of every step of these graphs, against the op's CPU function, from which it may be as far as `allowed` says;
/// of the ops that were compared, the largest error.
pub async fn compare(
    gpu: &Gpu,
    graphs: Vec<(String, Graph, Inputs)>,
    allowed: impl Fn(&Step) -> f64,
) -> BTreeMap<&'static str, f64> {
    let mut covered = BTreeMap::new();
    for (name, graph, inputs) in graphs {
        for (step, inputs, expected) in evaluate(&graph, &inputs) {
            let op = step.op.name();
            // Inputs end in NaN: a shader that reads beyond one poisons its result. What is written starts as the sentinel
            // and ends in a margin of it.
            let inputs: Vec<Vec<f32>> =
                inputs.into_iter().map(|input| [input, vec![f32::NAN; MARGIN]].concat()).collect();
            let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
            let blank = |(operand, data): (&Operand, &Vec<f32>)| vec![sentinel(operand.precision); data.len() + MARGIN];
            let blank: Vec<Vec<f32>> = step.outputs.iter().zip(&expected).map(blank).collect();
            let blank: Vec<&[f32]> = blank.iter().map(Vec::as_slice).collect();
            let written = gpu.run_kernel(&step, &inputs, &blank).await.unwrap();
            for ((operand, written), expected) in step.outputs.iter().zip(&written).zip(&expected) {
                let (output, margin) = written.split_at(expected.len());
                let intact = margin.iter().all(|&x| x == sentinel(operand.precision));
                assert!(intact, "{name}: {op} writes beyond its output");
                let error = assert_close(&format!("{name}: {op}"), output, &widen(expected), allowed(&step));
                let worst = covered.entry(op).or_insert(0.0);
                *worst = error.max(*worst);
            }
        }
    }
    covered
}

/// What stands before several ops' shaders: texts of `shaders/` that are no op's.
pub const SHARED: [&str; 8] = ["row", "activate", "likelihood", "logits", "moment", "group", "flat", "elementwise"];

/// Every graph whose steps' shaders are compared with their CPU functions.
pub fn graphs(precision: Precision) -> Vec<(String, Graph, Inputs)> {
    /// Those that fusing changes.
    const FUSED: [&str; 4] = ["conv2d", "linear", "group_norm", "attention"];

    let mut graphs = vec![modulated(precision)];
    let mut fused = blocks(precision);
    for (case, graph, inputs) in cases(precision) {
        if FUSED.contains(&case.op.as_str()) {
            fused.push((case.name.clone(), graph.clone(), inputs.clone()));
        }
        graphs.push((case.name, graph, inputs));
    }
    for (name, fusion) in fusions() {
        for (case, graph, inputs) in &fused {
            graphs.push((format!("{case}, {name}"), fuse(graph, fusion).unwrap(), inputs.clone()));
        }
    }
    graphs.extend(large_heads(precision));
    graphs.extend(updates());
    graphs.extend(wide());
    graphs
}

/// The ops of `cases.json` that have gradients, by the values that these are of and what they are by.
const DIFFERENTIABLE: [(&str, &[&str], &[&str]); 16] = [
    ("group_norm", &["scale_shift"], &["input", "weight", "bias"]),
    ("activation", &["activation"], &["input"]),
    ("embedding", &["embedding"], &["weight"]),
    ("divide", &["divide"], &["input"]),
    ("conv2d", &["conv2d"], &["input", "weight", "bias"]),
    ("linear", &["linear"], &["input", "weight", "bias"]),
    ("attention", &["values", "attention"], &["qkv"]),
    ("add", &["add"], &["a", "b"]),
    ("add_row", &["add"], &["a", "b"]),
    ("concat", &["concat"], &["a", "b"]),
    ("upsample", &["upsample"], &["input"]),
    ("upfirdn2d", &["upfirdn2d"], &["input"]),
    ("affine", &["affine"], &["input"]),
    ("dropout", &["dropout"], &["input"]),
    ("mix_tokens", &["mix_tokens"], &["input"]),
    ("mix_tokens_add", &["mix_tokens"], &["input", "rows"]),
];

/// The cases whose ops have gradients, as graphs of these: from the input "output.gradient" the outputs "NAME.gradient", by an
/// input or a weight, or where there are several such values "NAME.gradient.VALUE".
pub fn gradients() -> Vec<(Case, Graph, Inputs)> {
    let mut gradients = Vec::new();
    for (case, graph, inputs) in cases(Precision::F32) {
        let Some((_, values, by)) = DIFFERENTIABLE.iter().find(|(op, ..)| *op == case.op) else { continue };
        let (graph, inputs) = with_gradients(graph, inputs, values, by);
        gradients.push((case, graph, inputs));
    }
    gradients
}

/// `graph` with the gradients of some of its values, as [`gradients`] says, by some of its inputs and constants.
pub fn with_gradients(mut graph: Graph, mut inputs: Inputs, values: &[&str], by: &[&str]) -> (Graph, Inputs) {
    let mut generator = denoise::random::Generator::new(19);
    let ids: Vec<ValueId> = by.iter().map(|name| graph.given(name).unwrap()).collect();
    let shape = graph.shape(graph.find(values[0]).unwrap()).clone();
    let seed = graph.input("output.gradient", shape.clone()).unwrap();
    let mut random = Tensor::from_device(&shape, &vec![0.0; shape.len()]).unwrap();
    random.data = generator.randn(random.data.len());
    inputs.push(("output.gradient".into(), random));
    for value in values {
        let output = graph.find(value).unwrap();
        let parts = vector_jacobian_product(&mut graph, output, seed, &ids).unwrap();
        for (name, part) in by.iter().zip(parts) {
            match values.len() {
                1 => graph.output(&format!("{name}.gradient"), part),
                _ => graph.output(&format!("{name}.gradient.{value}"), part),
            }
        }
    }
    (graph, inputs)
}

/// Every way of fusing, and every variant of a convolution wherever it is possible.
pub fn fusions() -> Vec<(&'static str, Fusion)> {
    let all = |variant| Fusion { tuning: Tuning::all(variant), ..Fusion::STAGED };
    vec![
        ("direct", Fusion::DIRECT),
        ("quads", Fusion::QUADS),
        ("halo", all(Variant::Halo)),
        ("gemm", all(Variant::Gemm)),
        ("large gemm", all(Variant::LargeGemm)),
    ]
}

/// Residual blocks, with all that can stand around a convolution, at sizes that fit no tile.
pub fn blocks(precision: Precision) -> Vec<(String, Graph, Inputs)> {
    // Images, height, width, channels of the two inputs, of the output, groups.
    let sizes = [
        [1, 8, 8, 8, 4, 16, 2],
        [2, 5, 7, 4, 5, 6, 3],
        [1, 9, 17, 20, 12, 36, 4],
        [2, 4, 4, 64, 64, 68, 8],
        [1, 8, 8, 4, 128, 64, 4],
        [3, 16, 16, 4, 8, 12, 4],
    ];
    sizes.map(|size| block(size, precision)).into()
}

fn block([n, h, w, a, b, out, groups]: [usize; 7], precision: Precision) -> (String, Graph, Inputs) {
    let mut generator = denoise::random::Generator::new(11);
    let mut random = |shape: &[usize]| Tensor::new(shape, generator.randn(shape.iter().product())).unwrap();
    let mut inputs = Inputs::new();
    let mut graph = Graph::new();
    let mut input = |graph: &mut Graph, name: &str, tensor: Tensor| {
        let id = graph.input(name, tensor.device_shape().unwrap()).unwrap();
        inputs.push((name.to_string(), tensor));
        narrowed(graph, name, id, precision)
    };
    let (first, second) = (random(&[n, a, h, w]), random(&[n, b, h, w]));
    let first = input(&mut graph, "a", first);
    let second = input(&mut graph, "b", second);
    let time = input(&mut graph, "time", random(&[n, out]));
    // So that both are what convolutions left, with moments beside them.
    let mut conv = |graph: &mut Graph, name: &str, x: ValueId, channels: usize, op: Conv2d| {
        let depth = graph.shape(x).channels();
        let scale = 1.0 / ((depth * op.kernel * op.kernel) as f32).sqrt();
        let mut weight = random(&[channels, depth, op.kernel, op.kernel]);
        weight.data.iter_mut().for_each(|x| *x *= scale);
        let weight = graph.weight(&format!("{name}.weight"), precision, Conv2d::pack(&weight));
        let bias = random(&[channels]);
        let bias = graph.constant(&format!("{name}.bias"), (bias.device_shape().unwrap(), bias.to_device().unwrap()));
        graph.op(name, op, &[x, weight, bias]).unwrap()
    };
    let norm = |graph: &mut Graph, name: &str, x: ValueId, groups: usize, activation: Option<Activation>| {
        let [_, height, width, channels] = *graph.shape(x).dims() else { panic!("images") };
        let scale: Vec<f32> = (0..channels).map(|i| 0.5 + i as f32 / channels as f32).collect();
        let vector = |data: Vec<f32>| {
            let tensor = Tensor::new(&[channels], data).unwrap();
            (tensor.device_shape().unwrap(), tensor.to_device().unwrap())
        };
        let shift = vector(scale.iter().map(|x| x - 0.7).collect());
        let weight = graph.constant(&format!("{name}.weight"), vector(scale));
        let bias = graph.constant(&format!("{name}.bias"), shift);
        let moments = graph.op(&format!("{name}.moments"), Moments, &[x]).unwrap();
        let op = GroupNorm { groups, eps: 1e-5, tiles: vec![Tiles::strips(height * width)], serial: false };
        let affine = graph.op(&format!("{name}.affine"), op, &[moments, weight, bias]).unwrap();
        graph.op(name, ScaleShift { activation }, &[x, affine]).unwrap()
    };
    let first = conv(&mut graph, "first", first, a, Conv2d::POINTWISE);
    let second = conv(&mut graph, "second", second, b, Conv2d::SAME);
    let x = graph.op("concat", Concat, &[first, second]).unwrap();
    let y = norm(&mut graph, "norm1", x, groups, Some(Activation::Silu));
    let y = conv(&mut graph, "conv1", y, out, Conv2d::SAME);
    let y = graph.op("add_time", Add::PLAIN, &[y, time]).unwrap();
    let y = norm(&mut graph, "norm2", y, out / 2, Some(Activation::Gelu));
    let y = conv(&mut graph, "conv2", y, out, Conv2d::SAME);
    let shortcut = conv(&mut graph, "conv_shortcut", x, out, Conv2d::POINTWISE);
    let x = graph.op("sum", Add { scale: 0.7 }, &[shortcut, y]).unwrap();
    // A block without a shortcut; then twice the size, and half of it.
    let y = norm(&mut graph, "norm3", x, 2, None);
    let y = conv(&mut graph, "conv3", y, out, Conv2d::POINTWISE);
    let x = graph.op("residual", Add::PLAIN, &[y, x]).unwrap();
    let large = graph.op("nearest", Upsample, &[x]).unwrap();
    let x = conv(&mut graph, "upsample", large, out, Conv2d::SAME);
    let y = norm(&mut graph, "norm4", x, 1, Some(Activation::Silu));
    let down = Conv2d { kernel: 3, stride: 2, pad_before: 0, pad_after: 1 };
    let y = conv(&mut graph, "downsample", y, 4, down);
    // And as a network ends.
    let y = norm(&mut graph, "norm5", y, 1, Some(Activation::Silu));
    let mut y = conv(&mut graph, "conv_out", y, 3, Conv2d::SAME);
    if precision == Precision::F16 {
        y = graph.op("conv_out.widen", Widen, &[y]).unwrap();
    }
    graph.output("output", y);
    (format!("block of [{n}, {h}, {w}, {a} + {b}]"), graph, inputs)
}

/// Attention in one pass with large heads.
pub fn large_heads(precision: Precision) -> Vec<(String, Graph, Inputs)> {
    let mut generator = denoise::random::Generator::new(7);
    let sizes: [(usize, usize, usize, usize, usize); 5] =
        [(1, 6, 7, 2, 40), (2, 5, 13, 1, 67), (1, 8, 8, 1, 96), (1, 3, 11, 2, 128), (1, 5, 5, 1, 300)];
    let all = sizes.into_iter().flat_map(|size| [(size, false), (size, true)]);
    all.map(|((n, h, w, heads, head_dim), serial)| {
        let width = 3 * heads * head_dim.next_multiple_of(4);
        let x = Tensor::new(&[n, width, h, w], generator.randn(n * width * h * w)).unwrap();
        let mut graph = Graph::new();
        let id = graph.input("qkv", x.device_shape().unwrap()).unwrap();
        let id = narrowed(&mut graph, "qkv", id, precision);
        let y = graph.op("attention", Attention { heads, head_dim, serial }, &[id]).unwrap();
        graph.output("output", y);
        (format!("heads of {head_dim}"), graph, vec![("qkv".into(), x)])
    })
    .collect()
}

/// Sizes at which a dispatch no longer fits one dimension of workgroups.
fn wide() -> Vec<(String, Graph, Inputs)> {
    let mut generator = denoise::random::Generator::new(3);
    let mut tensor = |shape: &[usize]| Tensor::new(shape, generator.randn(shape.iter().product())).unwrap();
    let x = tensor(&[2_097_152 + 70, 4]);
    let mut flat = Graph::new();
    let id = flat.input("x", x.device_shape().unwrap()).unwrap();
    let y = flat.op("activation", Activation::Silu, &[id]).unwrap();
    flat.output("y", y);
    let rows = tensor(&[32_768 + 3, 5]);
    let mut softmax = Graph::new();
    let id = softmax.input("x", rows.device_shape().unwrap()).unwrap();
    let y = softmax.op("softmax", Softmax::default(), &[id]).unwrap();
    softmax.output("y", y);
    vec![
        ("wide_activation".into(), flat, vec![("x".into(), x)]),
        ("wide_softmax".into(), softmax, vec![("x".into(), rows)]),
    ]
}

/// A scale and shift under another, [3, 2, 5], as nothing but a GroupNorm makes them.
pub fn modulated(precision: Precision) -> (String, Graph, Inputs) {
    let mut generator = denoise::random::Generator::new(5);
    let mut tensor = |shape: &[usize]| Tensor::new(shape, generator.randn(shape.iter().product())).unwrap();
    let (x, weight, bias, time) = (tensor(&[3, 5, 2, 3]), tensor(&[5]), tensor(&[5]), tensor(&[3, 16]));
    let mut graph = Graph::new();
    let id = graph.input("x", x.device_shape().unwrap()).unwrap();
    let id = narrowed(&mut graph, "x", id, precision);
    let time_id = graph.input("time", time.device_shape().unwrap()).unwrap();
    let time_id = narrowed(&mut graph, "time", time_id, precision);
    let constant = |tensor: &Tensor| (tensor.device_shape().unwrap(), tensor.to_device().unwrap());
    let (weight, bias) = (graph.constant("weight", constant(&weight)), graph.constant("bias", constant(&bias)));
    let moments = graph.op("moments", Moments, &[id]).unwrap();
    let op = GroupNorm { groups: 5, eps: 1e-5, tiles: vec![Tiles::strips(6)], serial: false };
    let affine = graph.op("group_norm", op, &[moments, weight, bias]).unwrap();
    let modulated = graph.op("modulate", Modulate, &[affine, time_id]).unwrap();
    graph.output("modulate", modulated);
    ("modulate".into(), graph, vec![("x".into(), x), ("time".into(), time)])
}

/// Cases of the ops that PyTorch has no counterpart of; `schedules` and `schedulers` compare their rows with diffusers.
pub fn updates() -> Vec<(String, Graph, Inputs)> {
    let kept = |to| Keep { to, from_x: 0.7, from_model: -0.9, from_x0: 1.1 };
    let row = Coefficients {
        input_scale: 0.8,
        x0_from_x: 1.7,
        x0_from_model: -1.3,
        clip: 0.9,
        prev_from_x: 0.4,
        prev_from_model: 0.3,
        prev_from_x0: 0.6,
        prev_from_noise: 0.2,
        prev_from_kept: [0.1, -0.2, 0.3, -0.4, 0.5],
        threshold_ratio: 0.83,
        threshold_max: 2.5,
        min_log: -9.0,
        max_log: -4.0,
        guidance: 2.7,
        guidance_rescale: 0.4,
        undo_scale: 0.95,
        known_from_original: 0.8,
        known_from_noise: 0.6,
        langevin: 0.15,
        model_from_gradient: -1.4,
        noise_from_gradient: 0.35,
        ..Coefficients::default()
    };
    let cases = [
        ([1, 1, 1, 1], [0.0, -1.0], 0.0),
        ([2, 3, 5, 7], [3.0, 1.0], 1.0),
        ([3, 4, 8, 8], [4.0, -1.0], 2.0),
        ([2, 5, 3, 3], [-1.0, -1.0], 2.0),
        ([1, 3, 33, 31], [0.0, 4.0], 1.0),
    ];
    let case = |(shape, keep, learned_sigma): ([usize; 4], [f32; KEEPS], f32)| {
        let mut row = row;
        row.keep = keep.map(kept);
        row.learned_sigma = learned_sigma;
        let row = Tensor::new(&[Coefficients::LEN], bytemuck::cast_slice(&[row]).to_vec()).unwrap();
        let mut generator = denoise::random::Generator::new(7);
        let mut graph = Graph::new();
        let mut inputs = vec![("row".to_string(), row)];
        let [n, c, h, w] = shape;
        let registers = [REGISTERS * n, c, h, w];
        // For the class and the null class, each with what is said of the variance.
        let outputs = [2 * n, 2 * c, h, w];
        let names = ["x", "outputs", "noise", "kept", "original", "mask"];
        let shapes = [shape, outputs, shape, registers, shape, shape];
        let mut ids = Vec::new();
        for (name, shape) in names.into_iter().zip(shapes) {
            let tensor = Tensor::new(&shape, generator.randn(shape.iter().product())).unwrap();
            ids.push(graph.input(name, tensor.device_shape().unwrap()).unwrap());
            inputs.push((name.to_string(), tensor));
        }
        let [x, outputs, noise, kept, original, mask] = *ids else { unreachable!("six inputs") };
        let row = graph.input("row", Shape::new(&[Coefficients::LEN])).unwrap();
        let renoised = graph.op("renoised", Renoise, &[x, noise, row]).unwrap();
        let scaled = graph.op("scaled", InputScale, &[renoised, row]).unwrap();
        let doubled = graph.op("doubled", Repeat, &[scaled]).unwrap();
        let both = graph.op("both", Slice { first: 0, channels: c }, &[outputs]).unwrap();
        let variances = graph.op("variances", Slice { first: c, channels: c }, &[outputs]).unwrap();
        let variance = graph.op("variance", Guide, &[variances, row]).unwrap();
        let guided = graph.op("guided", Guide, &[both, row]).unwrap();
        let guided_norm = graph.op("guided_norm", Norm { centred: true }, &[guided]).unwrap();
        let both_norm = graph.op("both_norm", Norm { centred: true }, &[both]).unwrap();
        let model = graph.op("model", Rescale, &[guided, guided_norm, both_norm, row]).unwrap();
        let predicted = graph.op("predict_x0", PredictX0::default(), &[x, model, row]).unwrap();
        // Without the clipping there is something to threshold.
        let quantile = graph.op("quantile", Quantile, &[original, row]).unwrap();
        let thresholded = graph.op("thresholded", Threshold, &[original, quantile]).unwrap();
        let z = graph.op("learned_noise", LearnedNoise, &[noise, variance, row]).unwrap();
        let prev = graph.op("update", Update::default(), &[x, model, predicted, z, kept, row]).unwrap();
        let guiding = graph.op("guiding", PredictX0 { guided: true }, &[x, both, row]).unwrap();
        let guided_beside = graph.further_outputs(guiding).next().unwrap();
        let keeping = Update { keeps: true };
        let keeping = graph.op("keeping", keeping, &[x, model, predicted, z, kept, row]).unwrap();
        let kept_beside = graph.further_outputs(keeping).next().unwrap();
        let model_norm = graph.op("model_norm", Norm { centred: false }, &[model]).unwrap();
        let noise_norm = graph.op("noise_norm", Norm { centred: false }, &[z]).unwrap();
        let moved = graph.op("langevin", Langevin, &[prev, model, z, model_norm, noise_norm, row]).unwrap();
        let painted = graph.op("inpaint", Inpaint, &[moved, original, mask, noise, row]).unwrap();
        let shifted_model = graph.op("shifted_model", Shift::Model, &[model, original, row]).unwrap();
        let shifted_noise = graph.op("shifted_noise", Shift::Noise, &[z, original, row]).unwrap();
        let remembered = graph.op("remember", Remember, &[x, model, predicted, kept, row]).unwrap();
        for (name, value) in [
            ("doubled", doubled),
            ("model", model),
            ("thresholded", thresholded),
            ("z", z),
            ("prev", prev),
            ("moved", moved),
            ("painted", painted),
            ("shifted model", shifted_model),
            ("shifted noise", shifted_noise),
            ("kept'", remembered),
            ("guiding", guiding),
            ("guided beside", guided_beside),
            ("keeping", keeping),
            ("kept beside", kept_beside),
        ] {
            graph.output(name, value);
        }
        (format!("update_{shape:?}"), graph, inputs)
    };
    cases.into_iter().map(case).collect()
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn cpu_agrees_with_pytorch() {
        check_cpu();
    }

    #[test]
    fn gpu_agrees_with_cpu_and_stays_within_bounds() {
        let gpu = pollster::block_on(Gpu::open()).unwrap();
        assert!(gpu.half(), "{} has no 16-bit numbers", gpu.name());
        let mut covered = BTreeSet::new();
        for precision in [Precision::F32, Precision::F16] {
            for (op, error) in pollster::block_on(check_gpu(&gpu, precision)) {
                println!("{precision:?} {op}: {error:.1e}");
                covered.insert(op);
            }
        }
        let shaders = std::fs::read_dir(golden::path("shaders")).unwrap();
        let shaders: BTreeSet<String> = shaders
            .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".wgsl")?.to_string()))
            .filter(|name| !SHARED.contains(&name.as_str()))
            .collect();
        // `gradients` and `gradients_norm` compare these.
        let steps = crate::gradients::graphs()
            .into_iter()
            .flat_map(|(_, graph, _)| Plan::new(&graph).all_steps().cloned().collect::<Vec<_>>());
        covered.extend(steps.chain(crate::gradients_norm::steps()).map(|step| step.op.name()));
        let covered: BTreeSet<String> = covered.into_iter().map(String::from).collect();
        assert_eq!(covered, shaders, "every shader has a case, and every op a shader of its name");
    }
}
