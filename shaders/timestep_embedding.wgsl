// Sines and cosines of t · frequency. An invocation owns one vec4 of the output.
// WGSL's own sin and cos are only accurate to 2⁻¹¹ and only within [−π, π], so they are computed here: reduction by
// multiples of π/2 in three parts (Cody and Waite), then the polynomials of Moshier's Cephes `sinf` and `cosf`.

struct Params {
    rows: u32,
    dim: u32, // without padding
    row: u32, // vec4s of a row of the output
    flip: u32, // 1: cosines first
    fourier: u32, // 1: of 2π · ln t · frequency
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

alias Stored = vec4f; // activations and weights

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> timesteps: array<f32>;   // [rows]
@group(0) @binding(2) var<storage, read> frequencies: array<f32>; // [dim / 2]
@group(0) @binding(3) var<storage, read_write> out: array<Stored>; // [rows, row]

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

// ln x for x > 0. WGSL's own may be off by 3 units in the last place, which the frequencies would magnify: Cephes `logf`.
fn logarithm(x: f32) -> f32 {
    let parts = frexp(x);
    let low = parts.fract < 0.70710678;
    let e = f32(select(parts.exp, parts.exp - 1, low));
    let m = select(parts.fract, parts.fract * 2.0, low) - 1.0;
    let z = m * m;
    var y = ((((((((7.0376836292e-2 * m - 1.1514610310e-1) * m + 1.1676998740e-1) * m - 1.2420140846e-1) * m
        + 1.4249322787e-1) * m - 1.6668057665e-1) * m + 2.0000714765e-1) * m - 2.4999993993e-1) * m
        + 3.3333331174e-1) * m * z;
    y = y - 2.12194440e-4 * e - 0.5 * z;
    return m + y + 0.693359375 * e;
}

fn element(row: u32, i: u32) -> f32 {
    let half = params.dim / 2u;
    if i >= 2u * half {
        return 0.0;
    }
    let t = timesteps[row];
    var x = t * frequencies[i % half];
    if params.fourier == 1u {
        x = logarithm(t) * frequencies[i % half] * 6.2831853;
    }
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
    out[i] = Stored(vec4f(element(row, e), element(row, e + 1u), element(row, e + 2u), element(row, e + 3u)));
}
