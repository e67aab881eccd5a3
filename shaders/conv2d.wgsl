// Convolution over channels-last images, register-tiled.
//
// out[n, y, x, co] = bias[co] + Σ_{ky, kx, ci} in[n, y·stride + ky − pad, x·stride + kx − pad, ci] · weight[ky, kx, ci, co]
//
// An invocation owns a strip of eight pixels of one output row and eight output channels: sixteen vec4 accumulators,
// named one by one so that they stay in registers. Each tap loads eight input vec4s and eight weight vec4s for 256
// multiply-adds. Neighbouring invocations in x own neighbouring strips and read the same weights.

struct Params {
    in_height: u32,
    in_width: u32,
    in_channels: u32,  // vec4s
    out_height: u32,
    out_width: u32,
    out_channels: u32, // vec4s
    kernel: u32,
    stride: u32,
    pad: u32,          // rows of zeros above, columns of zeros to the left
    strips: u32,       // of eight pixels in an output row
    len: u32,          // strips in all images
    pad0: u32,
}

alias Stored = vec4f; // activations and weights

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Stored>;  // [N, in_height, in_width, in_channels]
@group(0) @binding(2) var<storage, read> weight: array<Stored>; // [kernel, kernel, in_channels · 4, out_channels]
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;   // [out_channels]
@group(0) @binding(4) var<storage, read_write> out: array<Stored>; // [N, out_height, out_width, out_channels]

// Where the pixel at column x of the row that starts at `row` lies, and whether it is inside the image. Outside, any
// valid place will do: what is read there is dropped.
struct Source {
    at: u32,
    inside: bool,
}

fn source(row: u32, row_inside: bool, x: i32) -> Source {
    let inside = row_inside && x >= 0 && x < i32(params.in_width);
    return Source(select(0u, (row + u32(x)) * params.in_channels, inside), inside);
}

fn load(pixel: Source, channel: u32) -> vec4f {
    return select(vec4f(), vec4f(input[pixel.at + channel]), pixel.inside);
}

