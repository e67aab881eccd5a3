//! A step of the AdamW optimiser.

use bytemuck::{Pod, Zeroable};

use super::{Kernel, Op, View, ViewMut, shader};
use crate::{Error, Result, Shape};
use kernels::parallel::{self, WORTHWHILE};

/// One step of AdamW (Loshchilov and Hutter 2019) as `torch.optim.AdamW` takes it after `torch.nn.utils.clip_grad_norm_`:
///
/// - the gradient g is scaled by min(1, limit / (‖all gradients‖ + 1e-6));
/// - p ← (1 − rate · decay) p;
/// - m ← β₁ m + (1 − β₁) g and v ← β₂ v + (1 − β₂) g²;
/// - p ← p − rate / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε).
///
/// Inputs: the gradient, of p's shape; [`AdamWSettings::row`], `[9]`, which changes from step to step; the squared norm of
/// all gradients, `[1]`; then p, m and v, of one shape, which the three outputs replace.
#[derive(Clone, Copy, Debug)]
pub struct AdamW;

/// What [`AdamW`] is told of an optimiser, with PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWSettings {
    /// The learning rate.
    pub rate: f64,
    /// What of m and of v is kept.
    pub betas: [f64; 2],
    /// ε, which is added to the root of v.
    pub eps: f64,
    /// The weight decay.
    pub decay: f64,
    /// What the norm of all gradients is clipped to, if it is.
    pub limit: Option<f64>,
}

/// The settings of one step as the shader reads them.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Row {
    /// 1 − rate · decay.
    keep: f32,
    beta1: f32,
    /// 1 − β₁, of which β₁ in 32 bits has lost some digits.
    rest1: f32,
    beta2: f32,
    /// 1 − β₂.
    rest2: f32,
    /// rate / (1 − β₁ᵗ).
    step: f32,
    /// √(1 − β₂ᵗ).
    root: f32,
    eps: f32,
    /// 0 if there is none.
    limit: f32,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        AdamWSettings { rate: 1e-3, betas: [0.9, 0.999], eps: 1e-8, decay: 1e-2, limit: None }
    }
}

impl AdamWSettings {
    /// How many numbers a row is.
    pub const LEN: usize = size_of::<Row>() / size_of::<f32>();

    /// What an [`AdamW`] reads at step `t`, counted from 1.
    pub fn row(&self, t: u32) -> [f32; AdamWSettings::LEN] {
        let [beta1, beta2] = self.betas;
        let corrections = self.betas.map(|beta| 1.0 - beta.powf(f64::from(t)));
        let row = Row {
            keep: (1.0 - self.rate * self.decay) as f32,
            beta1: beta1 as f32,
            rest1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            rest2: (1.0 - beta2) as f32,
            step: (self.rate / corrections[0]) as f32,
            root: corrections[1].sqrt() as f32,
            eps: self.eps as f32,
            limit: self.limit.unwrap_or(0.0) as f32,
        };
        bytemuck::cast(row)
    }
}

impl Op for AdamW {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [gradient, settings, norm, replaced @ ..] = inputs else { unreachable!("adamw has six inputs") };
        let fits = settings.dims() == [AdamWSettings::LEN]
            && norm.dims() == [1]
            && replaced.len() == self.replaces()
            && replaced.iter().all(|replaced| replaced == gradient);
        if !fits {
            let found = inputs.iter().map(|shape| shape.to_string()).collect::<Vec<_>>().join(", ");
            let expected = format!("a gradient, settings [{}], [1], and p, m and v", AdamWSettings::LEN);
            return Err(Error::shape(self.name(), expected, found));
        }
        Ok(Shape::clone(gradient))
    }

    fn further_outputs(&self, _inputs: &[&Shape], output: &Shape) -> Vec<Shape> {
        vec![output.clone(), output.clone()]
    }

    fn replaces(&self) -> usize {
        3
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [gradient, settings, norm, ..] = inputs else { unreachable!("adamw reads three inputs") };
        let [p, m, v] = outputs else { unreachable!("adamw has three outputs") };
        let row: &Row = bytemuck::from_bytes(bytemuck::cast_slice(&settings.data[..AdamWSettings::LEN]));
        let clip = if row.limit > 0.0 { (row.limit / (norm.data[0].sqrt() + 1e-6)).min(1.0) } else { 1.0 };
        let moments = m.data.chunks_mut(WORTHWHILE).zip(v.data.chunks_mut(WORTHWHILE));
        let shares = p.data.chunks_mut(WORTHWHILE).zip(moments).zip(gradient.data.chunks(WORTHWHILE)).collect();
        type Share<'a> = ((&'a mut [f32], (&'a mut [f32], &'a mut [f32])), &'a [f32]);
        parallel::each(shares, |((p, (m, v)), gradient): Share<'_>| {
            for ((p, (m, v)), gradient) in p.iter_mut().zip(m.iter_mut().zip(v)).zip(gradient) {
                let g = clip * gradient;
                *m = row.beta1 * *m + row.rest1 * g;
                *v = row.beta2 * *v + row.rest2 * (g * g);
                *p = row.keep * *p - row.step * (*m / (v.sqrt() / row.root + row.eps));
            }
        });
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        Kernel::elementwise(shader!("adamw"), output)
    }
}
