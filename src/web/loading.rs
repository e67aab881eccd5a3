//! A model on its way to an engine.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use serde::Deserialize;
use tsify::Tsify;
use wasm_bindgen::prelude::*;

use super::{Engine, Model, check_count, report};
use crate::backend::Gpu;
use crate::sampler::prepared::Plans;
use crate::unet::WeightsFile;
use crate::{Backend, Pipeline, Precision, Prepared, Result, Settings};

/// Options of [`Loading::new`] and [`Engine::requirements`].
#[derive(Deserialize, Tsify)]
pub(super) struct LoadOptions {
    pub(super) count: usize,
    #[serde(default)]
    pub(super) precision: PrecisionChoice,
    /// Whether the network is evaluated twice an image, as guidance needs.
    #[serde(default)]
    pub(super) guided: bool,
}

/// What weights and activations are kept in.
#[derive(Clone, Copy, Default, Deserialize, Tsify)]
#[serde(rename_all = "lowercase")]
pub(super) enum PrecisionChoice {
    /// 16 bits where the device has them and the model is large.
    #[default]
    Auto,
    F32,
    F16,
}

/// Weights of more bytes than this are large.
const LARGE: u64 = 128 << 20;

impl PrecisionChoice {
    pub(super) fn choose(self, backend: &Backend, parameters: usize) -> Precision {
        let half = backend.gpu().is_some_and(Gpu::half);
        match self {
            PrecisionChoice::F32 => Precision::F32,
            PrecisionChoice::F16 => Precision::F16,
            PrecisionChoice::Auto if half && 4 * parameters as u64 > LARGE => Precision::F16,
            PrecisionChoice::Auto => Precision::F32,
        }
    }
}

#[wasm_bindgen(typescript_custom_section)]
const FILES: &str = "
/** The small files of a model folder, as text. */
export interface Files {
    config: string;
    model_index?: string | null;
    scheduler: string | null;
    card: string | null;
}
";

#[wasm_bindgen]
extern "C" {
    /// The small files of a model folder.
    #[wasm_bindgen(typescript_type = "Files")]
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
    pub(super) pipeline: RefCell<Pipeline>,
    /// Once all is compiled.
    prepared: OnceCell<Rc<Prepared>>,
    file: RefCell<WeightsFile>,
}

#[wasm_bindgen]
impl Loading {
    /// Reads the small files of a model folder, to make `{ count }` images at a time.
    ///
    /// # Errors
    /// When they do not fit together or are not supported.
    #[wasm_bindgen(constructor)]
    pub fn new(
        engine: &Engine,
        files: Files,
        #[wasm_bindgen(unchecked_param_type = "LoadOptions")] options: JsValue,
    ) -> std::result::Result<Loading, JsValue> {
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
        })
    }

    /// Makes everything ready that does not need the weights, which may arrive meanwhile. `progress` is called with
    /// `"compile"` and how many shaders of how many are compiled.
    ///
    /// # Errors
    /// When the device cannot run the model.
    pub async fn compile(
        &self,
        #[wasm_bindgen(unchecked_param_type = "Progress")] progress: &js_sys::Function,
    ) -> std::result::Result<(), JsValue> {
        Ok(self.prepare(progress).await?)
    }

    /// A file of weights begins: the only one, or one of several that hold a part each. Of one that began but did not end,
    /// what came is forgotten.
    pub fn begin(&self) {
        let file = self.file.take();
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
            let pipeline = self.pipeline.borrow();
            let layout = self.settings.layout(&pipeline)?;
            Plans::new(&self.backend, &pipeline, layout)?
        };
        let mut progress = |done, total| report(progress, "compile", done, total);
        let prepared = Prepared::from_plans(&self.backend, plans, &mut progress).await?;
        self.prepared.get_or_init(|| prepared);
        // What has arrived meanwhile.
        self.upload()
    }

    /// Uploads what has arrived, if there is where to by now.
    fn upload(&self) -> Result<()> {
        self.prepared.get().map_or(Ok(()), |prepared| prepared.upload())
    }

    /// The model, all of which has arrived.
    pub(super) async fn finish(self, progress: &js_sys::Function) -> Result<Model> {
        report(progress, "parse", 0, 1);
        self.pipeline.borrow_mut().unet_mut().finish()?;
        self.upload()?;
        report(progress, "parse", 1, 1);
        if self.prepared.get().is_none() {
            self.prepare(progress).await?;
        }
        let prepared = self.prepared.into_inner().expect("it has just been compiled");
        Ok(Model { pipeline: Rc::new(self.pipeline.into_inner()), prepared })
    }
}

/// A model of these files, without its weights.
pub(super) fn pipeline(files: &Files) -> Result<Pipeline> {
    let (scheduler, card) = (files.scheduler(), files.card());
    let pipeline = Pipeline::from_json(&files.config(), scheduler.as_deref(), card.as_deref())?;
    match files.model_index() {
        Some(model_index) => pipeline.with_model_index(&model_index),
        None => Ok(pipeline),
    }
}
