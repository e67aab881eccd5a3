//! What JavaScript sees of the engine. The only code that knows it runs in a browser.
//!
//! The page keeps an [`Engine`] in a worker; an engine takes over a model that a [`Loading`] read, and starts [`Run`]s of it.

#[cfg(feature = "learning")]
mod classifier;
#[cfg(feature = "learning")]
mod learner;
mod loading;
#[cfg(feature = "learning")]
mod measuring;
mod model_info;
mod run;
mod snapshot;

use std::rc::Rc;

use serde::Serialize;
use tsify::Tsify;
use wasm_bindgen::prelude::*;

#[cfg(feature = "learning")]
pub use classifier::ClassifierLoading;
#[cfg(feature = "learning")]
pub use learner::{Learner, learned_model};
pub use loading::{Files, Loading};
#[cfg(feature = "learning")]
pub use measuring::{BoundRun, LikelihoodRun, measurable};
pub use run::Run;
pub use snapshot::join_snapshots;

use loading::{LoadOptions, pipeline};
use model_info::model_info;
use run::RunSettings;

use crate::backend::Gpu;
use crate::check;
use crate::model_files::{self, Listed};
use crate::passes::Fusion;
use crate::plan::Step;
use crate::tuner;
use crate::{Backend, Error, Layout, Pipeline, Prepared, Result, Sampler, Settings, Snapshot};

/// Finds the U-Nets among the files of a folder, with the class that a `config.json` says if that was read; the best choice
/// first. Without networks `problem` says why.
///
/// # Errors
/// When it is given something else.
#[wasm_bindgen(unchecked_return_type = "Found")]
pub fn find_model(
    #[wasm_bindgen(unchecked_param_type = "Listed[]")] files: JsValue,
) -> std::result::Result<JsValue, JsValue> {
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
    pipeline: Rc<Pipeline>,
    prepared: Rc<Prepared>,
}

#[derive(Serialize, Tsify)]
#[tsify(missing_as_null)]
struct BackendInfo<'a> {
    #[tsify(type = "'gpu' | 'cpu'")]
    kind: &'static str,
    name: String,
    note: Option<&'a str>,
    /// Whether weights and activations may have 16 bits.
    half: bool,
}

/// How long a model's steps take.
#[derive(Serialize, Tsify)]
struct Profile {
    layers: Vec<LayerTime>,
}

#[derive(Serialize, Tsify)]
struct LayerTime {
    name: String,
    op: &'static str,
    milliseconds: f64,
    macs: u64,
    /// See [`Step::bytes_moved`].
    bytes: u64,
}

/// What a comparison of the GPU with the CPU found: relative errors.
#[derive(Serialize, Tsify)]
#[tsify(rename = "CheckReport")]
struct CheckInfo<'a> {
    device: String,
    tolerance: f64,
    ok: bool,
    output_error: f64,
    #[tsify(type = "LayerError[]")]
    layers: &'a [check::Layer],
    #[tsify(type = "LayerError")]
    worst: &'a check::Layer,
}

/// What a model needs.
#[derive(Serialize, Tsify)]
#[tsify(missing_as_null)]
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

#[wasm_bindgen(typescript_custom_section)]
const PROGRESS: &str = "
/** Hears how much of a stage is done. */
export type Progress = (stage: 'parse' | 'compile' | 'check', done: number, total: number) => void;
";

/// Tells JavaScript how much of a stage is done.
fn report(progress: &js_sys::Function, stage: &str, done: usize, total: usize) {
    // What the page makes of it is not the engine's concern.
    let _ = progress.call3(&JsValue::NULL, &stage.into(), &done.into(), &total.into());
}

