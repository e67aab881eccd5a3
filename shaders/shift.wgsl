// a + w · g: what a classifier's gradient changes. An invocation owns one vec4.

struct Params {
    len: u32, // vec4s
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> gradient: array<vec4f>; // g
@group(0) @binding(3) var<storage, read> row: Coefficients;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x + id.y * 2097152u;
    if i >= params.len {
        return;
    }
//#if noise
    let weight = row.noise_from_gradient;
//#else
    let weight = row.model_from_gradient;
//#end
    out[i] = a[i] + weight * gradient[i];
}
