//! A run of training, as JavaScript sees it.

use js_sys::{Object, Reflect, Uint8Array, Uint32Array};
use serde::Serialize;
use tsify::Tsify;
use wasm_bindgen::prelude::*;

use super::run::{Run, RunSettings};
use super::{Engine, check_count, report, to_js};
use crate::dataset::Dataset;
use crate::training::{self, Checkpoint, Recipe};
use crate::{Error, Pipeline, Settings, Weights};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** What a network learns from. */
export interface Images {
  /** Images, channels, height, width. */
  shape: [number, number, number, number];
  /** In that order, a byte a number: 0 is −1, 255 is 1. */
  pixels: Uint8Array;
  /** The class of each, if they have classes. */
  labels: Uint32Array | null;
  /** What the classes are called; may be empty. */
  names: string[];
}
/** Bytes of files by their names. */
export type FilesByName = Record<string, Uint8Array<ArrayBuffer>>;
"#;

#[wasm_bindgen]
extern "C" {
    /// What a network learns from.
    #[wasm_bindgen(typescript_type = "Images")]
    pub type Images;
    #[wasm_bindgen(method, getter)]
    fn shape(this: &Images) -> Vec<usize>;
    #[wasm_bindgen(method, getter)]
    fn pixels(this: &Images) -> Uint8Array;
    #[wasm_bindgen(method, getter)]
    fn labels(this: &Images) -> Option<Uint32Array>;
    #[wasm_bindgen(method, getter)]
    fn names(this: &Images) -> Vec<String>;

    /// Bytes of files by their names.
    #[wasm_bindgen(typescript_type = "FilesByName")]
    pub type FilesByName;
}

/// A step of training.
#[derive(Serialize, Tsify)]
#[tsify(missing_as_null)]
struct LearnedStep {
    /// How many steps were taken by now.
    step: u64,
    /// The loss of the step before it, the mean over its batch.
    loss: Option<f32>,
    /// The rate that it learned with.
    learning_rate: f64,
}

/// Of an image.
#[derive(Serialize, Tsify)]
struct Size {
    channels: usize,
    height: usize,
    width: usize,
}

/// A network that learns (Ho et al. 2020, Algorithm 1), on the device of an [`Engine`].
#[wasm_bindgen]
pub struct Learner {
    learner: training::Learner,
}

#[wasm_bindgen]
impl Learner {
    /// A run that begins. What `recipe` does not say is as in `denoise train`; its `config`, if there is one, tells the network.
    /// With `tune` that begins with the weights of the engine's model, whose files the recipe then has. `progress` is called with
    /// `"compile"` and how many shaders of how many are compiled.
    ///
    /// # Errors
    /// When recipe and images do not fit together, or the device cannot do it.
    pub async fn begin(
        engine: &Engine,
        #[wasm_bindgen(unchecked_param_type = "Partial<Recipe>")] recipe: JsValue,
        images: Images,
        tune: bool,
        #[wasm_bindgen(unchecked_param_type = "Progress")] progress: &js_sys::Function,
    ) -> Result<Learner, JsValue> {
        let recipe = Recipe::with(serde_wasm_bindgen::from_value(recipe)?)?;
        if recipe.classifier.is_some() {
            return Err(Error::Settings("Classifiers are taught by the command denoise train.".into()).into());
        }
        let dataset = dataset(&images)?;
        let recipe = recipe.for_dataset(&dataset)?;
        let network = recipe.pipeline()?;
        let dataset = fitted(dataset, &network)?;
        let network = match (tune, &engine.model) {
            (false, _) => None,
            (true, Some(model)) => Some(with_weights(network, model.pipeline.unet().all_tensors().await?)?),
            (true, None) => return Err(Error::Settings("No model is loaded yet.".into()).into()),
        };
        let mut progress = |done, total| report(progress, "compile", done, total);
        let learner = training::Learner::begin(&engine.backend, recipe, dataset, network, &mut progress).await?;
        Ok(Learner { learner })
    }

    /// A run that goes on from the files of a checkpoint, over the same images.
    ///
    /// # Errors
    /// As [`Learner::begin`], and when the files are damaged or of other images.
    pub async fn resume(
        engine: &Engine,
        checkpoint: FilesByName,
        images: Images,
        #[wasm_bindgen(unchecked_param_type = "Progress")] progress: &js_sys::Function,
    ) -> Result<Learner, JsValue> {
        let checkpoint = read(&checkpoint)?;
        let dataset = fitted(dataset(&images)?, &checkpoint.recipe.pipeline()?)?;
        let mut progress = |done, total| report(progress, "compile", done, total);
        let learner = training::Learner::resume(&engine.backend, &checkpoint, dataset, &mut progress).await?;
        Ok(Learner { learner })
    }

