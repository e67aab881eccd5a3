//! Finds out which variants of the kernels a GPU runs fastest.
//!
//! Browsers hide which GPU it is, so a device is asked with a few small convolutions, for less than a second, and the
//! answer is kept as text.

use std::rc::Rc;

use web_time::Instant;

use crate::backend::{Backend, Gpu};
use crate::graph::Graph;
use crate::op::{Activation, Conv2d, FusedConv2d, ScaleShift, Softmax, Variant};
use crate::passes::{Fusion, fuse};
use crate::plan::Plan;
use crate::tuning::{SIZES, Tuning, class};
use crate::{Precision, Result, Shape};

/// Seconds after which nothing more is tried.
const BUDGET: f64 = 0.8;
/// Seconds of one measurement of a dispatch.
const LEAST: f64 = 2e-3;
/// Measurements by turns, since a GPU may only get going during the first.
const ROUNDS: usize = 2;

/// Times the variants on a device: less than a second, unless a single shader takes longer to compile.
///
/// # Errors
/// When the device rejects a shader or was lost.
pub async fn measure(gpu: &Rc<Gpu>) -> Result<Tuning> {
    /// Where sharing memory is this much slower, it is not memory that is shared, and nothing that uses it is tried.
    const EMULATED: f64 = 3.0;
    /// Those asked first matter most.
    const ORDER: [usize; SIZES.len()] = [1, 2, 0, 3];

    let begin = Instant::now();
    let backend = Backend::Gpu(gpu.clone());
    let (mut shared, mut serial) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        shared = shared.min(time(&backend, softmax()?, Fusion::STAGED).await?);
        serial = serial.min(time(&backend, softmax()?, Fusion::DIRECT).await?);
    }
    let quads = quads_work(gpu).await?;
    if shared > EMULATED * serial {
        let variant = if quads && quads_are_faster(&backend).await? { Variant::Quads } else { Variant::Direct };
        return Ok(Tuning { serial: true, ..Tuning::all(variant) });
    }
    let direct = if quads { Variant::Quads } else { Variant::Direct };
    let mut tuning = Tuning { serial: serial < shared, ..Tuning::STAGED };
    for conv in [Conv2d::SAME, Conv2d::POINTWISE] {
        let mut latest = None;
        for size in ORDER {
            let (graph, op, output) = convolution(conv, size)?;
            let mut best = f64::INFINITY;
            for variant in [Variant::Halo, Variant::Gemm, Variant::LargeGemm, direct] {
                if !op.has(variant, &output) || begin.elapsed().as_secs_f64() > BUDGET {
                    continue;
                }
                let fusion = Fusion { tuning: Tuning::all(variant), ..Fusion::STAGED };
                let seconds = time(&backend, graph.clone(), fusion).await?;
                if seconds < best {
                    (best, latest) = (seconds, Some(variant));
                }
            }
            // What there was no time for is taken to be as what came before it.
            tuning.convolutions[class(&op, &output)] = latest;
        }
    }
    Ok(tuning)
}

/// Seconds that the steps of a graph take as it is fused so.
async fn time(backend: &Backend, graph: Graph, fusion: Fusion) -> Result<f64> {
    let executor = backend.compile(Plan::new(&fuse(&graph, fusion)?), &[], |_, _| {}).await?;
    Ok(executor.times(LEAST).await?.iter().sum())
}

/// Whether quads gain by loading less than `Direct` does: where subgroups are emulated, passing numbers round may cost more.
async fn quads_are_faster(backend: &Backend) -> Result<bool> {
    let (graph, ..) = convolution(Conv2d::SAME, 1)?;
    let (mut direct, mut quads) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        direct = direct.min(time(backend, graph.clone(), Fusion::DIRECT).await?);
        quads = quads.min(time(backend, graph.clone(), Fusion::QUADS).await?);
    }
    Ok(quads < direct)
}

/// Whether a device has subgroups, and four neighbouring invocations of a workgroup are a quad in them: it is so wherever we
/// know, but nothing promises it.
async fn quads_work(gpu: &Rc<Gpu>) -> Result<bool> {
    if !gpu.subgroups() {
        return Ok(false);
    }
    let shape = Shape::new(&[1, 5, 9, 16]);
    let numbers = |len: usize| (0..len).map(|i| (i * 7919 % 101) as f32 - 50.0).collect::<Vec<_>>();
    let mut graph = Graph::new();
    let x = graph.input("x", shape.clone())?;
    let weight = Shape::new(&[3, 3, 16, 16]);
    let weight = graph.weight("weight", Precision::F32, (weight.clone(), numbers(weight.len())));
    let bias = graph.constant("bias", (Shape::new(&[16]), numbers(16)));
    let y = graph.op("conv", Conv2d::SAME, &[x, weight, bias])?;
    graph.output("y", y);
    let mut results = Vec::new();
    for fusion in [Fusion::DIRECT, Fusion::QUADS] {
        let plan = Plan::new(&fuse(&graph, fusion)?);
        let executor = Backend::Gpu(gpu.clone()).compile(plan, &[], |_, _| {}).await?;
        executor.write("x", &numbers(shape.len()))?;
        executor.run(0).await?;
        results.push(executor.read("y").await?);
    }
    // All numbers are whole, and small enough for every sum to be exact.
    Ok(results[0] == results[1])
}

/// A softmax as in the attention of two heads at 16×16.
fn softmax() -> Result<Graph> {
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::new(&[2, 256, 256]))?;
    let y = graph.op("softmax", Softmax::default(), &[x])?;
    graph.output("y", y);
    Ok(graph)
}

/// A normalised convolution of a size: the graph, and the op and shape by which its class is known.
fn convolution(conv: Conv2d, size: usize) -> Result<(Graph, FusedConv2d, Shape)> {
    let (side, channels) = [(8, 128), (16, 128), (32, 128), (64, 64)][size];
    let shape = Shape::new(&[1, side, side, channels]);
    let mut graph = Graph::new();
    let x = graph.input("x", shape.clone())?;
    let affine = graph.input("affine", Shape::new(&[1, 2, channels]))?;
    let weight = Shape::new(&[conv.kernel, conv.kernel, channels, channels]);
    let weight = graph.weight("weight", Precision::F32, (weight.clone(), vec![0.01; weight.len()]));
    let bias = graph.constant("bias", (Shape::new(&[channels]), vec![0.0; channels]));
    let normalised = graph.op("norm", ScaleShift { activation: Some(Activation::Silu) }, &[x, affine])?;
    let y = graph.op("conv", conv, &[normalised, weight, bias])?;
    graph.output("y", y);
    Ok((graph, FusedConv2d::plain(conv), shape))
}
