// Noise times the σ that the model learned. An invocation owns one vec4.

struct Params {
    len: u32, // vec4s
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> noise: array<vec4f>; // z
@group(0) @binding(2) var<storage, read> variance: array<vec4f>; // v
@group(0) @binding(3) var<storage, read> row: Coefficients;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x + id.y * 2097152u;
    if i >= params.len {
        return;
    }
    var sigma = vec4f(1.0);
    if row.learned_sigma == 1.0 {
        sigma = sqrt(max(variance[i], vec4f()));
    } else if row.learned_sigma == 2.0 {
        let part = (variance[i] + 1.0) / 2.0;
        sigma = exp(0.5 * (part * row.max_log + (1.0 - part) * row.min_log));
    }
    out[i] = sigma * noise[i];
}
