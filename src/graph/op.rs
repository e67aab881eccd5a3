//! What an operation is: the trait that everything which runs a plan goes through, what an op is given on the CPU, and the
//! dispatch that it is on the GPU.

use std::any::Any;
use std::borrow::Cow;
use std::fmt::Debug;
use std::rc::Rc;

use bytemuck::Pod;

use crate::template::{self, Define};
use crate::{Precision, Result, Shape};
use kernels::gemm::{Packing, Panel};
use kernels::parallel;

/// One operation of a network.
pub trait Op: Any {
    /// The stem of the op's source file, of its shader and of its test cases.
    fn name(&self) -> &'static str;

    /// The shape of the output; of an op with several outputs, of the first.
    ///
    /// # Errors
    /// When the inputs do not fit together.
    fn output(&self, inputs: &[&Shape]) -> Result<Shape>;

    /// The shapes of the outputs after the first, of inputs that fit together.
    fn further_outputs(&self, _inputs: &[&Shape], _output: &Shape) -> Vec<Shape> {
        Vec::new()
    }

    /// How many of the inputs, the last ones, are replaced by as many of the outputs, the last ones, in the same memory: a
    /// parameter and what an optimiser keeps of it. They are not bound as inputs; as outputs they hold what they are to be
    /// replaced by.
    fn replaces(&self) -> usize {
        0
    }

    /// The bindings of the shader that are `Stored`: those of the inputs and outputs that are activations or weights,
    /// which a network may keep in 16 bits, all of them in the same precision. All others are `f32`.
    fn stored(&self) -> Vec<usize> {
        Vec::new()
    }

    /// The precision of what is `Stored`, of an op whose inputs do not tell.
    fn precision(&self) -> Option<Precision> {
        None
    }

    /// The input that is the right side of a matrix product, if one is, and as what: the CPU packs it once.
    fn right_side(&self, _inputs: &[&Shape]) -> Option<(usize, Packing)> {
        None
    }

    /// The op that adds a further input, its last, to what this one computes, if there is one: a sum then takes no pass of its
    /// own.
    fn adding(&self) -> Option<Rc<dyn Op>> {
        None
    }

    /// Two ops in place of this one, where a GPU is kept busy by several parts of its output's sums: one that computes the
    /// parts, and one that adds them up.
    fn in_parts(&self, _inputs: &[&Shape], _output: &Shape) -> Option<[Rc<dyn Op>; 2]> {
        None
    }

    /// Computes the outputs on the CPU. This is the op's definition: the shader must agree with it.
    fn cpu(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]);

    /// The dispatch that computes the outputs on the GPU; `output` is the shape of the first.
    fn kernel(&self, inputs: &[&Shape], output: &Shape) -> Kernel;

    /// Multiply-adds of one evaluation, for the ops whose cost they are.
    fn macs(&self, _inputs: &[&Shape], _output: &Shape) -> u64 {
        0
    }
}

impl Debug for dyn Op {
    /// The name alone: what every op is made of would be a part of what a visitor downloads.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// An input of an op on the CPU: its shape and its elements in device layout.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Channels last, unpadded.
    pub shape: &'a Shape,
    /// `shape.len()` elements, the channels padded with zeros.
    pub data: &'a [f32],
    /// The same packed for [`kernels::gemm`], if it is a weight that was packed before.
    panels: Option<&'a [Panel]>,
}

impl<'a> View<'a> {
    /// A value of this shape.
    pub fn new(shape: &'a Shape, data: &'a [f32]) -> Self {
        View { shape, data, panels: None }
    }

    /// The value with its elements packed as the right side of a matrix product.
    pub(crate) fn with_panels(self, panels: Option<&'a [Panel]>) -> Self {
        View { panels, ..self }
    }

    /// Calls `multiply` with the elements packed as [`Op::right_side`] says, now if they were not before.
    pub(crate) fn packed(self, packing: Packing, multiply: impl FnOnce(&[Panel])) {
        let columns = self.shape.stride();
        match self.panels {
            Some(panels) => multiply(panels),
            None => packing.packed(self.data, columns, multiply),
        }
    }

    /// A run of channels, padding included.
    pub(crate) fn row(self, row: usize) -> &'a [f32] {
        &self.data[row * self.shape.stride()..][..self.shape.stride()]
    }

    /// The runs of channels, padding included, one after another.
    pub(crate) fn rows(self) -> std::slice::ChunksExact<'a, f32> {
        self.data.chunks_exact(self.shape.stride())
    }
}

