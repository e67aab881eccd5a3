// The term of the variational bound of each image's timestep, in bits a number. A workgroup owns an image; sums are reduced
// pairwise in shared memory.

//#include likelihood

struct Params {
    image: u32,    // vec4s of an image
    row: u32,      // vec4s of a run of channels
    channels: u32, // without padding
    images: u32,   // N
    stride: u32,   // N, padding included
    scale: f32,    // 1 / (ln 2 · numbers of an image, padding excluded)
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> prediction: array<vec4f>; // [N, image]
@group(0) @binding(2) var<storage, read> truth: array<vec4f>;      // [N, image]
@group(0) @binding(3) var<storage, read> v: array<vec4f>;          // [N, image]
@group(0) @binding(4) var<storage, read> x0: array<vec4f>;         // [N, image]
@group(0) @binding(5) var<storage, read> given: array<Given>;      // [N]
@group(0) @binding(6) var<storage, read_write> out: array<f32>;    // [stride]

const THREADS = 256u;

var<workgroup> shares: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    let start = group.x * params.image;
    var sum = vec4f();
    for (var i = thread; i < params.image; i += THREADS) {
        let at = start + i;
        let channel = vec4u(0u, 1u, 2u, 3u) + i % params.row * 4u;
        let value = loss(prediction[at], truth[at], v[at], x0[at], given[group.x]);
        sum += select(vec4f(), value, channel < vec4u(params.channels));
    }
    shares[thread] = dot(sum, vec4f(1.0));
    for (var width = THREADS / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if thread < width {
            shares[thread] += shares[thread + width];
        }
    }
    if thread == 0u {
        out[group.x] = shares[0] * params.scale;
    }
    // The last image also keeps the padding zero.
    if group.x + 1u == params.images && params.images + thread < params.stride {
        out[params.images + thread] = 0.0;
    }
}
