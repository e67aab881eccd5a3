// From the moments of tiles and channels to the scale and shift of a GroupNorm:
// scale = γ / √(σ² + ε), shift = β − μ · scale.
// A workgroup owns one group of one image: 64 invocations merge its moments (Chan, Golub and LeVeque 1979), first each
// its share in order, then pairwise in shared memory, so the result does not depend on timing.
// Scalars, not vec4s: a group need not start at a multiple of four channels.

struct Params {
    pixels: u32,   // H · W of the normalised image
    tiles: u32,    // of 64 pixels, the last one perhaps not full
    channels: u32,
    stride: u32,   // channels, padding included
    groups: u32,
    eps: f32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> moments: array<f32>; // [N, tiles, 2, stride]: mean, M2
@group(0) @binding(2) var<storage, read> weight: array<f32>;  // [channels]
@group(0) @binding(3) var<storage, read> bias: array<f32>;    // [channels]
@group(0) @binding(4) var<storage, read_write> out: array<f32>; // [N, 2, stride]: scale, shift

const TILE = 64u;
const THREADS = 64u;

struct Moment {
    count: f32,
    mean: f32,
    m2: f32,
}

var<workgroup> shares: array<Moment, THREADS>;

fn merge(a: Moment, b: Moment) -> Moment {
    let count = a.count + b.count;
    let delta = b.mean - a.mean;
    let weight = select(0.0, b.count / count, count > 0.0);
    return Moment(count, a.mean + delta * weight, a.m2 + b.m2 + delta * delta * a.count * weight);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    let size = params.channels / params.groups;
    let first = group.x * size;
    let image = group.y;

    var own = Moment(0.0, 0.0, 0.0);
    for (var i = thread; i < params.tiles * size; i += THREADS) {
        let tile = i / size;
        let count = min(TILE, params.pixels - tile * TILE);
        let at = (image * params.tiles + tile) * 2u * params.stride + first + i % size;
        own = merge(own, Moment(f32(count), moments[at], moments[at + params.stride]));
    }
    shares[thread] = own;
    for (var width = THREADS / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if thread < width {
            shares[thread] = merge(shares[thread], shares[thread + width]);
        }
    }
    workgroupBarrier();

    let all = shares[0];
    let inverse = inverseSqrt(all.m2 / all.count + params.eps);
    let row = image * 2u * params.stride;
    for (var channel = first + thread; channel < first + size; channel += THREADS) {
        let scale = weight[channel] * inverse;
        out[row + channel] = scale;
        out[row + params.stride + channel] = bias[channel] - all.mean * scale;
    }
    // The last group also keeps the padding channels zero.
    let padding = params.channels + thread;
    if group.x + 1u == params.groups && padding < params.stride {
        out[row + padding] = 0.0;
        out[row + params.stride + padding] = 0.0;
    }
}
