// Mean and sum of squared deviations (M2) of each channel over tiles of 64 pixels.
// An invocation owns four channels of one tile. Two passes: the second, about the tile's own mean, does not cancel.

struct Params {
    images: u32,
    pixels: u32,   // H · W
    tiles: u32,    // ceil(pixels / 64)
    channels: u32, // vec4s of a run of channels
}

alias Stored = vec4f; // activations and weights

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>;         // [N, pixels, channels]
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>; // [N, tiles, 2, channels]: mean, M2

const TILE = 64u;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x + id.y * 2097152u;
    if i >= params.images * params.tiles * params.channels {
        return;
    }
    let channel = i % params.channels;
    let tile = i / params.channels; // over all images
    let first = tile % params.tiles * TILE;
    let count = min(TILE, params.pixels - first);
    let start = (tile / params.tiles * params.pixels + first) * params.channels + channel;

    var sum = vec4f();
    for (var p = 0u; p < count; p++) {
        sum += vec4f(x[start + p * params.channels]);
    }
    let mean = sum / f32(count);
    var m2 = vec4f();
    for (var p = 0u; p < count; p++) {
        let deviation = vec4f(x[start + p * params.channels]) - mean;
        m2 += deviation * deviation;
    }
    out[tile * 2u * params.channels + channel] = mean;
    out[(tile * 2u + 1u) * params.channels + channel] = m2;
}
