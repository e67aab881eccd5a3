// Every pixel twice in each direction. An invocation owns one vec4 of the output.

//#include flat

struct Params {
    len: u32,      // vec4s of the output
    channels: u32, // vec4s of a run of channels
    width: u32,    // pixels of a row of the input
    pad0: u32,
}

alias Stored = vec4f; // activations and weights

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>;         // [N · H, width, channels]
@group(0) @binding(2) var<storage, read_write> out: array<Stored>; // [N · 2H, 2 · width, channels]

fn element(i: u32) {
    let pixel = i / params.channels;
    let line = pixel / (2u * params.width); // over all images: an image's 2H lines are even in number
    let column = pixel % (2u * params.width);
    out[i] = x[(line / 2u * params.width + column / 2u) * params.channels + i % params.channels];
}
