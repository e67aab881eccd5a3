//! What JavaScript sees of the engine. The only code that knows it runs in a browser.
//!
//! The page keeps an [`Engine`] in a worker; an engine takes over a model that a [`Loading`] read, and starts [`Run`]s of it.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use js_sys::{Object, Reflect, Uint8Array};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::backend::Gpu;
use crate::check;
use crate::config::{ClassEmbedType, PredictionType, SchedulerKind, TimestepSpacing, VarianceType};
use crate::model_files::{self, Listed};
use crate::plan::Step;
use crate::sampler::Plans;
use crate::schedule::{Row, StepOptions};
use crate::tuning::Tuning;
use crate::unet::WeightsFile;
use crate::{Backend, Error, Frame, Layout, Pipeline, Precision, Prepared, Result, Sampler, Settings, Share, Tensor};

/// Finds the U-Nets among the files of a folder, `{ path, class_name }[]` with the class that a `config.json` says if that was
/// read: `{ networks: [{ folder, config, model_index, scheduler, card, variants: [{ name, files, index }] }], problem: string | null }`, the
/// best choice first. Without networks `problem` says why.
///
/// # Errors
/// When it is given something else.
#[wasm_bindgen]
pub fn find_model(files: JsValue) -> std::result::Result<JsValue, JsValue> {
    let files: Vec<Listed> = serde_wasm_bindgen::from_value(files)?;
    to_js(&model_files::find(&files))
}

/// What a `config.json` is of, by its own words or, where it is too old to say, by what it has; nothing if it is damaged.
#[wasm_bindgen]
pub fn class_of(config: &str) -> Option<String> {
    model_files::class_of(config)
}

/// Where the files of a model may be on a server that does not list its folders, in the order to look for them.
#[wasm_bindgen]
pub fn model_paths() -> Vec<String> {
    model_files::candidates()
}

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
    prepared: Rc<Prepared>,
}

#[derive(Serialize)]
struct BackendInfo<'a> {
    kind: &'static str,
    name: String,
    note: Option<&'a str>,
    /// Whether weights and activations may have 16 bits.
    half: bool,
}

/// How long a model's steps take.
#[derive(Serialize)]
struct Profile {
    layers: Vec<LayerTime>,
}

#[derive(Serialize)]
struct LayerTime {
    name: String,
    op: &'static str,
    milliseconds: f64,
    macs: u64,
    /// See [`Step::bytes_moved`].
    bytes: u64,
}

/// What a check found.
#[derive(Serialize)]
struct CheckInfo<'a> {
    device: String,
    tolerance: f64,
    ok: bool,
    output_error: f64,
    layers: &'a [check::Layer],
    worst: &'a check::Layer,
}

#[derive(Serialize)]
struct ModelInfo<'a> {
    title: &'a str,
    description: &'a str,
    credits: &'a str,
    licence: &'a str,
    class_names: Vec<String>,
    class_count: usize,
    class_kind: Option<&'static str>,
    null_class: Option<usize>,
    guidance: Option<f64>,
    width: usize,
    height: usize,
    channels: usize,
    condition_channels: usize,
    notes: Vec<String>,
    parameters: usize,
    precision: &'static str,
    prediction_type: PredictionType,
    num_train_timesteps: usize,
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

/// What a model needs.
#[derive(Serialize)]
struct Requirements {
    parameters: usize,
    width: usize,
    height: usize,
    weight_bytes: u64,
    value_bytes: u64,
    /// How much there is, where that is known.
    available_bytes: Option<u64>,
    /// Why it cannot be run, if it cannot.
    problem: Option<String>,
}

/// Options of [`Loading::new`] and [`Engine::requirements`].
#[derive(Deserialize)]
struct LoadOptions {
    count: usize,
    #[serde(default)]
    precision: PrecisionChoice,
    /// Whether the network is evaluated twice an image, as guidance needs.
    #[serde(default)]
    guided: bool,
}

/// What weights and activations are kept in.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PrecisionChoice {
    /// 16 bits where the device has them and the model is large.
    #[default]
    Auto,
    F32,
    F16,
}

