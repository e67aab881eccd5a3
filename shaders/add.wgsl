// out = (a + b) · scale, where b has the shape of a, or is one run of channels for each image of a.
// An invocation owns one vec4 of the output.

//#include flat

struct Params {
    len: u32,      // vec4s of the output
    channels: u32, // vec4s of a run of channels
    share: u32,    // vec4s of a that share a run of channels of b
    scale: f32,
}

alias Stored = vec4f; // activations and weights

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Stored>; // [rows, channels]
@group(0) @binding(2) var<storage, read> b: array<Stored>; // [rows / share, channels]
@group(0) @binding(3) var<storage, read_write> out: array<Stored>;

fn element(i: u32) {
    let row = vec4f(b[i / params.share * params.channels + i % params.channels]);
    out[i] = Stored((vec4f(a[i]) + row) * params.scale);
}
