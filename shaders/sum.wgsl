// The sum of all numbers, times a scale. One workgroup adds them up, pairwise in shared memory.

struct Params {
    len: u32, // vec4s
    scale: f32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;         // [len], the padding zero
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>; // [1], x counts

const THREADS = 256u;

var<workgroup> shares: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) thread: u32) {
    var sum = vec4f();
    for (var i = thread; i < params.len; i += THREADS) {
        sum += x[i];
    }
    shares[thread] = dot(sum, vec4f(1.0));
    for (var width = THREADS / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if thread < width {
            shares[thread] += shares[thread + width];
        }
    }
    if thread == 0u {
        out[0] = vec4f(shares[0] * params.scale, 0.0, 0.0, 0.0);
    }
}
