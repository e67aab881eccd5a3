// −ln softmax(logits)[label]. An invocation owns one row.

//#include logits

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
    let row = exponentials(start);
    let label = min(u32(labels[i]), params.classes - 1u);
    out[i] = log(row.sum) + row.highest - logits[start + label / 4u][label % 4u];
}
