// The rows of a table that the labels name. An invocation owns one vec4 of the output.

//#include flat

struct Params {
    len: u32,  // vec4s of the output
    row: u32,  // vec4s of a row
    rows: u32, // of the table
    pad0: u32,
}

alias Stored = vec4f; // activations and weights

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> labels: array<f32>;  // [N], whole numbers
@group(0) @binding(2) var<storage, read> table: array<Stored>; // [rows, row]
@group(0) @binding(3) var<storage, read_write> out: array<Stored>; // [N, row]

fn element(i: u32) {
    let label = min(u32(labels[i / params.row]), params.rows - 1u);
    out[i] = table[label * params.row + i % params.row];
}
