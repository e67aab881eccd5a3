// The first number of x, times a scale, everywhere but in the padding. An invocation owns one vec4.

//#include flat

struct Params {
    len: u32,      // vec4s
    channels: u32, // without padding
    row: u32,      // vec4s of a run of channels
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [1]
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;

fn element(i: u32) {
    let channel = vec4u(0u, 1u, 2u, 3u) + i % params.row * 4u;
    out[i] = select(vec4f(), vec4f(params.scale * x[0]), channel < vec4u(params.channels));
}
