// The gradient of a convolution with a stride by its input, register-tiled.
//
// out[n, y, x, ci] = Σ_{ky, kx, co} gradient[n, (y + pad − ky) / stride, (x + pad − kx) / stride, co] · weight[ky, kx, ci, co]
//
// over the kernel elements at which both divide without remainder. An invocation owns four pixels of a row that lie a stride
// apart, so that they meet the same elements, and eight channels.

struct Params {
    in_height: u32, // of the gradient that is given
    in_width: u32,
    in_channels: u32, // vec4s
    height: u32,
    width: u32,
    channels: u32, // vec4s
    kernel: u32,
    stride: u32,
    pad: u32,    // rows of zeros above, columns of zeros to the left
    strips: u32, // of four pixels in a row
    len: u32,    // strips in all images
    pad0: u32,
}

@group(0) @binding(N) var<uniform> params: Params;
@group(0) @binding(N) var<storage, read> gradient: array<vec4f>;  // [N, in_height, in_width, in_channels]
@group(0) @binding(N) var<storage, read> weight: array<vec4f>;    // [kernel, kernel, in_channels · 4, channels], turned
@group(0) @binding(N) var<storage, read_write> out: array<vec4f>; // [N, height, width, channels]

// Where window x of the row that starts at `row` lies, and whether there is one. If not, any valid place will do: what is
// read there is dropped.
struct Source {
    at: u32,
    inside: bool,
}

fn source(row: u32, x: i32) -> Source {
    let inside = x >= 0 && x < i32(params.in_width);
    return Source(select(0u, (row + u32(x)) * params.in_channels, inside), inside);
}

fn load(pixel: Source, channel: u32) -> vec4f {
    return select(vec4f(), gradient[pixel.at + channel], pixel.inside);
}

fn store(row: u32, x: u32, channel: u32, a: vec4f, b: vec4f) {
    if x < params.width {
        let at = (row + x) * params.channels + channel;
        out[at] = a;
        if channel + 1u < params.channels {
            out[at + 1u] = b;
        }
    }
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let channel = id.y * 2u; // the first of two vec4s
    if id.x >= params.len || channel >= params.channels {
        return;
    }
    // With an odd number of vec4s the last invocation's second one is computed but not stored.
    let second = min(channel + 1u, params.channels - 1u);
    let strip = id.x % params.strips;
    let line = id.x / params.strips; // over all images
    let x0 = strip / params.stride * 4u * params.stride + strip % params.stride;
    let y = line % params.height + params.pad;
    let x = x0 + params.pad;
    let image = line / params.height * params.in_height;

//#each p 0 1 2 3
    var a$p = vec4f();
    var b$p = vec4f();
//#end
    for (var ky = y % params.stride; ky < params.kernel; ky += params.stride) {
        let in_y = (i32(y) - i32(ky)) / i32(params.stride);
        if y < ky || in_y >= i32(params.in_height) {
            continue;
        }
        let row = (image + u32(in_y)) * params.in_width;
        for (var kx = x % params.stride; kx < params.kernel; kx += params.stride) {
            // Both are multiples of the stride, so the quotient is exact below zero too.
            let in_x = (i32(x) - i32(kx)) / i32(params.stride);
//#each p 0 1 2 3
            let p$p = source(row, in_x + $p);
//#end
            let turned = params.kernel * params.kernel - 1u - (ky * params.kernel + kx);
            var w = turned * params.in_channels * 4u * params.channels;
            for (var co = 0u; co < params.in_channels; co++) {
//#each p 0 1 2 3
                let x$p = load(p$p, co);
//#end
//#each l x y z w
                let wa_$l = weight[w + channel];
                let wb_$l = weight[w + second];
                w += params.channels;
//#each p 0 1 2 3
                a$p += x$p.$l * wa_$l;
                b$p += x$p.$l * wb_$l;
//#end
//#end
            }
        }
    }

    let row = line * params.width;
//#each p 0 1 2 3
    store(row, x0 + $p * params.stride, channel, a$p, b$p);
//#end
}
