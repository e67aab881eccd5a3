// Puts what is known of an image in its place, as noisy as the step leaves it. An invocation owns one vec4.

//#include row
//#include elementwise

@group(0) @binding(N) var<storage, read> prev: array<vec4f>; // x_prev
@group(0) @binding(N) var<storage, read> original: array<vec4f>;
@group(0) @binding(N) var<storage, read> mask: array<vec4f>; // 1 where the original is kept
@group(0) @binding(N) var<storage, read> noise: array<vec4f>; // z
@group(0) @binding(N) var<storage, read> row: Coefficients;
@group(0) @binding(N) var<storage, read_write> out: array<vec4f>;

fn element(i: u32) {
    let known = row.known_from_original * original[i] + row.known_from_noise * noise[i];
    out[i] = mask[i] * known + (1.0 - mask[i]) * prev[i];
}