/// Weights of more bytes than this are large.
const LARGE: u64 = 128 << 20;

impl PrecisionChoice {
    fn choose(self, backend: &Backend, parameters: usize) -> Precision {
        let half = backend.gpu().is_some_and(Gpu::half);
        match self {
            PrecisionChoice::F32 => Precision::F32,
            PrecisionChoice::F16 => Precision::F16,
            PrecisionChoice::Auto if half && 4 * parameters as u64 > LARGE => Precision::F16,
            PrecisionChoice::Auto => Precision::F32,
        }
    }
}

/// The small files of a model folder.
#[wasm_bindgen]
extern "C" {
    /// `{ config: string, model_index?: string | null, scheduler: string | null, card: string | null }`
    pub type Files;
    #[wasm_bindgen(method, getter)]
    fn config(this: &Files) -> String;
    #[wasm_bindgen(method, getter)]
    fn model_index(this: &Files) -> Option<String>;
    #[wasm_bindgen(method, getter)]
    fn scheduler(this: &Files) -> Option<String>;
    #[wasm_bindgen(method, getter)]
    fn card(this: &Files) -> Option<String>;
}

/// A model folder on its way to an engine: compiled while its weights arrive, which are packed and uploaded tensor by tensor.
#[wasm_bindgen]
pub struct Loading {
    backend: Backend,
    settings: Settings,
    pipeline: RefCell<Pipeline>,
    /// Once all is compiled.
    prepared: OnceCell<Rc<Prepared>>,
    file: RefCell<WeightsFile>,
    /// How often tensors were taken back.
    restarts: Cell<usize>,
}

#[wasm_bindgen]
impl Loading {
    /// Reads the small files of a model folder, to make `{ count }` images at a time.
    ///
    /// # Errors
    /// When they do not fit together or are not supported.
    #[wasm_bindgen(constructor)]
    pub fn new(engine: &Engine, files: Files, options: JsValue) -> std::result::Result<Loading, JsValue> {
        let LoadOptions { count, precision, .. } = serde_wasm_bindgen::from_value(options)?;
        check_count(count)?;
        let pipeline = pipeline(&files)?;
        let precision = precision.choose(&engine.backend, pipeline.unet().parameters());
        Ok(Loading {
            backend: engine.backend.clone(),
            settings: Settings { scheduler: Some(pipeline.any_scheduler()), count, precision, ..Settings::default() },
            pipeline: RefCell::new(pipeline),
            prepared: OnceCell::new(),
            file: RefCell::default(),
            restarts: Cell::default(),
        })
    }

    /// Makes everything ready that does not need the weights, which may arrive meanwhile. `progress` is called with
    /// `"compile"` and how many shaders of how many are compiled.
    ///
    /// # Errors
    /// When the device cannot run the model.
    pub async fn compile(&self, progress: &js_sys::Function) -> std::result::Result<(), JsValue> {
        Ok(self.prepare(progress).await?)
    }

    /// A file of weights begins: the only one, or one of several that hold a part each. Of one that began but did not end,
    /// what came is forgotten.
    pub fn begin(&self) {
        let file = self.file.take();
        if !file.received().is_empty() {
            self.restarts.set(self.restarts.get() + 1);
            if let Some(prepared) = self.prepared.get() {
                prepared.outdate();
            }
        }
        self.pipeline.borrow_mut().unet_mut().forget(file.received());
    }

    /// The next bytes of the file.
    ///
    /// # Errors
    /// When they are damaged or not supported, or the file has a tensor that the network has no place for, which its header
    /// tells; the file then has to begin anew.
    pub fn push(&self, bytes: &[u8]) -> std::result::Result<(), JsValue> {
        let received = self.file.borrow_mut().push(self.pipeline.borrow_mut().unet_mut(), bytes)?;
        if received {
            self.upload()?;
        }
        Ok(())
    }

    /// The file is complete.
    ///
    /// # Errors
    /// When it is not.
    pub fn end(&self) -> std::result::Result<(), JsValue> {
        Ok(self.file.borrow_mut().end()?)
    }
}

