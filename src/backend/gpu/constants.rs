//! What a plan's dispatches read that no run changes: constants, and the parameters of kernels.

use std::rc::Rc;

use wgpu::BufferUsages;

use super::{Buffer, Gpu};
use crate::graph::Kernel;
use crate::plan::{Constant, Plan};

/// Buffer offsets in a bind group are multiples of this (WebGPU's default limits).
const ALIGNMENT: u64 = 256;

/// The largest arena of constants.
const ARENA: u64 = 64 << 20;

/// A plan's constants, in as few buffers as limits allow.
pub(super) struct Constants {
    /// For each constant, its buffer and offset.
    places: Vec<(Rc<Buffer>, u64)>,
}

impl Constants {
    /// Uploads the constants of `plan`.
    pub(super) fn new(gpu: &Gpu, plan: &Plan) -> Self {
        let sizes: Vec<u64> = plan.constants.iter().map(|constant| constant.bytes() as u64).collect();
        let mut places = Vec::with_capacity(sizes.len());
        let mut first = 0;
        while first < sizes.len() {
            let mut offsets = Vec::new();
            let mut end = 0;
            for &size in &sizes[first..] {
                if end > 0 && end + size > ARENA {
                    break;
                }
                offsets.push(end);
                end = (end + size).next_multiple_of(ALIGNMENT);
            }
            let arena = Rc::new(gpu.buffer("constants", end, BufferUsages::STORAGE | BufferUsages::COPY_DST));
            first += offsets.len();
            places.extend(offsets.into_iter().map(|offset| (arena.clone(), offset)));
        }
        for (Constant { precision, numbers, .. }, (arena, offset)) in plan.constants.iter().zip(&places) {
            gpu.queue.write_buffer(arena, *offset, &precision.encode(numbers));
        }
        Constants { places }
    }

    /// Where a constant is.
    pub(super) fn place(&self, index: usize) -> (&Buffer, u64) {
        let (arena, offset) = &self.places[index];
        (arena, *offset)
    }
}

/// The parameters of every dispatch, in one uniform buffer, and room for those of pieces.
pub(super) struct Params {
    buffer: Buffer,
    /// Where those of each dispatch are, and where the room begins.
    offsets: Vec<u64>,
    room: u64,
}

/// Bytes of any kernel's parameters, from one offset to the next.
const PARAMS: u64 = ALIGNMENT;

impl Params {
    /// Uploads the kernels' parameters, and makes room for `pieces` more.
    pub(super) fn upload(gpu: &Gpu, kernels: &[Kernel], pieces: usize) -> Self {
        let mut bytes = Vec::new();
        let mut offsets = Vec::with_capacity(kernels.len());
        for kernel in kernels {
            offsets.push(bytes.len() as u64);
            bytes.extend_from_slice(&kernel.params);
            bytes.resize(bytes.len().next_multiple_of(PARAMS as usize), 0);
        }
        let room = bytes.len() as u64;
        let cut = kernels.iter().any(|kernel| kernel.first.is_some());
        let size = room + if cut { pieces as u64 * PARAMS } else { 0 };
        let usage = BufferUsages::UNIFORM | BufferUsages::COPY_DST;
        let buffer = gpu.buffer("params", size.max(PARAMS), usage);
        gpu.queue.write_buffer(&buffer, 0, &bytes);
        Params { buffer, offsets, room }
    }

    /// Where those of a dispatch are.
    pub(super) fn offset(&self, dispatch: usize) -> u32 {
        self.offsets[dispatch] as u32
    }

    /// Writes those of a piece that begins with workgroup `first`, the number at `place`, and says where they are.
    pub(super) fn write(&self, gpu: &Gpu, piece: usize, kernel: &Kernel, place: usize, first: u32) -> u32 {
        let mut params = kernel.params.clone();
        params[place..place + 4].copy_from_slice(&first.to_ne_bytes());
        let offset = self.room + piece as u64 * PARAMS;
        gpu.queue.write_buffer(&self.buffer, offset, &params);
        offset as u32
    }

    /// The binding, to which the offset is added when it is set.
    pub(super) fn binding(&self, kernel: &Kernel) -> wgpu::BufferBinding<'_> {
        let size = wgpu::BufferSize::new(kernel.params.len() as u64);
        wgpu::BufferBinding { buffer: &self.buffer, offset: 0, size }
    }
}
