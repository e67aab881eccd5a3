// From the moments of tiles and channels to the scale and shift of a GroupNorm:
// scale = γ / √(σ² + ε), shift = β − μ · scale.
// A workgroup owns one group of one image: 64 invocations merge its moments (Chan, Golub and LeVeque 1979), first each
// its share in order, then pairwise in shared memory, so the result does not depend on timing. Or, where shared memory is
// slow, one invocation does.
// Scalars, not vec4s: a group need not start at a multiple of four channels.

//#include group
//#include moment

@group(0) @binding(N) var<uniform> params: Params;
@group(0) @binding(N) var<storage, read> a: array<f32>; // [N, tiles, 2, stride]: mean, M2
//#if b
@group(0) @binding(N) var<storage, read> b: array<f32>; // the same of another tensor
//#end
@group(0) @binding(N) var<storage, read> weight: array<f32>; // [channels]
@group(0) @binding(N) var<storage, read> bias: array<f32>;   // [channels]
@group(0) @binding(N) var<storage, read_write> out: array<f32>; // [N, 2, stride]: scale, shift

const THREADS = 64u;

//#if serial
//#else
var<workgroup> shares: array<Moment, THREADS>;

//#end
@compute @workgroup_size(THREADS)
//#if serial
fn main(@builtin(global_invocation_id) id: vec3u) {
    const SHARES = 1u;
    let thread = 0u;
    let index = id.x;
    let image = id.y;
    if index >= params.groups {
        return;
    }
//#else
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    const SHARES = THREADS;
    let index = group.x;
    let image = group.y;
//#end
    let size = params.channels / params.groups;
    let first = index * size;

    var own = Moment(0.0, 0.0, 0.0);
//#each s,f a,0u b,params.a.channels
//#if $s
    {
        // The part of the group that lies in this tensor.
        let start = max(first, $f) - $f;
        let end = min(first + size, $f + params.$s.channels);
        let members = select(0u, end - $f - start, end > $f + start);
        for (var i = thread; i < params.$s.tiles * members; i += SHARES) {
            let tile = i / members;
            let at = (image * params.$s.tiles + tile) * 2u * params.$s.stride + start + i % members;
            own = merge(own, Moment(f32(pixels(params.$s, tile)), $s[at], $s[at + params.$s.stride]));
        }
    }
//#end
//#end
//#if serial
    let all = own;
//#else
    shares[thread] = own;
    for (var width = THREADS / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if thread < width {
            shares[thread] = merge(shares[thread], shares[thread + width]);
        }
    }
    workgroupBarrier();
    let all = shares[0];
//#end

    let inverse = inverseSqrt(all.m2 / all.count + params.eps);
    let row = image * 2u * params.stride;
    for (var channel = first + thread; channel < first + size; channel += SHARES) {
        let scale = weight[channel] * inverse;
        out[row + channel] = scale;
        out[row + params.stride + channel] = bias[channel] - all.mean * scale;
    }
    // The last group also keeps the padding channels zero.
    if index + 1u == params.groups {
        for (var padding = params.channels + thread; padding < params.stride; padding += SHARES) {
            out[row + padding] = 0.0;
            out[row + params.stride + padding] = 0.0;
        }
    }
}
