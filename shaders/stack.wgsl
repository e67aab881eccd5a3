// The rows of a, then those of b, which are as long. An invocation owns one vec4 of the output.

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

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x + id.y * 2097152u;
    if i >= params.len {
        return;
    }
    if i < params.first {
        out[i] = a[i];
    } else {
        out[i] = b[i - params.first];
    }
}
