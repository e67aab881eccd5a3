// What shaders are told of a GroupNorm of one or two tensors.

// How a tensor was cut for its moments.
struct Source {
    channels: u32,
    stride: u32,      // channels, padding included
    height: u32,
    width: u32,
    tile_height: u32,
    tile_width: u32,
    copies: u32,      // images that were interleaved to the one that is meant
    tiles: u32,
}

struct Params {
    a: Source,
    b: Source,        // whose channels come after; none if it has none
    channels: u32,
    stride: u32,
    groups: u32,
    eps: f32,
}

// How many pixels a tile has.
fn pixels(source: Source, index: u32) -> u32 {
    let tile = index / source.copies;
    let across = (source.width + source.tile_width - 1u) / source.tile_width;
    let y = tile / across * source.tile_height;
    let x = tile % across * source.tile_width;
    return min(source.tile_height, source.height - y) * min(source.tile_width, source.width - x);
}

