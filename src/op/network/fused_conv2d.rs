//! A convolution with what stands before and after it.

mod cpu;

use bytemuck::{Pod, Zeroable};

use super::{Activation, Conv2d, Kernel, Op, Tiles, View, ViewMut, shader};
use crate::tensor::padded;
use crate::{Error, Result, Shape};
use kernels::gemm::Packing;

/// A convolution, or a linear layer over pixels, that normalises what it reads and completes what it writes, so that
/// neither is a pass over memory of its own. What it computes is what the ops do that it stands for: [`super::Concat`],
/// [`super::ScaleShift`], [`super::Upsample`], [`Conv2d`], [`super::Add`] and
/// [`super::Moments`].
///
/// Inputs, those that there are, in this order: the tensors `[N, H, W, C]` whose concatenation is convolved; those whose
/// concatenation a 1×1 convolution adds (the shortcut); the residual; the row `[N, Cout]` of the time; scale and shift
/// `[N, 2, C]`; the weight `[K · K · C padded, Cout]`, below it that of the shortcut; the bias `[Cout]`. The output is
/// `[N, H, W, Cout]`, the second output its moments, if they are asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FusedConv2d {
    /// The kernel, its stride and its padding.
    pub conv: Conv2d,
    /// Tensors that are concatenated: one or two.
    pub sources: usize,
    /// Whether scale and shift are applied, and the activation after them.
    pub normalise: bool,
    /// What follows scale and shift.
    pub activation: Option<Activation>,
    /// Whether every pixel is doubled in both directions before the convolution. The weight is then that of the four
    /// convolutions of [`super::Phases`].
    pub upsample: bool,
    /// Tensors that the shortcut concatenates: none, one or two.
    pub shortcut: usize,
    /// Whether a tensor is added.
    pub residual: bool,
    /// Whether a row is added to every pixel.
    pub row: bool,
    /// What the sum is multiplied by.
    pub scale: f32,
    /// Whether the output's moments are the second output.
    pub moments: bool,
    /// In how many parts the sum is left, for [`super::SumSplits`] to complete: each is of other taps and channels, so that
    /// many workgroups share what few would have to do. The output is then `[splits · N, H, W, Cout]` in 32 bits, its first
    /// part with the bias, and there is neither residual nor row nor scale.
    pub splits: usize,
    /// Whether the first tensor has 32 bits in a network of 16: the image that the network is given, which is not to be
    /// rounded.
    pub wide_input: bool,
    /// Whether the output has: that of the network.
    pub wide_output: bool,
    /// How a GPU computes it.
    pub variant: Variant,
}

/// A GPU's way to compute a [`FusedConv2d`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// Without shared memory or barriers. Normalises and concatenates nothing: every pixel is loaded for each of its
    /// neighbours.
    Direct,
    /// As [`Variant::Direct`], but of four invocations each loads a quarter: for devices with subgroups.
    Quads,
    /// 3×3 with stride 1, from tiles that are staged with their surroundings.
    Halo,
    /// As a matrix product in tiles of 32×32.
    Gemm,
    /// As a matrix product in tiles of 64×64.
    LargeGemm,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    in_height: u32,
    in_width: u32,
    out_height: u32,
    out_width: u32,
    channels: [u32; 4],
    out_channels: u32,
    kernel: u32,
    stride: u32,
    pad: u32,
    tiles_x: u32,
    tiles: u32,
    len: u32,
    scale: f32,
    /// Where a dispatch in pieces begins.
    first: u32,
    /// Blocks of the depth that a split sums up.
    split: u32,
    /// Blocks of channels that belong to four invocations each, in a workgroup without shared memory.
    blocks: u32,
    pad0: u32,
}

impl Variant {
    /// Whether it does without shared memory and barriers.
    pub(crate) fn is_direct(self) -> bool {
        matches!(self, Variant::Direct | Variant::Quads)
    }
}

