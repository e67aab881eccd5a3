//! The header of a safetensors file: a JSON object that says of each tensor what and where it is
//! (safetensors, README, "Format").
//!
//! It is checked as strictly as the `safetensors` library does, and a test holds the two together. The library itself would
//! be a fiftieth of what a visitor downloads.

use std::fmt;

use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;

use crate::{Error, Result};

/// The types that numbers may have, with their names and bits (safetensors `tensor.rs`).
macro_rules! dtypes {
    ($($variant:ident $name:literal $bits:literal,)*) => {
        /// The type of a tensor's numbers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Dtype {
            $($variant),*
        }

        const NAMED: &[(&str, u64, Dtype)] = &[$(($name, $bits, Dtype::$variant)),*];
    };
}

dtypes! {
    F32 "F32" 32, F16 "F16" 16, Bf16 "BF16" 16, F64 "F64" 64, F8E4M3 "F8_E4M3" 8, F8E5M2 "F8_E5M2" 8,
    I64 "I64" 64, U64 "U64" 64, I32 "I32" 32, U32 "U32" 32, I16 "I16" 16, U16 "U16" 16, I8 "I8" 8, U8 "U8" 8, Bool "BOOL" 8,
    C64 "C64" 64, F4 "F4" 4, F6E2M3 "F6_E2M3" 6, F6E3M2 "F6_E3M2" 6, F8E8M0 "F8_E8M0" 8, F8E4M3Fnuz "F8_E4M3FNUZ" 8,
    F8E5M2Fnuz "F8_E5M2FNUZ" 8,
}

/// The dtypes that are read.
pub(super) const DTYPES: &str = "F32, F64, F16, BF16, F8_E4M3 and F8_E5M2";

impl Dtype {
    /// What the format calls it.
    pub(crate) fn name(self) -> &'static str {
        NAMED.iter().find(|(.., dtype)| *dtype == self).map_or("", |(name, ..)| name)
    }
}

/// A tensor that the header names.
pub struct AwaitedTensor {
    /// Its path in the file.
    pub path: String,
    /// The type of its numbers.
    pub(crate) dtype: Dtype,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Where its bytes begin and end among those of all tensors.
    pub(super) offsets: [usize; 2],
    /// The path under which it is handed out; `None` if its bytes are passed over, whatever they are.
    pub wanted: Option<String>,
}

/// The tensors that a header names, in the order of their data.
///
/// # Errors
/// When it is not such a header, a name stands twice, or the tensors leave a gap or overlap.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<AwaitedTensor>> {
    if bytes.first() != Some(&b'{') {
        return Err(Error::Weights(
            "is not safetensors: its header does not start with '{'. If it is a PyTorch .bin or .ckpt file, save the model \
             again with `save_pretrained(..., safe_serialization=True)`."
                .into(),
        ));
    }
    let invalid = |problem: &dyn fmt::Display| {
        Error::Weights(format!("has a header that is not valid: {problem}. Dtypes {DTYPES} are supported."))
    };
    let text = std::str::from_utf8(bytes).map_err(|error| invalid(&error))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let mut entries = reader.deserialize_map(Entries).map_err(|error| invalid(&error))?;
    reader.end().map_err(|error| invalid(&error))?;
    entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    if let Some([(name, _), _]) = entries.array_windows().find(|[(a, _), (b, _)]| a == b) {
        return Err(invalid(&format_args!("the tensor {name} stands in it twice")));
    }
    let mut tensors: Vec<AwaitedTensor> = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        if name != "__metadata__" {
            tensors.push(tensor(name, &entry).map_err(|problem| invalid(&problem))?);
        } else if !is_metadata(&entry) {
            return Err(invalid(&"its __metadata__ is not one of texts"));
        }
    }
    tensors.sort_unstable_by(|a, b| (a.offsets, &a.path).cmp(&(b.offsets, &b.path)));
    let mut end = 0;
    for tensor in &tensors {
        let AwaitedTensor { path, dtype, shape, offsets, .. } = tensor;
        if offsets[0] != end || offsets[1] < end {
            return Err(Error::Weights(format!(
                "has a header whose data offsets overlap or leave a gap at {path}. It may be damaged: download it again."
            )));
        }
        end = offsets[1];
        let bits = NAMED.iter().find(|(.., named)| named == dtype).map_or(0, |(_, bits, _)| *bits);
        // In 64 bits, of which a page's addresses have half.
        let needed = shape.iter().try_fold(bits, |bits, &dim| bits.checked_mul(dim as u64));
        if needed.is_none() || needed != (end as u64 - offsets[0] as u64).checked_mul(8) {
            return Err(Error::Weights(format!(
                "has {path}, whose shape and dtype do not fit its data offsets. It may be damaged: download it again."
            )));
        }
    }
    Ok(tensors)
}

/// What an entry says of a tensor.
fn tensor(path: String, entry: &Value) -> std::result::Result<AwaitedTensor, String> {
    let wrong = |field: &str| format!("{path} has no {field} that can be read");
    let numbers = |field: &str| -> Option<Vec<usize>> {
        let list = entry.get(field)?.as_array()?;
        list.iter().map(|number| usize::try_from(number.as_u64()?).ok()).collect()
    };
    let name = entry.get("dtype").and_then(Value::as_str).ok_or_else(|| wrong("dtype"))?;
    let (.., dtype) =
        *NAMED.iter().find(|(known, ..)| *known == name).ok_or_else(|| format!("{path} has the dtype {name}"))?;
    let shape = numbers("shape").ok_or_else(|| wrong("shape"))?;
    let offsets = numbers("data_offsets").and_then(|offsets| <[usize; 2]>::try_from(offsets).ok());
    let offsets = offsets.ok_or_else(|| wrong("data_offsets"))?;
    Ok(AwaitedTensor { wanted: Some(path.clone()), path, dtype, shape, offsets })
}

fn is_metadata(entry: &Value) -> bool {
    entry.is_null() || entry.as_object().is_some_and(|texts| texts.values().all(Value::is_string))
}

/// Visits a JSON object and gives all its keys and values, also of a key that stands twice.
struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(entries)
    }
}
