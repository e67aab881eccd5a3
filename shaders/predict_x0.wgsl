// x̂0 = clip(x0_from_x · x_t + x0_from_model · model), with the model's output guided before or here:
// null + guidance · (class − null). An invocation owns one vec4.

//#include row
//#include elementwise

@group(0) @binding(N) var<storage, read> x: array<vec4f>;     // x_t
@group(0) @binding(N) var<storage, read> model: array<vec4f>; // ε, x0 or v: [len], or [class and null, len]
@group(0) @binding(N) var<storage, read> row: Coefficients;
@group(0) @binding(N) var<storage, read_write> out: array<vec4f>; // x̂0
//#if guided
@group(0) @binding(N) var<storage, read_write> beside: array<vec4f>; // the guided output
//#end

fn element(i: u32) {
//#if guided
    let null_class = model[i + params.len];
    let output = null_class + row.guidance * (model[i] - null_class);
    beside[i] = output;
//#else
    let output = model[i];
//#end
    let x0 = row.x0_from_x * x[i] + row.x0_from_model * output;
    out[i] = clamp(x0, vec4f(-row.clip), vec4f(row.clip));
}
