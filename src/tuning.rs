//! Which variant of a kernel is the fastest: by counting, or as a device was seen to run them.

use crate::Shape;
use crate::op::{FusedConv2d, Variant};

/// Which variants of the ops a device runs fastest, by classes of shapes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tuning {
    /// What was found to be the fastest for convolutions of each class.
    convolutions: [Option<Variant>; CLASSES],
    /// Whether reductions are quicker without shared memory.
    pub serial: bool,
}

/// How many classes of convolutions there are.
const CLASSES: usize = 2 * SIZES.len();

/// Pixels of all images together from which on a convolution is of the next class.
const SIZES: [usize; 4] = [0, 256, 1024, 4096];

/// The class of a convolution: whether it is one of 3×3 that keeps the size, and how many pixels it makes.
fn class(op: &FusedConv2d, output: &Shape) -> usize {
    let halo = op.has(Variant::Halo, output);
    let size = SIZES.iter().rposition(|&least| output.rows() >= least).unwrap_or(0);
    usize::from(halo) * SIZES.len() + size
}

impl Tuning {
    /// By counting: for devices whose shared memory is fast.
    pub const STAGED: Tuning = Tuning { convolutions: [None; CLASSES], serial: false };
    /// Without shared memory.
    pub const DIRECT: Tuning = Tuning { convolutions: [Some(Variant::Direct); CLASSES], serial: true };

    /// This variant for every convolution that it can compute.
    pub const fn all(variant: Variant) -> Self {
        Tuning { convolutions: [Some(variant); CLASSES], serial: false }
    }

    /// How a GPU computes this convolution, `[N, H, W, Cout]`.
    pub(crate) fn variant(&self, op: &FusedConv2d, output: &Shape) -> Variant {
        match self.convolutions[class(op, output)] {
            Some(variant) if op.has(variant, output) => variant,
            _ => counted(op, output),
        }
    }
}

/// The variant with the largest tiles that still keep a large GPU busy.
fn counted(op: &FusedConv2d, output: &Shape) -> Variant {
    /// Workgroups that do.
    const BUSY: usize = 128;

    let [n, height, width, _] = *output.dims() else { unreachable!("a convolution gives images") };
    if op.upsample || op.has(Variant::Halo, output) && height.min(width) >= 8 {
        return Variant::Halo;
    }
    let tiles = (n * height * width).div_ceil(64) * output.stride().div_ceil(64);
    if tiles >= BUSY { Variant::LargeGemm } else { Variant::Gemm }
}
