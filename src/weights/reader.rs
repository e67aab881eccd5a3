//! Strict reading of a safetensors file, piece by piece as it arrives.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use safetensors::tensor::{Dtype, Metadata, SafeTensorError, SafeTensors, TensorInfo};
use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};

use super::Weights;
use crate::{Error, Result, Tensor};

/// Bytes of the number that a file begins with: the length of its header.
const LENGTH: usize = 8;
/// The longest header that the format allows.
const LONGEST_HEADER: u64 = 100_000_000;

/// Reads a safetensors file of `f32`, `f64`, `f16`, `bf16` or 8-bit float tensors in pieces of any size. What is wrong is said as soon as
/// it has arrived, and of the bytes only those of an unfinished tensor are kept.
#[derive(Default)]
pub struct WeightsReader {
    /// How many bytes have arrived.
    length: usize,
    /// Those of the part that is not complete yet.
    bytes: Vec<u8>,
    awaited: Awaited,
    tensors: BTreeMap<String, Tensor>,
}

/// The part of a file that arrives next.
#[derive(Default)]
enum Awaited {
    /// The length of the header.
    #[default]
    Length,
    /// That number and the header, which are so many bytes together.
    Header(usize),
    /// The first of these tensors.
    Tensors(VecDeque<AwaitedTensor>),
}

/// A tensor that the header names.
pub struct AwaitedTensor {
    /// Its path in the file.
    pub path: String,
    /// Its dtype, and where its bytes are.
    info: TensorInfo,
    /// The path under which it is handed out; `None` if its bytes are passed over, whatever they are.
    pub wanted: Option<String>,
}

impl AwaitedTensor {
    /// Its dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.info.shape
    }

    /// The type of its numbers.
    pub fn dtype(&self) -> Dtype {
        self.info.dtype
    }
}

