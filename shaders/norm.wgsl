// The length of each image as a vector, with or without its mean. A workgroup owns an image.

struct Params {
    pixels: u32,   // of an image
    stride: u32,   // vec4s of a pixel
    channels: u32,
    centred: u32,  // 1: the mean is taken away first
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;         // [N, pixels, stride]
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>; // [N], x counts

var<workgroup> partial: array<f32, 256>;

fn total(thread: u32, value: f32) -> f32 {
    partial[thread] = value;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half /= 2u) {
        if thread < half {
            partial[thread] += partial[thread + half];
        }
        workgroupBarrier();
    }
    let sum = partial[0];
    workgroupBarrier();
    return sum;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    let len = params.pixels * params.stride;
    let image = group.x * len;
    var sum = 0.0;
    for (var i = thread; i < len; i += 256u) {
        sum += dot(x[image + i], vec4f(1.0)); // padding lanes are zero
    }
    sum = total(thread, sum);
    let mean = select(0.0, sum / f32(params.pixels * params.channels), params.centred == 1u);
    var squares = 0.0;
    for (var i = thread; i < len; i += 256u) {
        let first = i % params.stride * 4u;
        let inside = vec4u(first, first + 1u, first + 2u, first + 3u) < vec4u(params.channels);
        let distance = select(vec4f(), x[image + i] - mean, inside);
        squares += dot(distance, distance);
    }
    squares = total(thread, squares);
    if thread == 0u {
        out[group.x] = vec4f(sqrt(squares), 0.0, 0.0, 0.0);
    }
}
