// out = g · f′(x), element by element. An invocation owns one vec4.

//#include activate
//#include flat

struct Params {
    len: u32,      // vec4s
    function: u32, // as activate.wgsl numbers them
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> gradient: array<vec4f>; // g
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;

fn element(i: u32) {
    out[i] = gradient[i] * derivative(x[i], params.function);
}
