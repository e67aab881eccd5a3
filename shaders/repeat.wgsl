// A batch after itself. An invocation owns one vec4.

//#include flat

struct Params {
    len: u32, // vec4s of the output
    half: u32, // vec4s of the input
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;

fn element(i: u32) {
    out[i] = x[i % params.half];
}
