// The gradients of f(x · scale + shift) by x, and, summed over tiles of 32 pixels, by scale and shift.
// An invocation owns four channels of one tile: x and the gradient are read once for all three.

//#include activate
//#include flat

struct Params {
    len: u32,      // vec4s of channels in the tiles of all images
    pixels: u32,   // H · W
    tiles: u32,    // ceil(pixels / 32)
    channels: u32, // vec4s of a run of channels
    activation: u32, // as activate.wgsl numbers them
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;        // [N, pixels, channels]
@group(0) @binding(2) var<storage, read> affine: array<vec4f>;   // [N, 2, channels]: scale, shift
@group(0) @binding(3) var<storage, read> gradient: array<vec4f>; // [N, pixels, channels], by the output
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>; // [N, pixels, channels], by x
@group(0) @binding(5) var<storage, read_write> sums: array<vec4f>; // [N, tiles, 2, channels], by scale and shift

const TILE = 32u;

fn element(i: u32) {
    let channel = i % params.channels;
    let tile = i / params.channels; // over all images
    let image = tile / params.tiles;
    let first = tile % params.tiles * TILE;
    let count = min(TILE, params.pixels - first);
    let start = (image * params.pixels + first) * params.channels + channel;
    let scale = affine[image * 2u * params.channels + channel];
    let shift = affine[(image * 2u + 1u) * params.channels + channel];

    // Summed about a pixel of the tile, not about zero: a mean far from it would take the last bits (Chan, Golub and
    // LeVeque 1979).
    let pivot = x[start];
    var by_scale = vec4f();
    var by_shift = vec4f();
    for (var p = 0u; p < count; p++) {
        let at = start + p * params.channels;
        let value = x[at];
        let g = gradient[at] * derivative(value * scale + shift, params.activation);
        by_scale += g * (value - pivot);
        by_shift += g;
        out[at] = g * scale;
    }
    sums[tile * 2u * params.channels + channel] = by_scale + pivot * by_shift;
    sums[(tile * 2u + 1u) * params.channels + channel] = by_shift;
}
