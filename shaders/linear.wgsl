// A linear layer, register-tiled: out[r, c] = bias[c] + Σ_k input[r, k] · weight[k, c].
//
// An invocation owns four rows and eight columns: eight vec4 accumulators. Rows run along x, so neighbouring
// invocations read the same weights.

struct Params {
    rows: u32,
    depth: u32,   // vec4s of an input row
    columns: u32, // vec4s of an output row
    pad0: u32,
}

alias Stored = vec4f; // activations and weights

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Stored>;  // [rows, depth]
@group(0) @binding(2) var<storage, read> weight: array<Stored>; // [depth · 4, columns]
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;   // [columns]
@group(0) @binding(4) var<storage, read_write> out: array<Stored>; // [rows, columns]

fn store(row: u32, column: u32, a: vec4f, b: vec4f) {
    if row < params.rows {
        let at = row * params.columns + column;
        out[at] = Stored(a);
        if column + 1u < params.columns {
            out[at + 1u] = Stored(b);
        }
    }
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let row = id.x * 4u;
    let column = id.y * 2u; // the first of two vec4s
    if row >= params.rows || column >= params.columns {
        return;
    }
    // Beyond the last row or column the last one is computed again and not stored.
    let last = params.rows - 1u;
    let second = min(column + 1u, params.columns - 1u);
    let row0 = row * params.depth;
    let row1 = min(row + 1u, last) * params.depth;
    let row2 = min(row + 2u, last) * params.depth;
    let row3 = min(row + 3u, last) * params.depth;
    let bias_a = bias[column];
    let bias_b = bias[second];
    var a0 = bias_a;
    var b0 = bias_b;
    var a1 = bias_a;
    var b1 = bias_b;
    var a2 = bias_a;
    var b2 = bias_b;
    var a3 = bias_a;
    var b3 = bias_b;

    var w = 0u;
    for (var k = 0u; k < params.depth; k++) {
        let x0 = vec4f(input[row0 + k]);
        let x1 = vec4f(input[row1 + k]);
        let x2 = vec4f(input[row2 + k]);
        let x3 = vec4f(input[row3 + k]);

        let wa_x = vec4f(weight[w + column]);
        let wb_x = vec4f(weight[w + second]);
        w += params.columns;
        a0 += x0.x * wa_x;
        b0 += x0.x * wb_x;
        a1 += x1.x * wa_x;
        b1 += x1.x * wb_x;
        a2 += x2.x * wa_x;
        b2 += x2.x * wb_x;
        a3 += x3.x * wa_x;
        b3 += x3.x * wb_x;

        let wa_y = vec4f(weight[w + column]);
        let wb_y = vec4f(weight[w + second]);
        w += params.columns;
        a0 += x0.y * wa_y;
        b0 += x0.y * wb_y;
        a1 += x1.y * wa_y;
        b1 += x1.y * wb_y;
        a2 += x2.y * wa_y;
        b2 += x2.y * wb_y;
        a3 += x3.y * wa_y;
        b3 += x3.y * wb_y;

        let wa_z = vec4f(weight[w + column]);
        let wb_z = vec4f(weight[w + second]);
        w += params.columns;
        a0 += x0.z * wa_z;
        b0 += x0.z * wb_z;
        a1 += x1.z * wa_z;
        b1 += x1.z * wb_z;
        a2 += x2.z * wa_z;
        b2 += x2.z * wb_z;
        a3 += x3.z * wa_z;
        b3 += x3.z * wb_z;

        let wa_w = vec4f(weight[w + column]);
        let wb_w = vec4f(weight[w + second]);
        w += params.columns;
        a0 += x0.w * wa_w;
        b0 += x0.w * wb_w;
        a1 += x1.w * wa_w;
        b1 += x1.w * wb_w;
        a2 += x2.w * wa_w;
        b2 += x2.w * wb_w;
        a3 += x3.w * wa_w;
        b3 += x3.w * wb_w;
    }

    store(row, column, a0, b0);
    store(row + 1u, column, a1, b1);
    store(row + 2u, column, a2, b2);
    store(row + 3u, column, a3, b3);
}
