//! One 3×3 convolution in the browser, by itself: no U-Net is that small, so the engine that the page has cannot time it.
//!
//! `bench/run.mjs` compiles this to wasm in place of the page's engine, and compares it with other runtimes.

// Natively this is an empty library.
#![cfg(target_arch = "wasm32")]

use denoise::backend::{Backend, Executor, Gpu};
use denoise::graph::Graph;
use denoise::op::Conv2d;
use denoise::passes::{Fusion, fuse};
use denoise::plan::Plan;
use denoise::tuner;
use denoise::{Error, Precision, Shape, Tensor};
use wasm_bindgen::prelude::*;

/// A convolution that keeps the size, ready to run.
#[wasm_bindgen]
pub struct Convolution {
    executor: Executor,
    channels: usize,
    side: usize,
}

#[wasm_bindgen]
impl Convolution {
    /// Makes it ready on `"gpu"` or `"cpu"`: of images of `side` × `side` pixels with as many channels as there are
    /// biases. The weight is PyTorch's, `[Cout, Cin, 3, 3]`.
    ///
    /// # Errors
    /// When there is no such device, or the weight has another size.
    pub async fn create(backend: &str, side: usize, weight: Vec<f32>, bias: Vec<f32>) -> Result<Convolution, JsValue> {
        let backend = match backend {
            "gpu" => {
                let gpu = Gpu::open().await?;
                gpu.set_tuning(tuner::measure(&gpu).await?)?;
                Backend::Gpu(gpu)
            }
            "cpu" => Backend::Cpu,
            other => return Err(Error::Settings(format!("The backend {other} does not exist.")).into()),
        };
        let channels = bias.len();
        let weight = Tensor::new(&[channels, channels, 3, 3], weight)?;
        let mut graph = Graph::new();
        let sample = graph.input("sample", Shape::new(&[1, side, side, channels]))?;
        let weight = graph.weight("weight", Precision::F32, Conv2d::pack(&weight));
        let bias = graph.constant("bias", (Shape::new(&[channels]), bias));
        let output = graph.op("output", Conv2d::SAME, &[sample, weight, bias])?;
        graph.output("output", output);
        let plan = Plan::new(&fuse(&graph, Fusion::new(backend.tuning()))?);
        let executor = backend.compile(plan, &[], |_, _| {}).await?;
        Ok(Convolution { executor, channels, side })
    }

    /// Gives it an image, computes, and reads the result, as any runtime does of which one asks a single evaluation. Both
    /// are NCHW.
    ///
    /// # Errors
    /// When the image has another size, or the device was lost.
    pub async fn run(&self, sample: Vec<f32>) -> Result<Vec<f32>, JsValue> {
        let sample = Tensor::new(&[1, self.channels, self.side, self.side], sample)?;
        self.executor.write("sample", &sample.to_device()?)?;
        self.executor.submit(0..1).await?;
        let output = self.executor.read("output").await?;
        Ok(Tensor::from_device(&sample.device_shape()?, &output)?.data)
    }

    /// Multiply-adds of a run.
    pub fn macs(&self) -> u64 {
        self.executor.plan().macs()
    }
}
