// Of every query its largest score, 1 / Σ exp(score − largest), and the product of what attention gave it with the gradient
// by that. An invocation owns one query of one head and scales its sum down whenever a larger score turns up.

struct Params {
    heads: u32,
    tokens: u32,
    head: u32,  // vec4s of a head
    scale: f32,
    first: u32, // workgroup in x: a dispatch that takes long is cut in pieces
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;      // [N, tokens, 3 (Q, K, V), heads, head]
@group(0) @binding(2) var<storage, read> values: array<vec4f>;   // O: [N, tokens, heads, head]
@group(0) @binding(3) var<storage, read> gradient: array<vec4f>; // G: [N, tokens, heads, head]
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>; // [N · heads, tokens]

// Lower than any score, and not infinite: the difference of two is a number.
const LOWEST = -3.0e38;

fn place(matrix: u32, token: u32, part: u32) -> u32 {
    let row = matrix / params.heads * params.tokens + token;
    return ((row * 3u + part) * params.heads + matrix % params.heads) * params.head;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) own: vec3u, @builtin(local_invocation_index) thread: u32) {
    let matrix = own.z;
    let query = (own.x + params.first) * 64u + thread;
    if query >= params.tokens {
        return;
    }
    let q = place(matrix, query, 0u);
    var most = LOWEST;
    var total = 0.0;
    for (var key = 0u; key < params.tokens; key++) {
        let k = place(matrix, key, 1u);
        var products = vec4f();
        for (var d = 0u; d < params.head; d++) {
            products += qkv[q + d] * qkv[k + d];
        }
        let score = dot(products, vec4f(1.0)) * params.scale;
        let next = max(most, score);
        total = total * exp(most - next) + exp(score - next);
        most = next;
    }
    let row = ((matrix / params.heads * params.tokens + query) * params.heads + matrix % params.heads) * params.head;
    var product = vec4f();
    for (var d = 0u; d < params.head; d++) {
        product += values[row + d] * gradient[row + d];
    }
    out[matrix * params.tokens + query] = vec4f(most, 1.0 / total, dot(product, vec4f(1.0)), 0.0);
}
