// out = x / t, one divisor an image. An invocation owns one vec4.

//#include flat

struct Params {
    len: u32,   // vec4s
    image: u32, // vec4s of an image
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>; // [N, image]
@group(0) @binding(2) var<storage, read> t: array<f32>;   // [N]
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;

fn element(i: u32) {
    out[i] = x[i] / t[i / params.image];
}
