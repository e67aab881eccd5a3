// Sums of neighbouring runs: out[g, t, i] = Σ x[g, r, i] over the rows r of tile t. An invocation owns one vec4 of the output.

//#include flat

struct Params {
    len: u32,   // vec4s of the output
    run: u32,   // vec4s of a run
    rows: u32,  // of a group
    tile: u32,  // rows of a tile
    tiles: u32, // of a group
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;         // [groups, rows, run]
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>; // [groups, tiles, run]

fn element(i: u32) {
    let tile = i / params.run; // over all groups
    let first = tile % params.tiles * params.tile;
    let rows = min(first + params.tile, params.rows);
    let group = tile / params.tiles * params.rows;
    var sum = vec4f();
    for (var row = first; row < rows; row++) {
        sum += x[(group + row) * params.run + i % params.run];
    }
    out[i] = sum;
}
