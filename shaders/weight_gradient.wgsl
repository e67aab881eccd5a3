// The gradient of a convolution by its weight, register-tiled; a linear layer is a 1×1 convolution of one image.
//
// out[split, ky, kx, ci, co] = Σ_{n, y, x} in[n, y·stride + ky − pad, x·stride + kx − pad, ci] · gradient[n, y, x, co]
//
// over the pixels of a split. An invocation owns a tap, eight input channels and eight output channels: sixteen vec4
// accumulators. Each pixel loads two vec4s of either for 64 multiply-adds. Neighbouring invocations in x own neighbouring
// output channels and read the same pixels of the input.

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
    pixels: u32,       // of the gradient in all images
    split: u32,        // pixels of a split
    pad0: u32,
}

@group(0) @binding(N) var<uniform> params: Params;
@group(0) @binding(N) var<storage, read> input: array<vec4f>;     // [N, in_height, in_width, in_channels]
@group(0) @binding(N) var<storage, read> gradient: array<vec4f>;  // [N, out_height, out_width, out_channels]
@group(0) @binding(N) var<storage, read_write> out: array<vec4f>; // [splits, kernel, kernel, in_channels · 4, out_channels]

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let column = id.x * 2u; // the first of two vec4s
    let pairs = (params.in_channels + 1u) / 2u;
    let tap = id.y / pairs;
    let channel = id.y % pairs * 2u;
    if column >= params.out_channels || tap >= params.kernel * params.kernel {
        return;
    }
    // With an odd number of vec4s the last invocation's second one is computed but not stored.
    let second_column = min(column + 1u, params.out_channels - 1u);
    let second_channel = min(channel + 1u, params.in_channels - 1u);
    let ky = i32(tap / params.kernel) - i32(params.pad);
    let kx = i32(tap % params.kernel) - i32(params.pad);

//#each c 0 1 2 3 4 5 6 7
    var a$c = vec4f();
    var b$c = vec4f();
//#end
    let first = id.z * params.split;
    let last = min(first + params.split, params.pixels);
    var x = first % params.out_width;
    var line = first / params.out_width; // over all images
    var pixel = first;
    while pixel < last {
        let y = i32(line % params.out_height * params.stride) + ky;
        let end = min(last, pixel + params.out_width - x);
        if y >= 0 && y < i32(params.in_height) {
            let row = (line / params.out_height * params.in_height + u32(y)) * params.in_width;
            for (; pixel < end; pixel++) {
                let in_x = i32(x * params.stride) + kx;
                x++;
                if in_x >= 0 && in_x < i32(params.in_width) {
                    let at = (row + u32(in_x)) * params.in_channels;
                    let p = input[at + channel];
                    let q = input[at + second_channel];
                    let a = gradient[pixel * params.out_channels + column];
                    let b = gradient[pixel * params.out_channels + second_column];
//#each c,l 0,x 1,y 2,z 3,w
                    a$c += p.$l * a;
                    b$c += p.$l * b;
//#end
//#each c,l 4,x 5,y 6,z 7,w
                    a$c += q.$l * a;
                    b$c += q.$l * b;
//#end
                }
            }
        }
        pixel = end;
        x = 0u;
        line++;
    }

    let taps = params.kernel * params.kernel;
    var at = ((id.z * taps + tap) * params.in_channels + channel) * 4u * params.out_channels + column;
    let is_pair = column + 1u < params.out_channels;
//#each c 0 1 2 3
    out[at] = a$c;
    if is_pair {
        out[at + 1u] = b$c;
    }
    at += params.out_channels;
//#end
    if channel + 1u < params.in_channels {
//#each c 4 5 6 7
        out[at] = a$c;
        if is_pair {
            out[at + 1u] = b$c;
        }
        at += params.out_channels;
//#end
    }
}
