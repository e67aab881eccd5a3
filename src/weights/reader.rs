//! Strict reading of a safetensors file, piece by piece as it arrives.

use std::collections::VecDeque;

use super::Weights;
use super::header::{self, AwaitedTensor, DTYPES, Dtype};
use crate::{Error, Result, Tensor};

/// Bytes of the number that a file begins with: the length of its header.
const LENGTH: usize = 8;
/// The longest header that is read, as in the `safetensors` library.
const LONGEST_HEADER: u64 = 100_000_000;
/// What to do about a file that is not what it should be.
const AGAIN: &str = "It may be cut off or damaged: download it again.";

/// Reads a safetensors file of `f32`, `f64`, `f16`, `bf16` or 8-bit float tensors in pieces of any size. What is wrong is said as soon as
/// it has arrived, and of the bytes only those of an unfinished tensor are kept.
#[derive(Default)]
pub struct WeightsReader {
    /// How many bytes have arrived.
    length: usize,
    /// Those of the part that is not complete yet.
    bytes: Vec<u8>,
    awaited: Awaited,
    tensors: Vec<(String, Tensor)>,
}

/// The part of a file that arrives next.
#[derive(Default)]
enum Awaited {
    /// The length of the header.
    #[default]
    Length,
    /// The header, of so many bytes.
    Header(usize),
    /// The first of these tensors.
    Tensors(VecDeque<AwaitedTensor>),
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
        Err(self.incomplete())
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
            Awaited::Header(_) => {
                Err(Error::Weights(format!("ends within its header ({} bytes in all). {AGAIN}", self.length)))
            }
            Awaited::Tensors(tensors) if !tensors.is_empty() => Err(self.incomplete()),
            Awaited::Tensors(_) => Ok(Weights { tensors: self.tensors }),
        }
    }

    /// How many bytes the part has that arrives next; `None` after the last.
    fn next_part(&self) -> Option<usize> {
        match &self.awaited {
            Awaited::Length => Some(LENGTH),
            Awaited::Header(size) => Some(*size),
            Awaited::Tensors(tensors) => tensors.front().map(|tensor| tensor.offsets[1] - tensor.offsets[0]),
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
                    return Err(Error::Weights(format!(
                        "says its header is over 100 MB long, so it is damaged or not safetensors. {AGAIN}"
                    )));
                }
                self.bytes.clear();
                self.awaited = Awaited::Header(length as usize);
            }
            Awaited::Header(_) => {
                self.awaited = Awaited::Tensors(header::read(&self.bytes)?.into());
                self.bytes.clear();
            }
            Awaited::Tensors(tensors) => {
                if let Some(AwaitedTensor { path, dtype, shape, wanted: Some(wanted), .. }) = tensors.pop_front() {
                    let tensor = Tensor::new(&shape, decode(&path, dtype, &self.bytes)?)?;
                    self.tensors.push((wanted, tensor));
                }
                self.bytes.clear();
            }
        }
        Ok(())
    }

    fn incomplete(&self) -> Error {
        let length = self.length;
        Error::Weights(format!("does not have the length its header promises ({length} bytes are here). {AGAIN}"))
    }
}

/// The elements of a tensor as `f32`, which must be finite. The bytes need not be aligned.
fn decode(name: &str, dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>> {
    let halves = || bytes.as_chunks().0.iter().copied();
    let data: Vec<f32> = match dtype {
        Dtype::F32 => bytes.as_chunks().0.iter().copied().map(f32::from_le_bytes).collect(),
        Dtype::F64 => bytes.as_chunks().0.iter().copied().map(|b| f64::from_le_bytes(b) as f32).collect(),
        Dtype::F16 => halves().map(|b| half::f16::from_le_bytes(b).to_f32()).collect(),
        Dtype::Bf16 => halves().map(|b| half::bf16::from_le_bytes(b).to_f32()).collect(),
        Dtype::F8E5M2 => bytes.iter().map(|&b| half::f16::from_bits(u16::from(b) << 8).to_f32()).collect(),
        Dtype::F8E4M3 => bytes.iter().map(|&b| from_e4m3(b)).collect(),
        other => {
            return Err(Error::Weights(format!(
                "has {name} of dtype {}; {DTYPES} are supported. Convert the model with \
                 `model.to(torch.float32)` before saving it.",
                other.name()
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
