// What a device can do at most, as far as plain programs tell: multiply-adds in a matrix product, bytes in a copy, and
// how long it takes to begin the next dispatch.

/** The side of the square that a workgroup of the matrix product makes, and the depth that it stages at a time. */
const TILE = 128;
const DEPTH = 8;

/** Lines of WGSL for i from 0 to count − 1: loops are written out, so that no compiler has to see that it can. */
const unrolled = (count, line) => Array.from({ length: count }, (_, i) => line(i)).join('\n  ');

/** The sums of 8×8 numbers of C that an invocation owns, as eight rows of two `vec4`s, and one more column of A and row of B. */
const SUMS = unrolled(8, (i) => `var sum${i} = vec4f(); var more${i} = vec4f();`);
const multiply = (left) => unrolled(8, (i) => `sum${i} = fma(vec4f(${left(i)}), right, sum${i}); more${i} = fma(vec4f(${left(i)}), next, more${i});`);

/** C = A·B of square matrices in f32: 16×16 invocations, from rows of A and columns of B that are staged. */
const STAGED = `
@group(0) @binding(0) var<storage, read> a: array<vec4f>;
@group(0) @binding(1) var<storage, read> b: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> c: array<vec4f>;
override side: u32;
var<workgroup> rows: array<array<vec4f, ${TILE / 4}>, ${DEPTH}>;
var<workgroup> columns: array<array<vec4f, ${TILE / 4}>, ${DEPTH}>;

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) tile: vec3u, @builtin(local_invocation_id) own: vec3u, @builtin(local_invocation_index) index: u32) {
  ${SUMS}
  // 256 invocations load ${TILE}×${DEPTH} numbers of A, which they turn, and ${DEPTH}×${TILE} of B: four each.
  let row = index % ${TILE}u;
  let quad = index / ${TILE}u;
  let depth_row = index / ${TILE / 4}u;
  let column = index % ${TILE / 4}u;
  for (var depth = 0u; depth < side; depth += ${DEPTH}u) {
    let from_a = a[((tile.y * ${TILE}u + row) * side + depth) / 4u + quad];
    ${unrolled(4, (i) => `rows[quad * 4u + ${i}u][row / 4u][row % 4u] = from_a[${i}];`)}
    columns[depth_row][column] = b[((depth + depth_row) * side + tile.x * ${TILE}u) / 4u + column];
    workgroupBarrier();
    ${unrolled(DEPTH, (k) => `{
      let upper = rows[${k}][own.y * 2u];
      let lower = rows[${k}][own.y * 2u + 1u];
      let right = columns[${k}][own.x];
      let next = columns[${k}][own.x + 16u];
      ${multiply((i) => `${i < 4 ? 'upper' : 'lower'}[${i % 4}]`)}
    }`)}
    workgroupBarrier();
  }
  let first = ((tile.y * ${TILE}u + own.y * 8u) * side + tile.x * ${TILE}u) / 4u + own.x;
  ${unrolled(8, (i) => `c[first + ${i}u * side / 4u] = sum${i}; c[first + ${i}u * side / 4u + 16u] = more${i};`)}
}`;

/** The same without shared memory, for devices where that is only memory. */
const DIRECT = `
@group(0) @binding(0) var<storage, read> a: array<vec4f>;
@group(0) @binding(1) var<storage, read> b: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> c: array<vec4f>;
override side: u32;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) own: vec3u) {
  ${SUMS}
  let quads = side / 4u;
  let row = own.y * 8u;
  let column = own.x * 2u;
  for (var k = 0u; k < quads; k++) {
    ${unrolled(8, (i) => `let left${i} = a[(row + ${i}u) * quads + k];`)}
    ${unrolled(4, (d) => `{
      let at = (k * 4u + ${d}u) * quads + column;
      let right = b[at];
      let next = b[at + 1u];
      ${multiply((i) => `left${i}[${d}]`)}
    }`)}
  }
  ${unrolled(8, (i) => `c[(row + ${i}u) * quads + column] = sum${i}; c[(row + ${i}u) * quads + column + 1u] = more${i};`)}
}`;

const COPY = `
@group(0) @binding(0) var<storage, read> a: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> b: array<vec4f>;
override row: u32;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) own: vec3u) {
  let i = own.y * row + own.x;
  if (i < arrayLength(&b)) { b[i] = a[i]; }
}`;

const NOTHING = `
@group(0) @binding(0) var<storage, read_write> a: array<vec4f>;

@compute @workgroup_size(1)
fn main() { a[0] = vec4f(1); }`;

