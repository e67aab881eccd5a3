// The registers after an evaluation: some of them are replaced by from_x · x_t + from_model · model + from_x0 · x̂0, the
// others stay. An invocation owns one vec4 of one register.

//#include row
//#include flat

struct Params {
    len: u32,   // vec4s of all registers
    image: u32, // vec4s of one
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;     // x_t
@group(0) @binding(2) var<storage, read> model: array<vec4f>; // ε, x0 or v
@group(0) @binding(3) var<storage, read> x0: array<vec4f>;    // x̂0
@group(0) @binding(4) var<storage, read> kept: array<vec4f>;  // [registers, image]
@group(0) @binding(5) var<storage, read> row: Coefficients;
@group(0) @binding(6) var<storage, read_write> out: array<vec4f>; // [registers, image]

fn element(i: u32) {
    let e = i % params.image;
    var value = kept[i];
    for (var k = 0u; k < 2u; k++) {
        let keep = row.keep[k];
        if i32(keep.to) == i32(i / params.image) {
            value = keep.from_x * x[e] + keep.from_model * model[e] + keep.from_x0 * x0[e];
        }
    }
    out[i] = value;
}