impl Loading {
    async fn prepare(&self, progress: &js_sys::Function) -> Result<()> {
        let plans = {
            let pipeline = &mut *self.pipeline.borrow_mut();
            let layout = self.settings.layout(pipeline)?;
            Plans::new(&self.backend, pipeline, layout)?
        };
        let restarts = self.restarts.get();
        let mut progress = |done, total| report(progress, "compile", done, total);
        let prepared = Prepared::from_plans(&self.backend, plans, &mut progress).await?;
        if self.restarts.get() != restarts {
            prepared.outdate(); // it may have taken over some of a file that began anew
        }
        self.prepared.get_or_init(|| prepared);
        // What has arrived meanwhile.
        self.upload()
    }

    /// Uploads what has arrived, if there is where to by now.
    fn upload(&self) -> Result<()> {
        self.prepared.get().map_or(Ok(()), |prepared| prepared.upload())
    }

    /// The model, all of which has arrived.
    async fn finish(self, progress: &js_sys::Function) -> Result<Model> {
        report(progress, "parse", 0, 1);
        self.pipeline.borrow_mut().unet_mut().finish()?;
        self.upload()?;
        report(progress, "parse", 1, 1);
        if self.prepared.get().is_none() {
            self.prepare(progress).await?;
        }
        let prepared = self.prepared.into_inner().expect("it has just been compiled");
        Ok(Model { pipeline: self.pipeline.into_inner(), prepared })
    }
}

/// A model of these files, without its weights.
fn pipeline(files: &Files) -> Result<Pipeline> {
    let (scheduler, card) = (files.scheduler(), files.card());
    let pipeline = Pipeline::from_json(&files.config(), scheduler.as_deref(), card.as_deref())?;
    match files.model_index() {
        Some(model_index) => pipeline.with_model_index(&model_index),
        None => Ok(pipeline),
    }
}

/// Tells JavaScript how much of a stage is done.
fn report(progress: &js_sys::Function, stage: &str, done: usize, total: usize) {
    // What the page makes of it is not the engine's concern.
    let _ = progress.call3(&JsValue::NULL, &stage.into(), &done.into(), &total.into());
}

/// The settings of a run, as the page sends them.
#[derive(Deserialize)]
struct RunSettings {
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
    /// `[N or 1, K, H, W]`, for a model that takes one.
    condition: Option<Vec<f32>>,
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

    /// Finds out which variants of the kernels the GPU runs fastest, in less than a second, and uses them for models that
    /// are loaded from now on. The text is for [`Engine::set_tuning`] another time; on the CPU it is empty.
    ///
    /// # Errors
    /// When the GPU was lost.
    pub async fn tune(&self) -> std::result::Result<String, JsValue> {
        let Backend::Gpu(gpu) = &self.backend else { return Ok(String::new()) };
        let tuning = Tuning::measure(gpu).await?;
        gpu.set_tuning(tuning)?;
        Ok(tuning.to_string())
    }

    /// Uses what an earlier [`Engine::tune`] found.
    ///
    /// # Errors
    /// When the text is not from this version of the engine, or for another GPU.
    pub fn set_tuning(&self, tuning: &str) -> std::result::Result<(), JsValue> {
        if let Backend::Gpu(gpu) = &self.backend {
            gpu.set_tuning(tuning.parse()?)?;
        }
        Ok(())
    }

    /// How long each step of a sampling step of the loaded model takes, beside what tells whether that is long: `{ layers:
    /// [{ name, op, milliseconds, macs, bytes }] }`, its multiply-adds and the bytes that it reads and writes at least. On a
    /// GPU it is the median of several measurements, each of as many repetitions as can be measured. Any run ends.
    ///
    /// # Errors
    /// When no model is loaded, or the GPU was lost.
    pub async fn profile(&mut self) -> std::result::Result<JsValue, JsValue> {
        /// Seconds of one measurement of a step on a GPU.
        const LEAST: f64 = 5e-3;

        let Some(model) = &self.model else {
            return Err(Error::Settings("No model is loaded yet.".into()).into());
        };
        model.prepared.begin();
        let executor = model.prepared.executor();
        let times = executor.times(LEAST).await?;
        let layer = |(step, seconds): (&Step, f64)| LayerTime {
            name: step.name.clone(),
            op: step.op.name(),
            milliseconds: 1e3 * seconds,
            macs: step.macs(),
            bytes: step.bytes_moved(),
        };
        to_js(&Profile { layers: executor.plan().steps.iter().zip(times).map(layer).collect() })
    }

