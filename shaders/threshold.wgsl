// Dynamic thresholding: clamp(x̂0, −s, s) / s. An invocation owns one vec4.

//#include flat

struct Params {
    len: u32, // vec4s of the output
    image: u32, // vec4s of an image
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x0: array<vec4f>;
@group(0) @binding(2) var<storage, read> s: array<vec4f>; // [N], x counts
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;

fn element(i: u32) {
    let bound = s[i / params.image].x;
    out[i] = clamp(x0[i], vec4f(-bound), vec4f(bound)) / bound;
}
