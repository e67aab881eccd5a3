// shadow − (1 − decay) (shadow − p), in place. An invocation owns one vec4.

struct Params {
    len: u32, // vec4s
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> p: array<vec4f>;  // [len]
@group(0) @binding(2) var<storage, read> rest: array<f32>; // [1]: 1 − decay
@group(0) @binding(3) var<storage, read_write> shadow: array<vec4f>; // [len]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x + id.y * 2097152u;
    if i >= params.len {
        return;
    }
    shadow[i] -= rest[0] * (shadow[i] - p[i]);
}
