//! What runs a plan: the GPU through WebGPU, or the CPU. Neither knows what a plan is for.

mod cpu;
mod gpu;

use std::ops::Range;
use std::rc::Rc;

pub(crate) use cpu::Memory;
pub(crate) use gpu::fetch;
pub use gpu::{Counters, Gpu};

use crate::plan::Plan;
use crate::tuning::Tuning;
use crate::{Error, Result};

/// Hears how many of how many are done.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(usize, usize);

/// Something that can run plans.
#[derive(Clone)]
pub enum Backend {
    /// WebGPU, in the browser or natively.
    Gpu(Rc<Gpu>),
    /// The ops' own CPU functions.
    Cpu,
}

impl Backend {
    /// Makes a plan ready to run: memory, constants and shaders. `frames` are the outputs, of 32 bits, to be read after every run;
    /// `progress` hears how many shaders of how many are compiled. Parameters that are not known yet can follow, by
    /// [`Executor::upload`].
    ///
    /// # Errors
    /// When the device has not enough memory, rejects a shader, or does not have the plan's precision.
    pub async fn compile(
        &self,
        plan: Plan,
        frames: &[&str],
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Executor> {
        self.compile_telling(plan, frames, &mut progress).await
    }

    /// The same, compiled once for whoever listens: it is a large part of what a visitor downloads.
    pub(crate) async fn compile_telling(
        &self,
        plan: Plan,
        frames: &[&str],
        progress: Progress<'_>,
    ) -> Result<Executor> {
        let frames = frames.iter().map(|name| plan.output(name).cloned()).collect::<Result<Vec<_>>>()?;
        let device = match self {
            Backend::Gpu(gpu) => Device::Gpu(Box::new(gpu::Executor::new(gpu.clone(), plan, frames, progress).await?)),
            Backend::Cpu => Device::Cpu(Box::new(cpu::Executor::new(plan, frames).await?)),
        };
        Ok(Executor { device })
    }

    /// Checks that a plan has room on the device, as far as that is known beforehand, before anything is made for it.
    ///
    /// # Errors
    /// When it has not, or the device does not have its precision.
    pub fn check(&self, plan: &Plan) -> Result<()> {
        match self {
            Backend::Gpu(gpu) => gpu.check_plan(plan),
            Backend::Cpu => cpu::check(plan),
        }
    }

    /// How many bytes a plan may need, where that is known: a GPU tells only how large a buffer may be.
    pub fn memory(&self) -> Option<u64> {
        match self {
            Backend::Gpu(_) => None,
            Backend::Cpu => cpu::MEMORY,
        }
    }

    /// Which variants of the ops it is taken to run fastest; the CPU has no variants.
    pub fn tuning(&self) -> Option<Tuning> {
        self.gpu().map(Gpu::tuning)
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
/// reads the frames. On the GPU nothing is allocated, bound or compiled for it, and several runs may be one submission.
pub struct Executor {
    device: Device,
}

enum Device {
    Gpu(Box<gpu::Executor>),
    Cpu(Box<cpu::Executor>),
}

/// The frames of a batch of runs that may still be under way.
pub enum Pending {
    /// Being computed or read by the GPU.
    Gpu(gpu::Readback),
    /// Already here.
    Cpu(Vec<Vec<Vec<f32>>>),
}

impl Executor {
    /// The plan that is run.
    pub fn plan(&self) -> &Plan {
        match &self.device {
            Device::Gpu(executor) => &executor.plan,
            Device::Cpu(executor) => &executor.plan,
        }
    }

    /// Takes over the parameters that have become known, or others, since it last did. Those that were known when it was
    /// compiled it has.
    ///
    /// # Errors
    /// When a number is too large for the precision it is to be kept in, or the device was lost.
    pub fn upload(&self) -> Result<()> {
        match &self.device {
            Device::Gpu(executor) => executor.upload()?,
            Device::Cpu(executor) => executor.upload(),
        }
        Ok(())
    }

    /// Begins runs that have nothing to do with those before: of a run that is waiting for room in the middle of its work,
    /// the rest is not submitted.
    pub fn begin(&self) {
        match &self.device {
            Device::Gpu(executor) => executor.begin(),
            Device::Cpu(_) => {}
        }
    }

    /// How many batches may usefully be under way at once.
    pub fn depth(&self) -> usize {
        match &self.device {
            Device::Gpu(executor) => executor.depth(),
            Device::Cpu(_) => 1,
        }
    }

    /// How many runs a batch should have: as many as the device does in a tenth of a second, as far as is known.
    pub fn batch(&self) -> usize {
        match &self.device {
            Device::Gpu(executor) => executor.batch(),
            Device::Cpu(_) => 1,
        }
    }

    /// The most runs that a batch can have.
    pub fn max_runs(&self) -> usize {
        match &self.device {
            Device::Gpu(executor) => executor.max_runs(),
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

    /// Gives an input a table, one row a run, in place of any it had. A run beyond its last row takes the first again, and
    /// so on.
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

    /// Writes the row of an input's table that run `row` will take. Runs submitted before still take what was there.
    ///
    /// # Errors
    /// When there is no such input, it has no table, or the data do not fill a row.
    pub fn write_row(&self, input: &str, row: usize, data: &[f32]) -> Result<()> {
        let operand = self.plan().input(input)?;
        if data.len() != operand.shape.len() {
            return Err(Error::shape(input, format!("{} elements", operand.shape.len()), data.len()));
        }
        let written = match &self.device {
            Device::Gpu(executor) => executor.write_row(operand, row, data),
            Device::Cpu(executor) => executor.write_row(operand, row, data),
        };
        if written { Ok(()) } else { Err(Error::shape(input, "a table, by set_rows", "none")) }
    }

    /// Submits runs with these rows of every table, at most [`Executor::max_runs`]. At most [`Executor::depth`] results may be
    /// waited for at a time.
    ///
    /// # Errors
    /// When parameters are not known yet, the device was lost, too many runs are under way, or others began
    /// ([`Executor::begin`]) before all of these was submitted.
    pub async fn submit(&self, rows: Range<usize>) -> Result<Pending> {
        self.plan().check_known()?;
        match &self.device {
            Device::Gpu(executor) => Ok(Pending::Gpu(executor.run(rows).await?)),
            Device::Cpu(executor) => {
                fetch_all(&executor.plan).await?;
                Ok(Pending::Cpu(rows.map(|row| executor.run(row)).collect()))
            }
        }
    }

    /// Runs the plan with row `row` of every table: its frames.
    ///
    /// # Errors
    /// As [`Executor::submit`].
    pub async fn run(&self, row: usize) -> Result<Vec<Vec<f32>>> {
        Ok(self.submit(row..row + 1).await?.wait().await?.pop().unwrap_or_default())
    }

    /// Seconds that each step of the plan takes by itself: on a GPU from several measurements of at least `least` seconds,
    /// after a first one that does not count. What the plan holds is different afterwards.
    ///
    /// # Errors
    /// When parameters are not known yet, or the device was lost.
    pub async fn times(&self, least: f64) -> Result<Vec<f64>> {
        self.plan().check_known()?;
        match &self.device {
            Device::Gpu(executor) => executor.times(least).await,
            Device::Cpu(executor) => {
                fetch_all(&executor.plan).await?;
                Ok(executor.times())
            }
        }
    }

    /// Reads an output, or an input that runs replace ([`Plan::feedback`]), in device layout, after all runs so far.
    ///
    /// # Errors
    /// When there is no such value, or the device was lost.
    pub async fn read(&self, value: &str) -> Result<Vec<f32>> {
        let operand = self.plan().output(value).or_else(|error| self.plan().input(value).map_err(|_| error))?;
        match &self.device {
            Device::Gpu(executor) => executor.read(operand).await,
            Device::Cpu(executor) => Ok(executor.read(operand)),
        }
    }
}

/// Brings the states of a plan to the host: a GPU may have changed them since.
async fn fetch_all(plan: &Plan) -> Result<()> {
    for used in &plan.states {
        fetch(&used.state).await?;
    }
    Ok(())
}

impl Pending {
    /// For each run the frames in device layout, in the order they were named, once they are computed.
    ///
    /// # Errors
    /// When the device was lost.
    pub async fn wait(self) -> Result<Vec<Vec<Vec<f32>>>> {
        match self {
            Pending::Gpu(readback) => readback.wait().await,
            Pending::Cpu(frames) => Ok(frames),
        }
    }
}
