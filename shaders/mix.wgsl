// out = a · x + b · y, or a · x alone, with coefficients an image. An invocation owns one vec4.

//#include flat

struct Params {
    len: u32,   // vec4s
    image: u32, // vec4s of an image
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(N) var<uniform> params: Params;
@group(0) @binding(N) var<storage, read> x: array<vec4f>; // [N, image]
//#if two
@group(0) @binding(N) var<storage, read> y: array<vec4f>; // [N, image]
//#end
@group(0) @binding(N) var<storage, read> a: array<f32>; // [N]
//#if two
@group(0) @binding(N) var<storage, read> b: array<f32>; // [N]
//#end
@group(0) @binding(N) var<storage, read_write> out: array<vec4f>; // [N, image]

fn element(i: u32) {
    let image = i / params.image;
    var sum = a[image] * x[i];
//#if two
    sum += b[image] * y[i];
//#end
    out[i] = sum;
}
