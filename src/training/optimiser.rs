//! How far each step goes.

use std::f64::consts::PI;

use crate::op::AdamWSettings;

/// How the learning rate goes after it has warmed up (diffusers `optimization.py`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LearningRate {
    /// It stays.
    Constant,
    /// It falls along half a cosine to 0 at the last of so many steps.
    Cosine(u64),
}

/// AdamW, its learning rate over time, and the moving average of what it learns.
#[derive(Clone, Copy, Debug)]
pub struct Optimiser {
    /// What AdamW is told.
    pub adamw: AdamWSettings,
    /// Steps over which the learning rate rises from 0.
    pub warmup: u64,
    /// How it goes then.
    pub schedule: LearningRate,
    /// The most that the moving average keeps of itself.
    pub ema: f64,
}

impl Optimiser {
    /// The learning rate of step `step`, counted from 0.
    pub fn rate(&self, step: u64) -> f64 {
        let factor = match self.schedule {
            _ if step < self.warmup => step as f64 / self.warmup as f64,
            LearningRate::Constant => 1.0,
            LearningRate::Cosine(total) => {
                let progress = (step - self.warmup) as f64 / (total.saturating_sub(self.warmup)).max(1) as f64;
                (0.5 * (1.0 + libm::cos(PI * progress))).max(0.0)
            }
        };
        self.adamw.rate * factor
    }

    /// What AdamW reads at step `step`, counted from 0.
    pub(super) fn row(&self, step: u64) -> [f32; AdamWSettings::LEN] {
        let adamw = AdamWSettings { rate: self.rate(step), ..self.adamw };
        adamw.row(u32::try_from(step + 1).unwrap_or(u32::MAX))
    }

    /// What the moving average keeps of itself after step `step`, counted from 0: little at first, when what was learned is
    /// soon out of date (diffusers `training_utils.py`, `EMAModel.get_decay` with `use_ema_warmup`, `inv_gamma=1` and
    /// `power=0.75`).
    pub fn average_decay(&self, step: u64) -> f64 {
        match step {
            0 => 0.0,
            _ => (1.0 - (1.0 + step as f64).powf(-0.75)).min(self.ema),
        }
    }
}
