// The mean square error of each image, times its weight. A workgroup owns an image; sums are reduced pairwise in shared
// memory.

struct Params {
    image: u32,  // vec4s of an image
    images: u32, // N
    stride: u32, // N, padding included
    share: f32,  // 1 / numbers of an image, padding excluded
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> prediction: array<vec4f>; // [N, image]
@group(0) @binding(2) var<storage, read> truth: array<vec4f>;      // [N, image]
@group(0) @binding(3) var<storage, read> weights: array<f32>;      // [N]
@group(0) @binding(4) var<storage, read_write> out: array<f32>;    // [stride]

const THREADS = 256u;

var<workgroup> shares: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    let start = group.x * params.image;
    var sum = 0.0;
    for (var i = thread; i < params.image; i += THREADS) {
        let difference = prediction[start + i] - truth[start + i];
        sum += dot(difference, difference); // that of the padding is zero
    }
    shares[thread] = sum;
    for (var width = THREADS / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if thread < width {
            shares[thread] += shares[thread + width];
        }
    }
    if thread == 0u {
        out[group.x] = weights[group.x] * (shares[0] * params.share);
    }
    // The last image also keeps the padding zero.
    if group.x + 1u == params.images && params.images + thread < params.stride {
        out[params.images + thread] = 0.0;
    }
}
