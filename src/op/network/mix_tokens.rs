//! Linear combinations of an image's pixels.

use bytemuck::{Pod, Zeroable};

use super::{Backward, Differentiable, Kernel, Op, SumRows, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Error, Result, Shape};

/// `Σⱼ M[i, j] · x[n, j] + e[i]` of every channel alike: I tokens made of the J pixels of an image (a linear layer over tokens, as
/// token mixing has it; Tolstikhin et al. 2021, equation 1). With one row of 1 / J it is their mean, with I = J + 1 rows that and
/// the pixels themselves, with a row that is 1 in one place that pixel.
///
/// Inputs: x `[N, H, W, C]`, or `[N, C]`, which is one pixel; M `[I, J]`, or if it is `transposed` `[J, I]`, of which nothing is
/// learned; and e `[I, C]`, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct MixTokens {
    /// Whether M is to be read with its rows as columns.
    pub transposed: bool,
    /// Height and width of the output, `[N, height, width, C]`; `None` is the one token, `[N, C]`.
    pub size: Option<[usize; 2]>,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    /// `vec4`s of a run of channels.
    row: u32,
    /// I.
    made: u32,
    /// J.
    given: u32,
    /// How far apart in M two numbers of neighbouring i are, and two of neighbouring j.
    by_made: u32,
    by_given: u32,
    pad: [u32; 2],
}

impl MixTokens {
    /// I and J.
    fn tokens(&self, matrix: &Shape) -> [usize; 2] {
        match (matrix.dims(), self.transposed) {
            (&[given, made], true) => [made, given],
            (&[made, given], false) => [made, given],
            _ => [0, 0],
        }
    }

    /// How far apart in M two numbers of neighbouring i are, and two of neighbouring j.
    fn steps(&self, matrix: &Shape) -> [usize; 2] {
        if self.transposed { [1, matrix.stride()] } else { [matrix.stride(), 1] }
    }
}

impl Op for MixTokens {
    fn name(&self) -> &'static str {
        "mix_tokens"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x, matrix, ref added @ ..] = *inputs else { unreachable!("mix_tokens has two or three inputs") };
        let [made, given] = self.tokens(matrix);
        let [height, width] = self.size.unwrap_or([1, 1]);
        let fits_added = |channels: usize| added.iter().all(|added| added.dims() == [made, channels]);
        match *x.dims() {
            [n, h, w, c] if h * w == given && height * width == made && fits_added(c) => Ok(self.shape(n, c)),
            [n, c] if given == 1 && height * width == made && fits_added(c) => Ok(self.shape(n, c)),
            _ => {
                let found = inputs.iter().map(|shape| shape.to_string()).collect::<Vec<_>>().join(", ");
                let expected =
                    format!("{given} pixels, a matrix that makes {} of them, and a row for each", height * width);
                Err(Error::shape(self.name(), expected, found))
            }
        }
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("mix_tokens has one output") };
        let [x, matrix, ref added @ ..] = *inputs else { unreachable!("mix_tokens has two or three inputs") };
        let [made, given] = self.tokens(matrix.shape);
        let [by_made, by_given] = self.steps(matrix.shape);
        output.write_rows(|row, out| {
            let (image, i) = (row / made, row % made);
            match added.first() {
                Some(added) => out.copy_from_slice(added.row(i)),
                None => out.fill(0.0),
            }
            for j in 0..given {
                let weight = matrix.data[i * by_made + j * by_given];
                // Most of them are, where tokens are the pixels themselves.
                if weight != 0.0 {
                    out.iter_mut().zip(x.row(image * given + j)).for_each(|(out, x)| *out += weight * x);
                }
            }
        });
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let [made, given] = self.tokens(inputs[1]);
        let [by_made, by_given] = self.steps(inputs[1]);
        let params = Params {
            len: len as u32,
            row: (output.stride() / 4) as u32,
            made: made as u32,
            given: given as u32,
            by_made: by_made as u32,
            by_given: by_given as u32,
            pad: [0; 2],
        };
        Kernel::flat(shader!("mix_tokens"), &params, len).with("added", u32::from(inputs.len() == 3))
    }

    fn macs(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        let [_, given] = self.tokens(inputs[1]);
        (given * output.rows() * output.channels()) as u64
    }
}

impl MixTokens {
    fn shape(&self, images: usize, channels: usize) -> Shape {
        match self.size {
            Some([height, width]) => Shape::new(&[images, height, width, channels]),
            None => Shape::new(&[images, channels]),
        }
    }
}

impl Differentiable for MixTokens {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let (x, matrix) = (graph.shape(backward.inputs[0]).clone(), backward.inputs[1]);
        let size = match *x.dims() {
            [_, height, width, _] => Some([height, width]),
            _ => None,
        };
        let turned = MixTokens { transposed: !self.transposed, size };
        let mut gradients = vec![None; backward.inputs.len()];
        let name = |i: usize| format!("{}.gradient.{i}", backward.name);
        if let (Some(&added), Some(true)) = (backward.inputs.get(2), backward.wanted.get(2)) {
            // It is added in every image.
            let shape = graph.shape(added).clone();
            gradients[2] = Some(SumRows::append(graph, &name(2), backward.gradient, 1, shape)?);
        }
        if backward.wanted[0] {
            gradients[0] = Some(graph.op(&name(0), turned, &[backward.gradient, matrix])?);
        }
        Ok(gradients)
    }
}
