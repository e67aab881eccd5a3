// The gradient of a resampling by its input. An invocation owns one vec4 of a pixel and gathers from all outputs of the
// resampling that the pixel went into: as itself, and, where the image was mirrored, as its images beyond either edge.

//#include flat

struct Params {
    taps: vec4f,   // the filter in one direction
    len: u32,      // vec4s of the output
    channels: u32, // vec4s of a run of channels
    height: u32,   // of the image that was resampled
    width: u32,
    in_height: u32, // of what it became, and of the gradient that is given
    in_width: u32,
    up: u32,
    down: u32,
    pad: u32,     // before the upsampled image
    length: u32,  // of the filter
    reflect: u32, // 1: the padding was the image mirrored about its outermost pixels
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradient: array<vec4f>;  // [N, in_height, in_width, channels]
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>; // [N, height, width, channels]

// How many coordinates of the padded image coordinate c stands at: one, or up to three where it was mirrored.
fn images() -> u32 {
    return select(1u, 3u, params.reflect == 1u);
}

// The weight with which tap k took the given image of coordinate c of `size`, and into which output of `out_size`.
struct Target {
    weight: f32,
    at: u32,
}

fn target_of(c: u32, image: u32, k: u32, size: u32, out_size: u32) -> Target {
    var at = i32(c);
    if image == 1u {
        at = -at;
    } else if image == 2u {
        at = 2 * (i32(size) - 1) - at;
    }
    // The outermost pixels are their own images.
    if image > 0u && at == i32(c) {
        return Target(0.0, 0u);
    }
    let place = at * i32(params.up) + i32(params.pad) - i32(k);
    let down = i32(params.down);
    if place < 0 || place % down != 0 || place / down >= i32(out_size) {
        return Target(0.0, 0u);
    }
    return Target(params.taps[k], u32(place / down));
}

fn element(i: u32) {
    let channel = i % params.channels;
    let pixel = i / params.channels;
    let column = pixel % params.width;
    let line = pixel / params.width;
    let image = line / params.height * params.in_height;

    var sum = vec4f();
    let taps = params.length * images();
    for (var ky = 0u; ky < taps; ky++) {
        let y = target_of(line % params.height, ky / params.length, ky % params.length, params.height, params.in_height);
        if y.weight == 0.0 {
            continue;
        }
        for (var kx = 0u; kx < taps; kx++) {
            let x = target_of(column, kx / params.length, kx % params.length, params.width, params.in_width);
            if x.weight != 0.0 {
                sum += y.weight * x.weight * gradient[((image + y.at) * params.in_width + x.at) * params.channels + channel];
            }
        }
    }
    out[i] = sum;
}
