//! The comparison of a GPU with the CPU, layer by layer: it passes where the kernels are right, and names one that is
//! not.

use std::collections::HashMap;
use std::rc::Rc;

use denoise::backend::Gpu;
use denoise::check::{self, Report, check};
use denoise::graph::Graph;
use denoise::op::{Activation, Kernel, Op, View, ViewMut};
use denoise::plan::{Operand, Plan};
use denoise::random::Generator;
use denoise::{Precision, Result, Settings, Shape, StepKind};

use crate::digits::pipeline;

/// Values for every input of a plan: the class and the time as they may be, a row without anything negative, everything
/// else noise.
fn inputs(plan: &Plan) -> HashMap<&str, Vec<f32>> {
    let value = |(name, operand): (&String, &Operand)| {
        let len = operand.shape.len();
        let noise = || Generator::new(11).randn(len).into_iter();
        match name.as_str() {
            "timestep" => vec![500.0; len],
            "class_labels" => vec![3.0; len],
            "row" => noise().map(f32::abs).collect(),
            _ => noise().collect(),
        }
    };
    plan.inputs.iter().map(|input| (input.0.as_str(), value(input))).collect()
}

async fn report(gpu: &Rc<Gpu>, plan: &Plan) -> Report {
    let mut heard = Vec::new();
    let report = check(gpu, plan, &inputs(plan), |done, all| heard.push((done, all))).await.unwrap();
    let layers = plan.steps.len();
    assert_eq!(heard, (0..=layers).map(|done| (done, layers)).collect::<Vec<_>>());
    assert_eq!(report.layers.len(), layers);
    report
}

#[test]
fn the_shipped_model_passes_in_both_precisions() {
    pollster::block_on(async {
        let gpu = Gpu::open().await.unwrap();
        let mut pipeline = pipeline();
        for precision in [Precision::F32, Precision::F16] {
            let mut graph = Graph::new();
            let values = pipeline.unet_mut().build(&mut graph, 1, 32, 32, precision).unwrap();
            graph.output("epsilon", values.output);
            let report = report(&gpu, &Plan::new(&graph)).await;
            let worst = &report.layers[report.worst];
            println!("{precision:?}: {} ({}) {:.1e}, {:.1e}", worst.name, worst.op, worst.error, report.output_error);
            assert!(report.ok);
            // A tenth of what is allowed: what a GPU's own functions may add.
            assert!(10.0 * worst.error < report.tolerance && 2.0 * report.output_error < report.tolerance);
            assert!(report.layers.iter().all(|layer| layer.error <= worst.error));
        }
    });
}

#[test]
fn a_whole_step_of_sampling_passes() {
    pollster::block_on(async {
        let gpu = Gpu::open().await.unwrap();
        let pipeline = pipeline();
        // Everything that sampling may do besides.
        let settings = Settings { count: 2, guidance: 2.0, guidance_rescale: 0.5, ..Settings::default() };
        let mut layout = settings.layout(&pipeline).unwrap();
        for step in [StepKind::Plain, StepKind::RePaint, StepKind::Langevin] {
            (layout.step, layout.thresholded, layout.inpainted) = (step, step == StepKind::Plain, true);
            let plan = pipeline.plan(&layout, None).unwrap();
            let inputs = check::inputs(&pipeline, &plan).unwrap();
            let report = check::check(&gpu, &plan, &inputs, |_, _| {}).await.unwrap();
            assert!(report.ok, "{:?} {:.1e}", report.layers[report.worst], report.output_error);
        }
        let plan = pipeline.plan(&settings.layout(&pipeline).unwrap(), None).unwrap();
        let report = report(&gpu, &plan).await;
        assert!(report.ok, "{:?} {:.1e}", report.layers[report.worst], report.output_error);
        assert!(report.layers.iter().any(|layer| layer.op == "update"));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["ok"], true);
        assert_eq!(json["layers"][0]["name"], report.layers[0].name);
    });
}

/// SiLU with another shader.
#[derive(Debug)]
struct Wrong(&'static str);

impl Op for Wrong {
    fn name(&self) -> &'static str {
        "wrong"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        Activation::Silu.output(inputs)
    }

    fn stored(&self) -> Vec<usize> {
        Activation::Silu.stored()
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        Activation::Silu.cpu(inputs, outputs);
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        Kernel { shader: self.0, ..Activation::Silu.kernel(inputs, output) }
    }
}

/// SiLU's shader with one part of its text replaced.
fn broken(from: &str, to: &str) -> Wrong {
    let shape = Shape::new(&[1, 4]);
    let source = Activation::Silu.kernel(&[&shape], &shape).shader;
    assert!(source.contains(from), "{from}");
    Wrong(Box::leak(source.replace(from, to).into_boxed_str()))
}

#[test]
fn a_wrong_kernel_is_named_and_its_neighbours_are_not() {
    pollster::block_on(async {
        let gpu = Gpu::open().await.unwrap();
        let sign = ("exp(-x)", "exp(x)");
        let untouched = ("out[i] =", "if i % 2u == 0u { return; }\nout[i] =");
        let not_a_number = ("activate(vec4f(x[i]), params.function)", "sqrt(-1.0 - abs(vec4f(x[i])))");
        for (from, to) in [sign, untouched, not_a_number] {
            let mut graph = Graph::new();
            let x = graph.input("x", Shape::new(&[2, 5, 7, 6])).unwrap();
            let a = graph.op("before", Activation::Mish, &[x]).unwrap();
            let b = graph.op("culprit", broken(from, to), &[a]).unwrap();
            let c = graph.op("after", Activation::Gelu, &[b]).unwrap();
            graph.output("y", c);
            let report = report(&gpu, &Plan::new(&graph)).await;
            assert!(!report.ok);
            let worst = &report.layers[report.worst];
            assert_eq!((worst.name.as_str(), worst.op), ("culprit", "wrong"));
            assert!(worst.error > 0.1);
            assert!(report.layers.iter().filter(|layer| layer.name != "culprit").all(|layer| layer.error < 1e-6));
            assert!(report.output_error > report.tolerance, "{from}: {}", report.output_error);
        }
    });
}

#[test]
fn inputs_that_are_missing_or_do_not_fit() {
    pollster::block_on(async {
        let gpu = Gpu::open().await.unwrap();
        let mut graph = Graph::new();
        let x = graph.input("x", Shape::new(&[1, 4])).unwrap();
        let y = graph.op("y", Activation::Silu, &[x]).unwrap();
        graph.output("y", y);
        let plan = Plan::new(&graph);
        let message = check(&gpu, &plan, &HashMap::new(), |_, _| {}).await.unwrap_err().to_string();
        assert_eq!(message, "The check needs a value for the input x.");
        let short = HashMap::from([("x", vec![1.0; 3])]);
        let message = check(&gpu, &plan, &short, |_, _| {}).await.unwrap_err().to_string();
        assert_eq!(message, "x: expected 4 elements, found 3");
    });
}
