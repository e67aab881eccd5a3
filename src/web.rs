//! What JavaScript sees of the engine. The only code that knows it runs in a browser.
//!
//! The page keeps an [`Engine`] in a worker; an engine loads a model and starts [`Run`]s of it.

use std::rc::Rc;

use js_sys::{Object, Reflect, Uint8Array};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::backend::{Executor, Gpu};
use crate::config::{PredictionType, SchedulerKind, TimestepSpacing, VarianceType};
use crate::schedule::Row;
use crate::{Backend, Error, Frame, Pipeline, Result, Sampler, Settings};

#[wasm_bindgen(start)]
fn start() {
    // A panic is a defect of ours; this puts its message and place where it can be copied from.
    console_error_panic_hook::set_once();
}

impl From<Error> for JsValue {
    fn from(error: Error) -> Self {
        js_sys::Error::new(&error.to_string()).into()
    }
}

/// `value` as a plain JavaScript object; what is absent is `null`.
fn to_js(value: &impl Serialize) -> std::result::Result<JsValue, JsValue> {
    let serializer = serde_wasm_bindgen::Serializer::new().serialize_missing_as_null(true);
    Ok(value.serialize(&serializer)?)
}

/// A device, and the model loaded on it.
#[wasm_bindgen]
pub struct Engine {
    backend: Backend,
    /// Why the CPU does the work, when nobody asked for it.
    note: Option<String>,
    model: Option<Model>,
}

struct Model {
    pipeline: Pipeline,
    executor: Rc<Executor>,
    count: usize,
}

#[derive(Serialize)]
struct BackendInfo<'a> {
    kind: &'static str,
    name: String,
    note: Option<&'a str>,
}

#[derive(Serialize)]
struct ModelInfo<'a> {
    title: &'a str,
    description: &'a str,
    credits: &'a str,
    licence: &'a str,
    class_names: Vec<String>,
    null_class: Option<usize>,
    width: usize,
    height: usize,
    channels: usize,
    parameters: usize,
    prediction_type: PredictionType,
    num_train_timesteps: usize,
    default_sampler: SchedulerKind,
    dispatches: usize,
    /// Multiply-adds of one evaluation for one image.
    macs: u64,
}

/// The files of a model folder.
#[wasm_bindgen]
extern "C" {
    /// `{ config: string, weights: Uint8Array, scheduler: string, card: string | null }`
    pub type Files;
    #[wasm_bindgen(method, getter)]
    fn config(this: &Files) -> String;
    #[wasm_bindgen(method, getter)]
    fn weights(this: &Files) -> Uint8Array;
    #[wasm_bindgen(method, getter)]
    fn scheduler(this: &Files) -> String;
    #[wasm_bindgen(method, getter)]
    fn card(this: &Files) -> Option<String>;
}

/// The settings of a run, as the page sends them.
#[derive(Deserialize)]
struct RunSettings {
    sampler: Option<SchedulerKind>,
    steps: usize,
    #[serde(default)]
    eta: f64,
    seed: u64,
    class_labels: Option<Vec<usize>>,
    count: usize,
    timestep_spacing: Option<TimestepSpacing>,
    variance_type: Option<VarianceType>,
}

#[wasm_bindgen]
impl Engine {
    /// Opens a device: `"gpu"`, `"cpu"`, or `"auto"`, which is the GPU if there is a usable one.
    ///
    /// # Errors
    /// When the GPU was asked for and there is none.
    pub async fn create(backend: &str) -> std::result::Result<Engine, JsValue> {
        let (backend, note) = match backend {
            "cpu" => (Backend::Cpu, None),
            "gpu" => (Backend::Gpu(Gpu::open().await?), None),
            "auto" => match Gpu::open().await {
                Ok(gpu) => (Backend::Gpu(gpu), None),
                Err(error) => {
                    web_sys::console::warn_1(&error.to_string().into());
                    let note = "WebGPU is not available in this browser, so the CPU does the work: the pictures are \
                                the same, they only take longer.";
                    (Backend::Cpu, Some(note.to_string()))
                }
            },
            other => {
                let message = format!("The backend \"{other}\" does not exist; choose auto, gpu or cpu.");
                return Err(Error::Settings(message).into());
            }
        };
        Ok(Engine { backend, note, model: None })
    }

    /// `{ kind: "gpu" | "cpu", name: string, note: string | null }`
    pub fn backend(&self) -> std::result::Result<JsValue, JsValue> {
        let (kind, name) = match self.backend.gpu() {
            // Most browsers hide which GPU it is.
            Some(gpu) if gpu.name().is_empty() => ("gpu", "WebGPU".to_string()),
            Some(gpu) => ("gpu", format!("WebGPU · {}", gpu.name())),
            None => ("cpu", "wasm SIMD".to_string()),
        };
        to_js(&BackendInfo { kind, name, note: self.note.as_deref() })
    }

    /// Loads a model folder's files and makes it ready to sample `count` images at a time. `progress` is called with a
    /// stage, `"parse"` or `"compile"`, and how much of it is done. The model loaded before stays until this succeeds.
    ///
    /// # Errors
    /// When the files are damaged, do not fit together or are not supported, or the device cannot run the model.
    pub async fn load(
        &mut self,
        files: Files,
        count: usize,
        progress: &js_sys::Function,
    ) -> std::result::Result<JsValue, JsValue> {
        let report = |stage: &str, done: usize, total: usize| {
            // What the page makes of it is not the engine's concern.
            let _ = progress.call3(&JsValue::NULL, &stage.into(), &done.into(), &total.into());
        };
        report("parse", 0, 1);
        let weights = files.weights().to_vec();
        let mut pipeline =
            Pipeline::from_files(&files.config(), &weights, &files.scheduler(), files.card().as_deref())?;
        drop(weights);
        report("parse", 1, 1);
        let executor =
            compile(&self.backend, &mut pipeline, count, |done, total| report("compile", done, total)).await?;
        let info = model_info(&pipeline, &executor, count)?;
        self.model = Some(Model { pipeline, executor, count });
        Ok(info)
    }

