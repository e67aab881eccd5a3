//! Which variant of a kernel is the fastest: by counting, or as [`crate::tuner`] found.

use std::fmt;
use std::str::FromStr;

use crate::op::{BUSY, FusedConv2d, Variant};
use crate::{Error, Result, Shape};

/// Which variants of the ops a device runs fastest, by classes of shapes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tuning {
    /// What was found to be the fastest for convolutions of each class.
    pub(crate) convolutions: [Option<Variant>; CLASSES],
    /// Whether reductions are quicker without shared memory.
    pub serial: bool,
}

/// How many classes of convolutions there are.
const CLASSES: usize = 2 * SIZES.len();

/// Pixels of all images together from which on a convolution is of the next class.
pub(crate) const SIZES: [usize; 4] = [0, 256, 1024, 4096];

/// The class of a convolution: whether it is one of 3×3 that keeps the size, and how many pixels it makes.
pub(crate) fn class(op: &FusedConv2d, output: &Shape) -> usize {
    let halo = op.has(Variant::Halo, output);
    let size = SIZES.iter().rposition(|&least| output.rows() >= least).unwrap_or(0);
    usize::from(halo) * SIZES.len() + size
}

impl Tuning {
    /// By counting: for devices whose shared memory is fast.
    pub const STAGED: Tuning = Tuning { convolutions: [None; CLASSES], serial: false };
    /// Without shared memory.
    pub const DIRECT: Tuning = Tuning { serial: true, ..Tuning::all(Variant::Direct) };
    /// The same for devices with subgroups.
    pub const QUADS: Tuning = Tuning { serial: true, ..Tuning::all(Variant::Quads) };

    /// This variant for every convolution that it can compute.
    pub const fn all(variant: Variant) -> Self {
        Tuning { convolutions: [Some(variant); CLASSES], serial: false }
    }

    /// Whether a device has to have subgroups.
    pub(crate) fn needs_subgroups(&self) -> bool {
        self.convolutions.contains(&Some(Variant::Quads))
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
    /// Pixels from which on tiles with their surroundings are enough for that.
    const LARGE: usize = 256;

    let [n, height, width, _] = *output.dims() else { unreachable!("a convolution gives images") };
    if op.upsample || op.has(Variant::Halo, output) && height.min(width) >= 8 && n * height * width >= LARGE {
        return Variant::Halo;
    }
    let tiles = (n * height * width).div_ceil(64) * output.stride().div_ceil(64);
    if tiles >= BUSY { Variant::LargeGemm } else { Variant::Gemm }
}

/// The format of the text.
const VERSION: &str = "2";

/// What [`fmt::Display`] and [`FromStr`] call a variant; "counted" is none.
const NAMES: [(&str, Option<Variant>); 6] = [
    ("counted", None),
    ("direct", Some(Variant::Direct)),
    ("quads", Some(Variant::Quads)),
    ("halo", Some(Variant::Halo)),
    ("gemm", Some(Variant::Gemm)),
    ("large-gemm", Some(Variant::LargeGemm)),
];

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION} {}", if self.serial { "serial" } else { "shared" })?;
        for found in self.convolutions {
            let name = NAMES.iter().find(|(_, variant)| *variant == found).map_or("counted", |(name, _)| name);
            write!(f, " {name}")?;
        }
        Ok(())
    }
}

impl FromStr for Tuning {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::Settings(format!("\"{text}\" is not a tuning of this version; tune again."));
        let mut words = text.split(' ');
        if words.next() != Some(VERSION) {
            return Err(invalid());
        }
        let serial = match words.next() {
            Some("serial") => true,
            Some("shared") => false,
            _ => return Err(invalid()),
        };
        let variant = |word| NAMES.iter().find(|(name, _)| *name == word).map(|(_, variant)| *variant);
        let variants: Vec<_> = words.map(variant).collect::<Option<_>>().ok_or_else(invalid)?;
        Ok(Tuning { convolutions: variants.try_into().map_err(|_| invalid())?, serial })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Conv2d;

    #[test]
    fn a_tuning_is_kept_as_text() {
        let mut tuning = Tuning { serial: true, ..Tuning::STAGED };
        for (place, (_, variant)) in tuning.convolutions.iter_mut().zip(NAMES) {
            *place = variant;
        }
        assert_eq!(tuning.to_string().parse::<Tuning>().unwrap(), tuning);
        assert!(tuning.needs_subgroups() && !Tuning::DIRECT.needs_subgroups());
        assert_eq!(tuning.to_string(), "2 serial counted direct quads halo gemm large-gemm counted counted");
        for wrong in
            ["", "1 serial", "2 serial", "2 fast counted", "2 serial counted direct quads halo gemm large-gemm a b"]
        {
            let error = wrong.parse::<Tuning>().unwrap_err().to_string();
            assert_eq!(error, format!("\"{wrong}\" is not a tuning of this version; tune again."));
        }
    }

    #[test]
    fn classes_are_of_kernels_and_sizes() {
        let class = |conv: Conv2d, shape: &[usize]| class(&FusedConv2d::plain(conv), &Shape::new(shape));
        assert_eq!(class(Conv2d::SAME, &[1, 16, 16, 8]), class(Conv2d::SAME, &[1, 31, 32, 512]));
        assert_ne!(class(Conv2d::SAME, &[1, 16, 16, 8]), class(Conv2d::POINTWISE, &[1, 16, 16, 8]));
        assert_ne!(class(Conv2d::SAME, &[1, 16, 16, 8]), class(Conv2d::SAME, &[4, 16, 16, 8]));
    }
}
