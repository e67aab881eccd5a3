// Sines and cosines of t · frequency. An invocation owns one vec4 of the output.
// WGSL's own sin and cos are only accurate to 2⁻¹¹ and only within [−π, π], so they are computed here: reduction by
// multiples of π/2 in three parts (Cody and Waite), then the polynomials of Moshier's Cephes `sinf` and `cosf`.

struct Params {
    rows: u32,
    dim: u32, // without padding
    row: u32, // vec4s of a row of the output
    flip: u32, // 1: cosines first
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> timesteps: array<f32>;   // [rows]
@group(0) @binding(2) var<storage, read> frequencies: array<f32>; // [dim / 2]
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>; // [rows, row]

// sin(x + quarters · π/2) for |x| up to some thousands.
fn sine(x: f32, quarters: i32) -> f32 {
    let n = round(x * 0.63661977);
    let r = ((x - n * 1.5703125) - n * 4.837512969970703e-4) - n * 7.549789948768648e-8;
    let z = r * r;
    let s = ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1) * z * r + r;
    let c = ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2) * z * z - 0.5 * z + 1.0;
    let quadrant = (i32(n) + quarters) & 3;
    let y = select(s, c, (quadrant & 1) == 1);
    return select(y, -y, quadrant >= 2);
}

fn element(row: u32, i: u32) -> f32 {
    let half = params.dim / 2u;
    if i >= 2u * half {
        return 0.0;
    }
    let x = timesteps[row] * frequencies[i % half];
    return sine(x, i32((i / half) ^ params.flip));
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x + id.y * 2097152u;
    if i >= params.rows * params.row {
        return;
    }
    let row = i / params.row;
    let e = i % params.row * 4u;
    out[i] = vec4f(element(row, e), element(row, e + 1u), element(row, e + 2u), element(row, e + 3u));
}