    /// `{ kind: "gpu" | "cpu", name: string, note: string | null, half: boolean }`
    pub fn backend(&self) -> std::result::Result<JsValue, JsValue> {
        let (kind, name) = match self.backend.gpu() {
            // Most browsers hide which GPU it is.
            Some(gpu) if gpu.name().is_empty() => ("gpu", "WebGPU".to_string()),
            Some(gpu) => ("gpu", format!("WebGPU · {}", gpu.name())),
            None => ("cpu", "wasm SIMD".to_string()),
        };
        to_js(&BackendInfo { kind, name, note: self.note.as_deref(), half: self.backend.gpu().is_some_and(Gpu::half) })
    }

    /// What a model of these small files needs to make `{ count }` images at a time, `guided` or not, before there are any
    /// weights: `{ parameters, width, height, weight_bytes, value_bytes, available_bytes: number | null, problem: string | null }`.
    ///
    /// # Errors
    /// When the configuration is not supported.
    pub fn requirements(&self, files: Files, options: JsValue) -> std::result::Result<JsValue, JsValue> {
        let LoadOptions { count, precision, guided } = serde_wasm_bindgen::from_value(options)?;
        let mut pipeline = pipeline(&files)?;
        let precision = precision.choose(&self.backend, pipeline.unet().parameters());
        let scheduler = Some(pipeline.any_scheduler());
        let layout = Settings { scheduler, count, precision, ..Settings::default() }.layout(&pipeline)?;
        let plan = pipeline.plan(&Layout { guided, ..layout }, Some(self.backend.fusion()))?;
        let value_bytes = plan.slots.iter().map(|&bytes| bytes as u64).sum();
        to_js(&Requirements {
            parameters: pipeline.unet().parameters(),
            width: layout.width,
            height: layout.height,
            weight_bytes: plan.bytes() - value_bytes,
            value_bytes,
            available_bytes: self.backend.memory(),
            problem: self.backend.check(&plan).err().map(|error| error.to_string()),
        })
    }

    /// Takes over a model whose weights have all arrived; what is not compiled yet is compiled now. `progress` is called
    /// with a stage, `"parse"` or `"compile"`, and how much of it is done. The model loaded before stays until this succeeds.
    ///
    /// # Errors
    /// When a tensor is missing or has no place in the network, or the device cannot run the model.
    pub async fn load(
        &mut self,
        loading: Loading,
        progress: &js_sys::Function,
    ) -> std::result::Result<JsValue, JsValue> {
        let model = loading.finish(progress).await?;
        let info = model_info(&model.pipeline, &model.prepared)?;
        self.model = Some(model);
        Ok(info)
    }

    /// Compares the loaded model on the GPU with the CPU, layer by layer: `{ device, tolerance, ok, output_error, layers:
    /// [{ name, op, error }], worst: { name, op, error } }`. `progress` is called with `"check"` and how many layers of
    /// how many are compared. Any run ends.
    ///
    /// # Errors
    /// When no model is loaded, it does not run on a GPU, or the GPU was lost.
    pub async fn check(&mut self, progress: &js_sys::Function) -> std::result::Result<JsValue, JsValue> {
        let Some(model) = &mut self.model else {
            return Err(Error::Settings("No model is loaded yet.".into()).into());
        };
        let Backend::Gpu(gpu) = &self.backend else {
            return Err(Error::Settings("The model runs on the CPU; there is no GPU to check.".into()).into());
        };
        model.prepared.begin();
        let layout = Layout { count: 1, ..*model.prepared.layout() };
        let plan = model.pipeline.plan(&layout, Some(gpu.fusion()))?;
        let inputs = check::inputs(&model.pipeline, &plan)?;
        let report = check::check(gpu, &plan, &inputs, |done, total| report(progress, "check", done, total)).await?;
        to_js(&CheckInfo {
            device: gpu.name().to_string(),
            tolerance: report.tolerance,
            ok: report.ok,
            output_error: report.output_error,
            layers: &report.layers,
            worst: &report.layers[report.worst],
        })
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
        let precision = model.prepared.layout().precision;
        let settings = Settings { precision, ..settings.settings(&model.pipeline)? };
        check_count(settings.count)?;
        let (layout, _) = settings.check(&model.pipeline)?;
        if layout != *model.prepared.layout() {
            let prepared = Prepared::new(&self.backend, &mut model.pipeline, layout, |_, _| {}).await?;
            model.prepared.begin(); // nobody else will, and an earlier run on it is to end
            model.prepared = prepared;
        }
        Ok(Run { sampler: Sampler::new(&model.pipeline, &model.prepared, &settings)? })
    }
}

