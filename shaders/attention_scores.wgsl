// Q Kᵀ / √d of every image and head. An invocation owns four queries by four keys of one head: eight vec4 loads for
// sixteen dot products at each step along d.

struct Params {
    heads: u32,
    tokens: u32,
    head: u32, // vec4s of a head
    row: u32,  // vec4s of a row of scores
    scale: f32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

alias Stored = vec4f; // activations and weights

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<Stored>; // [N, tokens, 3 (Q, K, V), heads, head]
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>; // [N · heads, tokens, row]

// Where the head of a token begins; part 0 is the query, 1 the key. Tokens beyond the last are read as the last one,
// and their scores dropped.
fn token_start(matrix: u32, token: u32, part: u32) -> u32 {
    let row = matrix / params.heads * params.tokens + min(token, params.tokens - 1u);
    return ((row * 3u + part) * params.heads + matrix % params.heads) * params.head;
}

fn store(matrix: u32, query: u32, key: u32, scores: vec4f) {
    if query < params.tokens {
        let real = vec4u(key, key + 1u, key + 2u, key + 3u) < vec4u(params.tokens);
        out[(matrix * params.tokens + query) * params.row + key / 4u] = select(vec4f(), scores * params.scale, real);
    }
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let key = id.x * 4u;
    let query = id.y * 4u;
    let matrix = id.z;
    if key >= params.tokens || query >= params.tokens {
        return;
    }
    let q0 = token_start(matrix, query, 0u);
    let q1 = token_start(matrix, query + 1u, 0u);
    let q2 = token_start(matrix, query + 2u, 0u);
    let q3 = token_start(matrix, query + 3u, 0u);
    let k0 = token_start(matrix, key, 1u);
    let k1 = token_start(matrix, key + 1u, 1u);
    let k2 = token_start(matrix, key + 2u, 1u);
    let k3 = token_start(matrix, key + 3u, 1u);

    var s0 = vec4f();
    var s1 = vec4f();
    var s2 = vec4f();
    var s3 = vec4f();
    for (var d = 0u; d < params.head; d++) {
        let a = vec4f(qkv[k0 + d]);
        let b = vec4f(qkv[k1 + d]);
        let c = vec4f(qkv[k2 + d]);
        let e = vec4f(qkv[k3 + d]);
        let x0 = vec4f(qkv[q0 + d]);
        let x1 = vec4f(qkv[q1 + d]);
        let x2 = vec4f(qkv[q2 + d]);
        let x3 = vec4f(qkv[q3 + d]);
        s0 += vec4f(dot(x0, a), dot(x0, b), dot(x0, c), dot(x0, e));
        s1 += vec4f(dot(x1, a), dot(x1, b), dot(x1, c), dot(x1, e));
        s2 += vec4f(dot(x2, a), dot(x2, b), dot(x2, c), dot(x2, e));
        s3 += vec4f(dot(x3, a), dot(x3, b), dot(x3, c), dot(x3, e));
    }
    store(matrix, query, key, s0);
    store(matrix, query + 1u, key, s1);
    store(matrix, query + 2u, key, s2);
    store(matrix, query + 3u, key, s3);
}
