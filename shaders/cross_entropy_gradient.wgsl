// The gradient of −ln softmax(logits)[label] by the logits: softmax(logits), less 1 at the label. An invocation owns one row.

//#include logits

struct Params {
    rows: u32,    // N
    classes: u32, // K
    row: u32,     // vec4s of a row
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<vec4f>;    // [N, row]
@group(0) @binding(2) var<storage, read> labels: array<f32>;      // [N], whole numbers
@group(0) @binding(3) var<storage, read> gradient: array<f32>;    // [N], by the losses
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>; // [N, row]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x + id.y * 2097152u;
    if i >= params.rows {
        return;
    }
    let start = i * params.row;
    let row = exponentials(start);
    let scale = 1.0 / row.sum;
    let label = min(u32(labels[i]), params.classes - 1u);
    for (var j = 0u; j < params.row; j++) {
        let column = vec4u(0u, 1u, 2u, 3u) + j * 4u;
        let one = select(vec4f(), vec4f(1.0), column == vec4u(label));
        out[start + j] = gradient[i] * (exp(load(start, j) - row.highest) * scale - one);
    }
}
