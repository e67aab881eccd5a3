//! A snapshot as JavaScript has it: numbers in typed arrays, so that it can be posted, stored and compared.

use js_sys::{Array, Float32Array, Object, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;

use crate::schedule::REGISTERS;
use crate::{Error, Snapshot, Tensor};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** Where a run stands between two evaluations; it can be posted to other threads, and stored. */
export interface Snapshot {
  /** How many evaluations are done. */
  row: number;
  /** Images, channels, height, width. */
  shape: [number, number, number, number];
  /** x_t in the sampler's own scale, in that order. */
  sample: Float32Array;
  /** What earlier evaluations kept for later ones: several such batches. */
  kept: Float32Array;
  /** States of the random generators, as PyTorch's `get_state()` has them; without any they begin anew from the seed. */
  generators: Uint8Array[];
}
"#;

/// `value` as JavaScript has it.
pub(super) fn to_js(snapshot: &Snapshot) -> Result<JsValue, JsValue> {
    let Snapshot { row, sample, kept, generators } = snapshot;
    let object = Object::new();
    let bytes = |state: &Vec<u8>| JsValue::from(Uint8Array::from(state.as_slice()));
    let shape: Array = sample.shape.iter().map(|&dim| JsValue::from(dim)).collect();
    let values: [(&str, JsValue); 5] = [
        ("row", (*row).into()),
        ("shape", shape.into()),
        ("sample", Float32Array::from(sample.data.as_slice()).into()),
        ("kept", Float32Array::from(kept.data.as_slice()).into()),
        ("generators", generators.iter().map(bytes).collect::<Array>().into()),
    ];
    for (key, value) in values {
        Reflect::set(&object, &key.into(), &value)?;
    }
    Ok(object.into())
}

/// What JavaScript gives as a snapshot. Whether it fits a run is checked when that begins.
pub(super) fn from_js(value: &JsValue) -> Result<Snapshot, JsValue> {
    let no_snapshot = || JsValue::from(Error::State("This is no snapshot of a run.".into()));
    let field = |name: &str| Reflect::get(value, &name.into()).map_err(|_| no_snapshot());
    let numbers = |name: &str| field(name)?.dyn_into().map(|x: Float32Array| x.to_vec()).map_err(|_| no_snapshot());
    let whole = |number: JsValue| number.as_f64().filter(|x| (0.0..1e9).contains(x)).map(|x| x as usize);
    let list = |name: &str| field(name)?.dyn_into::<Array>().map_err(|_| no_snapshot());
    let shape: Option<Vec<usize>> = list("shape")?.iter().map(whole).collect();
    let shape = shape.filter(|shape| shape.len() == 4).ok_or_else(no_snapshot)?;
    let bytes = |state: JsValue| state.dyn_into::<Uint8Array>().map(|state| state.to_vec()).map_err(|_| no_snapshot());
    let tensor = |shape: &[usize], data| Tensor::new(shape, data).map_err(JsValue::from);
    Ok(Snapshot {
        row: whole(field("row")?).ok_or_else(no_snapshot)?,
        sample: tensor(&shape, numbers("sample")?)?,
        kept: tensor(&[&[REGISTERS], &shape[..]].concat(), numbers("kept")?)?,
        generators: list("generators")?.iter().map(bytes).collect::<Result<_, _>>()?,
    })
}

/// The snapshot of a batch of which these are shares, in their order.
///
/// # Errors
/// When they are none, or not of one batch at the same evaluation.
#[wasm_bindgen(unchecked_return_type = "Snapshot")]
pub fn join_snapshots(#[wasm_bindgen(unchecked_param_type = "Snapshot[]")] shares: &Array) -> Result<JsValue, JsValue> {
    let shares = shares.iter().map(|share| from_js(&share)).collect::<Result<Vec<_>, _>>()?;
    to_js(&Snapshot::join(&shares)?)
}
