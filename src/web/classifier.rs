//! A classifier on its way to a model that it is to guide.

use std::rc::Rc;

use wasm_bindgen::prelude::*;

use super::Loading;
use crate::classifier::Classifier;
use crate::config::ClassifierConfig;
use crate::unet::WeightsFile;

/// A classifier of noisy images whose weights arrive as those of a model do: [`Loading`] takes it over once they have.
#[wasm_bindgen]
pub struct ClassifierLoading {
    classifier: Classifier,
    file: WeightsFile,
}

#[wasm_bindgen]
impl ClassifierLoading {
    /// Reads its `config.json`.
    ///
    /// # Errors
    /// When it is not supported.
    #[wasm_bindgen(constructor)]
    pub fn new(config: &str) -> std::result::Result<ClassifierLoading, JsValue> {
        let classifier = Classifier::without_weights(ClassifierConfig::from_json(config)?)?;
        Ok(ClassifierLoading { classifier, file: WeightsFile::default() })
    }

    /// A file of weights begins. Of one that began but did not end, what came is forgotten.
    pub fn begin(&mut self) {
        let file = std::mem::take(&mut self.file);
        self.classifier.forget(file.received());
    }

    /// The next bytes of the file.
    ///
    /// # Errors
    /// As [`Loading::push`].
    pub fn push(&mut self, bytes: &[u8]) -> std::result::Result<(), JsValue> {
        self.classifier.push(&mut self.file, bytes)?;
        Ok(())
    }

    /// The file is complete.
    ///
    /// # Errors
    /// When it is not.
    pub fn end(&mut self) -> std::result::Result<(), JsValue> {
        Ok(self.file.end()?)
    }

    /// What a person may want to know of how its files were read.
    pub fn notes(&self) -> Vec<String> {
        self.classifier.notes()
    }
}

#[wasm_bindgen]
impl Loading {
    /// Has the model be guided by a classifier, all of whose weights have arrived.
    ///
    /// # Errors
    /// When a tensor is missing, or it is of other images than the model makes.
    pub fn set_classifier(&self, mut loading: ClassifierLoading) -> std::result::Result<(), JsValue> {
        loading.classifier.finish()?;
        let mut pipeline = self.pipeline.borrow_mut();
        loading.classifier.check_images(pipeline.channels(), pipeline.unet().config().sample_size()?)?;
        Ok(pipeline.set_classifier(Rc::new(loading.classifier))?)
    }
}
