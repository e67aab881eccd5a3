//! Writing a safetensors file.

use safetensors::tensor::TensorView;

use crate::{Error, Result, Tensor};

/// The bytes of a safetensors file of these tensors; of what `format` ("pt" is PyTorch's), if its readers ask for that.
///
/// # Errors
/// When the library refuses them, as it does a name that stands twice.
pub fn to_safetensors<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
    format: Option<&str>,
) -> Result<Vec<u8>> {
    let failed = |error| Error::Weights(format!("could not be written: {error}."));
    let views = tensors.map(|(name, tensor)| {
        let bytes: &[u8] = bytemuck::cast_slice(&tensor.data);
        let view = TensorView::new(safetensors::Dtype::F32, tensor.shape.clone(), bytes);
        view.map(|view| (name, view)).map_err(failed)
    });
    let metadata = format.map(|format| [("format".to_string(), format.to_string())].into_iter().collect());
    safetensors::serialize(views.collect::<Result<Vec<_>>>()?, metadata).map_err(failed)
}
