// P V of every image and head. An invocation owns four channels of four queries of one head and walks the keys four at
// a time: eight vec4 loads for sixteen vec4 multiply-adds.

struct Params {
    heads: u32,
    tokens: u32,
    head: u32, // vec4s of a head
    row: u32,  // vec4s of a row of P, padded with zeros
}

alias Stored = vec4f; // activations and weights

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<Stored>; // P: [N · heads, tokens, row]
@group(0) @binding(2) var<storage, read> qkv: array<Stored>;     // [N, tokens, 3 (Q, K, V), heads, head]
@group(0) @binding(3) var<storage, read_write> out: array<Stored>; // [N, tokens, heads, head]

// Tokens beyond the last are read as the last one: as keys their weight is zero, as queries they are not stored.
fn clamped(token: u32) -> u32 {
    return min(token, params.tokens - 1u);
}

fn value(matrix: u32, key: u32, d: u32) -> vec4f {
    let token = matrix / params.heads * params.tokens + clamped(key);
    return vec4f(qkv[((token * 3u + 2u) * params.heads + matrix % params.heads) * params.head + d]);
}

fn store(matrix: u32, query: u32, d: u32, sum: vec4f) {
    if query < params.tokens {
        let token = matrix / params.heads * params.tokens + query;
        out[(token * params.heads + matrix % params.heads) * params.head + d] = Stored(sum);
    }
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let d = id.x;
    let query = id.y * 4u;
    let matrix = id.z;
    if d >= params.head || query >= params.tokens {
        return;
    }
    let first = matrix * params.tokens;
    let p0 = (first + query) * params.row;
    let p1 = (first + clamped(query + 1u)) * params.row;
    let p2 = (first + clamped(query + 2u)) * params.row;
    let p3 = (first + clamped(query + 3u)) * params.row;

    var s0 = vec4f();
    var s1 = vec4f();
    var s2 = vec4f();
    var s3 = vec4f();
    for (var i = 0u; i < params.row; i++) {
        let key = i * 4u;
        let v0 = value(matrix, key, d);
        let v1 = value(matrix, key + 1u, d);
        let v2 = value(matrix, key + 2u, d);
        let v3 = value(matrix, key + 3u, d);
        let w0 = vec4f(weights[p0 + i]);
        let w1 = vec4f(weights[p1 + i]);
        let w2 = vec4f(weights[p2 + i]);
        let w3 = vec4f(weights[p3 + i]);
        s0 += w0.x * v0 + w0.y * v1 + w0.z * v2 + w0.w * v3;
        s1 += w1.x * v0 + w1.y * v1 + w1.z * v2 + w1.w * v3;
        s2 += w2.x * v0 + w2.y * v1 + w2.z * v2 + w2.w * v3;
        s3 += w3.x * v0 + w3.y * v1 + w3.z * v2 + w3.w * v3;
    }
    store(matrix, query, d, s0);
    store(matrix, query + 1u, d, s1);
    store(matrix, query + 2u, d, s2);
    store(matrix, query + 3u, d, s3);
}
