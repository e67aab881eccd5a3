// A weight with input and output exchanged, and its taps in reverse. An invocation owns one vec4 of the output.

//#include flat

struct Params {
    len: u32,      // vec4s of the output
    taps: u32,
    channels: u32, // of the input, without padding
    row: u32,      // vec4s of a run of input channels
    columns: u32,  // output channels, padding included
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight: array<f32>;      // [taps, row · 4, columns]
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>; // [taps, columns, row]

fn element(i: u32) {
    let column = i / params.row % params.columns;
    let tap = params.taps - 1u - i / params.row / params.columns;
    var value = vec4f();
    for (var lane = 0u; lane < 4u; lane++) {
        let channel = i % params.row * 4u + lane;
        if channel < params.channels {
            value[lane] = weight[(tap * params.row * 4u + channel) * params.columns + column];
        }
    }
    out[i] = value;
}
