// out = f(x), element by element. An invocation owns one vec4.

//#include activate
//#include flat

struct Params {
    len: u32,      // vec4s
    function: u32, // as activate.wgsl numbers them
    pad0: u32,
    pad1: u32,
}

alias Stored = vec4f; // activations and weights

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>;
@group(0) @binding(2) var<storage, read_write> out: array<Stored>;

fn element(i: u32) {
    out[i] = Stored(activate(vec4f(x[i]), params.function));
}