/// Pixels of a row that an invocation owns.
const STRIP: usize = 8;
/// Invocations of a workgroup.
const WORKGROUP: usize = 64;
/// `vec4`s of the depth that a workgroup of the matrix product stages at a time.
const BLOCK: usize = 4;
/// Workgroups that keep a large GPU busy.
pub(crate) const BUSY: usize = 128;

/// The inputs by what they are.
struct Parts<T> {
    sources: Vec<T>,
    shortcut: Vec<T>,
    residual: Option<T>,
    row: Option<T>,
    affine: Option<T>,
    weight: T,
    bias: T,
}

impl FusedConv2d {
    /// Nothing but this convolution.
    pub fn plain(conv: Conv2d) -> Self {
        FusedConv2d {
            conv,
            sources: 1,
            normalise: false,
            activation: None,
            upsample: false,
            shortcut: 0,
            residual: false,
            row: false,
            scale: 1.0,
            moments: false,
            splits: 1,
            wide_input: false,
            wide_output: false,
            variant: Variant::Direct,
        }
    }

    /// How many inputs there are.
    fn inputs(&self) -> usize {
        self.images() + usize::from(self.row) + usize::from(self.normalise) + 2
    }

    /// How many inputs are images.
    fn images(&self) -> usize {
        self.sources + self.shortcut + usize::from(self.residual)
    }

    fn parts<T: Copy>(&self, inputs: &[T]) -> Parts<T> {
        assert_eq!(inputs.len(), self.inputs(), "the inputs that the op says it has");
        let mut rest = inputs.iter().copied();
        let mut next = || rest.next().expect("counted above");
        Parts {
            sources: (0..self.sources).map(|_| next()).collect(),
            shortcut: (0..self.shortcut).map(|_| next()).collect(),
            residual: self.residual.then(&mut next),
            row: self.row.then(&mut next),
            affine: self.normalise.then(&mut next),
            weight: next(),
            bias: next(),
        }
    }

    /// The kernel as it is on the smaller image.
    fn side(&self) -> usize {
        if self.upsample { 2 } else { self.conv.kernel }
    }

    /// How many pixels each pixel is made into before the convolution, in each direction.
    fn enlarged(&self) -> usize {
        if self.upsample { 2 } else { 1 }
    }

    /// How the output is cut for its moments.
    pub fn tiles(&self, output: &Shape) -> Tiles {
        let [_, height, width, _] = *output.dims() else { unreachable!("checked by output") };
        let by = self.enlarged();
        let copies = by * by;
        match self.variant {
            Variant::Direct | Variant::Quads => {
                let (height, width) = if self.is_flat() { (1, height * width) } else { (height / by, width / by) };
                let tile_width = match width {
                    _ if self.variant == Variant::Quads && self.is_flat() && width > STRIP => 2 * STRIP,
                    0..=4 => STRIP / 2,
                    _ => STRIP,
                };
                Tiles { height, width, tile_height: 1, tile_width, copies }
            }
            Variant::Halo => {
                let (height, width) = (height / by, width / by);
                Tiles { height, width, tile_height: WORKGROUP / lanes(output), tile_width: STRIP, copies }
            }
            Variant::Gemm | Variant::LargeGemm => {
                // Several small images make a tile of the product.
                let tile_width = self.gemm_tile().min(height * width);
                Tiles { height: 1, width: height * width, tile_height: 1, tile_width, copies: 1 }
            }
        }
    }

    /// Whether the rows of an image are as one to the kernel without shared memory, since no tap sees beside its pixel.
    fn is_flat(&self) -> bool {
        self.conv == Conv2d::POINTWISE
    }

    /// Pixels, and output channels, of a tile of a matrix product.
    fn gemm_tile(&self) -> usize {
        if self.variant == Variant::LargeGemm { 64 } else { 32 }
    }

    /// Blocks of the depth, of at most [`BLOCK`] `vec4`s of one tensor's channels under one tap, in the order in which the
    /// matrix product takes them: tensor by tensor, tap by tap.
    fn blocks(&self, sources: &[&Shape], shortcut: &[&Shape]) -> usize {
        let blocks = |shapes: &[&Shape]| shapes.iter().map(|shape| (shape.stride() / 4).div_ceil(BLOCK)).sum::<usize>();
        self.side() * self.side() * blocks(sources) + blocks(shortcut)
    }

