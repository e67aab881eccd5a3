//! `model_index.json`: which pipeline a folder is, and of which classes its parts (diffusers `pipelines/pipeline_utils.py`).

use crate::{Error, Result};

const FILE: &str = "model_index.json";

/// What of a `model_index.json` counts for sampling.
#[derive(Clone, Debug)]
pub struct ModelIndex {
    /// The class of the scheduler that the pipeline samples with, whatever its `scheduler_config.json` says.
    pub scheduler: Option<String>,
}

impl ModelIndex {
    /// Reads a `model_index.json`.
    ///
    /// # Errors
    /// When it is not a JSON object, or of a pipeline whose network does not make pictures.
    pub fn from_json(json: &str) -> Result<Self> {
        let object = super::object(FILE, json)?;
        let class_of = |part: &str| object.get(part)?.get(1)?.as_str();
        let pipeline = object.get("_class_name").and_then(|class| class.as_str()).unwrap_or_default();
        if let Some(part) = ["vae", "vqvae", "movq"].into_iter().find(|part| class_of(part).is_some()) {
            let problem = format!(
                "{pipeline} makes latents, which its {part} turns into pictures; that is not read here. Its unet/ folder \
                 by itself can be loaded, and shows the latents."
            );
            return Err(Error::Config { file: FILE, problem });
        }
        // Two pipelines take the configuration of whatever scheduler there is over into their own.
        let scheduler = match pipeline {
            "DDIMPipeline" => Some("DDIMScheduler"),
            "PNDMPipeline" => Some("PNDMScheduler"),
            _ => class_of("scheduler"),
        };
        Ok(ModelIndex { scheduler: scheduler.map(String::from) })
    }
}
