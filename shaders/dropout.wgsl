// out = x / (1 − p) where the number's own random word is not below the threshold, and 0 where it is. An invocation owns one
// vec4, for which the generator makes four words.

//#include flat

struct Params {
    len: u32,       // vec4s
    layer: u32,     // which of the masks of a seed it is
    threshold: u32, // p · 2³²
    scale: f32,     // 1 / (1 − p)
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> seed: array<vec4f>; // [1], 16 bits a number
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;

// The upper half of a product, in four of 16 bits.
fn high(a: u32, b: u32) -> u32 {
    let lowest = (a & 0xffffu) * (b & 0xffffu);
    let first = (a >> 16u) * (b & 0xffffu) + (lowest >> 16u);
    let second = (a & 0xffffu) * (b >> 16u) + (first & 0xffffu);
    return (a >> 16u) * (b >> 16u) + (first >> 16u) + (second >> 16u);
}

// Philox4x32 with ten rounds (Salmon et al. 2011).
fn philox(start: vec4u, start_key: vec2u) -> vec4u {
    var counter = start;
    var key = start_key;
    for (var round = 0u; round < 10u; round++) {
        let upper = vec2u(high(0xd2511f53u, counter.x), high(0xcd9e8d57u, counter.z));
        let lower = vec2u(0xd2511f53u, 0xcd9e8d57u) * counter.xz;
        counter = vec4u(upper.y ^ counter.y ^ key.x, lower.y, upper.x ^ counter.w ^ key.y, lower.x);
        key += vec2u(0x9e3779b9u, 0xbb67ae85u);
    }
    return counter;
}

fn element(i: u32) {
    let parts = vec4u(seed[0]);
    let words = philox(vec4u(i, params.layer, 0u, 0u), parts.xz | (parts.yw << vec2u(16u)));
    out[i] = select(vec4f(), params.scale * x[i], words >= vec4u(params.threshold));
}
