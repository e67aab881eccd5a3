// Of each row of a table, the sum of the gradients of the outputs that it was read for.
// An invocation owns one vec4 of the table and walks the labels, so that no two add to the same number.

//#include flat

struct Params {
    len: u32,    // vec4s of the table
    row: u32,    // vec4s of a row
    rows: u32,   // of the table
    labels: u32, // N
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> labels: array<f32>;     // [N], whole numbers
@group(0) @binding(2) var<storage, read> gradient: array<vec4f>; // [N, row]
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>; // [rows, row]

fn element(i: u32) {
    let own = i / params.row;
    var sum = vec4f();
    for (var n = 0u; n < params.labels; n++) {
        if min(u32(labels[n]), params.rows - 1u) == own {
            sum += gradient[n * params.row + i % params.row];
        }
    }
    out[i] = sum;
}