    /// What was asked for, and what follows from it and the images.
    ///
    /// # Errors
    /// None.
    #[wasm_bindgen(unchecked_return_type = "Recipe")]
    pub fn recipe(&self) -> Result<JsValue, JsValue> {
        to_js(self.learner.recipe())
    }

    /// The size of the network's images.
    ///
    /// # Errors
    /// None.
    #[wasm_bindgen(unchecked_return_type = "Size")]
    pub fn size(&self) -> Result<JsValue, JsValue> {
        let pipeline = self.learner.pipeline()?;
        let (height, width) = pipeline.unet().config().sample_size()?;
        to_js(&Size { channels: pipeline.channels(), height, width })
    }

    /// How many steps were taken.
    pub fn step_count(&self) -> f64 {
        self.learner.trainer().step_count() as f64
    }

    /// Takes a step.
    ///
    /// # Errors
    /// When the device was lost.
    #[wasm_bindgen(unchecked_return_type = "LearnedStep")]
    pub async fn step(&mut self) -> Result<JsValue, JsValue> {
        let learning_rate = self.learner.trainer().learning_rate();
        let loss = self.learner.step().await?;
        to_js(&LearnedStep { step: self.learner.trainer().step_count(), loss, learning_rate })
    }

    /// The loss of the last step, if it was not asked for before.
    ///
    /// # Errors
    /// When the device was lost.
    pub async fn finish(&mut self) -> Result<Option<f32>, JsValue> {
        Ok(self.learner.finish().await?)
    }

    /// All that the run goes on with but for its images; `undefined` if its numbers have become infinite.
    ///
    /// # Errors
    /// When the device was lost.
    #[wasm_bindgen(unchecked_return_type = "FilesByName | undefined")]
    pub async fn checkpoint(&self) -> Result<JsValue, JsValue> {
        match self.learner.checkpoint().await? {
            Some(checkpoint) => by_name(&checkpoint.files),
            None => Ok(JsValue::UNDEFINED),
        }
    }

    /// Begins to sample the moving average of what was learned so far. Any earlier run of it ends, and so does this one with the
    /// next step.
    ///
    /// # Errors
    /// When the settings are not possible with the model, or the device was lost.
    pub async fn start(
        &mut self,
        #[wasm_bindgen(unchecked_param_type = "RunRequest")] settings: JsValue,
    ) -> Result<Run, JsValue> {
        let settings: RunSettings = serde_wasm_bindgen::from_value(settings)?;
        let settings: Settings = settings.settings(self.learner.pipeline()?)?;
        check_count(settings.count)?;
        Ok(Run { sampler: self.learner.sampler(&settings).await? })
    }
}

/// The pipeline that a checkpoint has learned, as files by their paths in its folder: diffusers' `DDPMPipeline.from_pretrained`
/// loads it, and so does this engine.
///
/// # Errors
/// When the files are damaged.
#[wasm_bindgen(unchecked_return_type = "FilesByName")]
pub fn learned_model(checkpoint: FilesByName) -> Result<JsValue, JsValue> {
    by_name(&read(&checkpoint)?.model()?)
}

/// Images as the engine has them.
fn dataset(images: &Images) -> Result<Dataset, JsValue> {
    let found = images.shape();
    let shape = <[usize; 4]>::try_from(&found[..])
        .map_err(|_| Error::Settings(format!("The images are {found:?}; expected [N, C, H, W].")))?;
    let labels = images.labels().map(|labels| labels.to_vec());
    Ok(Dataset::new(shape, images.pixels().to_vec(), labels, images.names())?)
}

/// Images as the network takes them.
fn fitted(dataset: Dataset, network: &Pipeline) -> Result<Dataset, JsValue> {
    let config = network.unet().config();
    let (height, width) = config.sample_size()?;
    Ok(dataset.fitted(config.in_channels, height, width)?)
}

/// A network that has these weights.
fn with_weights(mut pipeline: Pipeline, weights: Weights) -> Result<Pipeline, JsValue> {
    pipeline.unet_mut().receive_all(weights)?;
    Ok(pipeline)
}

/// A checkpoint out of its files.
fn read(files: &FilesByName) -> Result<Checkpoint, Error> {
    Checkpoint::read(|name| {
        let file = Reflect::get(files, &name.into()).ok().and_then(|bytes| bytes.dyn_into::<Uint8Array>().ok());
        file.map(|bytes| bytes.to_vec()).ok_or_else(|| Error::State(format!("The checkpoint has no {name}.")))
    })
}

/// Files as JavaScript has them.
fn by_name(files: &[(String, Vec<u8>)]) -> Result<JsValue, JsValue> {
    let object = Object::new();
    for (name, bytes) in files {
        Reflect::set(&object, &name.as_str().into(), &Uint8Array::from(bytes.as_slice()))?;
    }
    Ok(object.into())
}
