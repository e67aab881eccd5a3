// The gradient of attention by queries, keys and values without keeping a score: weights are computed anew from what
// attention_rows left of each query (Dao et al. 2022, algorithm 4).
//
// An invocation owns eight vec4s of d of one token: as a query, over all keys, or as a key with its value, over all queries.
// The invocations of a workgroup read the same other token at a time.

struct Params {
    heads: u32,
    tokens: u32,
    head: u32,   // vec4s of a head
    scale: f32,
    first: u32,  // workgroup in x: a dispatch that takes long is cut in pieces
    blocks: u32, // of eight vec4s of a head
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(N) var<uniform> params: Params;
@group(0) @binding(N) var<storage, read> qkv: array<vec4f>;      // [N, tokens, 3 (Q, K, V), heads, head]
@group(0) @binding(N) var<storage, read> gradient: array<vec4f>; // G: [N, tokens, heads, head]
@group(0) @binding(N) var<storage, read> rows: array<vec4f>;     // [N · heads, tokens]: largest score, 1 / sum, O · G
@group(0) @binding(N) var<storage, read_write> out: array<vec4f>; // [N, tokens, 3 (dQ, dK, dV), heads, head]

fn place(matrix: u32, token: u32, part: u32) -> u32 {
    let row = matrix / params.heads * params.tokens + token;
    return ((row * 3u + part) * params.heads + matrix % params.heads) * params.head;
}

// The weight of a key's value for a query, and the gradient by their score.
struct Pair {
    weight: f32,
    change: f32,
}

fn pair(matrix: u32, query: u32, key: u32) -> Pair {
    let q = place(matrix, query, 0u);
    let k = place(matrix, key, 1u);
    let v = place(matrix, key, 2u);
    let g = ((matrix / params.heads * params.tokens + query) * params.heads + matrix % params.heads) * params.head;
    var score = vec4f();
    var product = vec4f();
    for (var d = 0u; d < params.head; d++) {
        score += qkv[q + d] * qkv[k + d];
        product += gradient[g + d] * qkv[v + d];
    }
    let row = rows[matrix * params.tokens + query];
    let weight = exp(dot(score, vec4f(1.0)) * params.scale - row.x) * row.y;
    return Pair(weight, weight * (dot(product, vec4f(1.0)) - row.z));
}

fn store(at: u32, d: u32, sum: vec4f) {
    if d < params.head {
        out[at + d] = sum;
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) own: vec3u, @builtin(local_invocation_index) thread: u32) {
    let matrix = own.z;
    let token = (own.x + params.first) * 64u + thread;
    let column = own.y % params.blocks * 8u;
    if token >= params.tokens {
        return;
    }
    // Beyond the head its last vec4 is summed again and not stored.
    let last = params.head - 1u;
//#each c 0 1 2 3 4 5 6 7
    var s$c = vec4f();
    let d$c = min(column + $c, last);
//#end
    if own.y < params.blocks {
        for (var key = 0u; key < params.tokens; key++) {
            let change = pair(matrix, token, key).change;
            let k = place(matrix, key, 1u);
//#each c 0 1 2 3 4 5 6 7
            s$c += change * qkv[k + d$c];
//#end
        }
        let at = place(matrix, token, 0u);
//#each c 0 1 2 3 4 5 6 7
        store(at, column + $c, s$c * params.scale);
//#end
    } else {
//#each c 0 1 2 3 4 5 6 7
        var v$c = vec4f();
//#end
        for (var query = 0u; query < params.tokens; query++) {
            let both = pair(matrix, query, token);
            let q = place(matrix, query, 0u);
            let row = matrix / params.heads * params.tokens + query;
            let g = (row * params.heads + matrix % params.heads) * params.head;
//#each c 0 1 2 3 4 5 6 7
            s$c += both.change * qkv[q + d$c];
            v$c += both.weight * gradient[g + d$c];
//#end
        }
        let keys = place(matrix, token, 1u);
        let values = place(matrix, token, 2u);
//#each c 0 1 2 3 4 5 6 7
        store(keys, column + $c, s$c * params.scale);
        store(values, column + $c, v$c);
//#end
    }
}
