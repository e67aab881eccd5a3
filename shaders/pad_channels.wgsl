// Zeros before and after the channels. An invocation owns one vec4 of the output.

//#include flat

struct Params {
    len: u32,        // vec4s of the output
    in_stride: u32,  // elements of a run of channels of the input
    out_stride: u32, // vec4s of a run of channels of the output
    first: u32,      // where the input's first channel goes
    channels: u32,   // of the input, without padding
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;

fn element(i: u32) {
    let pixel = i / params.out_stride * params.in_stride;
    var value = vec4f();
    for (var lane = 0u; lane < 4u; lane++) {
        let channel = i % params.out_stride * 4u + lane;
        if channel >= params.first && channel < params.first + params.channels {
            value[lane] = x[pixel + channel - params.first];
        }
    }
    out[i] = value;
}
