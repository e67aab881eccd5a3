//! What a page is told of a loaded model.

use serde::Serialize;
use tsify::Tsify;
use wasm_bindgen::JsValue;

use super::to_js;
use crate::config::{ClassEmbedType, Family, PredictionType, SchedulerKind};
use crate::schedule::alphas_cumprod;
use crate::{Pipeline, Precision, Prepared};

#[derive(Serialize, Tsify)]
#[tsify(missing_as_null, rename = "Model")]
struct ModelInfo<'a> {
    title: &'a str,
    description: &'a str,
    credits: &'a str,
    licence: &'a str,
    class_names: Vec<String>,
    class_count: usize,
    /// Whether a class is one of a list, any number, or several numbers.
    #[tsify(type = "'label' | 'number' | 'vector' | null")]
    class_kind: Option<&'static str>,
    null_class: Option<usize>,
    /// How many classes the classifier tells apart that runs may be guided by, if it was loaded.
    classifier_classes: Option<usize>,
    guidance: Option<f64>,
    width: usize,
    height: usize,
    channels: usize,
    condition_channels: usize,
    notes: Vec<String>,
    parameters: usize,
    #[tsify(type = "'f32' | 'f16'")]
    precision: &'static str,
    prediction_type: PredictionType,
    num_train_timesteps: usize,
    /// ᾱ of each of these times; none for a model whose noise is counted otherwise.
    alphas_cumprod: Vec<f64>,
    /// What the model's own scheduler is called in settings, where it can be used.
    own_sampler: Option<&'static str>,
    /// Why it cannot be used, if it cannot.
    scheduler_problem: Option<String>,
    /// The samplers that the model can be sampled with, its own first.
    samplers: Vec<&'static str>,
    /// How many steps to begin with.
    default_steps: usize,
    /// How many LCM and TCD can take at most.
    original_inference_steps: usize,
    dispatches: usize,
    /// Multiply-adds of one evaluation for one image.
    macs: u64,
    /// Bytes that the weights and the values of a run take on the device.
    bytes: u64,
}

pub(super) fn model_info(pipeline: &Pipeline, prepared: &Prepared) -> std::result::Result<JsValue, JsValue> {
    let (card, layout, plan) = (pipeline.card(), prepared.layout(), prepared.executor().plan());
    let (config, scheduler) = (pipeline.unet().config(), pipeline.any_scheduler());
    // Without a card a class is called by its label.
    let class_names = match card.class_names.as_slice() {
        [] => (0..pipeline.classes()).map(|label| label.to_string()).collect(),
        names => names.to_vec(),
    };
    to_js(&ModelInfo {
        title: &card.title,
        description: &card.description,
        credits: &card.credits,
        licence: &card.licence,
        class_names,
        class_count: pipeline.classes(),
        class_kind: match (config.class_embed_type, config.num_class_embeds) {
            (Some(ClassEmbedType::Timestep), _) => Some("number"),
            (Some(ClassEmbedType::Identity), _) => Some("vector"),
            (None, Some(_)) => Some("label"),
            (None, None) => None,
        },
        null_class: card.null_class,
        classifier_classes: pipeline.classifier().ok().map(|classifier| classifier.classes()),
        guidance: card.guidance,
        width: layout.width,
        height: layout.height,
        channels: pipeline.channels(),
        condition_channels: pipeline.condition_channels(),
        notes: pipeline.notes(),
        parameters: pipeline.unet().parameters(),
        precision: match layout.precision {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
        },
        prediction_type: scheduler.prediction_type,
        num_train_timesteps: scheduler.num_train_timesteps,
        alphas_cumprod: match scheduler.kind.family() {
            Family::Beta if scheduler.prediction_type != PredictionType::FlowPrediction => alphas_cumprod(&scheduler),
            _ => Vec::new(),
        },
        own_sampler: pipeline.scheduler().ok().map(|own| own.kind.short_name()),
        // Which others there are the menu of samplers says.
        scheduler_problem: pipeline.scheduler().err().map(|error| {
            match error.to_string().split_once("; this model can") {
                Some((problem, _)) => format!("{problem}."),
                None => error.to_string(),
            }
        }),
        samplers: pipeline.scheduler_file().kinds().into_iter().map(SchedulerKind::short_name).collect(),
        default_steps: scheduler.default_steps(),
        original_inference_steps: scheduler.original_inference_steps,
        dispatches: plan.steps.len(),
        macs: plan.macs() / layout.count as u64,
        bytes: plan.bytes(),
    })
}
