// p · (g − Σ p g) over rows. A workgroup of 64 owns one row; its sum is reduced pairwise in shared memory.

struct Params {
    rows: u32,
    row: u32, // vec4s of a row
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> p: array<vec4f>;         // [rows, row], zero in the padding
@group(0) @binding(2) var<storage, read> g: array<vec4f>;         // [rows, row]
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>; // [rows, row]

const THREADS = 64u;

var<workgroup> shares: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    // Workgroups past the last row own it too: barriers must be reached by all or none.
    let index = group.x + group.y * 32768u;
    let start = min(index, params.rows - 1u) * params.row;
    var sum = 0.0;
    for (var i = thread; i < params.row; i += THREADS) {
        sum += dot(p[start + i], g[start + i]);
    }
    shares[thread] = sum;
    for (var width = THREADS / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if thread < width {
            shares[thread] += shares[thread + width];
        }
    }
    workgroupBarrier();
    if index < params.rows {
        for (var i = thread; i < params.row; i += THREADS) {
            out[start + i] = p[start + i] * (g[start + i] - shares[0]);
        }
    }
}
