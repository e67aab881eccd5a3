//! What a network is made of and what it needs, without running it or having its weights.

use std::any::Any;
use std::rc::Rc;

use crate::config::UNetConfig;
use crate::graph::{Graph, Source, Value};
use crate::op::AdamW;
use crate::passes::Recompute;
use crate::plan::{Plan, StateInUse};
use crate::training::plan_step;
use crate::tuning::Tuning;
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

/// What training needs of a device's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainingMemory {
    /// Of the network's parameters.
    pub parameters: u64,
    /// Of the gradients by them.
    pub gradients: u64,
    /// Of Adam's m and v.
    pub moments: u64,
    /// Of the moving average of the parameters.
    pub average: u64,
    /// Of all values that a step holds at a time: what it is given, what is kept for the backward pass, and what is on its way.
    pub values: u64,
    /// Of what never changes.
    pub constants: u64,
}

impl TrainingMemory {
    /// Of a network of this configuration that learns from batches of `count` images of `size` (height, width), or of the
    /// configured size, on a GPU that is quickest with these variants, or on the CPU.
    ///
    /// # Errors
    /// When the configuration is not supported, the images do not fit the network, or an op of it has no gradient.
    pub fn new(
        config: UNetConfig,
        count: usize,
        size: Option<(usize, usize)>,
        tuning: Option<Tuning>,
        recompute: Recompute,
    ) -> Result<Self> {
        let (height, width) = match size {
            Some(size) => size,
            None => config.sample_size()?,
        };
        let shape = [count, config.in_channels, height, width];
        let (plan, states) =
            plan_step((&UNet2DModel::without_weights(config)?).into(), None, shape, tuning, recompute)?;
        let optimised = plan.steps.iter().filter(|step| (step.op.as_ref() as &dyn Any).is::<AdamW>());
        let gradients = optimised.filter_map(|step| step.inputs[0].slot()).map(|slot| plan.slots[slot] as u64).sum();
        let of_states = |which: std::ops::Range<usize>| {
            let is = |used: &&StateInUse| {
                states.iter().flat_map(|all| &all[which.clone()]).any(|state| Rc::ptr_eq(state, &used.state))
            };
            plan.states.iter().filter(is).map(|used| used.bytes() as u64).sum::<u64>()
        };
        let [moments, average] = [of_states(1..3), of_states(3..4)];
        let all: u64 = plan.states.iter().map(|used| used.bytes() as u64).sum();
        Ok(TrainingMemory {
            parameters: all - moments - average,
            gradients,
            moments,
            average,
            values: plan.slots.iter().map(|&bytes| bytes as u64).sum::<u64>() - gradients,
            constants: plan.constants.iter().map(|constant| constant.bytes() as u64).sum(),
        })
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        let TrainingMemory { parameters, gradients, moments, average, values, constants } = self;
        parameters + gradients + moments + average + values + constants
    }
}
