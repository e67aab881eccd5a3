//! Whether a GPU computes what the CPU does, layer by layer.
//!
//! Every layer is computed on both from the same inputs, so an error is that of the layer that makes it and is not
//! carried on to the next. Then the whole plan runs on the GPU as it really does, which also finds what is wrong
//! between layers.

use std::collections::HashMap;
use std::rc::Rc;

use serde::Serialize;

use crate::backend::{Backend, Gpu, Memory};
use crate::graph::{View, ViewMut};
use crate::pipeline::names;
use crate::plan::{Operand, Plan, Step};
use crate::random::Generator;
use crate::schedule::{Schedule, StepOptions};
use crate::{Error, Pipeline, Precision, Result};

/// What was found of one layer.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify), tsify(rename = "LayerError"))]
pub struct Layer {
    /// Its path in the checkpoint, or what the network calls it.
    pub name: String,
    /// The op that it is.
    pub op: &'static str,
    /// ‖GPU − CPU‖ / ‖CPU‖ of its output.
    pub error: f64,
}

/// What was found of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// In the order they are computed in.
    pub layers: Vec<Layer>,
    /// Which of the layers has the largest error.
    pub worst: usize,
    /// ‖GPU − CPU‖ / ‖CPU‖ of that output of the whole plan whose error is largest.
    pub output_error: f64,
    /// The most that an error may be.
    pub tolerance: f64,
    /// Whether none is more.
    pub ok: bool,
}

/// The most that the error of a layer or an output may be.
///
/// In 32 bits no layer of the networks in `tests/golden/matrix` is off by more than 2e-7 on lavapipe, but for sinusoids
/// of large angles, 5e-5; their outputs are off by 3e-6. In 16 bits it is 5e-4, the rounding of a layer's own output,
/// and 2e-3. WGSL lets the elementary functions of a GPU be off by more than lavapipe's are; a layer that is wrong is
/// off by something like 1.
pub fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 1e-3,
        Precision::F16 => 1e-2,
    }
}

/// Compares every layer of `plan`, and its outputs, on `gpu` with the CPU. `inputs` are in device layout; `progress`
/// hears how many layers of how many are compared.
///
/// # Errors
/// When an input is missing, or the GPU cannot run the plan or was lost.
pub async fn check(
    gpu: &Rc<Gpu>,
    plan: &Plan,
    inputs: &HashMap<&str, Vec<f32>>,
    mut progress: impl FnMut(usize, usize),
) -> Result<Report> {
    gpu.check_plan(plan)?;
    let tolerance = tolerance(plan.precision());
    let mut memory = Memory::new(plan).await?;
    plan.check_known()?;
    for (name, operand) in &plan.inputs {
        let data = inputs.get(name.as_str());
        let data = data.ok_or_else(|| Error::Settings(format!("The check needs a value for the input {name}.")))?;
        if data.len() != operand.shape.len() {
            return Err(Error::shape(name, format!("{} elements", operand.shape.len()), data.len()));
        }
        memory.write(operand, data);
    }

    let steps = plan.preparation.len() + plan.steps.len();
    let mut layers: Vec<Layer> = Vec::with_capacity(steps);
    let mut worst = 0;
    progress(0, steps);
    for step in plan.all_steps() {
        let error = check_step(gpu, step, &mut memory).await?;
        layers.push(Layer { name: step.name.clone(), op: step.op.name(), error });
        if error > layers[worst].error {
            worst = layers.len() - 1;
        }
        progress(layers.len(), steps);
    }

    let executor = Backend::Gpu(gpu.clone()).compile(plan.clone(), &[], |_, _| {}).await?;
    for name in plan.inputs.keys() {
        executor.write(name, &inputs[name.as_str()])?;
    }
    executor.run(0).await?;
    let mut output_error: f64 = 0.0;
    for (name, operand) in &plan.outputs {
        let actual = executor.read(name).await?;
        output_error = output_error.max(error(&actual, &memory.value(operand)));
    }
    let ok = output_error <= tolerance && layers.iter().all(|layer| layer.error <= tolerance);
    Ok(Report { layers, worst, output_error, tolerance, ok })
}

