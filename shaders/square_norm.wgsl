// The sums of squares of neighbouring runs. A workgroup owns a run; sums are reduced pairwise in shared memory.

struct Params {
    len: u32,    // vec4s
    run: u32,    // vec4s of a run; the last ones may have fewer
    runs: u32,
    stride: u32, // runs, padding included
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;       // [len], the padding zero
@group(0) @binding(2) var<storage, read_write> out: array<f32>; // [stride]

const THREADS = 256u;

var<workgroup> shares: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    let first = group.x * params.run;
    let end = min(first + params.run, params.len);
    var sum = 0.0;
    for (var i = first + thread; i < end; i += THREADS) {
        sum += dot(x[i], x[i]);
    }
    shares[thread] = sum;
    for (var width = THREADS / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if thread < width {
            shares[thread] += shares[thread + width];
        }
    }
    if thread == 0u {
        out[group.x] = shares[0];
    }
    // The last run also keeps the padding zero.
    if group.x + 1u == params.runs && params.runs + thread < params.stride {
        out[params.runs + thread] = 0.0;
    }
}
