//! A run, and the settings it begins with.

use js_sys::{Float32Array, Object, Reflect};
use serde::{Deserialize, Serialize};
use tsify::Tsify;
use wasm_bindgen::prelude::*;

use super::{snapshot, to_js};
use crate::config::{SchedulerKind, TimestepSpacing, VarianceType};
use crate::schedule::{Row, Schedule, StepOptions};
use crate::{
    ClassMix, Classification, ClassifierGuidance, Error, Frame, Inpainting, Pipeline, Result, Sampler, Settings, Share,
    Shown, Slerp, Start, Tensor,
};

#[wasm_bindgen(typescript_custom_section)]
const RUN_REQUEST: &str = "
/** The settings of a run, of which most need not be said. */
export type RunRequest = Partial<RunSettings> & Pick<RunSettings, 'steps' | 'count'>;
";

/// The settings of a run, as the page sends them.
#[derive(Deserialize, Tsify)]
#[tsify(missing_as_null)]
pub(super) struct RunSettings {
    #[tsify(type = "string | null")]
    sampler: Option<SchedulerKind>,
    steps: usize,
    eta: Option<f64>,
    seed: Option<u64>,
    /// One for each image, in place of `seed`.
    seeds: Option<Vec<u64>>,
    class_labels: Option<Vec<f32>>,
    count: usize,
    /// `{ total, first }` of the share of a larger batch that the images are.
    share: Option<Share>,
    guidance: Option<f64>,
    guidance_rescale: Option<f64>,
    timestep_spacing: Option<TimestepSpacing>,
    variance_type: Option<VarianceType>,
    /// Whether x̂0 is kept within [−1, 1], if not as the model's scheduler has it. An inversion only leads back without that.
    clip_sample: Option<bool>,
    /// `[N or 1, K, H, W]`, for a model that takes one.
    #[tsify(type = "Float32Array | null")]
    condition: Option<Vec<f32>>,
    /// x_T in place of seeded noise, `[N, C, H, W]`.
    #[tsify(type = "Float32Array | null")]
    noise: Option<Vec<f32>>,
    start: Option<StartSettings>,
    inpaint: Option<InpaintSettings>,
    /// x_T of each image between the noise of `seed` and that of another one.
    slerp: Option<Slerp>,
    /// The class of each image between that of `class_labels` and another one, of a model that has learned its classes.
    class_mix: Option<ClassMix>,
    /// What the model's classifier guides the run to; frames then have what it says.
    classifier: Option<ClassifierSettings>,
}

/// What a classifier guides a run to.
#[derive(Deserialize, Tsify)]
struct ClassifierSettings {
    /// s, what the gradient of log p is multiplied by.
    scale: f64,
    /// w of each image and class, `[N, K]`.
    #[tsify(type = "Float32Array")]
    weights: Vec<f32>,
}

impl ClassifierSettings {
    /// The same as the engine has it.
    fn guidance(self, count: usize) -> Result<ClassifierGuidance> {
        let classes = self.weights.len() / count.max(1);
        if classes * count != self.weights.len() {
            let problem = format!("There are {} weights of classes for {count} images.", self.weights.len());
            return Err(Error::Settings(problem));
        }
        let weights = Tensor::new(&[count, classes], self.weights)?;
        Ok(ClassifierGuidance { scale: self.scale, weights, in_frames: true })
    }
}

/// A picture of which a part is kept, with any sampler.
#[derive(Deserialize, Tsify)]
struct InpaintSettings {
    /// Over [−1, 1], `[N or 1, C, H, W]`.
    #[tsify(type = "Float32Array")]
    original: Vec<f32>,
    /// 1 where it is kept, 0 where it is made anew: `[N or 1, 1, H, W]`.
    #[tsify(type = "Float32Array")]
    mask: Vec<f32>,
    /// Of the sampler `repaint`: steps of a jump back, 10 if it is not said,
    #[tsify(optional, type = "number | null")]
    jump_length: Option<usize>,
    /// and how often each is made, 10 if it is not said.
    #[tsify(optional, type = "number | null")]
    jump_n_sample: Option<usize>,
}

/// What a run begins with in place of noise: a picture, or x_t of another run.
#[derive(Deserialize, Tsify)]
struct StartSettings {
    /// √ᾱ x_0 + √(1 − ᾱ) ε, `[N, C, H, W]`.
    #[tsify(type = "Float32Array")]
    sample: Vec<f32>,
    alpha_cumprod: f64,
    /// How many steps are left out at the beginning; if it is not said, as many as its noise allows.
    #[tsify(optional, type = "number | null")]
    begin: Option<usize>,
}

