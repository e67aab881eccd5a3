// out = x · scale + shift, a scale and a shift for each channel of each image, then optionally an activation.
// An invocation owns one vec4.

//#include activate
//#include flat

struct Params {
    len: u32,      // vec4s of the output
    channels: u32, // vec4s of a run of channels
    image: u32,    // vec4s of an image
    activation: u32, // as activate.wgsl numbers them
}

alias Stored = vec4f; // activations and weights

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>;      // [N, H, W, channels]
@group(0) @binding(2) var<storage, read> affine: array<vec4f>; // [N, 2, channels]: scale, shift
@group(0) @binding(3) var<storage, read_write> out: array<Stored>;

fn element(i: u32) {
    let scale = i / params.image * 2u * params.channels + i % params.channels;
    let y = vec4f(x[i]) * affine[scale] + affine[scale + params.channels];
    out[i] = Stored(activate(y, params.activation));
}