impl RunSettings {
    /// The same as the engine has it.
    fn settings(self, pipeline: &Pipeline) -> Result<Settings> {
        let mut changes = serde_json::Map::new();
        if let Some(spacing) = self.timestep_spacing {
            changes.insert("timestep_spacing".into(), serde_json::json!(spacing));
        }
        if let Some(variance) = self.variance_type {
            changes.insert("variance_type".into(), serde_json::json!(variance));
        }
        let changes = serde_json::Value::Object(changes).to_string();
        let scheduler = pipeline.scheduler_file().config(self.sampler, &changes)?;
        let seeds = self.seeds.unwrap_or_else(|| vec![self.seed.unwrap_or(0)]);
        Ok(Settings {
            scheduler: Some(scheduler),
            steps: self.steps,
            options: StepOptions { eta: self.eta, ..StepOptions::default() },
            count: self.count,
            share: self.share,
            seeds,
            class_labels: self.class_labels.unwrap_or_default(),
            guidance: self.guidance.unwrap_or(1.0),
            guidance_rescale: self.guidance_rescale.unwrap_or(0.0),
            condition: self.condition.map(|numbers| condition(pipeline, numbers)).transpose()?,
            ..Settings::default()
        })
    }
}

/// A condition for one image or for each.
fn condition(pipeline: &Pipeline, numbers: Vec<f32>) -> Result<Tensor> {
    let ((height, width), channels) = (pipeline.unet().config().sample_size()?, pipeline.condition_channels());
    let count = numbers.len() / (channels * height * width).max(1);
    Tensor::new(&[count, channels, height, width], numbers)
}

/// The most images of a run: their frames are kept by the page.
const MOST_IMAGES: usize = 256;

fn check_count(count: usize) -> Result<()> {
    if (1..=MOST_IMAGES).contains(&count) {
        return Ok(());
    }
    Err(Error::Settings(format!("{count} images cannot be made at a time; choose 1 to {MOST_IMAGES}.")))
}

fn model_info(pipeline: &Pipeline, prepared: &Prepared) -> std::result::Result<JsValue, JsValue> {
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

/// A row as JavaScript sees it.
#[derive(Serialize)]
struct RowInfo {
    timestep: f64,
    alpha_cumprod: f64,
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

impl From<&Row> for RowInfo {
    fn from(row: &Row) -> Self {
        RowInfo {
            timestep: row.timestep,
            alpha_cumprod: row.alpha_cumprod,
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

    /// `{ step, x, x0, milliseconds }` of the next evaluation, or `undefined` after the last. Evaluations that came together
    /// took equally long.
    ///
    /// # Errors
    /// When the device was lost, or another run began.
    pub async fn next(&mut self) -> std::result::Result<JsValue, JsValue> {
        let Some(Frame { step, prev, x0, seconds }) = self.sampler.next().await? else {
            return Ok(JsValue::UNDEFINED);
        };
        let frame = Object::new();
        for (key, value) in [
            ("step", step.into()),
            ("x", Uint8Array::from(prev.as_slice()).into()),
            ("x0", Uint8Array::from(x0.as_slice()).into()),
            ("milliseconds", (1e3 * seconds).into()),
        ] {
            Reflect::set(&frame, &key.into(), &value)?;
        }
        Ok(frame.into())
    }
}