impl RunSettings {
    /// The same as the engine has it.
    pub(super) fn settings(self, pipeline: &Pipeline) -> Result<Settings> {
        let mut changes = serde_json::Map::new();
        if let Some(spacing) = self.timestep_spacing {
            changes.insert("timestep_spacing".into(), serde_json::json!(spacing));
        }
        if let Some(variance) = self.variance_type {
            changes.insert("variance_type".into(), serde_json::json!(variance));
        }
        if let Some(clip) = self.clip_sample {
            changes.insert("clip_sample".into(), clip.into());
            if !clip {
                changes.insert("thresholding".into(), false.into()); // which bounds x̂0 as well
            }
        }
        let changes = serde_json::Value::Object(changes).to_string();
        let scheduler = pipeline.scheduler_file().config(self.sampler, &changes)?;
        let mut options = StepOptions { eta: self.eta, ..StepOptions::default() };
        let image = |numbers| images(pipeline, self.count, numbers);
        let inpaint = match self.inpaint {
            None => None,
            Some(InpaintSettings { original, mask, jump_length, jump_n_sample }) => {
                options.jump_length = jump_length.unwrap_or(options.jump_length);
                options.jump_n_sample = jump_n_sample.unwrap_or(options.jump_n_sample);
                let original = planes(pipeline, pipeline.channels(), original)?;
                Some(Inpainting { original, mask: planes(pipeline, 1, mask)? })
            }
        };
        let start = match self.start {
            None => None,
            Some(StartSettings { sample, alpha_cumprod, begin }) => {
                let at = || Schedule::begin_at(&scheduler, self.steps, &options, alpha_cumprod);
                options.begin = begin.map_or_else(at, Ok)?;
                Some(Start { sample: image(sample)?, alpha_cumprod })
            }
        };
        let seeds = self.seeds.unwrap_or_else(|| vec![self.seed.unwrap_or(0)]);
        Ok(Settings {
            scheduler: Some(scheduler),
            steps: self.steps,
            options,
            count: self.count,
            share: self.share,
            seeds,
            noise: self.noise.map(image).transpose()?,
            start,
            class_labels: self.class_labels.unwrap_or_default(),
            guidance: self.guidance.unwrap_or(1.0),
            guidance_rescale: self.guidance_rescale.unwrap_or(0.0),
            condition: self
                .condition
                .map(|numbers| planes(pipeline, pipeline.condition_channels(), numbers))
                .transpose()?,
            inpaint,
            slerp: self.slerp,
            class_mix: self.class_mix,
            classifier: self.classifier.map(|classifier| classifier.guidance(self.count)).transpose()?,
            ..Settings::default()
        })
    }
}

/// Images of the model's size.
fn images(pipeline: &Pipeline, count: usize, numbers: Vec<f32>) -> Result<Tensor> {
    let (height, width) = pipeline.unet().config().sample_size()?;
    Tensor::new(&[count, pipeline.channels(), height, width], numbers)
}

/// So many channels of the model's size, for one image or for each.
fn planes(pipeline: &Pipeline, channels: usize, numbers: Vec<f32>) -> Result<Tensor> {
    let (height, width) = pipeline.unet().config().sample_size()?;
    let count = numbers.len() / (channels * height * width).max(1);
    Tensor::new(&[count, channels, height, width], numbers)
}

/// One evaluation of the model: x̂0 = clip(x0_from_x·x_t + x0_from_model·output) and x_prev = prev_from_x·x_t +
/// prev_from_model·output + prev_from_x0·x̂0 + prev_from_noise·z + Σ prev_from_kept[i]·(what earlier evaluations kept).
#[derive(Serialize, Tsify)]
#[tsify(missing_as_null, rename = "Row")]
struct RowInfo {
    timestep: f64,
    alpha_cumprod: f64,
    /// What the picture is multiplied by in x: √ᾱ, or 1 where a sampler keeps x = x_0 + σ ε.
    signal: f64,
    /// What x before the evaluation is multiplied by to be shown, and what is added then.
    #[tsify(type = "Shown")]
    shown: ShownInfo,
    x0_from_x: f64,
    x0_from_model: f64,
    clip: Option<f64>,
    /// Whether x̂0 is clipped to a quantile of itself.
    thresholded: bool,
    /// Whether the model's output scales the noise.
    learned_sigma: bool,
    prev_from_x: f64,
    prev_from_model: f64,
    prev_from_x0: f64,
    prev_from_noise: f64,
    /// Weights of what earlier evaluations kept.
    prev_from_kept: Vec<f64>,
}

