// The bound of dynamic thresholding: a quantile of |x̂0| over an image, between 1 and a largest value. A workgroup owns an
// image.
//
// The bits of a positive float order as the float does, so the k-th smallest is found bit by bit from the top: each time
// the elements below a candidate are counted.

//#include row

struct Params {
    pixels: u32,   // of an image
    stride: u32,   // vec4s of a pixel
    channels: u32,
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x0: array<vec4f>;        // [N, pixels, stride]
@group(0) @binding(2) var<storage, read> row: Coefficients;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>; // [N], x counts

var<workgroup> count: atomic<u32>;

// How many elements of the image have bits below `limit`.
fn below(image: u32, thread: u32, limit: u32) -> u32 {
    if thread == 0u {
        atomicStore(&count, 0u);
    }
    workgroupBarrier();
    var own = 0u;
    for (var i = thread; i < params.pixels * params.stride; i += 256u) {
        let bits = bitcast<vec4u>(abs(x0[image + i]));
        let first = i % params.stride * 4u;
        for (var lane = 0u; lane < 4u; lane++) {
            own += u32(first + lane < params.channels && bits[lane] < limit);
        }
    }
    atomicAdd(&count, own);
    workgroupBarrier();
    let all = atomicLoad(&count);
    workgroupBarrier();
    return all;
}

// The element that has `rank` elements before it in order.
fn smallest(image: u32, thread: u32, rank: u32) -> f32 {
    var bits = 0u;
    for (var bit = 31u; bit > 0u; bit--) {
        let candidate = bits | (1u << (bit - 1u));
        if below(image, thread, candidate) <= rank {
            bits = candidate;
        }
    }
    return bitcast<f32>(bits);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    let image = group.x * params.pixels * params.stride;
    let last = params.pixels * params.channels - 1u;
    let place = row.threshold_ratio * f32(last);
    // The last place of a very large image is rounded up to one that does not exist.
    let low = smallest(image, thread, min(last, u32(floor(place))));
    let high = smallest(image, thread, min(last, u32(ceil(place))));
    let quantile = low + (high - low) * fract(place);
    if thread == 0u {
        out[group.x] = vec4f(min(max(quantile, 1.0), row.threshold_max), 0.0, 0.0, 0.0);
    }
}
