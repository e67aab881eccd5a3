//! [`FusedConv2d`] on the CPU.

use super::{BLOCK, FusedConv2d, Parts};
use crate::Shape;
use crate::op::{Conv2d, View, ViewMut};
use crate::tensor::padded;
use kernels::gemm::{self, Gemm, Packing, Panel, Store};
use kernels::math;
use kernels::parallel;
use kernels::scratch;
use kernels::winograd::{self, Images, Winograd};

/// What is convolved, one tensor with zeros around it: `[N, height, width, depth]`.
struct Frame {
    /// Zeros above and to the left.
    before: usize,
    height: usize,
    width: usize,
    depth: usize,
}

impl Frame {
    /// Where the run of channels of a pixel begins.
    fn at(&self, image: usize, y: usize, x: usize) -> usize {
        ((image * self.height + y) * self.width + x) * self.depth
    }
}

impl FusedConv2d {
    /// How the weight is packed, if it is for one product.
    pub(super) fn packing(&self, sources: &[&Shape], output: &Shape) -> Option<Packing> {
        if self.upsample || self.shortcut > 0 {
            return None;
        }
        let [_, height, width, _] = *output.dims() else { unreachable!("checked by output") };
        let depth = padded(sources.iter().map(|source| source.channels()).sum());
        let winograd = self.conv == Conv2d::SAME && winograd::pays(height, width, depth, output.stride());
        Some(if winograd { Packing::Winograd } else { Packing::Plain })
    }