impl WeightsReader {
    /// Takes the bytes of the file that follow those so far.
    ///
    /// # Errors
    /// When they are malformed, repeat a name, hold another dtype, or a number that is not finite. Nothing more can then
    /// be read.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        let rest = self.push_header(bytes)?;
        self.push_while(rest, |_| true)?;
        Ok(())
    }

    /// Takes those of the bytes that belong to the header, and gives back the others. What is wanted of the tensors can then
    /// be said of [`WeightsReader::awaited`], before the first of them is read.
    ///
    /// # Errors
    /// When the header is malformed or repeats a name.
    pub fn push_header<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        self.push_while(bytes, |awaited| !matches!(awaited, Awaited::Tensors(_)))
    }

    /// Takes bytes for as long as a part of this kind is awaited: those that are left.
    fn push_while<'a>(&mut self, mut bytes: &'a [u8], is_wanted: impl Fn(&Awaited) -> bool) -> Result<&'a [u8]> {
        while let Some(size) = self.next_part()
            && is_wanted(&self.awaited)
        {
            let (part, rest) = bytes.split_at(bytes.len().min(size - self.bytes.len()));
            self.length += part.len();
            self.bytes.extend_from_slice(part);
            bytes = rest;
            if self.bytes.len() < size {
                return Ok(bytes);
            }
            self.complete()?;
        }
        if bytes.is_empty() || self.next_part().is_some() {
            return Ok(bytes);
        }
        self.length += bytes.len();
        Err(self.error(&SafeTensorError::MetadataIncompleteBuffer))
    }

    /// The tensors that are still to arrive, once the header has.
    pub fn awaited(&mut self) -> Option<&mut VecDeque<AwaitedTensor>> {
        match &mut self.awaited {
            Awaited::Tensors(tensors) => Some(tensors),
            Awaited::Length | Awaited::Header(_) => None,
        }
    }

    /// Hands out the tensors that are complete, and keeps none of them: [`WeightsReader::finish`] gives the others.
    pub fn take(&mut self) -> Weights {
        Weights { tensors: std::mem::take(&mut self.tensors) }
    }

    /// The tensors, once the whole file has been pushed.
    ///
    /// # Errors
    /// When it is truncated.
    pub fn finish(self) -> Result<Weights> {
        match &self.awaited {
            Awaited::Length => Err(Error::Weights(format!(
                "is only {} bytes long; a safetensors file starts with the 8-byte length of its header. It may be cut \
                 off: download it again.",
                self.length
            ))),
            Awaited::Header(_) => Err(self.error(&SafeTensorError::InvalidHeaderLength)),
            Awaited::Tensors(tensors) if !tensors.is_empty() => {
                Err(self.error(&SafeTensorError::MetadataIncompleteBuffer))
            }
            Awaited::Tensors(_) => Ok(Weights { tensors: self.tensors }),
        }
    }

    /// How many bytes the part has that arrives next; `None` after the last.
    fn next_part(&self) -> Option<usize> {
        match &self.awaited {
            Awaited::Length => Some(LENGTH),
            Awaited::Header(size) => Some(*size),
            Awaited::Tensors(tensors) => {
                tensors.front().map(|AwaitedTensor { info, .. }| info.data_offsets.1 - info.data_offsets.0)
            }
        }
    }

    /// Reads the part that has arrived.
    fn complete(&mut self) -> Result<()> {
        match &mut self.awaited {
            Awaited::Length => {
                let length = self.bytes.iter().rev().fold(0, |length, &byte| length << 8 | u64::from(byte));
                if self.bytes.starts_with(b"version ") {
                    return Err(Error::Weights(
                        "is a pointer of git-lfs that stands for the weights. Fetch them, with `git lfs install` and `git \
                         lfs pull`, or download the file from its page."
                            .into(),
                    ));
                }
                if length > LONGEST_HEADER {
                    return Err(self.error(&SafeTensorError::HeaderTooLarge));
                }
                // The `safetensors` crate reads both together.
                self.awaited = Awaited::Header(LENGTH + length as usize);
            }
            Awaited::Header(_) => {
                self.awaited = Awaited::Tensors(self.header()?);
                self.bytes.clear();
            }
            Awaited::Tensors(tensors) => {
                if let Some(AwaitedTensor { path, info, wanted: Some(wanted) }) = tensors.pop_front() {
                    let tensor = Tensor::new(&info.shape, decode(&path, info.dtype, &self.bytes)?)?;
                    self.tensors.insert(wanted, tensor);
                }
                self.bytes.clear();
            }
        }
        Ok(())
    }

    /// The tensors that the header names, in the order of their data. Besides what the `safetensors` crate checks, no
    /// name may stand twice (the last would win), and the header must start with `{`, as the format demands.
    fn header(&self) -> Result<VecDeque<AwaitedTensor>> {
        let json = &self.bytes[LENGTH..];
        if json.first() != Some(&b'{') {
            return Err(Error::Weights(
                "is not safetensors: its header does not start with '{'. If it is a PyTorch .bin or .ckpt file, save \
                 the model again with `save_pretrained(..., safe_serialization=True)`."
                    .into(),
            ));
        }
        let invalid = |error| Error::Weights(format!("has a header that is not valid: {error}."));
        // The `safetensors` crate says it too, but reads a text: two kinds of readers would be compiled.
        let text = std::str::from_utf8(json)
            .map_err(|error| Error::Weights(format!("has a header that is not valid: {error}.")))?;
        serde_json::Deserializer::from_str(text).deserialize_map(UniqueKeys).map_err(invalid)?;
        // Of a header by itself everything is checked but whether its data are there.
        match SafeTensors::read_metadata(&self.bytes) {
            Ok(_) | Err(SafeTensorError::MetadataIncompleteBuffer) => {}
            Err(error) => return Err(self.error(&error)),
        }
        let header: Metadata = serde_json::from_str(text).map_err(invalid)?;
        let tensors = header.offset_keys().into_iter().filter_map(|name| {
            let info = header.info(&name)?.clone();
            Some(AwaitedTensor { wanted: Some(name.clone()), path: name, info })
        });
        Ok(tensors.collect())
    }

    /// What the `safetensors` crate would say of the file.
    fn error(&self, error: &SafeTensorError) -> Error {
        Error::Weights(explain(error, self.length))
    }
}

