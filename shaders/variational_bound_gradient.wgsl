// The gradient of the variational bound by what the network says of the variance. An invocation owns one vec4.

//#include likelihood
//#include flat

struct Params {
    len: u32,      // vec4s
    image: u32,    // vec4s of an image
    row: u32,      // vec4s of a run of channels
    channels: u32, // without padding
    scale: f32,    // 1 / (ln 2 · numbers of an image, padding excluded)
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> prediction: array<vec4f>; // [N, image]
@group(0) @binding(2) var<storage, read> truth: array<vec4f>;      // [N, image]
@group(0) @binding(3) var<storage, read> v: array<vec4f>;          // [N, image]
@group(0) @binding(4) var<storage, read> x0: array<vec4f>;         // [N, image]
@group(0) @binding(5) var<storage, read> given: array<Given>;      // [N]
@group(0) @binding(6) var<storage, read> gradient: array<f32>;     // [N], by the terms
@group(0) @binding(7) var<storage, read_write> out: array<vec4f>;  // [N, image]

fn element(i: u32) {
    let image = i / params.image;
    let channel = vec4u(0u, 1u, 2u, 3u) + i % params.row * 4u;
    let slope = loss_slope(prediction[i], truth[i], v[i], x0[i], given[image]);
    let scaled = params.scale * gradient[image] * slope;
    out[i] = select(vec4f(), scaled, channel < vec4u(params.channels));
}
