//! The sinusoidal embedding of timesteps.

use std::f32::consts::TAU;

use bytemuck::{Pod, Zeroable};

use super::{Backward, Differentiable, Kernel, Op, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Error, Precision, Result, Shape};

/// Sines and cosines of t at geometrically spaced frequencies: `[N, dim]` from timesteps `[N]`
/// (diffusers `models/embeddings.py`, `get_timestep_embedding`; Vaswani et al. 2017, section 3.5).
///
/// Inputs: the timesteps and the frequencies `[dim / 2]`: those that [`TimestepEmbedding::frequencies`] gives, or the
/// random ones of a Gaussian Fourier projection (`GaussianFourierProjection`), which takes ln t in place of t and
/// multiplies by 2π. The order is `[sin, cos]`; an odd `dim` ends in a zero.
#[derive(Debug)]
pub struct TimestepEmbedding {
    /// Length of the embedding.
    pub dim: usize,
    /// Whether the cosines come first.
    pub flip_sin_to_cos: bool,
    /// Whether it is a Gaussian Fourier projection.
    pub fourier: bool,
    /// In which the embedding is stored.
    pub precision: Precision,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    dim: u32,
    /// `vec4`s of a row.
    row: u32,
    flip: u32,
    fourier: u32,
    pad: [u32; 3],
}

impl TimestepEmbedding {
    /// `exp(−ln 10000 · i / (half − freq_shift))` for i in 0 … half − 1, half = ⌊dim / 2⌋.
    pub fn frequencies(dim: usize, freq_shift: f64) -> Vec<f32> {
        let half = dim / 2;
        let exponent = |i: usize| -libm::log(10_000.0) * i as f64 / (half as f64 - freq_shift);
        (0..half).map(|i| libm::exp(exponent(i)) as f32).collect()
    }
}

impl Op for TimestepEmbedding {
    fn name(&self) -> &'static str {
        "timestep_embedding"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [timesteps, frequencies] = *inputs else { unreachable!("timestep_embedding has two inputs") };
        match (timesteps.dims(), frequencies.dims()) {
            (&[n], &[half]) if half == self.dim / 2 => Ok(Shape::new(&[n, self.dim])),
            _ => {
                let expected = format!("timesteps [N] and frequencies [{}]", self.dim / 2);
                Err(Error::shape(self.name(), expected, format!("{timesteps} and {frequencies}")))
            }
        }
    }

    fn stored(&self) -> Vec<usize> {
        vec![3]
    }

    fn precision(&self) -> Option<Precision> {
        Some(self.precision)
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("timestep_embedding has one output") };
        let [timesteps, frequencies] = *inputs else { unreachable!("timestep_embedding has two inputs") };
        let half = self.dim / 2;
        for (out, t) in output.rows_mut().zip(timesteps.data) {
            out.fill(0.0);
            let (first, second) = out[..2 * half].split_at_mut(half);
            let (sines, cosines) = if self.flip_sin_to_cos { (second, first) } else { (first, second) };
            for ((sine, cosine), frequency) in sines.iter_mut().zip(cosines).zip(frequencies.data) {
                let angle = if self.fourier { libm::logf(*t) * frequency * TAU } else { t * frequency };
                *sine = libm::sinf(angle);
                *cosine = libm::cosf(angle);
            }
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let row = output.stride() / 4;
        let params = Params {
            rows: output.rows() as u32,
            dim: self.dim as u32,
            row: row as u32,
            flip: u32::from(self.flip_sin_to_cos),
            fourier: u32::from(self.fourier),
            pad: [0; 3],
        };
        Kernel::flat(shader!("timestep_embedding"), &params, output.rows() * row)
    }
}

impl Differentiable for TimestepEmbedding {
    /// None follows: timesteps are given, and the frequencies are either computed or random numbers that diffusers does
    /// not train either (`GaussianFourierProjection.weight` has `requires_grad=False`).
    fn gradient(&self, _graph: &mut Graph, _backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        Ok(vec![None, None])
    }
}
