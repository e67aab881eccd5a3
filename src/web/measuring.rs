//! What a picture costs a model, as JavaScript sees it: the variational bound and the likelihood.

use std::rc::Rc;

use js_sys::{Float32Array, Function, Object, Reflect};
use serde::Serialize;
use tsify::Tsify;
use wasm_bindgen::prelude::*;

use super::loading::pipeline;
use super::{Engine, Files, to_js};
use crate::bound::{self, Bound, Gradual};
use crate::likelihood::{self, Encoded, Likelihood, Method, Solver};
use crate::random::Generator;
use crate::{Error, Pipeline, Result, Tensor};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = "
/** A mean, and its standard error where that is known. */
export interface Mean { mean: number; standard_error: number | null }
/** The bound of a picture in bits/dim: L_T, the sum of all L_{t−1}, L_0, all together, and the terms by ranges of timesteps, L_0 the first. */
export interface Estimate {
  prior: Mean;
  denoising: Mean;
  decoder: Mean;
  sum: Mean;
  curve: { first: number; last: number; term: Mean }[];
}
/** Where a picture is encoded to, [C, H, W], and what it costs. */
export interface Encoded { bits_per_dim: number; x_t: Float32Array<ArrayBuffer> }
";

/// Why a model has no bound or no likelihood, if it has not.
#[derive(Serialize, Tsify)]
#[tsify(missing_as_null)]
struct Measurable {
    bound: Option<String>,
    likelihood: Option<String>,
}

/// Why the model of these small files has no bound or no likelihood, before its weights are there.
///
/// # Errors
/// When the files cannot be read.
#[wasm_bindgen(unchecked_return_type = "Measurable")]
pub fn measurable(files: Files) -> std::result::Result<JsValue, JsValue> {
    let pipeline = pipeline(&files)?;
    let bound = bound::scheduler(&pipeline, "{}").and_then(|config| bound::terms(&pipeline, &config));
    let likelihood = likelihood::scheduler(&pipeline, "{}").and_then(|config| likelihood::sigmas(&pipeline, &config));
    let problem = |error: Error| error.to_string();
    to_js(&Measurable { bound: bound.err().map(problem), likelihood: likelihood.err().map(problem) })
}

/// The variational bound of a picture, computed at ever more timesteps.
#[wasm_bindgen]
pub struct BoundRun {
    bound: Bound<Rc<Pipeline>>,
    gradual: Gradual,
    /// `[1, C, H, W]`.
    picture: Tensor,
    class_labels: Vec<f32>,
    batch: usize,
}

#[wasm_bindgen]
impl BoundRun {
    /// Of a picture `[C, H, W]` over [−1, 1], a multiple of 1/127.5 each, and the model that the engine has loaded; `class_labels`
    /// is its class, or as many numbers as the network takes, or empty. Timesteps and noise are drawn from the seed; `batch` of
    /// them are evaluated at a time.
    ///
    /// # Errors
    /// When no model is loaded or it has no bound, the picture does not fit it, or the device has not enough memory.
    pub async fn begin(
        engine: &Engine,
        picture: Vec<f32>,
        class_labels: Vec<f32>,
        seed: f64,
        batch: usize,
    ) -> std::result::Result<BoundRun, JsValue> {
        let pipeline = engine.model()?.pipeline.clone();
        let config = bound::scheduler(&pipeline, "{}")?;
        let picture = as_image(&pipeline, picture)?;
        let bound = Bound::new(&engine.backend, pipeline, &config, batch, size_of(&picture)).await?;
        let prior = bound.prior(&picture)?[0];
        let gradual = Gradual::new(bound.terms().timesteps(), picture.data.len(), prior, seed as u64)?;
        Ok(BoundRun { bound, gradual, picture, class_labels, batch })
    }

    /// How many evaluations there are in all.
    pub fn total(&self) -> usize {
        self.gradual.progress().1
    }

