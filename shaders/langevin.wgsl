// A Langevin step, whose length is that of the noise against the score, over all images. An invocation owns one vec4.

//#include row
//#include flat

struct Params {
    len: u32, // vec4s of the output
    images: u32, // of the batch
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> prev: array<vec4f>; // x_prev
@group(0) @binding(2) var<storage, read> model: array<vec4f>; // the score
@group(0) @binding(3) var<storage, read> noise: array<vec4f>; // z
@group(0) @binding(4) var<storage, read> model_norm: array<vec4f>; // [N], x counts
@group(0) @binding(5) var<storage, read> noise_norm: array<vec4f>; // [N], x counts
@group(0) @binding(6) var<storage, read> row: Coefficients;
@group(0) @binding(7) var<storage, read_write> out: array<vec4f>;

fn element(i: u32) {
    var model_sum = 0.0;
    var noise_sum = 0.0;
    for (var n = 0u; n < params.images; n++) {
        model_sum += model_norm[n].x;
        noise_sum += noise_norm[n].x;
    }
    let ratio = row.langevin * noise_sum / model_sum;
    let step = select(0.0, 2.0 * ratio * ratio, model_sum > 0.0);
    out[i] = prev[i] + step * model[i] + sqrt(2.0 * step) * noise[i];
}
