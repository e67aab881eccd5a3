// The rows of a, then those of b, which are as long. An invocation owns one vec4 of the output.

//#include flat

struct Params {
    len: u32,   // vec4s of the output
    first: u32, // vec4s of a
    pad0: u32,
    pad1: u32,
}

alias Stored = vec4f; // activations and weights

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Stored>;         // [first]
@group(0) @binding(2) var<storage, read> b: array<Stored>;         // [len - first]
@group(0) @binding(3) var<storage, read_write> out: array<Stored>; // [len]

fn element(i: u32) {
    if i < params.first {
        out[i] = a[i];
    } else {
        out[i] = b[i - params.first];
    }
}
