// The weights of four 2×2 convolutions, each the sums of those taps of a 3×3 convolution that see the same pixel of an
// image whose pixels it sees twice. An invocation owns one vec4 of the output.

//#include flat

struct Params {
    len: u32, // vec4s of the output
    tap: u32, // vec4s of a tap of either weight
    pad0: u32,
    pad1: u32,
}

alias Stored = vec4f; // activations and weights

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight: array<Stored>;    // [3, 3, tap]
@group(0) @binding(2) var<storage, read_write> out: array<Stored>; // [2, 2, 2, 2, tap]: parities, then taps

// The first of the three taps of a direction that see pixel `side` of the two, and the one after the last.
fn taps(parity: u32, side: u32) -> vec2u {
    let first = side * (1u + parity);
    return vec2u(first, select(1u + parity, 3u, side == 1u));
}

fn element(i: u32) {
    let which = i / params.tap;
    let rows = taps(which / 8u, which / 2u % 2u);
    let columns = taps(which / 4u % 2u, which % 2u);
    var sum = vec4f();
    for (var y = rows.x; y < rows.y; y++) {
        for (var x = columns.x; x < columns.y; x++) {
            sum += vec4f(weight[(y * 3u + x) * params.tap + i % params.tap]);
        }
    }
    out[i] = Stored(sum);
}
