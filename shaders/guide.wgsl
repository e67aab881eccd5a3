// Classifier-free guidance: null + guidance · (class − null). An invocation owns one vec4.

//#include row
//#include elementwise

@group(0) @binding(N) var<storage, read> model: array<vec4f>; // [class and null, len]
@group(0) @binding(N) var<storage, read> row: Coefficients;
@group(0) @binding(N) var<storage, read_write> out: array<vec4f>;

fn element(i: u32) {
    let null_class = model[i + params.len];
    out[i] = null_class + row.guidance * (model[i] - null_class);
}