/// Inputs for a plan of `pipeline`: a row from the middle of a run of its scheduler, class 0, and noise for all else.
///
/// # Errors
/// When the scheduler cannot make a run.
pub fn inputs<'a>(pipeline: &Pipeline, plan: &'a Plan) -> Result<HashMap<&'a str, Vec<f32>>> {
    let scheduler = pipeline.any_scheduler();
    let steps = scheduler.num_train_timesteps.min(10);
    let schedule = Schedule::new(&scheduler, steps, &StepOptions::default())?;
    let middle = schedule.rows.len() / 2;
    let row = schedule.coefficients(2.0, 0.5, 0.0)[middle];
    let mut generator = Generator::new(0);
    let mut inputs = HashMap::new();
    // In the order of their names, so that they get the same noise every time.
    let mut names: Vec<&String> = plan.inputs.keys().collect();
    names.sort_unstable();
    for name in names {
        let operand = &plan.inputs[name];
        let (rows, channels, stride) = (operand.shape.rows(), operand.shape.channels(), operand.shape.stride());
        let mut data = vec![0.0; operand.shape.len()];
        if name == names::ROW {
            data.copy_from_slice(bytemuck::cast_slice(&[row]));
        } else {
            for line in data.chunks_exact_mut(stride).take(rows) {
                let line = &mut line[..channels];
                match name.as_str() {
                    names::TIMESTEP => line.fill(schedule.rows[middle].timestep as f32),
                    names::CLASS_LABELS => line.fill(0.0),
                    _ => line.copy_from_slice(&generator.randn(channels)),
                }
            }
        }
        inputs.insert(name.as_str(), data);
    }
    Ok(inputs)
}

/// Computes a step on both, and keeps the CPU's output in `memory`.
async fn check_step(gpu: &Gpu, step: &Step, memory: &mut Memory) -> Result<f64> {
    let given: Vec<Vec<f32>> = step.inputs.iter().map(|input| rounded(&memory.value(input), input)).collect();
    let views: Vec<View<'_>> =
        step.inputs.iter().zip(&given).map(|(input, data)| View::new(&input.shape, data)).collect();
    let mut expected: Vec<Vec<f32>> = step.outputs.iter().map(|operand| vec![0.0; operand.shape.len()]).collect();
    let shapes = step.outputs.iter().map(|operand| &operand.shape);
    step.op
        .cpu(&views, &mut shapes.zip(&mut expected).map(|(shape, data)| ViewMut::new(shape, data)).collect::<Vec<_>>());
    // What a shader forgets to write stays what it is: not a number.
    let blank: Vec<Vec<f32>> = expected.iter().map(|data| vec![f32::NAN; data.len()]).collect();
    let blank: Vec<&[f32]> = blank.iter().map(Vec::as_slice).collect();
    let given: Vec<&[f32]> = given.iter().map(Vec::as_slice).collect();
    let actual = gpu.run_kernel(step, &given, &blank).await?;
    let mut worst: f64 = 0.0;
    for ((operand, actual), expected) in step.outputs.iter().zip(&actual).zip(&expected) {
        memory.write(operand, expected);
        worst = worst.max(error(actual, expected));
    }
    Ok(worst)
}

/// A value as a GPU holds it.
fn rounded(data: &[f32], operand: &Operand) -> Vec<f32> {
    match operand.precision {
        Precision::F32 => data.to_vec(),
        Precision::F16 => operand.precision.decode(&operand.precision.encode(data)),
    }
}

/// ‖actual − expected‖ / ‖expected‖, or the largest difference where ‖expected‖ is 0; infinite where either is not a number.
fn error(actual: &[f32], expected: &[f32]) -> f64 {
    let (mut difference, mut norm, mut largest) = (0.0, 0.0, 0.0_f64);
    for (&actual, &expected) in actual.iter().zip(expected) {
        let (actual, expected) = (f64::from(actual), f64::from(expected));
        difference += (actual - expected) * (actual - expected);
        norm += expected * expected;
        largest = largest.max((actual - expected).abs());
    }
    let error = if norm > 0.0 { (difference / norm).sqrt() } else { largest };
    if difference.is_finite() && norm.is_finite() { error } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_relative_and_never_not_a_number() {
        assert_eq!(error(&[3.0, 4.5], &[3.0, 4.0]), 0.1);
        assert_eq!(error(&[0.0, -2.0], &[0.0, 0.0]), 2.0);
        assert_eq!(error(&[0.0], &[0.0]), 0.0);
        for bad in [f32::NAN, f32::INFINITY] {
            assert_eq!(error(&[1.0, bad], &[1.0, 2.0]), f64::INFINITY);
            assert_eq!(error(&[1.0, 2.0], &[1.0, bad]), f64::INFINITY);
            assert_eq!(error(&[bad], &[bad]), f64::INFINITY);
        }
    }
}
