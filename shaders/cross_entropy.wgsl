// −ln softmax(logits)[label]. An invocation owns one row.

struct Params {
    rows: u32,    // N
    stride: u32,  // N, padding included
    classes: u32, // K
    row: u32,     // vec4s of a row
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<vec4f>;  // [N, row]
@group(0) @binding(2) var<storage, read> labels: array<f32>;    // [N], whole numbers
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // [stride]

const LOWEST = -3.4028234e38;

// The logits of vec4 i of a row, with the lowest number in place of padding.
fn load(start: u32, i: u32) -> vec4f {
    let column = vec4u(0u, 1u, 2u, 3u) + i * 4u;
    return select(vec4f(LOWEST), logits[start + i], column < vec4u(params.classes));
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x + id.y * 2097152u;
    if i >= params.stride {
        return;
    }
    if i >= params.rows {
        out[i] = 0.0;
        return;
    }
    let start = i * params.row;
    var highest = vec4f(LOWEST);
    for (var j = 0u; j < params.row; j++) {
        highest = max(highest, load(start, j));
    }
    let top = max(max(highest.x, highest.y), max(highest.z, highest.w));
    var sums = vec4f();
    for (var j = 0u; j < params.row; j++) {
        sums += exp(load(start, j) - top);
    }
    let label = min(u32(labels[i]), params.classes - 1u);
    out[i] = log(dot(sums, vec4f(1.0))) + top - logits[start + label / 4u][label % 4u];
}
