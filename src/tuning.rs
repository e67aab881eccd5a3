//! Which variant of a kernel is the fastest: by counting, or as a device was seen to run them.
//!
//! Browsers hide which GPU it is, so a device is asked with a few small convolutions, for less than a second, and the
//! answer is kept as text.

use std::fmt;
use std::rc::Rc;
use std::str::FromStr;

use web_time::Instant;

use crate::backend::{Backend, Gpu};
use crate::fusion::{Fusion, fuse};
use crate::graph::Graph;
use crate::op::{Activation, BUSY, Conv2d, FusedConv2d, ScaleShift, Softmax, Variant};
use crate::plan::Plan;
use crate::{Error, Precision, Result, Shape};

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

/// Seconds after which nothing more is tried.
const BUDGET: f64 = 0.8;
/// Seconds of one measurement of a dispatch.
const LEAST: f64 = 2e-3;

impl Tuning {
    /// Times the variants on a device: less than a second, unless a single shader takes longer to compile.
    ///
    /// # Errors
    /// When the device rejects a shader or was lost.
    pub async fn measure(gpu: &Rc<Gpu>) -> Result<Self> {
        /// Where sharing memory is this much slower, it is not memory that is shared, and nothing that uses it is tried.
        const EMULATED: f64 = 3.0;
        /// By turns, since a GPU may only get going during the first.
        const ROUNDS: usize = 2;
        /// Those asked first matter most.
        const ORDER: [usize; SIZES.len()] = [1, 2, 0, 3];

        let begin = Instant::now();
        let backend = Backend::Gpu(gpu.clone());
        let (mut shared, mut serial) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..ROUNDS {
            shared = shared.min(time(&backend, softmax()?, Fusion::STAGED).await?);
            serial = serial.min(time(&backend, softmax()?, Fusion::DIRECT).await?);
        }
        let direct = if quads_work(gpu).await? { Variant::Quads } else { Variant::Direct };
        if shared > EMULATED * serial {
            return Ok(Tuning { serial: true, ..Tuning::all(direct) });
        }
        let mut tuning = Tuning { serial: serial < shared, ..Tuning::STAGED };
        for conv in [Conv2d::SAME, Conv2d::POINTWISE] {
            let mut latest = None;
            for size in ORDER {
                let (graph, op, output) = convolution(conv, size)?;
                let mut best = f64::INFINITY;
                for variant in [Variant::Halo, Variant::Gemm, Variant::LargeGemm, direct] {
                    if !op.has(variant, &output) || begin.elapsed().as_secs_f64() > BUDGET {
                        continue;
                    }
                    let fusion = Fusion { tuning: Tuning::all(variant), ..Fusion::STAGED };
                    let seconds = time(&backend, graph.clone(), fusion).await?;
                    if seconds < best {
                        (best, latest) = (seconds, Some(variant));
                    }
                }
                // What there was no time for is taken to be as what came before it.
                tuning.convolutions[class(&op, &output)] = latest;
            }
        }
        Ok(tuning)
    }
}

/// Seconds that the steps of a graph take as it is fused so.
async fn time(backend: &Backend, graph: Graph, fusion: Fusion) -> Result<f64> {
    let executor = backend.compile(Plan::new(&fuse(&graph, fusion)?), &[], |_, _| {}).await?;
    Ok(executor.times(LEAST).await?.iter().sum())
}

/// Whether a device has subgroups, and four neighbouring invocations of a workgroup are a quad in them: it is so wherever we
/// know, but nothing promises it.
async fn quads_work(gpu: &Rc<Gpu>) -> Result<bool> {
    if !gpu.subgroups() {
        return Ok(false);
    }
    let shape = Shape::new(&[1, 5, 9, 16]);
    let numbers = |len: usize| (0..len).map(|i| (i * 7919 % 101) as f32 - 50.0).collect::<Vec<_>>();
    let mut graph = Graph::new();
    let x = graph.input("x", shape.clone())?;
    let weight = Shape::new(&[3, 3, 16, 16]);
    let weight = graph.weight("weight", Precision::F32, (weight.clone(), numbers(weight.len())));
    let bias = graph.constant("bias", (Shape::new(&[16]), numbers(16)));
    let y = graph.op("conv", Conv2d::SAME, &[x, weight, bias])?;
    graph.output("y", y);
    let mut results = Vec::new();
    for fusion in [Fusion::DIRECT, Fusion::QUADS] {
        let plan = Plan::new(&fuse(&graph, fusion)?);
        let executor = Backend::Gpu(gpu.clone()).compile(plan, &[], |_, _| {}).await?;
        executor.write("x", &numbers(shape.len()))?;
        executor.run(0).await?;
        results.push(executor.read("y").await?);
    }
    // All numbers are whole, and small enough for every sum to be exact.
    Ok(results[0] == results[1])
}

/// A softmax as in the attention of two heads at 16×16.
fn softmax() -> Result<Graph> {
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::new(&[2, 256, 256]))?;
    let y = graph.op("softmax", Softmax::default(), &[x])?;
    graph.output("y", y);
    Ok(graph)
}

/// A normalised convolution of a size: the graph, and the op and shape by which its class is known.
fn convolution(conv: Conv2d, size: usize) -> Result<(Graph, FusedConv2d, Shape)> {
    let (side, channels) = [(8, 128), (16, 128), (32, 128), (64, 64)][size];
    let shape = Shape::new(&[1, side, side, channels]);
    let mut graph = Graph::new();
    let x = graph.input("x", shape.clone())?;
    let affine = graph.input("affine", Shape::new(&[1, 2, channels]))?;
    let weight = Shape::new(&[conv.kernel, conv.kernel, channels, channels]);
    let weight = graph.weight("weight", Precision::F32, (weight.clone(), vec![0.01; weight.len()]));
    let bias = graph.constant("bias", (Shape::new(&[channels]), vec![0.0; channels]));
    let normalised = graph.op("norm", ScaleShift { activation: Some(Activation::Silu) }, &[x, affine])?;
    let y = graph.op("conv", conv, &[normalised, weight, bias])?;
    graph.output("y", y);
    Ok((graph, FusedConv2d::plain(conv), shape))
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
