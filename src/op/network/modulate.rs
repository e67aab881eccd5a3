//! A normalisation's scale and shift, changed by the time embedding.

use bytemuck::{Pod, Zeroable};

use super::{Backward, Differentiable, Kernel, ModulateGradient, Op, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::tensor::padded;
use crate::{Error, Result, Shape};

/// `resnet_time_scale_shift: "scale_shift"` (diffusers `models/resnet.py`): what a GroupNorm gives is multiplied by
/// 1 + scale and moved by shift. On the GroupNorm's own scale s and shift b that is s · (1 + scale) and
/// b · (1 + scale) + shift.
///
/// Inputs: s and b, `[N, 2, C]`, and scale and shift, `[N, 2 · padded C]`, each padded by itself.
#[derive(Debug)]
pub struct Modulate;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of a run of channels, in all images.
    len: u32,
    /// `vec4`s of a run of channels.
    channels: u32,
    pad: [u32; 2],
}

impl Op for Modulate {
    fn name(&self) -> &'static str {
        "modulate"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [affine, time] = *inputs else { unreachable!("modulate has two inputs") };
        match *affine.dims() {
            [n, 2, c] if time.dims() == [n, 2 * padded(c)] => Ok(affine.clone()),
            _ => Err(Error::shape(self.name(), "[N, 2, C] and [N, 2 · padded C]", format!("{affine} and {time}"))),
        }
    }

    fn stored(&self) -> Vec<usize> {
        vec![2]
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("modulate has one output") };
        let [affine, time] = *inputs else { unreachable!("modulate has two inputs") };
        let width = affine.shape.stride();
        let rows = affine.data.chunks_exact(2 * width).zip(time.data.chunks_exact(2 * width));
        for (out, (affine, time)) in output.data.chunks_exact_mut(2 * width).zip(rows) {
            for c in 0..width {
                let gain = 1.0 + time[c];
                out[c] = affine[c] * gain;
                out[width + c] = affine[width + c] * gain + time[width + c];
            }
        }
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let channels = output.stride() / 4;
        let len = output.dims()[0] * channels;
        Kernel::flat(shader!("modulate"), &Params { len: len as u32, channels: channels as u32, pad: [0; 2] }, len)
    }
}

impl Differentiable for Modulate {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let &[affine, time] = backward.inputs else { unreachable!("modulate has two inputs") };
        let inputs = [affine, time, backward.gradient];
        let by_affine = graph.op(&format!("{}.gradient", backward.name), ModulateGradient, &inputs)?;
        let by_time = graph.further_outputs(by_affine).next();
        let gradients = [Some(by_affine), by_time].into_iter().zip(backward.wanted);
        Ok(gradients.map(|(gradient, &wanted)| gradient.filter(|_| wanted)).collect())
    }
}
