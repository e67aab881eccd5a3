//! Writing a safetensors file.

use std::collections::BTreeSet;

use safetensors::tensor::TensorView;

use crate::{Error, Result, Tensor};

/// The bytes of a safetensors file of these tensors; of what `format` ("pt" is PyTorch's), if its readers ask for that.
///
/// # Errors
/// When a name stands twice, or the library refuses them.
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
    let views = views.collect::<Result<Vec<_>>>()?;
    let mut names = BTreeSet::new();
    if let Some((name, _)) = views.iter().find(|(name, _)| !names.insert(*name)) {
        return Err(Error::Weights(format!("could not be written: {name} stands in it twice.")));
    }
    let metadata = format.map(|format| [("format".to_string(), format.to_string())].into_iter().collect());
    safetensors::serialize(views, metadata).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_stands_twice_is_refused() {
        let tensor = Tensor::new(&[1], vec![0.5]).unwrap();
        assert!(to_safetensors([("a", &tensor), ("b", &tensor)].into_iter(), None).is_ok());
        assert!(to_safetensors([("a", &tensor), ("a", &tensor)].into_iter(), None).is_err());
    }
}
