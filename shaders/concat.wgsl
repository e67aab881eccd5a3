// The channels of a, then those of b. An invocation owns one vec4 of the output: one of a or b as it is, unless b
// begins within it.

//#include flat

struct Params {
    len: u32,        // vec4s of the output
    a_channels: u32, // channels, without padding
    b_channels: u32,
    a_stride: u32,   // vec4s of a run of channels
    b_stride: u32,
    stride: u32,
    pad0: u32,
    pad1: u32,
}

alias Stored = vec4f; // activations and weights

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Stored>; // [rows, a_stride]
@group(0) @binding(2) var<storage, read> b: array<Stored>; // [rows, b_stride]
@group(0) @binding(3) var<storage, read_write> out: array<Stored>; // [rows, stride]

fn number(row: u32, channel: u32) -> f32 {
    if channel < params.a_channels {
        return vec4f(a[row * params.a_stride + channel / 4u])[channel % 4u];
    }
    let c = channel - params.a_channels;
    if c < params.b_channels {
        return vec4f(b[row * params.b_stride + c / 4u])[c % 4u];
    }
    return 0.0;
}

fn element(i: u32) {
    let row = i / params.stride;
    let c = i % params.stride * 4u;
    if c + 4u <= params.a_channels {
        out[i] = a[row * params.a_stride + c / 4u];
    } else if c >= params.a_channels && params.a_channels % 4u == 0u {
        out[i] = b[row * params.b_stride + (c - params.a_channels) / 4u];
    } else {
        out[i] = Stored(vec4f(number(row, c), number(row, c + 1u), number(row, c + 2u), number(row, c + 3u)));
    }
}
