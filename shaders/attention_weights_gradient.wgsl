// G Vᵀ of every image and head. An invocation owns four queries by four keys of one head: eight vec4 loads for sixteen dot
// products at each step along d.

struct Params {
    heads: u32,
    tokens: u32,
    head: u32, // vec4s of a head
    row: u32,  // vec4s of a row of P
}

@group(0) @binding(N) var<uniform> params: Params;
@group(0) @binding(N) var<storage, read> qkv: array<vec4f>;      // [N, tokens, 3 (Q, K, V), heads, head]
@group(0) @binding(N) var<storage, read> gradient: array<vec4f>; // G: [N, tokens, heads, head]
@group(0) @binding(N) var<storage, read_write> out: array<vec4f>; // [N · heads, tokens, row]

// A token of all images. Tokens beyond the last are read as the last one, and what comes of them is dropped.
fn row(matrix: u32, token: u32) -> u32 {
    return matrix / params.heads * params.tokens + min(token, params.tokens - 1u);
}

fn value(matrix: u32, token: u32) -> u32 {
    return ((row(matrix, token) * 3u + 2u) * params.heads + matrix % params.heads) * params.head;
}

fn store(matrix: u32, query: u32, key: u32, products: vec4f) {
    if query < params.tokens {
        let real = vec4u(key, key + 1u, key + 2u, key + 3u) < vec4u(params.tokens);
        out[(matrix * params.tokens + query) * params.row + key / 4u] = select(vec4f(), products, real);
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
//#each t 0 1 2 3
    let g$t = (row(matrix, query + $t) * params.heads + matrix % params.heads) * params.head;
    let v$t = value(matrix, key + $t);
    var s$t = vec4f();
//#end
    for (var d = 0u; d < params.head; d++) {
//#each t 0 1 2 3
        let y$t = qkv[v$t + d];
//#end
//#each t 0 1 2 3
        let x$t = gradient[g$t + d];
        s$t += vec4f(dot(x$t, y0), dot(x$t, y1), dot(x$t, y2), dot(x$t, y3));
//#end
    }
//#each t 0 1 2 3
    store(matrix, query + $t, key, s$t);
//#end
}
