// x̂0 = clip(x0_from_x · x_t + x0_from_model · model). An invocation owns one vec4.

struct Params {
    len: u32, // vec4s
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;     // x_t
@group(0) @binding(2) var<storage, read> model: array<vec4f>; // ε, x0 or v
@group(0) @binding(3) var<storage, read> row: Coefficients;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>; // x̂0

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x + id.y * 2097152u;
    if i >= params.len {
        return;
    }
    let x0 = row.x0_from_x * x[i] + row.x0_from_model * model[i];
    out[i] = clamp(x0, vec4f(-row.clip), vec4f(row.clip));
}
