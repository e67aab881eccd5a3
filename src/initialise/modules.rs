//! The modules of torch that networks are made of, each with the weights that it begins with.

use crate::random::Generator;
use crate::{Result, Tensor};

/// The tensors of modules, in the order in which torch makes these.
pub(super) struct Modules<'a> {
    pub(super) generator: &'a mut Generator,
    pub(super) tensors: Vec<(String, Tensor)>,
}

impl Modules<'_> {
    /// `nn.Conv2d`: `[out, channels, kernel, kernel]` and `[out]`.
    pub(super) fn conv(&mut self, path: &str, channels: usize, out: usize, kernel: usize) -> Result<()> {
        self.layer(path, &[out, channels, kernel, kernel])
    }

    /// `nn.Linear`: `[out, channels]` and `[out]`.
    pub(super) fn linear(&mut self, path: &str, channels: usize, out: usize) -> Result<()> {
        self.layer(path, &[out, channels])
    }

    /// A layer with a weight of this shape, `[out, …]`, and a bias, `[out]`.
    pub(super) fn layer(&mut self, path: &str, shape: &[usize]) -> Result<()> {
        self.weight(path, shape)?;
        self.bias(path, shape[0], shape[1..].iter().product())
    }

    /// The weight of a layer: `kaiming_uniform_(weight, a=math.sqrt(5))`, which is U(−1/√n, 1/√n) of the `n` numbers that
    /// make one of its outputs, but for what PyTorch rounds on its way there.
    pub(super) fn weight(&mut self, path: &str, shape: &[usize]) -> Result<()> {
        let fan_in = shape[1..].iter().product::<usize>() as f64;
        let slope = 5_f64.sqrt();
        let gain = (2.0 / (1.0 + slope * slope)).sqrt();
        let bound = 3_f64.sqrt() * (gain / fan_in.sqrt());
        self.uniform(&format!("{path}.weight"), shape, bound)
    }

    /// The bias of a layer, drawn right after its weight: U(−1/√n, 1/√n).
    fn bias(&mut self, path: &str, out: usize, fan_in: usize) -> Result<()> {
        self.uniform(&format!("{path}.bias"), &[out], 1.0 / (fan_in as f64).sqrt())
    }

    fn uniform(&mut self, path: &str, shape: &[usize], bound: f64) -> Result<()> {
        let numbers = self.generator.uniform(-bound as f32, bound as f32, shape.iter().product());
        self.put(path, shape, numbers)
    }

    /// `nn.Embedding`: standard normals, `[rows, width]`.
    pub(super) fn embedding(&mut self, path: &str, rows: usize, width: usize) -> Result<()> {
        let numbers = self.generator.randn(rows * width);
        self.put(&format!("{path}.weight"), &[rows, width], numbers)
    }

    /// `nn.GroupNorm`: ones and zeros, nothing drawn.
    pub(super) fn norm(&mut self, path: &str, channels: usize) -> Result<()> {
        self.put(&format!("{path}.weight"), &[channels], vec![1.0; channels])?;
        self.put(&format!("{path}.bias"), &[channels], vec![0.0; channels])
    }

    pub(super) fn put(&mut self, path: &str, shape: &[usize], numbers: Vec<f32>) -> Result<()> {
        self.tensors.push((path.into(), Tensor::new(shape, numbers)?));
        Ok(())
    }
}
