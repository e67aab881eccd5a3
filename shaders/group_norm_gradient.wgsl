// The gradients of a GroupNorm, scale = γ r and shift = β − μ · scale with r = 1 / √(M2 / n + ε), from those by scale and
// shift: by the moments of tiles and channels, and by γ and β of each image.
// A workgroup owns one group of one image. As in group_norm.wgsl, 64 invocations merge its moments pairwise, so the result
// does not depend on timing; then they sum over its channels in the same way.

//#include group
//#include moment

@group(0) @binding(N) var<uniform> params: Params;
@group(0) @binding(N) var<storage, read> a: array<f32>; // [N, tiles, 2, stride]: mean, M2
//#if b
@group(0) @binding(N) var<storage, read> b: array<f32>; // the same of another tensor
//#end
@group(0) @binding(N) var<storage, read> weight: array<f32>;   // [channels]
@group(0) @binding(N) var<storage, read> gradient: array<f32>; // [N, 2, stride], by scale and shift
@group(0) @binding(N) var<storage, read_write> by_a: array<f32>; // [N, tiles, 2, stride], by mean and M2
//#if b
@group(0) @binding(N) var<storage, read_write> by_b: array<f32>; // the same of the other tensor
//#end
@group(0) @binding(N) var<storage, read_write> by_weight: array<f32>; // [N, stride]
@group(0) @binding(N) var<storage, read_write> by_bias: array<f32>;   // [N, stride]

const THREADS = 64u;

var<workgroup> shares: array<Moment, THREADS>;
var<workgroup> sums: array<vec2f, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    let image = group.y;
    let size = params.channels / params.groups;
    let first = group.x * size;

    var own = Moment(0.0, 0.0, 0.0);
//#each s,f a,0u b,params.a.channels
//#if $s
    {
        // The part of the group that lies in this tensor.
        let start = max(first, $f) - $f;
        let end = min(first + size, $f + params.$s.channels);
        let members = select(0u, end - $f - start, end > $f + start);
        for (var i = thread; i < params.$s.tiles * members; i += THREADS) {
            let tile = i / members;
            let at = (image * params.$s.tiles + tile) * 2u * params.$s.stride + start + i % members;
            own = merge(own, Moment(f32(pixels(params.$s, tile)), $s[at], $s[at + params.$s.stride]));
        }
    }
//#end
//#end
    shares[thread] = own;
    for (var width = THREADS / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if thread < width {
            shares[thread] = merge(shares[thread], shares[thread + width]);
        }
    }
    workgroupBarrier();
    let all = shares[0];
    let inverse = 1.0 / sqrt(all.m2 / all.count + params.eps);

    // Σ γ (s − μ b) and Σ γ b.
    let row = image * params.stride;
    var sum = vec2f();
    for (var channel = first + thread; channel < first + size; channel += THREADS) {
        let by_shift = gradient[2u * row + params.stride + channel];
        let centred = gradient[2u * row + channel] - all.mean * by_shift;
        sum += weight[channel] * vec2f(centred, by_shift);
        by_weight[row + channel] = inverse * centred;
        by_bias[row + channel] = by_shift;
    }
    sums[thread] = sum;
    for (var width = THREADS / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if thread < width {
            sums[thread] += sums[thread + width];
        }
    }
    workgroupBarrier();
    let by_mean = -inverse * sums[0].y / all.count;
    let by_m2 = -0.5 * inverse * inverse * inverse * sums[0].x / all.count;

    // The last group also keeps the padding channels zero.
    let last = group.x + 1u == params.groups;
//#each s,f a,0u b,params.a.channels
//#if $s
    {
        let start = max(first, $f) - $f;
        let end = min(first + size, $f + params.$s.channels);
        let members = select(0u, end - $f - start, end > $f + start);
        for (var i = thread; i < params.$s.tiles * members; i += THREADS) {
            let tile = i / members;
            let at = (image * params.$s.tiles + tile) * 2u * params.$s.stride + start + i % members;
            let count = f32(pixels(params.$s, tile));
            by_$s[at] = count * (by_mean + 2.0 * ($s[at] - all.mean) * by_m2);
            by_$s[at + params.$s.stride] = by_m2;
        }
        let padding = select(0u, params.$s.stride - params.$s.channels, last);
        for (var i = thread; i < 2u * params.$s.tiles * padding; i += THREADS) {
            let run = image * params.$s.tiles * 2u + i / padding;
            by_$s[run * params.$s.stride + params.$s.channels + i % padding] = 0.0;
        }
    }
//#end
//#end
    if last {
        for (var padding = params.channels + thread; padding < params.stride; padding += THREADS) {
            by_weight[row + padding] = 0.0;
            by_bias[row + padding] = 0.0;
        }
    }
}
