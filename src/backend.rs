//! What runs a plan: the GPU through WebGPU, or the CPU. Neither knows what a plan is for.

mod cpu;
mod gpu;

use std::rc::Rc;

pub(crate) use cpu::Memory;
pub use gpu::{Counters, Gpu};

use crate::fusion::Fusion;
use crate::plan::Plan;
use crate::{Error, Result};

/// Something that can run plans.
#[derive(Clone)]
pub enum Backend {
    /// WebGPU, in the browser or natively.
    Gpu(Rc<Gpu>),
    /// The ops' own CPU functions.
    Cpu,
}

impl Backend {
    /// Makes a plan ready to run: memory, constants and shaders. `frames` are the outputs to be read after every run;
    /// `progress` hears how many shaders of how many are compiled.
    ///
    /// # Errors
    /// When the device has not enough memory, rejects a shader, or does not have the plan's precision.
    pub async fn compile(&self, plan: Plan, frames: &[&str], progress: impl FnMut(usize, usize)) -> Result<Executor> {
        let frames = frames.iter().map(|name| plan.output(name).cloned()).collect::<Result<Vec<_>>>()?;
        let device = match self {
            Backend::Gpu(gpu) => Device::Gpu(gpu::Executor::new(gpu.clone(), plan, frames, progress).await?),
            Backend::Cpu => Device::Cpu(cpu::Executor::new(plan, frames)?),
        };
        Ok(Executor { device })
    }

    /// What is fused in the plans that it runs fastest.
    pub fn fusion(&self) -> Fusion {
        match self {
            Backend::Gpu(gpu) => gpu.fusion(),
            Backend::Cpu => Fusion::CPU,
        }
    }

    /// The GPU, if it is one.
    pub fn gpu(&self) -> Option<&Gpu> {
        match self {
            Backend::Gpu(gpu) => Some(gpu),
            Backend::Cpu => None,
        }
    }
}

/// A plan that is ready to run. What it holds stays between runs.
///
/// A run takes one row of each table that [`Executor::set_rows`] gave it, computes every step, does the feedback, and
/// reads the frames. On the GPU nothing is allocated, bound or compiled for it.
pub struct Executor {
    device: Device,
}

enum Device {
    Gpu(gpu::Executor),
    Cpu(cpu::Executor),
}

/// The frames of a run that may still be under way.
pub enum Pending {
    /// Being computed or read by the GPU.
    Gpu(gpu::Readback),
    /// Already here.
    Cpu(Vec<Vec<u8>>),
}

impl Executor {
    /// The plan that is run.
    pub fn plan(&self) -> &Plan {
        match &self.device {
            Device::Gpu(executor) => &executor.plan,
            Device::Cpu(executor) => &executor.plan,
        }
    }

    /// How many runs may be under way at once.
    pub fn depth(&self) -> usize {
        match &self.device {
            Device::Gpu(_) => gpu::DEPTH,
            Device::Cpu(_) => 1,
        }
    }

    /// Writes an input, in device layout, for the next run.
    ///
    /// # Errors
    /// When there is no such input, or the data do not fill it.
    pub fn write(&self, input: &str, data: &[f32]) -> Result<()> {
        let operand = self.plan().input(input)?;
        if data.len() != operand.shape.len() {
            return Err(Error::shape(input, format!("{} elements", operand.shape.len()), data.len()));
        }
        match &self.device {
            Device::Gpu(executor) => executor.write(operand, data),
            Device::Cpu(executor) => executor.write(operand, data),
        }
        Ok(())
    }

    /// Gives an input a table, one row a run, in place of any it had.
    ///
    /// # Errors
    /// When there is no such input, or the rows do not have its length.
    pub fn set_rows(&self, input: &str, rows: &[f32]) -> Result<()> {
        let operand = self.plan().input(input)?;
        let len = operand.shape.len();
        if rows.is_empty() || !rows.len().is_multiple_of(len) {
            return Err(Error::shape(input, format!("rows of {len} elements"), rows.len()));
        }
        match &self.device {
            Device::Gpu(executor) => executor.set_rows(operand, rows)?,
            Device::Cpu(executor) => executor.set_rows(operand, rows),
        }
        Ok(())
    }

    /// Runs the plan with row `row` of every table. At most [`Executor::depth`] results may be waited for at a time.
    ///
    /// # Errors
    /// When the device was lost, or too many runs are under way.
    pub fn run(&self, row: usize) -> Result<Pending> {
        match &self.device {
            Device::Gpu(executor) => Ok(Pending::Gpu(executor.run(row)?)),
            Device::Cpu(executor) => Ok(Pending::Cpu(executor.run(row))),
        }
    }

    /// Seconds that each step of the plan takes by itself, on a GPU repeated until they are `least` together. What the
    /// plan holds is different afterwards.
    ///
    /// # Errors
    /// When the device was lost.
    pub async fn times(&self, least: f64) -> Result<Vec<f64>> {
        match &self.device {
            Device::Gpu(executor) => executor.times(least).await,
            Device::Cpu(executor) => Ok(executor.times()),
        }
    }

    /// Reads an output, in device layout, after all runs so far.
    ///
    /// # Errors
    /// When there is no such output, or the device was lost.
    pub async fn read(&self, output: &str) -> Result<Vec<f32>> {
        let operand = self.plan().output(output)?;
        match &self.device {
            Device::Gpu(executor) => executor.read(operand).await,
            Device::Cpu(executor) => Ok(executor.read(operand)),
        }
    }
}

impl Pending {
    /// The frames' bytes, in the order they were named, once they are computed.
    ///
    /// # Errors
    /// When the device was lost.
    pub async fn wait(self) -> Result<Vec<Vec<u8>>> {
        match self {
            Pending::Gpu(readback) => readback.wait().await,
            Pending::Cpu(frames) => Ok(frames),
        }
    }
}