    /// In how many parts the sum is worth leaving, if the matrix product makes `output`: in as many as keep a large GPU
    /// busy, but none so small that the parts take longer to add up than to make.
    pub(crate) fn worthwhile_splits(&self, output: &Shape, sources: &[&Shape], shortcut: &[&Shape]) -> usize {
        /// Blocks of the depth that are worth splitting, and that a part has at least.
        const DEEP: usize = 64;
        const LEAST: usize = 8;
        const MOST: usize = 16;
        /// Pixels of an image that one workgroup adds up.
        const PIXELS: usize = 64;

        let tiles = output.rows().div_ceil(self.gemm_tile()) * output.stride().div_ceil(self.gemm_tile());
        let blocks = self.blocks(sources, shortcut);
        let small = output.rows() <= PIXELS * output.dims()[0];
        if self.variant != Variant::Gemm || !small || blocks < DEEP {
            return 1;
        }
        (BUSY / tiles).min(blocks / LEAST).clamp(1, MOST)
    }

    /// Whether a GPU computes it in this way.
    pub fn has(&self, variant: Variant, output: &Shape) -> bool {
        let [_, height, width, _] = *output.dims() else { return false };
        let tile = FusedConv2d { variant, ..*self }.gemm_tile();
        match variant {
            Variant::Direct | Variant::Quads => !self.normalise && self.sources == 1 && self.shortcut == 0,
            Variant::Halo => {
                let Conv2d { kernel, stride, pad_before, pad_after } = self.conv;
                [kernel, stride, pad_before, pad_after] == [3, 1, 1, 1]
            }
            Variant::Gemm | Variant::LargeGemm => {
                let pixels = height * width;
                // An invocation's pixels lie in one image.
                let whole =
                    pixels.is_multiple_of(tile) || tile.is_multiple_of(pixels) && pixels.is_multiple_of(tile / 8);
                !self.upsample && (!self.moments || whole)
            }
        }
    }
}

/// Pairs of `vec4`s of output channels that a workgroup of the staged kernel owns.
fn lanes(output: &Shape) -> usize {
    match output.stride() {
        0..=16 => 2,
        17..=32 => 4,
        _ => 8,
    }
}

