// A jump back towards the noise: undo_scale · x + noise. An invocation owns one vec4.

//#include row
//#include elementwise

@group(0) @binding(N) var<storage, read> x: array<vec4f>;
@group(0) @binding(N) var<storage, read> noise: array<vec4f>; // weighed already
@group(0) @binding(N) var<storage, read> row: Coefficients;
@group(0) @binding(N) var<storage, read_write> out: array<vec4f>;

fn element(i: u32) {
    out[i] = row.undo_scale * x[i] + noise[i];
}
