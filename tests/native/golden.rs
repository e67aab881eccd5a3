//! Reading golden values, and how far from them is too far.

use std::collections::HashMap;

use denoise::Tensor;
use safetensors::tensor::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;

/// A path in the repository: where it was built, or the folder that DENOISE_REPOSITORY names. A test binary that is
/// carried to another machine (`./build.sh bench --pack`) needs the latter, with the files that its tests read.
#[cfg(not(target_arch = "wasm32"))]
pub fn path(relative: &str) -> std::path::PathBuf {
    let repository = std::env::var_os("DENOISE_REPOSITORY").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    std::path::PathBuf::from(repository).join(relative)
}

/// The bytes of a file in the repository.
#[cfg(not(target_arch = "wasm32"))]
pub fn bytes(relative: &str) -> Vec<u8> {
    let path = path(relative);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The bytes of a file in the repository: a browser has only those that the test carries with it.
#[cfg(target_arch = "wasm32")]
pub fn bytes(relative: &str) -> Vec<u8> {
    match relative {
        "tests/golden/cases.json" => include_bytes!("../golden/cases.json").to_vec(),
        "tests/golden/gradients.safetensors" => include_bytes!("../golden/gradients.safetensors").to_vec(),
        "tests/golden/gradients_norm.json" => include_bytes!("../golden/gradients_norm.json").to_vec(),
        "tests/golden/gradients_norm.safetensors" => include_bytes!("../golden/gradients_norm.safetensors").to_vec(),
        "tests/golden/ops.safetensors" => include_bytes!("../golden/ops.safetensors").to_vec(),
        "tests/golden/digits.safetensors" => include_bytes!("../golden/digits.safetensors").to_vec(),
        other => panic!("{other} is not carried into the browser"),
    }
}

/// The text of a file in the repository.
pub fn text(relative: &str) -> String {
    String::from_utf8(bytes(relative)).unwrap()
}

/// A list in `tests/golden`.
pub fn list<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let list: Vec<T> = serde_json::from_str(&text(&format!("tests/golden/{name}.json"))).unwrap();
    assert!(!list.is_empty(), "{name}.json lists nothing");
    list
}

/// One golden tensor, widened to `f64`.
pub struct Array {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl Array {
    pub fn tensor(&self) -> Tensor {
        Tensor::new(&self.shape, self.data.iter().map(|&x| x as f32).collect()).unwrap()
    }
}

/// The tensors of a file in `tests/golden`.
pub struct Golden(HashMap<String, Array>);

impl Golden {
    pub fn load(name: &str) -> Self {
        let bytes = bytes(&format!("tests/golden/{name}.safetensors"));
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let arrays = file.iter().map(|(key, view)| {
            let data = view.data();
            let data = match view.dtype() {
                Dtype::F32 => data.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect(),
                Dtype::F64 => data.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect(),
                Dtype::I64 => data.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f64).collect(),
                Dtype::U8 => data.iter().map(|&b| f64::from(b)).collect(),
                other => panic!("{key} is {other:?}"),
            };
            (key.to_string(), Array { shape: view.shape().to_vec(), data })
        });
        Golden(arrays.collect())
    }

    pub fn get(&self, key: &str) -> &Array {
        self.find(key).unwrap_or_else(|| panic!("no golden {key}"))
    }

    pub fn find(&self, key: &str) -> Option<&Array> {
        self.0.get(key)
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// ‖actual − expected‖ / ‖expected‖.
pub fn relative_error(actual: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len(), "lengths");
    let norm = |it: &mut dyn Iterator<Item = f64>| it.map(|x| x * x).sum::<f64>().sqrt();
    let error = norm(&mut actual.iter().zip(expected).map(|(&a, e)| f64::from(a) - e));
    let scale = norm(&mut expected.iter().copied());
    if error == 0.0 { 0.0 } else { error / scale }
}

/// Asserts that `actual` is within `tolerance` of `expected` by [`relative_error`], and returns that error.
#[track_caller]
pub fn assert_close(what: &str, actual: &[f32], expected: &[f64], tolerance: f64) -> f64 {
    let error = relative_error(actual, expected);
    assert!(error <= tolerance, "{what}: relative error {error:.2e} is over {tolerance:.0e}"); // NaN fails too
    error
}

/// `f32`s as `f64`s.
pub fn widen(data: &[f32]) -> Vec<f64> {
    data.iter().map(|&x| f64::from(x)).collect()
}
