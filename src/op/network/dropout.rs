//! Dropout.

use bytemuck::{Pod, Zeroable};

use super::{Backward, Differentiable, Kernel, Op, View, ViewMut, shader};
use crate::graph::{Graph, ValueId};
use crate::{Error, Result, Shape};

/// `x / (1 − p)` where it is kept, and 0 where it is not, which is so with the probability p and of each number by itself
/// (Srivastava et al. 2014; `torch.nn.Dropout` while it trains).
///
/// Which numbers are kept follows from the seed, the layer and where they lie, by a generator that counts
/// ([`philox`]): the same on every device, and no mask has to be remembered. The gradient is the same op on the gradient.
///
/// Inputs: x, of any shape, and the seed, `[4]` ([`Dropout::seed_row`]), of which nothing is learned.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// p, at least 0 and less than 1.
    pub probability: f64,
    /// Which of those that share a seed it is: each has a mask of its own.
    pub layer: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    /// `vec4`s of the output.
    len: u32,
    layer: u32,
    /// Numbers of 32 bits below this mean that an element is not kept.
    threshold: u32,
    scale: f32,
}

impl Dropout {
    /// A seed as the op takes it: 16 bits a number, which a float holds exactly.
    pub fn seed_row(seed: u64) -> [f32; 4] {
        [0, 16, 32, 48].map(|shift| f32::from((seed >> shift) as u16))
    }

    fn threshold(&self) -> u32 {
        (self.probability * 2_f64.powi(32)).round() as u32
    }

    fn scale(&self) -> f32 {
        (1.0 / (1.0 - self.probability)) as f32
    }
}

/// The `counter`-th four numbers of 32 bits of the sequence of `key`: Philox4x32 with ten rounds (Salmon et al. 2011, "Parallel
/// random numbers: as easy as 1, 2, 3", section 3.3).
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let product = |a: u32, b: u32| u64::from(a) * u64::from(b);
        let (first, second) = (product(0xD251_1F53, counter[0]), product(0xCD9E_8D57, counter[2]));
        let high = |product: u64| (product >> 32) as u32;
        let [_, b, _, d] = counter;
        counter = [high(second) ^ b ^ key[0], second as u32, high(first) ^ d ^ key[1], first as u32];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [x, seed] = *inputs else { unreachable!("dropout has two inputs") };
        if seed.dims() != [4] {
            return Err(Error::shape(self.name(), "a seed [4]", seed));
        }
        Ok(x.clone())
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output] = outputs else { unreachable!("dropout has one output") };
        let [x, seed] = *inputs else { unreachable!("dropout has two inputs") };
        let part = |i: usize| seed.data[i] as u32;
        let key = [part(0) | part(1) << 16, part(2) | part(3) << 16];
        let (threshold, scale) = (self.threshold(), self.scale());
        let fours = x.shape.stride() / 4;
        output.write_rows(|row, out| {
            for (i, (out, x)) in out.chunks_exact_mut(4).zip(x.row(row).chunks_exact(4)).enumerate() {
                let words = philox([(row * fours + i) as u32, self.layer, 0, 0], key);
                for ((out, x), word) in out.iter_mut().zip(x).zip(words) {
                    *out = if word >= threshold { scale * x } else { 0.0 };
                }
            }
        });
    }

    fn kernel(&self, _inputs: &[&Shape], output: &Shape) -> Kernel {
        let len = output.len() / 4;
        let (threshold, scale) = (self.threshold(), self.scale());
        let params = Params { len: len as u32, layer: self.layer, threshold, scale };
        Kernel::flat(shader!("dropout"), &params, len)
    }
}

impl Differentiable for Dropout {
    fn gradient(&self, graph: &mut Graph, backward: &Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let seed = backward.inputs[1];
        let name = format!("{}.gradient", backward.name);
        let gradient = backward.wanted[0].then(|| graph.op(&name, *self, &[backward.gradient, seed])).transpose()?;
        Ok(vec![gradient, None])
    }
}

#[cfg(test)]
mod tests {
    use super::philox;

    /// Known answers of the authors' own implementation (Random123, `kat_vectors`).
    #[test]
    fn philox_gives_the_known_answers() {
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let answers = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (pi, [0xa409_3822, 0x299f_31d0], [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
        ];
        for (counter, key, expected) in answers {
            assert_eq!(philox(counter, key), expected);
        }
    }
}