/// An output of an op on the CPU. Unless it replaces an input, its elements hold anything until the op has written every
/// one of them.
pub struct ViewMut<'a> {
    /// Channels last, unpadded.
    pub shape: &'a Shape,
    /// `shape.len()` elements.
    pub data: &'a mut [f32],
}

impl<'a> ViewMut<'a> {
    /// A value of this shape.
    pub fn new(shape: &'a Shape, data: &'a mut [f32]) -> Self {
        ViewMut { shape, data }
    }

    /// The same value, as an input.
    pub(crate) fn view(&self) -> View<'_> {
        View::new(self.shape, self.data)
    }

    /// Writes every run of channels, padding included, by its index; on all cores.
    pub(crate) fn write_rows(&mut self, write: impl Fn(usize, &mut [f32]) + Sync) {
        parallel::rows(self.data, self.shape.stride(), write);
    }

    /// The runs of channels, padding included, one after another.
    pub(crate) fn rows_mut(&mut self) -> std::slice::ChunksExactMut<'_, f32> {
        self.data.chunks_exact_mut(self.shape.stride())
    }
}

/// One dispatch of a compute shader: binding 0 is the parameters, then the inputs, then the outputs.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// WGSL with the entry point `main`, perhaps for [`template`] to expand.
    pub shader: &'static str,
    /// Which variant of the shader it is.
    pub defines: Vec<Define>,
    /// What the shader's `Stored` values are.
    pub precision: Precision,
    /// The bytes of the shader's `Params` uniform.
    pub params: Vec<u8>,
    /// Workgroups in x, y and z.
    pub workgroups: [u32; 3],
    /// For a kernel that can be dispatched in pieces, where in the parameters its first workgroup in x is.
    pub first: Option<usize>,
}

impl Kernel {
    /// The shader with `Stored` values of the kernel's precision. Shaders are written for `f32` and convert whatever
    /// they load and store, so that they compute the same in both.
    pub fn source(&self) -> Cow<'static, str> {
        let mut shader = template::expand(self.shader, &self.defines);
        // naga knows the functions without it, and not the directive.
        if cfg!(target_arch = "wasm32") && self.has_quads() {
            shader = format!("enable subgroups;\n\n{shader}").into();
        }
        match self.precision {
            Precision::F32 => shader,
            Precision::F16 => {
                let shader = shader
                    .replace("alias Stored = vec4f;", "alias Stored = vec4h;")
                    .replace("alias Scalar = f32;", "alias Scalar = f16;");
                format!("enable f16;\n\n{shader}").into()
            }
        }
    }

    /// Whether four neighbouring invocations exchange values: it needs a device with subgroups.
    fn has_quads(&self) -> bool {
        self.defines.contains(&("quads", 1))
    }

    pub(crate) fn new(shader: &'static str, params: &impl Pod, workgroups: [u32; 3]) -> Self {
        let params = bytemuck::bytes_of(params).to_vec();
        Kernel { shader, defines: Vec::new(), precision: Precision::F32, params, workgroups, first: None }
    }

    /// The variant in which `name` is defined as `value`.
    pub(crate) fn with(mut self, name: &'static str, value: u32) -> Self {
        self.defines.push((name, value));
        self
    }

    /// What tells its pipeline from others.
    pub(crate) fn pipeline(&self) -> (&'static str, Vec<Define>, Precision) {
        (self.shader, self.defines.clone(), self.precision)
    }

    /// A dispatch of one invocation a `vec4` of the output, whose shader has no parameter but their number.
    pub(crate) fn elementwise(shader: &'static str, output: &Shape) -> Self {
        let len = output.len() / 4;
        Kernel::flat(shader, &[len as u32, 0, 0, 0], len)
    }

    /// A dispatch of one invocation an item, in workgroups of [`FLAT_WORKGROUP`], wrapped into y beyond the 65,535
    /// workgroups a dimension may have. The shader's index is `id.x + id.y · FLAT_WIDTH`
    /// and may exceed `items`: most include `flat`, which has it, and calls their `element`.
    pub(crate) fn flat(shader: &'static str, params: &impl Pod, items: usize) -> Self {
        let groups = (items as u32).div_ceil(FLAT_WORKGROUP);
        let width = groups.min(FLAT_WIDTH / FLAT_WORKGROUP);
        Kernel::new(shader, params, [width, groups.div_ceil(FLAT_WIDTH / FLAT_WORKGROUP), 1])
    }
}

/// Invocations of a workgroup in a [`Kernel::flat`] dispatch.
const FLAT_WORKGROUP: u32 = 64;
/// Invocations of a full row of workgroups in a [`Kernel::flat`] dispatch.
const FLAT_WIDTH: u32 = 1 << 21;
