// The gradient of each image's mean square error by the prediction. An invocation owns one vec4.

//#include flat

struct Params {
    len: u32,   // vec4s
    image: u32, // vec4s of an image
    scale: f32, // 2 / numbers of an image, padding excluded
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> prediction: array<vec4f>; // [N, image]
@group(0) @binding(2) var<storage, read> truth: array<vec4f>;      // [N, image]
@group(0) @binding(3) var<storage, read> weights: array<f32>;      // [N]
@group(0) @binding(4) var<storage, read> gradient: array<f32>;     // [N], by the errors
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;  // [N, image]

fn element(i: u32) {
    let image = i / params.image;
    let scale = params.scale * weights[image] * gradient[image];
    out[i] = scale * (prediction[i] - truth[i]);
}