    /// Every part of the sum by itself: with the weights of the others zero.
    pub(super) fn compute_splits(&self, inputs: &[View<'_>], output: &mut ViewMut<'_>) {
        let parts = self.parts(inputs);
        let shapes = |views: &[View<'_>]| views.iter().map(|view| view.shape.clone()).collect::<Vec<_>>();
        let (sources, shortcut) = (shapes(&parts.sources), shapes(&parts.shortcut));
        let blocks = self.blocks(&sources.iter().collect::<Vec<_>>(), &shortcut.iter().collect::<Vec<_>>());
        let of_rows = self.splits_of_rows(&sources, &shortcut, blocks.div_ceil(self.splits));
        let mut dims = output.shape.dims().to_vec();
        dims[0] /= self.splits;
        let shape = Shape::new(&dims);
        let columns = shape.stride();
        let zeros = vec![0.0; columns];
        let whole = FusedConv2d { splits: 1, ..*self };
        for (split, data) in output.data.chunks_exact_mut(shape.len()).enumerate() {
            let rows = parts.weight.data.chunks_exact(columns).zip(&of_rows);
            let weight: Vec<f32> =
                rows.flat_map(|(row, &of)| if of == split { row } else { &zeros }).copied().collect();
            let mut inputs = inputs.to_vec();
            inputs[self.inputs() - 2] = View::new(parts.weight.shape, &weight);
            if split > 0 {
                inputs[self.inputs() - 1] = View::new(parts.bias.shape, &zeros);
            }
            whole.compute(&inputs, &mut ViewMut::new(&shape, data));
        }
    }

    /// Which part of the sum each row of the weight belongs to, if a part has so many blocks.
    fn splits_of_rows(&self, sources: &[Shape], shortcut: &[Shape], blocks: usize) -> Vec<usize> {
        let depth: usize = sources.iter().map(Shape::stride).sum();
        let taps = self.side() * self.side();
        let rows = taps * depth + shortcut.iter().map(Shape::stride).sum::<usize>();
        let mut of_rows = vec![0; rows];
        let mut block = 0;
        let mut tensor = |first: usize, channels: usize, taps: usize| {
            for tap in 0..taps {
                for run in (0..channels).step_by(4 * BLOCK) {
                    let end = channels.min(run + 4 * BLOCK);
                    of_rows[first + tap * depth..][run..end].fill(block / blocks);
                    block += 1;
                }
            }
        };
        let mut first = 0;
        for source in sources {
            tensor(first, source.stride(), taps);
            first += source.stride();
        }
        first = taps * depth;
        for source in shortcut {
            tensor(first, source.stride(), 1);
            first += source.stride();
        }
        of_rows
    }

    pub(super) fn compute(&self, inputs: &[View<'_>], output: &mut ViewMut<'_>) {
        let parts = self.parts(inputs);
        let [images, out_height, out_width, _] = *output.shape.dims() else { unreachable!("checked by output") };
        let columns = output.shape.stride();
        // The row of the time is another bias for each image.
        let biases: Vec<f32> = match parts.row {
            Some(row) => row.data.iter().zip(parts.bias.data.iter().cycle()).map(|(row, bias)| row + bias).collect(),
            None => Vec::new(),
        };
        let (bias, share) = match parts.row {
            Some(_) => (&biases[..], out_height * out_width),
            None => (parts.bias.data, usize::MAX),
        };
        let shortcut = self.shortcut_sums(&parts, columns);
        let residual = match &shortcut {
            Some(sums) => sums,
            None => parts.residual.map_or(&[][..], |residual| residual.data),
        };
        let store = Store { columns, bias, share, residual, scale: self.scale };

        let sources: Vec<&Shape> = parts.sources.iter().map(|source| source.shape).collect();
        let packing = self.packing(&sources, output.shape);
        let winograd = packing == Some(Packing::Winograd);
        let frame = self.frame(&parts, winograd);
        self.framed(&frame, &parts, |input| {
            if winograd {
                let input = Images { data: input, height: frame.height, width: frame.width, channels: frame.depth };
                parts.weight.packed(Packing::Winograd, |panels| Winograd { input, panels, store }.run(output.data));
            } else if self.upsample {
                self.upsampled(&frame, input, parts.weight.data, store, output);
            } else {
                let stride = self.conv.stride;
                // Divisions of every pixel would take their time.
                let lines = (0..images).flat_map(|image| (0..out_height).map(move |y| (image, y * stride)));
                let run = stride * frame.depth;
                let pixels = |first: usize| (0..out_width).map(move |x| first + x * run);
                let rows: Vec<usize> = lines.flat_map(|(image, y)| pixels(frame.at(image, y, 0))).collect();
                let (taps, run) = self.taps(&frame, columns);
                let depth = frame.depth;
                let multiply = |panels: &[Panel]| {
                    Gemm { input, rows: &rows, taps: &taps, depth, panels, store }.run(output.data);
                };
                match packing {
                    Some(packing) => parts.weight.packed(packing, multiply),
                    None => Packing::Plain.packed(&parts.weight.data[..run], columns, multiply),
                }
            }
        });
    }

    /// Where each tap's pixel is from the first one's, and the weights of all taps.
    fn taps(&self, frame: &Frame, columns: usize) -> (Vec<usize>, usize) {
        let side = self.side();
        let taps = (0..side * side).map(|tap| frame.at(0, tap / side, tap % side)).collect();
        (taps, side * side * frame.depth * columns)
    }

    /// The frame that the convolution needs.
    fn frame(&self, parts: &Parts<View<'_>>, winograd: bool) -> Frame {
        let [_, height, width, _] = *parts.sources[0].shape.dims() else { unreachable!("checked by output") };
        let depth = padded(parts.sources.iter().map(|source| source.shape.channels()).sum());
        let (before, side): (usize, fn(&Conv2d, usize) -> usize) = match (self.upsample, winograd) {
            (true, _) => (1, |_, size| size + 2),
            // It finds the edges by itself.
            (_, true) => (0, |_, size| size),
            _ => (self.conv.pad_before, |conv, size| conv.pad_before + size + conv.pad_after),
        };
        Frame { before, height: side(&self.conv, height), width: side(&self.conv, width), depth }
    }

    /// Calls `convolve` with what is convolved in its frame; without a copy where that is one tensor as it is.
    fn framed(&self, frame: &Frame, parts: &Parts<View<'_>>, mut convolve: impl FnMut(&[f32])) {
        let [images, height, width, _] = *parts.sources[0].shape.dims() else { unreachable!("checked by output") };
        match (&parts.sources[..], parts.affine) {
            ([source], None) if (frame.height, frame.width) == (height, width) => convolve(source.data),
            _ => scratch(images * frame.height * frame.width * frame.depth, |framed| {
                self.fill(frame, parts, framed);
                convolve(framed);
            }),
        }
    }

    /// Copies what is convolved into its frame, normalised if it is to be.
    fn fill(&self, frame: &Frame, parts: &Parts<View<'_>>, framed: &mut [f32]) {
        let [_, height, width, _] = *parts.sources[0].shape.dims() else { unreachable!("checked by output") };
        let Frame { before, depth, .. } = *frame;
        let fill = |(i, line): (usize, &mut [f32])| {
            let (image, y) = (i / frame.height, i % frame.height);
            if !(before..before + height).contains(&y) {
                return line.fill(0.0);
            }
            let first = (image * height + y - before) * width;
            let (left, inner) = line.split_at_mut(before * depth);
            let (inner, right) = inner.split_at_mut(width * depth);
            left.fill(0.0);
            right.fill(0.0);
            let mut channel = 0;
            for source in &parts.sources {
                let stride = source.shape.stride();
                let pixels = source.data[first * stride..].chunks_exact(stride);
                for (run, pixel) in inner.chunks_exact_mut(depth).zip(pixels) {
                    run[channel..channel + stride].copy_from_slice(pixel);
                }
                channel += stride;
            }
            if let Some(affine) = parts.affine {
                let (scale, shift) = affine.data[image * 2 * depth..][..2 * depth].split_at(depth);
                math::scale_shift(inner, scale, shift);
                if let Some(activation) = self.activation {
                    activation.apply(inner);
                }
            }
        };
        parallel::each(framed.chunks_exact_mut(frame.width * depth).enumerate().collect(), fill);
    }

    /// The four convolutions that one of an upsampled image is.
    fn upsampled(&self, frame: &Frame, input: &[f32], weight: &[f32], store: Store<'_>, output: &mut ViewMut<'_>) {
        let [_, out_height, out_width, columns] = *output.shape.dims() else { unreachable!("checked by output") };
        let columns = padded(columns);
        let (height, width) = (out_height / 2, out_width / 2);
        let pixels = output.shape.rows() / 4;
        let (taps, run) = self.taps(frame, columns);
        let place = |pixel: usize| (pixel / width / height, pixel / width % height, pixel % width);
        scratch(pixels * columns, |sums| {
            for phase in 0..4 {
                let (p, q) = (phase / 2, phase % 2);
                let rows: Vec<usize> = (0..pixels).map(place).map(|(i, y, x)| frame.at(i, y + p, x + q)).collect();
                let panels = &gemm::pack(&weight[phase * run..][..run], columns);
                let store_sums = Store::sums(columns);
                Gemm { input, rows: &rows, taps: &taps, depth: frame.depth, panels, store: store_sums }.run(sums);
                for (pixel, sums) in sums.chunks_exact(columns).enumerate() {
                    let (image, y, x) = place(pixel);
                    let to = (image * out_height + 2 * y + p) * out_width + 2 * x + q;
                    for (column, sum) in sums.iter().enumerate() {
                        output.data[to * columns + column] = store.complete(to, column, *sum);
                    }
                }
            }
        });
    }

    /// The 1×1 convolution of other tensors, and the residual, if there is such a convolution.
    fn shortcut_sums(&self, parts: &Parts<View<'_>>, columns: usize) -> Option<Vec<f32>> {
        let mut sums: Option<Vec<f32>> = None;
        let depths = parts.shortcut.iter().map(|source| source.shape.stride()).sum::<usize>();
        let mut first = (parts.weight.shape.rows() - depths) * columns;
        for source in &parts.shortcut {
            let (depth, rows) = (source.shape.stride(), source.shape.rows());
            let starts: Vec<usize> = (0..rows).map(|row| row * depth).collect();
            let panels = &gemm::pack(&parts.weight.data[first..][..depth * columns], columns);
            let residual = sums.as_deref().or(parts.residual.map(|residual| residual.data)).unwrap_or_default();
            let store = Store { residual, ..Store::sums(columns) };
            let mut out = vec![0.0; rows * columns];
            Gemm { input: source.data, rows: &starts, taps: &[0], depth, panels, store }.run(&mut out);
            (sums, first) = (Some(out), first + depth * columns);
        }
        sums
    }
}
