// The gradients of s · (1 + scale) and b · (1 + scale) + shift by s and b, and by scale and shift.
// An invocation owns four channels of one image.

//#include flat

struct Params {
    len: u32,      // vec4s of a run of channels, in all images
    channels: u32, // vec4s of a run of channels
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> affine: array<vec4f>;   // [N, 2, channels]: s, b
@group(0) @binding(2) var<storage, read> time: array<vec4f>;     // [N, 2, channels]: scale, shift
@group(0) @binding(3) var<storage, read> gradient: array<vec4f>; // [N, 2, channels], by the two outputs
@group(0) @binding(4) var<storage, read_write> by_affine: array<vec4f>; // [N, 2, channels]
@group(0) @binding(5) var<storage, read_write> by_time: array<vec4f>;   // [N, 2, channels]

fn element(i: u32) {
    let first = i / params.channels * 2u * params.channels + i % params.channels;
    let second = first + params.channels;
    let gain = 1.0 + time[first];
    let g = gradient[first];
    let h = gradient[second];
    by_affine[first] = g * gain;
    by_affine[second] = h * gain;
    by_time[first] = g * affine[first] + h * affine[second];
    by_time[second] = h;
}