fn store(row: u32, x: u32, channel: u32, a: vec4f, b: vec4f) {
    if x < params.out_width {
        let at = (row + x) * params.out_channels + channel;
        out[at] = Stored(a);
        if channel + 1u < params.out_channels {
            out[at + 1u] = Stored(b);
        }
    }
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let channel = id.y * 2u; // the first of two vec4s
    if id.x >= params.len || channel >= params.out_channels {
        return;
    }
    let x0 = id.x % params.strips * 8u;
    let line = id.x / params.strips; // over all images
    let y = i32(line % params.out_height * params.stride) - i32(params.pad);
    let image = line / params.out_height * params.in_height;
    let left = i32(x0 * params.stride) - i32(params.pad);
    let step = i32(params.stride);

    let bias_a = bias[channel];
    // With an odd number of vec4s the last invocation's second one is computed but not stored.
    let second = min(channel + 1u, params.out_channels - 1u);
    let bias_b = bias[second];
    var a0 = bias_a;
    var b0 = bias_b;
    var a1 = bias_a;
    var b1 = bias_b;
    var a2 = bias_a;
    var b2 = bias_b;
    var a3 = bias_a;
    var b3 = bias_b;
    var a4 = bias_a;
    var b4 = bias_b;
    var a5 = bias_a;
    var b5 = bias_b;
    var a6 = bias_a;
    var b6 = bias_b;
    var a7 = bias_a;
    var b7 = bias_b;

    for (var ky = 0u; ky < params.kernel; ky++) {
        let in_y = y + i32(ky);
        let row_inside = in_y >= 0 && in_y < i32(params.in_height);
        let row = (image + u32(max(in_y, 0))) * params.in_width;
        for (var kx = 0u; kx < params.kernel; kx++) {
            let in_x = left + i32(kx);
            let p0 = source(row, row_inside, in_x);
            let p1 = source(row, row_inside, in_x + 1 * step);
            let p2 = source(row, row_inside, in_x + 2 * step);
            let p3 = source(row, row_inside, in_x + 3 * step);
            let p4 = source(row, row_inside, in_x + 4 * step);
            let p5 = source(row, row_inside, in_x + 5 * step);
            let p6 = source(row, row_inside, in_x + 6 * step);
            let p7 = source(row, row_inside, in_x + 7 * step);
            var w = (ky * params.kernel + kx) * params.in_channels * 4u * params.out_channels;
            for (var ci = 0u; ci < params.in_channels; ci++) {
                let x0 = load(p0, ci);
                let x1 = load(p1, ci);
                let x2 = load(p2, ci);
                let x3 = load(p3, ci);
                let x4 = load(p4, ci);
                let x5 = load(p5, ci);
                let x6 = load(p6, ci);
                let x7 = load(p7, ci);

                let wa_x = vec4f(weight[w + channel]);
                let wb_x = vec4f(weight[w + second]);
                w += params.out_channels;
                a0 += x0.x * wa_x;
                b0 += x0.x * wb_x;
                a1 += x1.x * wa_x;
                b1 += x1.x * wb_x;
                a2 += x2.x * wa_x;
                b2 += x2.x * wb_x;
                a3 += x3.x * wa_x;
                b3 += x3.x * wb_x;
                a4 += x4.x * wa_x;
                b4 += x4.x * wb_x;
                a5 += x5.x * wa_x;
                b5 += x5.x * wb_x;
                a6 += x6.x * wa_x;
                b6 += x6.x * wb_x;
                a7 += x7.x * wa_x;
                b7 += x7.x * wb_x;

                let wa_y = vec4f(weight[w + channel]);
                let wb_y = vec4f(weight[w + second]);
                w += params.out_channels;
                a0 += x0.y * wa_y;
                b0 += x0.y * wb_y;
                a1 += x1.y * wa_y;
                b1 += x1.y * wb_y;
                a2 += x2.y * wa_y;
                b2 += x2.y * wb_y;
                a3 += x3.y * wa_y;
                b3 += x3.y * wb_y;
                a4 += x4.y * wa_y;
                b4 += x4.y * wb_y;
                a5 += x5.y * wa_y;
                b5 += x5.y * wb_y;
                a6 += x6.y * wa_y;
                b6 += x6.y * wb_y;
                a7 += x7.y * wa_y;
                b7 += x7.y * wb_y;

                let wa_z = vec4f(weight[w + channel]);
                let wb_z = vec4f(weight[w + second]);
                w += params.out_channels;
                a0 += x0.z * wa_z;
                b0 += x0.z * wb_z;
                a1 += x1.z * wa_z;
                b1 += x1.z * wb_z;
                a2 += x2.z * wa_z;
                b2 += x2.z * wb_z;
                a3 += x3.z * wa_z;
                b3 += x3.z * wb_z;
                a4 += x4.z * wa_z;
                b4 += x4.z * wb_z;
                a5 += x5.z * wa_z;
                b5 += x5.z * wb_z;
                a6 += x6.z * wa_z;
                b6 += x6.z * wb_z;
                a7 += x7.z * wa_z;
                b7 += x7.z * wb_z;

                let wa_w = vec4f(weight[w + channel]);
                let wb_w = vec4f(weight[w + second]);
                w += params.out_channels;
                a0 += x0.w * wa_w;
                b0 += x0.w * wb_w;
                a1 += x1.w * wa_w;
                b1 += x1.w * wb_w;
                a2 += x2.w * wa_w;
                b2 += x2.w * wb_w;
                a3 += x3.w * wa_w;
                b3 += x3.w * wb_w;
                a4 += x4.w * wa_w;
                b4 += x4.w * wb_w;
                a5 += x5.w * wa_w;
                b5 += x5.w * wb_w;
                a6 += x6.w * wa_w;
                b6 += x6.w * wb_w;
                a7 += x7.w * wa_w;
                b7 += x7.w * wb_w;
            }
        }
    }

    let row = line * params.out_width;
    store(row, x0, channel, a0, b0);
    store(row, x0 + 1u, channel, a1, b1);
    store(row, x0 + 2u, channel, a2, b2);
    store(row, x0 + 3u, channel, a3, b3);
    store(row, x0 + 4u, channel, a4, b4);
    store(row, x0 + 5u, channel, a5, b5);
    store(row, x0 + 6u, channel, a6, b6);
    store(row, x0 + 7u, channel, a7, b7);
}
