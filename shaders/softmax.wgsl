// exp(x − max) / Σ exp(x − max) over rows. A workgroup of 64 owns one row; its maximum and its sum are reduced pairwise
// in shared memory.

struct Params {
    rows: u32,
    len: u32, // elements of a row
    row: u32, // vec4s of a row
    pad0: u32,
}

alias Stored = vec4f; // activations and weights

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;         // [rows, row]
@group(0) @binding(2) var<storage, read_write> out: array<Stored>; // [rows, row]

const THREADS = 64u;
const LOWEST = -3.4028234e38;

var<workgroup> shares: array<f32, THREADS>;

// The row's elements of vec4 i, with `fill` in place of padding.
fn load(start: u32, i: u32, fill: f32) -> vec4f {
    let lane = vec4u(0u, 1u, 2u, 3u) + i * 4u;
    return select(vec4f(fill), x[start + i], lane < vec4u(params.len));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    // Workgroups past the last row own it too: barriers must be reached by all or none.
    let index = group.x + group.y * 32768u;
    let start = min(index, params.rows - 1u) * params.row;

    var highest = LOWEST;
    for (var i = thread; i < params.row; i += THREADS) {
        let v = load(start, i, LOWEST);
        highest = max(highest, max(max(v.x, v.y), max(v.z, v.w)));
    }
    shares[thread] = highest;
    for (var width = THREADS / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if thread < width {
            shares[thread] = max(shares[thread], shares[thread + width]);
        }
    }
    workgroupBarrier();
    highest = shares[0];
    workgroupBarrier();

    var sum = 0.0;
    for (var i = thread; i < params.row; i += THREADS) {
        sum += dot(exp(load(start, i, LOWEST) - highest), vec4f(1.0));
    }
    shares[thread] = sum;
    for (var width = THREADS / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if thread < width {
            shares[thread] += shares[thread + width];
        }
    }
    workgroupBarrier();

    let scale = 1.0 / shares[0];
    if index < params.rows {
        for (var i = thread; i < params.row; i += THREADS) {
            out[start + i] = Stored(exp(load(start, i, LOWEST) - highest) * scale);
        }
    }
}
