//! Tensors of the host, and how they lie on a device.
//!
//! The host speaks PyTorch's layout: a [`Tensor`] of images is NCHW, without padding. Inside a plan every value is
//! channels-last with its last dimension padded to a multiple of four, so that a shader reads `vec4`s over channels.
//! [`Shape`] describes the latter; [`Tensor::to_device`] and [`Tensor::from_device`] cross between the two.
//!
//! **Invariant**: the padding lanes of every value in a plan are zero. Every op keeps it, and may rely on it.

use std::borrow::Cow;

use half::f16;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How many channels a device value is padded to a multiple of: the width of a WGSL `vec4`.
pub const LANES: usize = 4;

/// `n` rounded up to a multiple of [`LANES`].
pub const fn padded(n: usize) -> usize {
    n.div_ceil(LANES) * LANES
}

/// Puts the i-th number of `from` at `place(i)` of `to`.
pub(crate) fn scatter(from: &[f32], to: &mut [f32], place: impl Fn(usize) -> usize) {
    for (i, &number) in from.iter().enumerate() {
        to[place(i)] = number;
    }
}

/// What a network's activations and weights are on a GPU. Sums are taken in `f32` in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits: half the memory. Not every GPU has it.
    F16,
}

impl Precision {
    /// The largest number of 16 bits.
    pub const LARGEST_F16: f32 = 65_504.0;

    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::F16 => 2,
        }
    }

    /// Numbers as they lie in a GPU's memory, rounded to the nearest of this precision.
    pub fn encode(self, data: &[f32]) -> Cow<'_, [u8]> {
        match self {
            Precision::F32 => bytemuck::cast_slice(data).into(),
            Precision::F16 => data.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
        }
    }

    /// What [`Precision::encode`] gave.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Precision::F32 => bytemuck::pod_collect_to_vec(bytes),
            Precision::F16 => bytes.as_chunks().0.iter().map(|&x| f16::from_le_bytes(x).to_f32()).collect(),
        }
    }
}

/// The dimensions of a value in a plan, channels last: images `[N, H, W, C]`, rows `[N, C]`, lists `[N]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// A shape of these dimensions, channels last.
    pub fn new(dims: &[usize]) -> Self {
        Shape(dims.to_vec())
    }

    /// The dimensions, unpadded.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// The last dimension, unpadded.
    pub fn channels(&self) -> usize {
        self.0.last().copied().unwrap_or(1)
    }

    /// How many runs of channels there are: the product of all dimensions but the last.
    pub fn rows(&self) -> usize {
        self.0.iter().rev().skip(1).product()
    }

    /// The last dimension as it lies on the device.
    pub fn stride(&self) -> usize {
        padded(self.channels())
    }

    /// How many numbers the value takes on the device.
    pub fn len(&self) -> usize {
        self.rows() * self.stride()
    }

    /// As [`Shape::len`], for a shape that may be too large for `usize` to count.
    pub fn checked_len(&self) -> Option<usize> {
        let (&channels, rows) = self.0.split_last()?;
        rows.iter().try_fold(channels.checked_next_multiple_of(LANES)?, |len, &dim| len.checked_mul(dim))
    }

    /// Whether the value has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `[N, H, W, C]`, or an error that names `op`.
    pub fn nhwc(&self, op: &str) -> Result<[usize; 4]> {
        self.0.as_slice().try_into().map_err(|_| Error::shape(op, "images [N, H, W, C]", self))
    }

    /// `[N, C]`, or an error that names `op`.
    pub fn matrix(&self, op: &str) -> Result<[usize; 2]> {
        self.0.as_slice().try_into().map_err(|_| Error::shape(op, "rows [N, C]", self))
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Numbers of the host in PyTorch's layout: images NCHW, convolution weights OIHW, linear weights `[out, in]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The dimensions, slowest first.
    pub shape: Vec<usize>,
    /// The elements, the last dimension running fastest.
    pub data: Vec<f32>,
}

impl Tensor {
    /// A tensor of these elements, or an error when they do not fill the shape.
    pub fn new(shape: &[usize], data: Vec<f32>) -> Result<Self> {
        if shape.iter().product::<usize>() != data.len() {
            return Err(Error::shape("Tensor", format!("{shape:?}"), format!("{} elements", data.len())));
        }
        Ok(Tensor { shape: shape.to_vec(), data })
    }

    /// `[N, C, H, W]` of a tensor of images; `[N, C]` and `[N]` count as images of one pixel (and one channel).
    fn nchw(&self) -> Result<[usize; 4]> {
        match *self.shape {
            [n] => Ok([1, n, 1, 1]),
            [n, c] => Ok([n, c, 1, 1]),
            [n, c, h, w] => Ok([n, c, h, w]),
            _ => Err(Error::shape("Tensor", "[N], [N, C] or [N, C, H, W]", format!("{:?}", self.shape))),
        }
    }

    /// The shape this tensor has in a plan.
    pub fn device_shape(&self) -> Result<Shape> {
        let [n, c, h, w] = self.nchw()?;
        Ok(if self.shape.len() == 4 { Shape::new(&[n, h, w, c]) } else { Shape::new(&self.shape) })
    }

    /// The elements as they lie on a device: channels last, padded with zeros.
    pub fn to_device(&self) -> Result<Vec<f32>> {
        let [n, c, h, w] = self.nchw()?;
        let mut out = vec![0.0; n * h * w * padded(c)];
        for (i, pixels) in self.data.chunks_exact((h * w).max(1)).enumerate() {
            let (image, channel) = (i / c, i % c);
            for (p, &value) in pixels.iter().enumerate() {
                out[(image * h * w + p) * padded(c) + channel] = value;
            }
        }
        Ok(out)
    }

    /// The inverse of [`Tensor::to_device`]: a device value of `shape` in PyTorch's layout.
    pub fn from_device(shape: &Shape, data: &[f32]) -> Result<Self> {
        let (dims, [n, h, w, c]) = match *shape.dims() {
            [n] => (vec![n], [1, 1, 1, n]),
            [n, c] => (vec![n, c], [n, 1, 1, c]),
            [n, h, w, c] => (vec![n, c, h, w], [n, h, w, c]),
            _ => return Err(Error::shape("Tensor", "[N], [N, C] or [N, H, W, C]", shape)),
        };
        let mut out = vec![0.0; n * c * h * w];
        for (i, pixels) in out.chunks_exact_mut((h * w).max(1)).enumerate() {
            let (image, channel) = (i / c, i % c);
            for (p, value) in pixels.iter_mut().enumerate() {
                *value = data[(image * h * w + p) * padded(c) + channel];
            }
        }
        Tensor::new(&dims, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_layout_round_trips() {
        for shape in [vec![5], vec![2, 3], vec![2, 5, 3, 4], vec![1, 4, 1, 1]] {
            let len = shape.iter().product::<usize>();
            let tensor = Tensor::new(&shape, (0..len).map(|i| i as f32 + 1.0).collect()).unwrap();
            let device = tensor.to_device().unwrap();
            let device_shape = tensor.device_shape().unwrap();
            assert_eq!(device.len(), device_shape.len());
            assert_eq!(device.iter().filter(|&&x| x != 0.0).count(), len, "padding lanes are zero");
            assert_eq!(Tensor::from_device(&device_shape, &device).unwrap(), tensor);
        }
    }

    #[test]
    fn a_wrong_number_of_elements_is_an_error() {
        let error = Tensor::new(&[2, 3], vec![0.0; 5]).unwrap_err().to_string();
        assert_eq!(error, "Tensor: expected [2, 3], found 5 elements");
    }
}