#[wasm_bindgen]
impl Engine {
    /// Opens a device: `"gpu"`, `"cpu"`, or `"auto"`, which is the GPU if there is a usable one.
    ///
    /// # Errors
    /// When the GPU was asked for and there is none.
    pub async fn create(
        #[wasm_bindgen(unchecked_param_type = "'auto' | 'gpu' | 'cpu'")] backend: &str,
    ) -> std::result::Result<Engine, JsValue> {
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
        let tuning = tuner::measure(gpu).await?;
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

    /// How long each step of a sampling step of the loaded model takes, beside what tells whether that is long: its
    /// multiply-adds and the bytes that it reads and writes at least. On a GPU it is the median of several measurements, each
    /// of as many repetitions as can be measured. Any run ends.
    ///
    /// # Errors
    /// When no model is loaded, or the GPU was lost.
    #[wasm_bindgen(unchecked_return_type = "Profile")]
    pub async fn profile(&mut self) -> std::result::Result<JsValue, JsValue> {
        /// Seconds of one measurement of a step on a GPU.
        const LEAST: f64 = 5e-3;

        let model = self.model()?;
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

    /// The device.
    #[wasm_bindgen(unchecked_return_type = "BackendInfo")]
    pub fn backend(&self) -> std::result::Result<JsValue, JsValue> {
        let (kind, name) = match self.backend.gpu() {
            // Most browsers hide which GPU it is.
            Some(gpu) if gpu.name().is_empty() => ("gpu", "WebGPU".to_string()),
            Some(gpu) => ("gpu", format!("WebGPU · {}", gpu.name())),
            None => ("cpu", "wasm SIMD".to_string()),
        };
        to_js(&BackendInfo { kind, name, note: self.note.as_deref(), half: self.backend.gpu().is_some_and(Gpu::half) })
    }

    /// What a model of these small files needs before there are any weights.
    ///
    /// # Errors
    /// When the configuration is not supported.
    #[wasm_bindgen(unchecked_return_type = "Requirements")]
    pub fn requirements(
        &self,
        files: Files,
        #[wasm_bindgen(unchecked_param_type = "LoadOptions")] options: JsValue,
    ) -> std::result::Result<JsValue, JsValue> {
        let LoadOptions { count, precision, guided } = serde_wasm_bindgen::from_value(options)?;
        let pipeline = pipeline(&files)?;
        let precision = precision.choose(&self.backend, pipeline.unet().parameters());
        let scheduler = Some(pipeline.any_scheduler());
        let layout = Settings { scheduler, count, precision, ..Settings::default() }.layout(&pipeline)?;
        let plan = pipeline.plan(&Layout { guided, ..layout }, Some(Fusion::new(self.backend.tuning())))?;
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
    #[wasm_bindgen(unchecked_return_type = "Model")]
    pub async fn load(
        &mut self,
        loading: Loading,
        #[wasm_bindgen(unchecked_param_type = "Progress")] progress: &js_sys::Function,
    ) -> std::result::Result<JsValue, JsValue> {
        let model = loading.finish(progress).await?;
        let info = model_info(&model.pipeline, &model.prepared)?;
        self.model = Some(model);
        Ok(info)
    }

    /// Compares the loaded model on the GPU with the CPU, layer by layer. `progress` is called with `"check"` and how many
    /// layers of how many are compared. Any run ends.
    ///
    /// # Errors
    /// When no model is loaded, it does not run on a GPU, or the GPU was lost.
    #[wasm_bindgen(unchecked_return_type = "CheckReport")]
    pub async fn check(
        &mut self,
        #[wasm_bindgen(unchecked_param_type = "Progress")] progress: &js_sys::Function,
    ) -> std::result::Result<JsValue, JsValue> {
        let Some(model) = &mut self.model else {
            return Err(Error::Settings("No model is loaded yet.".into()).into());
        };
        let Backend::Gpu(gpu) = &self.backend else {
            return Err(Error::Settings("The model runs on the CPU; there is no GPU to check.".into()).into());
        };
        model.prepared.begin();
        let layout = Layout { count: 1, ..*model.prepared.layout() };
        let plan = model.pipeline.plan(&layout, Some(Fusion::new(Some(gpu.tuning()))))?;
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
    pub async fn start(
        &mut self,
        #[wasm_bindgen(unchecked_param_type = "RunRequest")] settings: JsValue,
    ) -> std::result::Result<Run, JsValue> {
        self.begin(settings, None).await
    }

    /// Goes on from where a run stood: with the same settings to the same bits. Others may have another seed (and the snapshot
    /// no generators), class, guidance, η or variance. Any earlier run ends. Of a share's settings the snapshot is that of the
    /// whole batch.
    ///
    /// # Errors
    /// As [`Engine::start`], and when the snapshot is none or does not fit the settings.
    pub async fn resume(
        &mut self,
        #[wasm_bindgen(unchecked_param_type = "RunRequest")] settings: JsValue,
        #[wasm_bindgen(unchecked_param_type = "Snapshot")] snapshot: JsValue,
    ) -> std::result::Result<Run, JsValue> {
        self.begin(settings, Some(snapshot::from_js(&snapshot)?)).await
    }

    async fn begin(&mut self, settings: JsValue, snapshot: Option<Snapshot>) -> std::result::Result<Run, JsValue> {
        let settings: RunSettings = serde_wasm_bindgen::from_value(settings)?;
        let Some(model) = &mut self.model else {
            return Err(Error::Settings("No model is loaded yet.".into()).into());
        };
        let precision = model.prepared.layout().precision;
        let settings = Settings { precision, ..settings.settings(&model.pipeline)? };
        check_count(settings.count)?;
        let (layout, _) = settings.check(&model.pipeline)?;
        if layout != *model.prepared.layout() {
            let prepared = Prepared::new(&self.backend, &model.pipeline, layout, |_, _| {}).await?;
            model.prepared.begin(); // nobody else will, and an earlier run on it is to end
            model.prepared = prepared;
        }
        let Model { pipeline, prepared } = model;
        let sampler = match (snapshot, settings.share) {
            (None, _) => Sampler::new(pipeline, prepared, &settings)?,
            (Some(whole), None) => Sampler::resume(pipeline, prepared, &settings, &whole)?,
            (Some(whole), Some(share)) => {
                Sampler::resume(pipeline, prepared, &settings, &whole.share(share.first, settings.count)?)?
            }
        };
        Ok(Run { sampler })
    }
}

impl Engine {
    /// The loaded model.
    fn model(&self) -> Result<&Model> {
        self.model.as_ref().ok_or_else(|| Error::Settings("No model is loaded yet.".into()))
    }
}

/// The most images of a run: their frames are kept by the page.
const MOST_IMAGES: usize = 256;

fn check_count(count: usize) -> Result<()> {
    if (1..=MOST_IMAGES).contains(&count) {
        return Ok(());
    }
    Err(Error::Settings(format!("{count} images cannot be made at a time; choose 1 to {MOST_IMAGES}.")))
}
