//! What a network is made of and what it needs, without running it or having its weights.

use crate::config::UNetConfig;
use crate::graph::{Graph, Source, Value};
use crate::plan::Plan;
use crate::unet::UNet2DModel;
use crate::{Precision, Result};

/// A step of the network's plan.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The path of the layer in the checkpoint, or what the step does for it.
    pub name: String,
    /// The operation.
    pub op: &'static str,
    /// The output's dimensions, channels last.
    pub shape: Vec<usize>,
    /// Learned numbers.
    pub parameters: usize,
    /// Multiply-adds.
    pub macs: u64,
    /// Bytes read and written.
    pub bytes: u64,
}

/// A network, layer by layer, and in all.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// In the order they are computed in.
    pub layers: Vec<Layer>,
    /// Learned numbers.
    pub parameters: usize,
    /// Multiply-adds of one evaluation.
    pub macs: u64,
    /// Bytes of the weights on a device.
    pub weight_bytes: u64,
    /// Bytes of all values that a plan holds at a time.
    pub value_bytes: u64,
    /// Bytes of the largest value or weight.
    pub largest_bytes: u64,
}

impl Inspection {
    /// Of a network of this configuration for `count` images of `size` (height, width), or of the configured size.
    ///
    /// # Errors
    /// When the configuration is not supported, or the images do not fit the network.
    pub fn new(config: UNetConfig, count: usize, size: Option<(usize, usize)>, precision: Precision) -> Result<Self> {
        let (height, width) = match size {
            Some(size) => size,
            None => config.sample_size()?,
        };
        let unet = UNet2DModel::without_weights(config)?;
        let mut graph = Graph::new();
        let output = unet.build(&mut graph, count, height, width, precision)?.output;
        graph.output("output", output);

        let (mut layers, mut weight_bytes, mut largest) = (Vec::new(), 0, 0);
        let bytes = |value: &Value| (value.precision.bytes() * value.shape.len()) as u64;
        for value in &graph.values {
            // Its ranges, the parameters, come one by one.
            if matches!(value.source, Source::State(_)) {
                continue;
            }
            largest = largest.max(bytes(value));
            match &value.source {
                Source::Input | Source::State(_) | Source::Further { .. } | Source::Assembled(_) => {}
                Source::Constant(_) | Source::Range { .. } => weight_bytes += bytes(value),
                Source::Op { op, inputs } => {
                    let given: Vec<&Value> = inputs.iter().map(|&id| &graph.values[id.0]).collect();
                    let shapes: Vec<_> = given.iter().map(|value| &value.shape).collect();
                    layers.push(Layer {
                        name: value.name.clone(),
                        op: op.name(),
                        shape: value.shape.dims().to_vec(),
                        parameters: given.iter().map(|value| unet.parameters_of(&value.name)).sum(),
                        macs: op.macs(&shapes, &value.shape),
                        bytes: bytes(value) + given.iter().map(|value| bytes(value)).sum::<u64>(),
                    });
                }
            }
        }
        let plan = Plan::new(&graph);
        Ok(Inspection {
            parameters: unet.parameters(),
            macs: plan.macs(),
            weight_bytes,
            value_bytes: plan.slots.iter().map(|&bytes| bytes as u64).sum(),
            largest_bytes: largest,
            layers,
        })
    }
}
