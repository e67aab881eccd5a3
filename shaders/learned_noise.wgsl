// Noise times the σ that the model learned. An invocation owns one vec4.

//#include row
//#include elementwise

@group(0) @binding(N) var<storage, read> noise: array<vec4f>; // z
@group(0) @binding(N) var<storage, read> variance: array<vec4f>; // v
@group(0) @binding(N) var<storage, read> row: Coefficients;
@group(0) @binding(N) var<storage, read_write> out: array<vec4f>;

fn element(i: u32) {
    var sigma = vec4f(1.0);
    if row.learned_sigma == 1.0 {
        sigma = sqrt(max(variance[i], vec4f()));
    } else if row.learned_sigma == 2.0 {
        let part = (variance[i] + 1.0) / 2.0;
        sigma = exp(0.5 * (part * row.max_log + (1.0 - part) * row.min_log));
    }
    out[i] = sigma * noise[i];
}