/** Milliseconds that are measured at least, and after which no larger matrix is tried. */
const LEAST = 40;
const LARGEST_SIDE = 4096;
/** The most bytes that are copied: more than any cache has. A processor's memory, where a driver is in software, is slow enough with fewer. */
const LARGEST_COPY = 1 << 30;
const LARGEST_COPY_IN_SOFTWARE = 256 << 20;
const REPEATS = 5;
/** Dispatches of nothing, one after another. */
const MANY = 10000;

/**
 * `{ gflops, gigabytes, dispatch }`: 10⁹ operations a second of a matrix product in f32 (a multiply-add is two), 10⁹ bytes a
 * second read and written by a copy, and microseconds from one dispatch of nothing to the next in a pass.
 * @param {GPUAdapter} adapter
 * @param {boolean} software  whether it is a driver in software
 */
export async function measurePeak(adapter, software) {
  const most = (limit) => Math.min(LARGEST_COPY, adapter.limits[limit]);
  const requiredLimits = { maxBufferSize: most('maxBufferSize'), maxStorageBufferBindingSize: most('maxStorageBufferBindingSize') };
  const device = await adapter.requestDevice({ requiredLimits });
  const buffer = (bytes) => device.createBuffer({ size: bytes, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST });

  /** Makes a program, and a function that runs it so often: milliseconds. */
  async function program(code, constants, buffers, groups) {
    const module = device.createShaderModule({ code });
    const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'main', constants } });
    const entries = buffers.map((resource, binding) => ({ binding, resource: { buffer: resource } }));
    const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
    return async (times) => {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      for (let i = 0; i < times; i++) pass.dispatchWorkgroups(...groups);
      pass.end();
      const commands = encoder.finish();
      const begin = performance.now();
      device.queue.submit([commands]);
      await device.queue.onSubmittedWorkDone();
      return performance.now() - begin;
    };
  }

  /** Milliseconds of one of many, the least of several measurements after a first. */
  async function fastest(run, most = Infinity) {
    let times = 1;
    await run(times);
    for (;;) {
      const spent = await run(times);
      if (spent >= LEAST || times >= most) break;
      times = Math.min(most, Math.ceil(times * Math.min(10, Math.max(2, LEAST / Math.max(spent, 0.01)))));
    }
    let best = Infinity;
    for (let i = 0; i < REPEATS; i++) best = Math.min(best, await run(times) / times);
    return best;
  }

  /** What a buffer holds. */
  async function numbers(from) {
    const staging = device.createBuffer({ size: from.size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(from, 0, staging, 0, from.size);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const copy = new Float32Array(staging.getMappedRange().slice());
    staging.destroy();
    return copy;
  }

  // Every row of A and every column of B is one number again and again: small, so that all sums are exact.
  const left = (row) => row % 7 - 3;
  const right = (column) => column % 5 - 2;
  let gflops = 0;
  for (let side = 512; side <= LARGEST_SIDE; side *= 2) {
    const matrices = [0, 1, 2].map(() => buffer(4 * side * side));
    const [a, b] = [0, 1].map(() => new Float32Array(side * side));
    const columns = Float32Array.from({ length: side }, (_, column) => right(column));
    for (let row = 0; row < side; row++) {
      a.fill(left(row), row * side, (row + 1) * side);
      b.set(columns, row * side);
    }
    device.queue.writeBuffer(matrices[0], 0, a);
    device.queue.writeBuffer(matrices[1], 0, b);
    let milliseconds = Infinity;
    for (const [code, groups] of [[STAGED, [side / TILE, side / TILE]], [DIRECT, [side / 64, side / 64]]]) {
      milliseconds = Math.min(milliseconds, await fastest(await program(code, { side }, matrices, groups)));
      const product = await numbers(matrices[2]);
      const wrong = product.findIndex((value, i) => value !== side * left(i / side | 0) * right(i % side));
      if (wrong >= 0) throw new Error(`The matrix product of ${side}×${side} has ${product[wrong]} at ${wrong}.`);
    }
    gflops = Math.max(gflops, 2e-6 * side ** 3 / milliseconds);
    for (const matrix of matrices) matrix.destroy();
    if (milliseconds > LEAST) break;
  }

  const bytes = Math.min(software ? LARGEST_COPY_IN_SOFTWARE : LARGEST_COPY, device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize);
  const [from, to] = [buffer(bytes), buffer(bytes)];
  const row = 1 << 20;
  const copy = await fastest(await program(COPY, { row }, [from, to], [row / 256, Math.ceil(bytes / 16 / row)]));

  const dispatch = await fastest(await program(NOTHING, {}, [from], [1]), MANY);
  device.destroy();
  return { gflops, gigabytes: 2e-6 * bytes / copy, dispatch: 1000 * dispatch };
}
