// Upsample by inserting zeros, filter rows and columns, downsample by dropping pixels. An invocation owns one vec4 of
// the output and walks the filter's taps, skipping those that fall on inserted zeros or outside the image, unless the
// image is mirrored there.

//#include flat

struct Params {
    taps: vec4f, // the filter in one direction
    len: u32,      // vec4s of the output
    channels: u32, // vec4s of a run of channels
    in_height: u32,
    in_width: u32,
    out_height: u32,
    out_width: u32,
    up: u32,
    down: u32,
    pad: u32,     // before the upsampled image
    length: u32,  // of the filter
    reflect: u32, // 1: the padding is the image mirrored about its outermost pixels
    pad0: u32,
}

alias Stored = vec4f; // activations and weights

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>; // [N, in_height, in_width, channels]
@group(0) @binding(2) var<storage, read_write> out: array<Stored>; // [N, out_height, out_width, channels]

// The input coordinate that tap k of output coordinate `o` falls on, or a negative number.
fn coordinate(o: u32, k: u32, size: u32) -> i32 {
    let at = i32(o * params.down + k) - i32(params.pad);
    let up = i32(params.up);
    if at % up != 0 {
        return -1; // an inserted zero
    }
    var c = at / up;
    if params.reflect == 1u {
        c = abs(c);
        c = select(c, 2 * (i32(size) - 1) - c, c >= i32(size));
    }
    return select(-1, c, c >= 0 && c < i32(size));
}

fn element(i: u32) {
    let channel = i % params.channels;
    let pixel = i / params.channels;
    let column = pixel % params.out_width;
    let line = pixel / params.out_width;
    let image = line / params.out_height * params.in_height;

    var sum = vec4f();
    for (var ky = 0u; ky < params.length; ky++) {
        let y = coordinate(line % params.out_height, ky, params.in_height);
        if y < 0 {
            continue;
        }
        for (var kx = 0u; kx < params.length; kx++) {
            let c = coordinate(column, kx, params.in_width);
            if c >= 0 {
                let at = ((image + u32(y)) * params.in_width + u32(c)) * params.channels + channel;
                sum += params.taps[ky] * params.taps[kx] * vec4f(x[at]);
            }
        }
    }
    out[i] = Stored(sum);
}
