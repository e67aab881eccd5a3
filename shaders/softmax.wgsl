// exp(x − max) / Σ exp(x − max) over rows. A workgroup of 64 owns one row; its maximum and its sum are reduced pairwise
// in shared memory. Or, where that is slow, an invocation owns one.

struct Params {
    rows: u32,
    len: u32, // elements of a row
    row: u32, // vec4s of a row
    pad0: u32,
}

alias Stored = vec4f; // activations and weights

@group(0) @binding(N) var<uniform> params: Params;
@group(0) @binding(N) var<storage, read> x: array<vec4f>;         // [rows, row]
@group(0) @binding(N) var<storage, read_write> out: array<Stored>; // [rows, row]

const THREADS = 64u;
const LOWEST = -3.4028234e38;
//#if serial
//#else

var<workgroup> shares: array<f32, THREADS>;
//#end

// The row's elements of vec4 i, with `fill` in place of padding.
fn load(start: u32, i: u32, fill: f32) -> vec4f {
    let lane = vec4u(0u, 1u, 2u, 3u) + i * 4u;
    return select(vec4f(fill), x[start + i], lane < vec4u(params.len));
}

//#if serial
@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let index = id.x + id.y * 2097152u;
    if index >= params.rows {
        return;
    }
    let start = index * params.row;
    var highest = vec4f(LOWEST);
    for (var i = 0u; i < params.row; i++) {
        highest = max(highest, load(start, i, LOWEST));
    }
    let top = max(max(highest.x, highest.y), max(highest.z, highest.w));
    var sums = vec4f();
    for (var i = 0u; i < params.row; i++) {
        sums += exp(load(start, i, LOWEST) - top);
    }
    let scale = 1.0 / dot(sums, vec4f(1.0));
    for (var i = 0u; i < params.row; i++) {
        out[start + i] = Stored(exp(load(start, i, LOWEST) - top) * scale);
    }
}
//#else
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
//#end
