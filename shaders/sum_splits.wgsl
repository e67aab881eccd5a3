// What a convolution summed up in several parts, as one: the sum of the parts, plus a row of the time embedding and a
// residual, times a scale. A workgroup owns some channels of one image, with all its pixels, so it can also leave their
// moments, or do what a GroupNorm does with them: it then owns one of its groups.
// Scalars, not vec4s: a group need not start at a multiple of four channels.

//#include moment

struct Params {
    splits: u32,
    images: u32,
    pixels: u32,   // of an image
    channels: u32,
    stride: u32,   // channels, padding included
    size: u32,     // channels of a workgroup
    scale: f32,
    eps: f32,
}

alias Stored = vec4f;
alias Scalar = f32; // one of them

@group(0) @binding(N) var<uniform> params: Params;
@group(0) @binding(N) var<storage, read> sums: array<f32>; // [splits · N, pixels, stride]
//#if residual
@group(0) @binding(N) var<storage, read> residual: array<Scalar>; // [N, pixels, stride]
//#end
//#if row
@group(0) @binding(N) var<storage, read> row: array<Scalar>; // [N, stride]
//#end
//#if norm
@group(0) @binding(N) var<storage, read> weight: array<f32>; // [channels]
@group(0) @binding(N) var<storage, read> bias: array<f32>;   // [channels]
//#end
@group(0) @binding(N) var<storage, read_write> out: array<Scalar>; // [N, pixels, stride]
//#if beside
@group(0) @binding(N) var<storage, read_write> beside: array<f32>; // [N, 2, stride]: mean, M2; or scale, shift
//#end

const THREADS = 64u;

//#if beside
var<workgroup> shares: array<Moment, THREADS>;

//#end
@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    let image = group.y;
    let first = group.x * params.size;
    let after = min(first + params.size, params.stride);
    // The last group also keeps the padding channels zero.
    let end = select(after, params.stride, after >= params.channels);
    let width = end - first;
    let apart = params.images * params.pixels * params.stride;

//#if beside
    var own = Moment(0.0, 0.0, 0.0);
//#end
    for (var i = thread; i < params.pixels * width; i += THREADS) {
        let channel = first + i % width;
        let at = (image * params.pixels + i / width) * params.stride + channel;
        var value = 0.0;
        for (var split = 0u; split < params.splits; split++) {
            value += sums[at + split * apart];
        }
//#if row
        value += f32(row[image * params.stride + channel]);
//#end
//#if residual
        value += f32(residual[at]);
//#end
        value *= params.scale;
        out[at] = Scalar(value);
//#if beside
        if channel < after {
            own = merge(own, Moment(1.0, value, 0.0));
        }
//#end
    }
//#if beside
    // An invocation's numbers are of one channel, every fourth invocation's of the same; or all are of one group.
    shares[thread] = own;
//#if norm
    const LAST = 1u;
//#else
    const LAST = 4u;
//#end
    for (var half = THREADS / 2u; half >= LAST; half /= 2u) {
        workgroupBarrier();
        if thread < half {
            shares[thread] = merge(shares[thread], shares[thread + half]);
        }
    }
    workgroupBarrier();
    let at = image * 2u * params.stride + first;
//#if norm
    let all = shares[0];
    let inverse = inverseSqrt(all.m2 / all.count + params.eps);
    for (var i = thread; i < width; i += THREADS) {
        let inside = first + i < after;
        let member = min(first + i, params.channels - 1u);
        let scale = weight[member] * inverse;
        beside[at + i] = select(0.0, scale, inside);
        beside[at + params.stride + i] = select(0.0, bias[member] - all.mean * scale, inside);
    }
//#else
    if thread < width {
        beside[at + thread] = shares[thread].mean;
        beside[at + params.stride + thread] = shares[thread].m2;
    }
//#end
//#end
}
