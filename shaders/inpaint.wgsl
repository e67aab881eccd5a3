// Puts what is known of an image in its place, as noisy as the step leaves it. An invocation owns one vec4.

struct Params {
    len: u32, // vec4s
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> prev: array<vec4f>; // x_prev
@group(0) @binding(2) var<storage, read> original: array<vec4f>;
@group(0) @binding(3) var<storage, read> mask: array<vec4f>; // 1 where the original is kept
@group(0) @binding(4) var<storage, read> noise: array<vec4f>; // z
@group(0) @binding(5) var<storage, read> row: Coefficients;
@group(0) @binding(6) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x + id.y * 2097152u;
    if i >= params.len {
        return;
    }
    let known = row.known_from_original * original[i] + row.known_from_noise * noise[i];
    out[i] = mask[i] * known + (1.0 - mask[i]) * prev[i];
}