/// The elements of a tensor as `f32`, which must be finite. The bytes need not be aligned.
fn decode(name: &str, dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>> {
    let halves = || bytes.as_chunks().0.iter().copied();
    let data: Vec<f32> = match dtype {
        Dtype::F32 => bytes.as_chunks().0.iter().copied().map(f32::from_le_bytes).collect(),
        Dtype::F64 => bytes.as_chunks().0.iter().copied().map(|b| f64::from_le_bytes(b) as f32).collect(),
        Dtype::F16 => halves().map(|b| half::f16::from_le_bytes(b).to_f32()).collect(),
        Dtype::BF16 => halves().map(|b| half::bf16::from_le_bytes(b).to_f32()).collect(),
        Dtype::F8_E5M2 => bytes.iter().map(|&b| half::f16::from_bits(u16::from(b) << 8).to_f32()).collect(),
        Dtype::F8_E4M3 => bytes.iter().map(|&b| from_e4m3(b)).collect(),
        other => {
            return Err(Error::Weights(format!(
                "has {name} of dtype {other:?}; {DTYPES} are supported. Convert the model with \
                 `model.to(torch.float32)` before saving it."
            )));
        }
    };
    match data.iter().position(|x| !x.is_finite()) {
        None => Ok(data),
        Some(at)
            if dtype == Dtype::F64
                && bytes.as_chunks().0.get(at).is_some_and(|&b| f64::from_le_bytes(b).is_finite()) =>
        {
            Err(Error::Weights(format!(
                "has a value beyond the range of 32 bits at element {at} of {name}. It may come from a training run that \
                 diverged; use an earlier checkpoint."
            )))
        }
        Some(at) => Err(Error::Weights(format!(
            "has a value that is not a finite number: {} at element {at} of {name}. It may come from a training run \
             that diverged; use an earlier checkpoint.",
            data[at]
        ))),
    }
}

/// The dtypes that are read.
const DTYPES: &str = "F32, F64, F16, BF16, F8_E4M3 and F8_E5M2";

/// A number of 8 bits with four of them for the exponent, which has no infinities (Micikevicius et al. 2022, Table 1).
fn from_e4m3(byte: u8) -> f32 {
    let (exponent, fraction) = (i32::from(byte >> 3 & 15), f32::from(byte & 7) / 8.0);
    let size = match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => fraction / 64.0,
        _ => (1.0 + fraction) * 2_f32.powi(exponent - 7),
    };
    size.copysign(f32::from(byte as i8))
}

/// Visits a JSON object and fails at a key that stands twice.
struct UniqueKeys;

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value::<IgnoredAny>()?;
            if let Some(key) = seen.replace(key) {
                return Err(serde::de::Error::custom(format!("the tensor {key} stands in it twice")));
            }
        }
        Ok(())
    }
}

/// A sentence's end for what the `safetensors` crate found wrong with a file of `length` bytes.
fn explain(error: &SafeTensorError, length: usize) -> String {
    const AGAIN: &str = "It may be cut off or damaged: download it again.";
    match error {
        SafeTensorError::HeaderTooSmall | SafeTensorError::InvalidHeaderLength => {
            format!("ends within its header ({length} bytes in all). {AGAIN}")
        }
        SafeTensorError::MetadataIncompleteBuffer => {
            format!("does not have the length its header promises ({length} bytes are here). {AGAIN}")
        }
        SafeTensorError::InvalidOffset(name) => {
            format!("has a header whose data offsets overlap or leave a gap at {name}. {AGAIN}")
        }
        SafeTensorError::TensorInvalidInfo => {
            format!("has a tensor whose shape and dtype do not fit its data offsets. {AGAIN}")
        }
        SafeTensorError::HeaderTooLarge => {
            format!("says its header is over 100 MB long, so it is damaged or not safetensors. {AGAIN}")
        }
        SafeTensorError::InvalidHeader(_) | SafeTensorError::InvalidHeaderDeserialization(_) => {
            format!("has a header that is not valid: {error}. Dtypes {DTYPES} are supported.")
        }
        other => format!("is not valid safetensors: {other}."),
    }
}