/// How numbers become those of pictures, over [−1, 1].
#[derive(Serialize, Tsify)]
#[tsify(rename = "Shown")]
struct ShownInfo {
    scale: f64,
    offset: f64,
}

impl RowInfo {
    fn new(row: &Row, Shown { scale, offset }: Shown) -> Self {
        RowInfo {
            timestep: row.timestep,
            alpha_cumprod: row.alpha_cumprod,
            signal: row.signal,
            shown: ShownInfo { scale, offset },
            x0_from_x: row.x0_from_x,
            x0_from_model: row.x0_from_model,
            clip: row.clip,
            thresholded: row.threshold.is_some(),
            learned_sigma: row.learned_sigma.is_some(),
            prev_from_x: row.prev.x,
            prev_from_model: row.prev.model,
            prev_from_x0: row.prev.x0,
            prev_from_noise: row.prev.noise,
            prev_from_kept: row.prev.kept.to_vec(),
        }
    }
}

#[wasm_bindgen(typescript_custom_section)]
const FRAME: &str = "
/**
 * What an evaluation made: x_t-1, in the sampler's own scale, and x̂0, both [N, C, H, W]; of a run that a classifier guides also what
 * that says of x_t: the gradient of log p by it, [N, C, H, W], not scaled, and the logits of all classes, [N, K].
 */
export interface Frame {
    step: number;
    x: Float32Array<ArrayBuffer>;
    x0: Float32Array<ArrayBuffer>;
    gradient?: Float32Array<ArrayBuffer>;
    logits?: Float32Array<ArrayBuffer>;
    /** Evaluations that came together took equally long. */
    milliseconds: number;
}
";

/// A run from noise to images.
#[wasm_bindgen]
pub struct Run {
    pub(super) sampler: Sampler,
}

#[wasm_bindgen]
impl Run {
    /// Has the run end before evaluation `row`, of which [`Run::snapshot`] then tells.
    pub fn end_at(&mut self, row: usize) {
        self.sampler.end_at(row);
    }

    /// The table: one object an evaluation, with its timestep, ᾱ and coefficients.
    #[wasm_bindgen(unchecked_return_type = "Row[]")]
    pub fn rows(&self) -> std::result::Result<JsValue, JsValue> {
        let schedule = self.sampler.schedule();
        let rows = schedule.rows.iter().enumerate();
        to_js(&rows.map(|(i, row)| RowInfo::new(row, schedule.shown(i))).collect::<Vec<_>>())
    }

    /// What the run begins with, x_T or the x_t of a snapshot, in the sampler's own scale: `[N, C, H, W]`.
    #[wasm_bindgen(unchecked_return_type = "Float32Array<ArrayBuffer>")]
    pub fn initial(&self) -> Float32Array {
        Float32Array::from(self.sampler.initial().data.as_slice())
    }

    /// What the next evaluation made, or `undefined` after the last.
    ///
    /// # Errors
    /// When the device was lost, or another run began.
    #[wasm_bindgen(unchecked_return_type = "Frame | undefined")]
    pub async fn next(&mut self) -> std::result::Result<JsValue, JsValue> {
        let Some(Frame { step, prev, x0, classification, seconds }) = self.sampler.next().await? else {
            return Ok(JsValue::UNDEFINED);
        };
        let frame = Object::new();
        for (key, value) in [
            ("step", step.into()),
            ("x", Float32Array::from(prev.data.as_slice()).into()),
            ("x0", Float32Array::from(x0.data.as_slice()).into()),
            ("milliseconds", (1e3 * seconds).into()),
        ] {
            Reflect::set(&frame, &key.into(), &value)?;
        }
        if let Some(Classification { gradient, logits }) = classification {
            for (key, tensor) in [("gradient", gradient), ("logits", logits)] {
                Reflect::set(&frame, &key.into(), &Float32Array::from(tensor.data.as_slice()))?;
            }
        }
        Ok(frame.into())
    }

    /// Where the run stands after the evaluations that were begun; the frames of some of them may still have to be asked for.
    ///
    /// # Errors
    /// When the device was lost, or another run began.
    #[wasm_bindgen(unchecked_return_type = "Snapshot")]
    pub async fn snapshot(&mut self) -> std::result::Result<JsValue, JsValue> {
        snapshot::to_js(&self.sampler.snapshot().await?)
    }
}
