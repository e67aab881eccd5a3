// What the kernels of a fused convolution share: their bindings, what they read and what they leave.
//
// The input is one tensor or two concatenated ones, normalised and activated while it is loaded, or neither; the output
// is the convolution's sum plus the bias, plus a row of the time embedding, a residual or a 1×1 convolution of one or two
// other tensors, times a scale; beside it the moments of its channels over tiles of pixels may be left.
// Any of them is missing from a variant that does not need it.

//#include activate

struct Params {
    in_height: u32,
    in_width: u32,
    out_height: u32,
    out_width: u32,
    x_channels: u32,   // vec4s of a run of channels, as all of these; 0 of what there is not
    y_channels: u32,
    u_channels: u32,
    v_channels: u32,
    out_channels: u32,
    kernel: u32,
    stride: u32,
    pad: u32,          // rows of zeros above, columns of zeros to the left
    tiles_x: u32,      // tiles side by side in an image
    tiles: u32,        // in an image
    len: u32,          // tiles, strips or pixels in all images
    scale: f32,
    first: u32,        // workgroup in x: a dispatch that takes long is cut in pieces
    split: u32,        // blocks of the depth that a split sums up
    blocks: u32,       // of channels that belong to a quad, in a workgroup without shared memory
    pad0: u32,
}

alias Stored = vec4f; // activations and weights
//#if scalar
alias Scalar = f32;   // one of them
alias Element = Scalar;
alias Number = f32;
//#else
alias Element = Stored;
alias Number = vec4f;
//#end
// A network's first convolution reads 32 bits and its last one writes them, whatever it keeps in between.
//#if wide_input
alias Input = Number;
//#else
alias Input = Element;
//#end
//#if wide_output
alias Output = Number;
//#else
alias Output = Element;
//#end

@group(0) @binding(N) var<uniform> params: Params;
@group(0) @binding(N) var<storage, read> x: array<Input>; // [N, in_height, in_width, x_channels]
//#if concat
@group(0) @binding(N) var<storage, read> y: array<Stored>; // the channels after x's
//#end
//#if shortcut
@group(0) @binding(N) var<storage, read> u: array<Stored>; // [N, out_height, out_width, u_channels]
//#end
//#if shortcut2
@group(0) @binding(N) var<storage, read> v: array<Stored>; // the channels after u's
//#end
//#if residual
@group(0) @binding(N) var<storage, read> residual: array<Element>; // [N, out_height, out_width, out_channels]
//#end
//#if row
@group(0) @binding(N) var<storage, read> row: array<Element>; // [N, out_channels]
//#end
//#if normalise
@group(0) @binding(N) var<storage, read> affine: array<vec4f>; // [N, 2, x_channels + y_channels]: scale, shift
//#end
@group(0) @binding(N) var<storage, read> weight: array<Element>; // [kernel, kernel, 4 · in, out], then [4 · shortcut, out]
@group(0) @binding(N) var<storage, read> bias: array<Number>;    // [out_channels]
//#if split
@group(0) @binding(N) var<storage, read_write> out: array<vec4f>; // [splits · N, out_height, out_width, out_channels]
//#else
@group(0) @binding(N) var<storage, read_write> out: array<Output>; // [N, out_height, out_width, out_channels]
//#end
//#if moments
@group(0) @binding(N) var<storage, read_write> moments: array<Number>; // [N, tiles, 2, out_channels]: mean, M2
//#end
//#if scalar
//#else

// What is added up, one tensor after another: x, y, u and v.
const FIRST_SHORTCUT = 2u;

fn channels_of(source: u32) -> u32 {
    return vec4u(params.x_channels, params.y_channels, params.u_channels, params.v_channels)[source];
}

fn fetch(source: u32, at: u32) -> vec4f {
//#if concat
    if source == 1u {
        return vec4f(y[at]);
    }
//#end
//#if shortcut
    if source == 2u {
        return vec4f(u[at]);
    }
//#end
//#if shortcut2
    if source == 3u {
        return vec4f(v[at]);
    }
//#end
    return vec4f(x[at]);
}

//#if normalise
const ACTIVATION: u32 = $activation; // as activate.wgsl numbers them
//#end

// A pixel's channels as the convolution takes them. Zeros outside the image come after this.
fn load(source: u32, at: u32, image: u32, channel: u32) -> vec4f {
    let value = fetch(source, at);
//#if normalise
    if source < FIRST_SHORTCUT {
        let channels = params.x_channels + params.y_channels;
        let scale = image * 2u * channels + source * params.x_channels + channel;
        return activate(value * affine[scale] + affine[scale + channels], ACTIVATION);
    }
//#end
    return value;
}

// A pixel's four channels from their sum. `pixel` is over all images.
//
// Kernels call this for pixels that they do not store too, and branch only around the store itself: a value that is
// changed in some branches only makes a shader slow to compile.
fn finish(sum: vec4f, pixel: u32, image: u32, channel: u32) -> vec4f {
    var value = sum;
//#if row
    value += vec4f(row[image * params.out_channels + channel]);
//#end
//#if residual
    value += vec4f(residual[pixel * params.out_channels + channel]);
//#end
    return value * params.scale;
}
//#end
