//! What a network makes of time and class alone, for all rows of a run.
//!
//! The time embedding and its projection in every residual block do not depend on x. So they are no part of a step:
//! they are computed ahead, for many rows at a time, on the CPU, and written to an input of the step.

use std::ops::Range;

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

/// The conditions of a run.
pub(crate) struct Table {
    /// t of each row.
    timesteps: Vec<f32>,
    /// The different classes, `width` numbers each.
    classes: Vec<Vec<f32>>,
    /// Which of them each image is of.
    images: Vec<usize>,
    /// The rows that are evaluated.
    ready: Range<usize>,
    /// Of each part, row and class, its numbers.
    values: Vec<Vec<f32>>,
}

impl Table {
    /// A run of these rows. `labels` are those of `images` images one after another, or empty for a model without
    /// classes.
    pub(crate) fn new(timesteps: Vec<f32>, labels: &[f32], images: usize) -> Self {
        let mut classes: Vec<Vec<f32>> = Vec::new();
        let width = labels.len() / images;
        let index = |image: usize| {
            let label = &labels[image * width..][..width];
            classes.iter().position(|class| class == label).unwrap_or_else(|| {
                classes.push(label.to_vec());
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
        let pairs: Vec<(f32, &[f32])> = (first..end)
            .flat_map(|row| table.classes.iter().map(move |class| (row, class)))
            .map(|(row, class)| (table.timesteps[row], &class[..]))
            .collect();
        let mut values = vec![Vec::new(); self.widths.len()];
        for pairs in pairs.chunks(TOGETHER) {
            // Those beyond the last are evaluated and dropped.
            let padded = |i: usize| pairs[i.min(pairs.len() - 1)];
            let timesteps: Vec<f32> = (0..TOGETHER).map(|i| padded(i).0).collect();
            self.executor.write(names::TIMESTEP, &self.laid_out(names::TIMESTEP, &timesteps)?)?;
            if !pairs[0].1.is_empty() {
                let labels: Vec<f32> = (0..TOGETHER).flat_map(|i| padded(i).1.iter().copied()).collect();
                self.executor.write(names::CLASS_LABELS, &self.laid_out(names::CLASS_LABELS, &labels)?)?;
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

    /// Numbers as an input of this name has them.
    fn laid_out(&self, input: &str, data: &[f32]) -> Result<Vec<f32>> {
        let shape = self.executor.plan().input(input)?.shape.dims();
        crate::Tensor::new(shape, data.to_vec())?.to_device()
    }
}
