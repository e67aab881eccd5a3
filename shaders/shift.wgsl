// a + w · g: what a classifier's gradient changes. An invocation owns one vec4.

//#include row
//#include elementwise

@group(0) @binding(N) var<storage, read> a: array<vec4f>;
@group(0) @binding(N) var<storage, read> gradient: array<vec4f>; // g
@group(0) @binding(N) var<storage, read> row: Coefficients;
@group(0) @binding(N) var<storage, read_write> out: array<vec4f>;

fn element(i: u32) {
//#if noise
    let weight = row.noise_from_gradient;
//#else
    let weight = row.model_from_gradient;
//#end
    out[i] = a[i] + weight * gradient[i];
}