    /// Begins a run; any earlier one ends.
    ///
    /// # Errors
    /// When no model is loaded or the settings are not possible with it.
    pub async fn start(&mut self, settings: JsValue) -> std::result::Result<Run, JsValue> {
        let settings: RunSettings = serde_wasm_bindgen::from_value(settings)?;
        let Some(model) = &mut self.model else {
            return Err(Error::Settings("No model is loaded yet.".into()).into());
        };
        if settings.count != model.count {
            let executor = compile(&self.backend, &mut model.pipeline, settings.count, |_, _| {}).await?;
            model.executor.begin(); // nobody else will, and an earlier run on it is to end
            model.executor = executor;
            model.count = settings.count;
        }
        let settings = Settings {
            sampler: settings.sampler,
            steps: settings.steps,
            eta: settings.eta,
            seed: settings.seed,
            class_labels: settings.class_labels.unwrap_or_default(),
            timestep_spacing: settings.timestep_spacing,
            variance_type: settings.variance_type,
        };
        Ok(Run { sampler: Sampler::new(&model.pipeline, &model.executor, &settings)? })
    }
}

/// The most images of a run: their frames are kept by the page.
const MOST_IMAGES: usize = 256;

async fn compile(
    backend: &Backend,
    pipeline: &mut Pipeline,
    count: usize,
    progress: impl FnMut(usize, usize),
) -> Result<Rc<Executor>> {
    if !(1..=MOST_IMAGES).contains(&count) {
        return Err(Error::Settings(format!("{count} images cannot be made at a time; choose 1 to {MOST_IMAGES}.")));
    }
    Ok(Rc::new(Executor::for_sampling(backend, pipeline, count, progress).await?))
}

fn model_info(pipeline: &Pipeline, executor: &Executor, count: usize) -> std::result::Result<JsValue, JsValue> {
    let card = pipeline.card();
    let (height, width) = pipeline.unet().config().sample_size()?;
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
        null_class: card.null_class,
        width,
        height,
        channels: pipeline.unet().config().in_channels,
        parameters: pipeline.unet().parameters(),
        prediction_type: pipeline.scheduler().prediction_type,
        num_train_timesteps: pipeline.scheduler().num_train_timesteps,
        default_sampler: pipeline.scheduler().kind,
        dispatches: executor.plan().steps.len(),
        macs: executor.plan().macs() / count as u64,
    })
}

/// A row as JavaScript sees it.
#[derive(Serialize)]
struct RowInfo {
    timestep: f64,
    alpha_cumprod: f64,
    x0_from_x: f64,
    x0_from_model: f64,
    clip: Option<f64>,
    prev_from_x: f64,
    prev_from_model: f64,
    prev_from_x0: f64,
    prev_from_noise: f64,
    /// Weights of what earlier evaluations kept.
    prev_from_kept: Vec<f64>,
}

impl From<&Row> for RowInfo {
    fn from(row: &Row) -> Self {
        RowInfo {
            timestep: row.timestep,
            alpha_cumprod: row.alpha_cumprod,
            x0_from_x: row.x0_from_x,
            x0_from_model: row.x0_from_model,
            clip: row.clip,
            prev_from_x: row.prev.x,
            prev_from_model: row.prev.model,
            prev_from_x0: row.prev.x0,
            prev_from_noise: row.prev.noise,
            prev_from_kept: row.prev.kept.to_vec(),
        }
    }
}

/// A run from noise to images.
#[wasm_bindgen]
pub struct Run {
    sampler: Sampler,
}

#[wasm_bindgen]
impl Run {
    /// The table: one object an evaluation, with its timestep, ᾱ and coefficients.
    pub fn rows(&self) -> std::result::Result<JsValue, JsValue> {
        to_js(&self.sampler.schedule().rows.iter().map(RowInfo::from).collect::<Vec<_>>())
    }

    /// x_T as RGBA8, image after image.
    pub fn initial(&self) -> Uint8Array {
        Uint8Array::from(self.sampler.initial().as_slice())
    }

    /// `{ step, x, x0, milliseconds }` of the next evaluation, or `undefined` after the last.
    ///
    /// # Errors
    /// When the device was lost, or another run began.
    pub async fn next(&mut self) -> std::result::Result<JsValue, JsValue> {
        let begin = now();
        let Some(Frame { step, prev, x0 }) = self.sampler.next().await? else {
            return Ok(JsValue::UNDEFINED);
        };
        let frame = Object::new();
        for (key, value) in [
            ("step", step.into()),
            ("x", Uint8Array::from(prev.as_slice()).into()),
            ("x0", Uint8Array::from(x0.as_slice()).into()),
            ("milliseconds", (now() - begin).into()),
        ] {
            Reflect::set(&frame, &key.into(), &value)?;
        }
        Ok(frame.into())
    }
}

/// Milliseconds since some fixed moment, in a page or a worker.
fn now() -> f64 {
    let global = js_sys::global();
    let performance = match global.dyn_ref::<web_sys::WorkerGlobalScope>() {
        Some(worker) => worker.performance(),
        None => global.dyn_ref::<web_sys::Window>().and_then(web_sys::Window::performance),
    };
    performance.map_or(0.0, |performance| performance.now())
}
