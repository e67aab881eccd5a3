// What the model is given of x: input_scale · x. An invocation owns one vec4.

//#include row
//#include elementwise

@group(0) @binding(N) var<storage, read> x: array<vec4f>;
@group(0) @binding(N) var<storage, read> row: Coefficients;
@group(0) @binding(N) var<storage, read_write> out: array<vec4f>;

fn element(i: u32) {
    out[i] = row.input_scale * x[i];
}
