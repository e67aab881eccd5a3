//! What a network makes of time and class alone, for all rows of a run.
//!
//! The time embedding and its projection in every residual block do not depend on x. So they are no part of a step:
//! they are computed ahead, for many rows at a time, on the CPU, and written to an input of the step.

use std::ops::Range;

use super::ClassMix;
use crate::backend::{Backend, Executor};
use crate::passes::ranges;
use crate::pipeline::names;
use crate::plan::Plan;
use crate::{Pipeline, Result};

/// Times and classes that are evaluated together.
const TOGETHER: usize = 32;

/// The part of a network that reads no image.
pub(crate) struct Conditions {
    executor: Executor,
    /// Of each part, the numbers of an image.
    widths: Vec<usize>,
}

/// What the network is told of an image's class.
#[derive(PartialEq)]
struct Class {
    /// Its label, or the numbers that a model without labels takes; empty for a model without classes.
    numbers: Vec<f32>,
    /// The label that it is mixed with, and how much of that there is in it.
    to: f32,
    weight: f64,
}

/// The conditions of a run.
pub(crate) struct Table {
    /// t of each row.
    timesteps: Vec<f32>,
    /// The different classes.
    classes: Vec<Class>,
    /// Which of them each image is of.
    images: Vec<usize>,
    /// The rows that are evaluated.
    ready: Range<usize>,
    /// Of each part, row and class, its numbers.
    values: Vec<Vec<f32>>,
}

impl Table {
    /// A run of these rows. `labels` are those of `images` images one after another, or empty for a model without
    /// classes. `mix` is that of the first images; those after them, of the null class, are not mixed.
    pub(crate) fn new(timesteps: Vec<f32>, labels: &[f32], mix: Option<&ClassMix>, images: usize) -> Self {
        let mut classes: Vec<Class> = Vec::new();
        let width = labels.len() / images;
        let index = |image: usize| {
            let numbers = labels[image * width..][..width].to_vec();
            let mixed = mix.and_then(|mix| Some((*mix.labels.get(image)?, *mix.weights.get(image)?)));
            // One that nothing is mixed with is mixed with nothing of itself.
            let (to, weight) = mixed.unwrap_or((numbers.first().copied().unwrap_or(0.0), 0.0));
            let class = Class { numbers, to, weight };
            classes.iter().position(|known| *known == class).unwrap_or_else(|| {
                classes.push(class);
                classes.len() - 1
            })
        };
        let images = (0..images).map(index).collect();
        Table { timesteps, classes, images, ready: 0..0, values: Vec::new() }
    }
}

impl Conditions {
    /// The plan that computes those of a pipeline.
    pub(crate) fn plan(pipeline: &Pipeline) -> Result<Plan> {
        pipeline.conditions(TOGETHER)
    }

    /// Those of a pipeline with this plan; `None` if it has none.
    pub(crate) async fn new(plan: Plan) -> Result<Option<Self>> {
        if plan.outputs.is_empty() {
            return Ok(None);
        }
        let widths = (0..plan.outputs.len()).map(|part| Ok(plan.output(&part.to_string())?.shape.stride()));
        let widths = widths.collect::<Result<_>>()?;
        Ok(Some(Conditions { executor: Backend::Cpu.compile(plan, &[], |_, _| {}).await?, widths }))
    }

    /// What computes them.
    pub(crate) fn executor(&self) -> &Executor {
        &self.executor
    }

    /// The conditions of a row of a run, as the step's input has them.
    pub(crate) async fn row(&self, table: &mut Table, row: usize) -> Result<Vec<f32>> {
        if !table.ready.contains(&row) {
            self.evaluate(table, row).await?;
        }
        let classes = table.classes.len();
        let count = table.images.len();
        let (offsets, len) = ranges(self.widths.iter().map(|width| count * width));
        let mut data = vec![0.0; len];
        for ((values, offset), &width) in table.values.iter().zip(offsets).zip(&self.widths) {
            for (out, class) in data[offset..].chunks_exact_mut(width).zip(&table.images) {
                let at = (row - table.ready.start) * classes + class;
                out.copy_from_slice(&values[at * width..][..width]);
            }
        }
        Ok(data)
    }

    /// Evaluates as many rows from `first` on as fit together, at least one.
    async fn evaluate(&self, table: &mut Table, first: usize) -> Result<()> {
        let classes = table.classes.len();
        let end = table.timesteps.len().min(first + (TOGETHER / classes).max(1));
        let pairs: Vec<(f32, &Class)> = (first..end)
            .flat_map(|row| table.classes.iter().map(move |class| (row, class)))
            .map(|(row, class)| (table.timesteps[row], class))
            .collect();
        let mut values = vec![Vec::new(); self.widths.len()];
        for pairs in pairs.chunks(TOGETHER) {
            // Those beyond the last are evaluated and dropped.
            let padded = |i: usize| pairs[i.min(pairs.len() - 1)];
            self.write(names::TIMESTEP, (0..TOGETHER).map(|i| padded(i).0).collect())?;
            if !pairs[0].1.numbers.is_empty() {
                let numbers = (0..TOGETHER).flat_map(|i| padded(i).1.numbers.iter().copied()).collect();
                self.write(names::CLASS_LABELS, numbers)?;
            }
            if self.executor.plan().input(names::CLASS_LABELS_TO).is_ok() {
                self.write(names::CLASS_LABELS_TO, (0..TOGETHER).map(|i| padded(i).1.to).collect())?;
                self.write(names::CLASS_SHARE, (0..TOGETHER).map(|i| (1.0 - padded(i).1.weight) as f32).collect())?;
                self.write(names::CLASS_SHARE_TO, (0..TOGETHER).map(|i| padded(i).1.weight as f32).collect())?;
            }
            self.executor.run(0).await?;
            for (part, (values, width)) in values.iter_mut().zip(&self.widths).enumerate() {
                let computed = self.executor.read(&part.to_string()).await?;
                values.extend_from_slice(&computed[..pairs.len() * width]);
            }
        }
        (table.ready, table.values) = (first..end, values);
        Ok(())
    }

    /// Writes numbers to the input of this name.
    fn write(&self, input: &str, data: Vec<f32>) -> Result<()> {
        let shape = self.executor.plan().input(input)?.shape.dims();
        self.executor.write(input, &crate::Tensor::new(shape, data)?.to_device()?)
    }
}