impl Op for FusedConv2d {
    fn name(&self) -> &'static str {
        "fused_conv2d"
    }

    fn output(&self, inputs: &[&Shape]) -> Result<Shape> {
        let parts = self.parts(inputs);
        let [n, h, w, _] = parts.sources[0].nhwc(self.name())?;
        let joined = |sources: &[&Shape]| -> Result<usize> {
            let mut channels = 0_usize;
            for source in sources {
                source.nhwc(self.name())?;
                if !channels.is_multiple_of(4) {
                    let found = format!("{channels} channels");
                    return Err(Error::shape(self.name(), "a multiple of 4 channels before others", found));
                }
                channels += source.channels();
            }
            Ok(channels)
        };
        let depth = joined(&parts.sources)?;
        let out = parts.bias.channels();
        let by = self.enlarged();
        let side = |size| self.conv.side(by * size);
        let (Some(height), Some(width)) = (side(h), side(w)) else {
            let expected = format!("images of at least {0}×{0} pixels", self.conv.kernel);
            return Err(Error::shape(self.name(), expected, parts.sources[0]));
        };
        let output = Shape::new(&[n, height, width, out]);
        let plain = self.splits == 1
            || self.variant == Variant::Gemm && !self.residual && !self.row && self.scale == 1.0 && !self.moments;
        let taps = self.side() * self.side() * by * by;
        let rows = taps * padded(depth) + padded(joined(&parts.shortcut)?);
        let fits = plain
            && parts.weight.rows() == rows
            && parts.weight.channels() == out
            && parts.sources.iter().all(|source| source.dims()[..3] == [n, h, w])
            && parts.shortcut.iter().all(|source| source.dims()[..3] == output.dims()[..3])
            && parts.residual.is_none_or(|residual| *residual == output)
            && parts.row.is_none_or(|row| row.dims() == [n, out])
            && parts.affine.is_none_or(|affine| affine.dims() == [n, 2, depth]);
        let possible = self.has(self.variant, &output) && self.inputs() + usize::from(self.moments) < 8;
        if !fits || !possible {
            let found = inputs.iter().map(|shape| shape.to_string()).collect::<Vec<_>>().join(", ");
            let expected = format!("{} inputs that fit together", self.inputs());
            return Err(Error::shape(self.name(), expected, found));
        }
        Ok(Shape::new(&[self.splits * n, height, width, out]))
    }

    fn further_outputs(&self, _inputs: &[&Shape], output: &Shape) -> Vec<Shape> {
        self.moments.then(|| self.tiles(output).shape(output)).into_iter().collect()
    }

    fn right_side(&self, inputs: &[&Shape]) -> Option<(usize, Packing)> {
        // Those in several parts are packed part by part.
        let packing = self.packing(&self.parts(inputs).sources, &self.output(inputs).ok()?)?;
        Some((self.inputs() - 2, packing))
    }

    fn stored(&self) -> Vec<usize> {
        let inputs = self.inputs();
        let first = 1 + usize::from(self.wide_input);
        let mut stored: Vec<usize> = (first..=self.images() + usize::from(self.row)).collect();
        stored.push(inputs - 1);
        if self.splits == 1 && !self.wide_output {
            stored.push(inputs + 1);
        }
        stored
    }

    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) {
        let [output, moments @ ..] = outputs else { unreachable!("fused_conv2d has an output") };
        match self.splits {
            1 => self.compute(inputs, output),
            _ => self.compute_splits(inputs, output),
        }
        if let [moments] = moments {
            self.tiles(output.shape).moments(output.view(), moments);
        }
    }

    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel {
        let parts = self.parts(inputs);
        let [all, out_height, out_width, _] = *output.dims() else { unreachable!("checked by output") };
        let images = all / self.splits;
        let [_, in_height, in_width, _] = *parts.sources[0].dims() else { unreachable!("checked by output") };
        let vec4s = |shape: Option<&&Shape>| shape.map_or(0, |shape| shape.stride() as u32 / 4);
        let tiles = self.tiles(output);
        let out_channels = output.stride() / 4;
        let len = match self.variant {
            Variant::Direct | Variant::Quads | Variant::Halo => images * tiles.count() / tiles.copies,
            Variant::Gemm | Variant::LargeGemm => images * out_height * out_width,
        };
        let size = |height, width| {
            if self.is_flat() && self.variant.is_direct() { [1, height * width] } else { [height, width] }
        };
        let ([in_height, in_width], [out_height, out_width]) = (size(in_height, in_width), size(out_height, out_width));
        let mut params = Params {
            in_height: in_height as u32,
            in_width: in_width as u32,
            out_height: out_height as u32,
            out_width: out_width as u32,
            channels: [
                vec4s(parts.sources.first()),
                vec4s(parts.sources.get(1)),
                vec4s(parts.shortcut.first()),
                vec4s(parts.shortcut.get(1)),
            ],
            out_channels: out_channels as u32,
            kernel: self.side() as u32,
            stride: self.conv.stride as u32,
            pad: self.conv.pad_before as u32,
            tiles_x: tiles.across() as u32,
            tiles: (tiles.count() / tiles.copies) as u32,
            len: len as u32,
            scale: self.scale,
            first: 0,
            split: self.blocks(&parts.sources, &parts.shortcut).div_ceil(self.splits) as u32,
            blocks: 1,
            pad0: 0,
        };
        let mut defines = vec![
            ("concat", u32::from(self.sources == 2)),
            ("shortcut", u32::from(self.shortcut > 0)),
            ("shortcut2", u32::from(self.shortcut > 1)),
            ("residual", u32::from(self.residual)),
            ("row", u32::from(self.row)),
            ("normalise", u32::from(self.normalise)),
            ("activation", Activation::code(self.activation)),
            ("moments", u32::from(self.moments)),
            ("upsample", u32::from(self.upsample)),
            ("split", u32::from(self.splits > 1)),
            ("wide_input", u32::from(self.wide_input)),
            ("wide_output", u32::from(self.wide_output)),
        ];
        let (shader, workgroups) = match self.variant {
            Variant::Direct | Variant::Quads => {
                let groups = tiles.tile_width / 4;
                // At most 64 registers of sums an invocation, and fewer where there are few pixels, so that all of a device
                // has something to do.
                let most = if groups == 2 { 8 } else { 4 };
                let channels = (1..=most).rev().find(|channels| out_channels.is_multiple_of(*channels));
                let channels = channels.expect("1 divides all");
                // Of the 16 quads of a workgroup, those with the same pixels: four, or more where there are few strips.
                let most = 16 / len.next_power_of_two().min(4);
                let mut blocks = [16, 8, 4, 2, 1].into_iter().filter(|&blocks| blocks <= most);
                let blocks = blocks.find(|&blocks| out_channels.is_multiple_of(channels * blocks));
                let blocks = blocks.expect("1 divides all");
                params.blocks = blocks as u32;
                // Taps side by side see neighbouring pixels; more of them would need more registers than a GPU has.
                let taps = if self.conv.stride == 1 && self.side() <= 3 { self.side() } else { 1 };
                let (quads, shared) = if self.variant == Variant::Quads { (1, 4) } else { (0, 1) };
                let numbers = [1, taps, taps - 1, groups, channels, quads, shared];
                let names = ["scalar", "taps", "further", "groups", "channels", "quads", "shared"];
                defines.extend(names.into_iter().zip(numbers.map(|number| number as u32)));
                let groups = [len.div_ceil(16 / blocks), out_channels / (channels * blocks), tiles.copies];
                (shader!("fused_conv2d/direct"), groups)
            }
            Variant::Halo => {
                let lanes = lanes(output);
                let (side, rows) = (self.side(), WORKGROUP / lanes);
                // An invocation stages two pixels at once, and more in turn if there are more; so many weights at once; and
                // of a shortcut so many pixels.
                let more = (rows + side - 1) * (STRIP + side - 1) > 2 * WORKGROUP;
                let loads = (side * side * 4 * 2 * lanes).div_ceil(WORKGROUP);
                let own = rows * STRIP / WORKGROUP;
                let numbers = [side, side - 1, lanes, usize::from(more), loads, own].map(|number| number as u32);
                defines.extend(["side", "further", "lanes", "more", "loads", "own"].into_iter().zip(numbers));
                let groups = [len, out_channels.div_ceil(2 * lanes), tiles.copies];
                (shader!("fused_conv2d/halo"), groups)
            }
            Variant::Gemm | Variant::LargeGemm => {
                let tile = self.gemm_tile();
                let pixels = tile as u32 / 8;
                defines.extend([("pixels", pixels), ("columns", pixels / 4), ("staged", pixels / 2)]);
                let groups = [len.div_ceil(tile), (4 * out_channels).div_ceil(tile), self.splits];
                (shader!("fused_conv2d/gemm"), groups)
            }
        };
        let first = Some(std::mem::offset_of!(Params, first));
        Kernel { defines, first, ..Kernel::new(shader, &params, workgroups.map(|groups| groups as u32)) }
    }

    fn macs(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        let channels = |shapes: &[&Shape]| shapes.iter().map(|shape| shape.channels()).sum::<usize>();
        let parts = self.parts(inputs);
        let taps = self.side() * self.side();
        let depth = taps * channels(&parts.sources) + channels(&parts.shortcut);
        depth as u64 * (output.rows() / self.splits * output.channels()) as u64
    }
}