    /// Evaluates the network for the next batch, and tells how many evaluations are done.
    ///
    /// # Errors
    /// When the class does not fit the model, its output is of no use, or the device was lost.
    pub async fn advance(&mut self) -> std::result::Result<usize, JsValue> {
        let drawn = self.gradual.take(self.batch);
        let count = drawn.len();
        if count > 0 {
            let timesteps: Vec<usize> = drawn.iter().map(|one| one.timestep).collect();
            let noise = drawn.into_iter().flat_map(|one| one.noise).collect();
            let shape = [&[count], &self.picture.shape[1..]].concat();
            let images = Tensor::new(&shape, self.picture.data.repeat(count))?;
            let labels = self.class_labels.repeat(count);
            let terms = self.bound.at(&images, &Tensor::new(&shape, noise)?, &timesteps, &labels).await?;
            self.gradual.give(&terms);
        }
        Ok(self.gradual.progress().0)
    }

    /// What is known by now; `null` until there is enough for an estimate.
    ///
    /// # Errors
    /// None.
    #[wasm_bindgen(unchecked_return_type = "Estimate | null")]
    pub fn estimate(&self) -> std::result::Result<JsValue, JsValue> {
        to_js(&self.gradual.estimate())
    }
}

/// The likelihood of a picture by the probability-flow ODE.
#[wasm_bindgen]
pub struct LikelihoodRun {
    likelihood: Likelihood<Rc<Pipeline>>,
    /// Dequantised, `[1, C, H, W]`.
    picture: Tensor,
    probe: Tensor,
    class_labels: Vec<f32>,
}

#[wasm_bindgen]
impl LikelihoodRun {
    /// Of a picture and a class as in [`BoundRun::begin`]; the noise of dequantising and the signs that the trace is estimated
    /// with are drawn from the seed.
    ///
    /// # Errors
    /// When no model is loaded or it has no likelihood, the picture does not fit it, or the device has not enough memory.
    pub async fn begin(
        engine: &Engine,
        picture: Vec<f32>,
        class_labels: Vec<f32>,
        seed: f64,
    ) -> std::result::Result<LikelihoodRun, JsValue> {
        let pipeline = engine.model()?.pipeline.clone();
        let config = likelihood::scheduler(&pipeline, "{}")?;
        let mut generator = Generator::new(seed as u64);
        let picture = likelihood::dequantised(&as_image(&pipeline, picture)?, &mut generator)?;
        let probe = likelihood::probe(&picture.shape, &mut generator)?;
        let likelihood = Likelihood::new(&engine.backend, pipeline, &config, 1, size_of(&picture)).await?;
        Ok(LikelihoodRun { likelihood, picture, probe, class_labels })
    }

    /// Follows the picture to its noise in so many steps of Heun's method, two evaluations each. `evaluated` is called after each.
    ///
    /// # Errors
    /// When there are no steps, the class does not fit the model, its output is of no use, or the device was lost.
    #[wasm_bindgen(unchecked_return_type = "Encoded")]
    pub async fn encode(
        &self,
        steps: usize,
        #[wasm_bindgen(unchecked_param_type = "() => void")] evaluated: &Function,
    ) -> std::result::Result<JsValue, JsValue> {
        let solver = Solver { method: Method::Heun, steps };
        let probes = std::slice::from_ref(&self.probe);
        let tell = || {
            // What the page makes of it is not the engine's concern.
            let _ = evaluated.call0(&JsValue::NULL);
        };
        let encoded = self.likelihood.encode(&self.picture, probes, &self.class_labels, solver, tell).await?;
        let Encoded { x_t, bits_per_dim } = encoded;
        let object = Object::new();
        Reflect::set(&object, &"bits_per_dim".into(), &bits_per_dim[0].into())?;
        Reflect::set(&object, &"x_t".into(), &Float32Array::from(x_t.data.as_slice()))?;
        Ok(object.into())
    }
}

/// A picture as a batch of one.
fn as_image(pipeline: &Pipeline, picture: Vec<f32>) -> Result<Tensor> {
    let (height, width) = pipeline.unet().config().sample_size()?;
    Tensor::new(&[1, pipeline.channels(), height, width], picture)
}

/// Height and width.
fn size_of(image: &Tensor) -> (usize, usize) {
    (image.shape[2], image.shape[3])
}
