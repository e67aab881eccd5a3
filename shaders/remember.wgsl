// The registers after an evaluation: one of them is replaced by keep_from_x · x_t + keep_from_model · model
// + keep_from_x0 · x̂0, the others stay. An invocation owns one vec4 of one register.

struct Params {
    len: u32,   // vec4s of all registers
    image: u32, // vec4s of one
    pad0: u32,
    pad1: u32,
}

// One row of the schedule.
struct Coefficients {
    input_scale: f32,
    x0_from_x: f32,
    x0_from_model: f32,
    clip: f32,
    prev_from_x: f32,
    prev_from_model: f32,
    prev_from_x0: f32,
    prev_from_noise: f32,
    prev_from_kept: array<f32, 5>,
    keep: f32, // the register that is written, or −1
    keep_from_x: f32,
    keep_from_model: f32,
    keep_from_x0: f32,
    show_scale: f32,
    pad0: f32,
    pad1: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;     // x_t
@group(0) @binding(2) var<storage, read> model: array<vec4f>; // ε, x0 or v
@group(0) @binding(3) var<storage, read> x0: array<vec4f>;    // x̂0
@group(0) @binding(4) var<storage, read> kept: array<vec4f>;  // [registers, image]
@group(0) @binding(5) var<storage, read> row: Coefficients;
@group(0) @binding(6) var<storage, read_write> out: array<vec4f>; // [registers, image]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x + id.y * 2097152u;
    if i >= params.len {
        return;
    }
    if i32(row.keep) == i32(i / params.image) {
        let e = i % params.image;
        out[i] = row.keep_from_x * x[e] + row.keep_from_model * model[e] + row.keep_from_x0 * x0[e];
    } else {
        out[i] = kept[i];
    }
}
