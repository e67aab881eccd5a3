// A normalisation's scale s and shift b under the time embedding's: s · (1 + scale) and b · (1 + scale) + shift.
// An invocation owns four channels of one image.

//#include flat

struct Params {
    len: u32,      // vec4s of a run of channels, in all images
    channels: u32, // vec4s of a run of channels
    pad0: u32,
    pad1: u32,
}

alias Stored = vec4f; // activations and weights

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> affine: array<vec4f>; // [N, 2, channels]: s, b
@group(0) @binding(2) var<storage, read> time: array<Stored>;   // [N, 2, channels]: scale, shift
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;

fn element(i: u32) {
    let first = i / params.channels * 2u * params.channels + i % params.channels;
    let second = first + params.channels;
    let gain = 1.0 + vec4f(time[first]);
    out[first] = affine[first] * gain;
    out[second] = affine[second] * gain + vec4f(time[second]);
}
