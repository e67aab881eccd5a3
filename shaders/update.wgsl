// The denoising update, generic over the schedule's row:
// x_prev = prev_from_x · x_t + prev_from_model · model + prev_from_x0 · x̂0 + prev_from_noise · z
//     + Σ prev_from_kept[r] · (what register r keeps of earlier evaluations).
// With DDPM's row for a model that predicts ε this is x_{t−1} = (x_t − β_t / √(1 − ᾱ_t) · ε) / √α_t + σ_t z, by way of
// the clipped x̂0. What `remember` does can be done along with it. An invocation owns one vec4.

//#include row
//#include elementwise

@group(0) @binding(N) var<storage, read> x: array<vec4f>;     // x_t
@group(0) @binding(N) var<storage, read> model: array<vec4f>; // ε, x0 or v
@group(0) @binding(N) var<storage, read> x0: array<vec4f>;    // x̂0
@group(0) @binding(N) var<storage, read> noise: array<vec4f>; // z
@group(0) @binding(N) var<storage, read> kept: array<vec4f>;  // [registers, len]
@group(0) @binding(N) var<storage, read> row: Coefficients;
@group(0) @binding(N) var<storage, read_write> out: array<vec4f>; // x_prev
//#if keeps
@group(0) @binding(N) var<storage, read_write> beside: array<vec4f>; // the registers after this evaluation
//#end

fn element(i: u32) {
    out[i] = row.prev_from_x * x[i]
        + row.prev_from_model * model[i]
        + row.prev_from_x0 * x0[i]
        + row.prev_from_noise * noise[i]
        + row.prev_from_kept[0] * kept[i]
        + row.prev_from_kept[1] * kept[i + params.len]
        + row.prev_from_kept[2] * kept[i + 2u * params.len]
        + row.prev_from_kept[3] * kept[i + 3u * params.len]
        + row.prev_from_kept[4] * kept[i + 4u * params.len];
//#if keeps
    for (var r = 0u; r < REGISTERS; r++) {
        var value = kept[i + r * params.len];
        for (var k = 0u; k < 2u; k++) {
            let keep = row.keep[k];
            if i32(keep.to) == i32(r) {
                value = keep.from_x * x[i] + keep.from_model * model[i] + keep.from_x0 * x0[i];
            }
        }
        beside[i + r * params.len] = value;
    }
//#end
}
