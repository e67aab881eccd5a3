// The channels of a, then those of b. An invocation owns one vec4 of the output.
// Scalar loads: b's channels need not start at a multiple of four.

struct Params {
    len: u32,        // vec4s of the output
    a_channels: u32, // channels, without padding
    b_channels: u32,
    a_stride: u32,   // channels, padding included
    b_stride: u32,
    stride: u32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>; // [rows, a_stride]
@group(0) @binding(2) var<storage, read> b: array<f32>; // [rows, b_stride]
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>; // [rows, stride / 4]

fn element(row: u32, channel: u32) -> f32 {
    if channel < params.a_channels {
        return a[row * params.a_stride + channel];
    }
    let c = channel - params.a_channels;
    if c < params.b_channels {
        return b[row * params.b_stride + c];
    }
    return 0.0;
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x + id.y * 2097152u;
    if i >= params.len {
        return;
    }
    let row = i * 4u / params.stride;
    let c = i * 4u % params.stride;
    out[i] = vec4f(element(row, c), element(row, c + 1u), element(row, c + 2u), element(row, c + 3u));
}
