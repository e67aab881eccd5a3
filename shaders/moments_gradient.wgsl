// The gradient by x of the mean and M2 of each channel over tiles of 64 pixels: a tile's by_mean / n + 2 (x − mean) · by_m2.
// Perhaps added to what is left of the gradient by x. An invocation owns one vec4.

//#include flat

struct Params {
    len: u32,      // vec4s
    pixels: u32,   // H · W
    tiles: u32,    // ceil(pixels / 64)
    channels: u32, // vec4s of a run of channels
}

@group(0) @binding(N) var<uniform> params: Params;
@group(0) @binding(N) var<storage, read> x: array<vec4f>;        // [N, pixels, channels]
@group(0) @binding(N) var<storage, read> moments: array<vec4f>;  // [N, tiles, 2, channels]: mean, M2
@group(0) @binding(N) var<storage, read> gradient: array<vec4f>; // the same, by mean and M2
//#if added
@group(0) @binding(N) var<storage, read> rest: array<vec4f>; // [N, pixels, channels]
//#end
@group(0) @binding(N) var<storage, read_write> out: array<vec4f>; // [N, pixels, channels]

const TILE = 64u;

fn element(i: u32) {
    let pixel = i / params.channels; // over all images
    let tile = pixel % params.pixels / TILE;
    let count = min(TILE, params.pixels - tile * TILE);
    let mean = (pixel / params.pixels * params.tiles + tile) * 2u * params.channels + i % params.channels;
    let m2 = mean + params.channels;
    let by_moments = gradient[mean] / f32(count) + 2.0 * (x[i] - moments[mean]) * gradient[m2];
//#if added
    out[i] = by_moments + rest[i];
//#else
    out[i] = by_moments;
//#end
}
