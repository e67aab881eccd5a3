// Pᵀ G of every image and head, in the place of the values; zero in those of queries and keys. An invocation owns four
// channels of four tokens of one head and walks the queries.

struct Params {
    heads: u32,
    tokens: u32,
    head: u32, // vec4s of a head
    row: u32,  // vec4s of a row of P
}

@group(0) @binding(N) var<uniform> params: Params;
@group(0) @binding(N) var<storage, read> weights: array<vec4f>;  // P: [N · heads, tokens, row]
@group(0) @binding(N) var<storage, read> gradient: array<vec4f>; // G: [N, tokens, heads, head]
@group(0) @binding(N) var<storage, read_write> out: array<vec4f>; // [N, tokens, 3 (0, 0, dV), heads, head]

fn store(matrix: u32, token: u32, d: u32, sum: vec4f) {
    if token < params.tokens {
        let row = (matrix / params.heads * params.tokens + token) * 3u;
        let head = matrix % params.heads;
        out[(row * params.heads + head) * params.head + d] = vec4f();
        out[((row + 1u) * params.heads + head) * params.head + d] = vec4f();
        out[((row + 2u) * params.heads + head) * params.head + d] = sum;
    }
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let d = id.x;
    let token = id.y * 4u;
    let matrix = id.z;
    if d >= params.head || token >= params.tokens {
        return;
    }
//#each t 0 1 2 3
    var s$t = vec4f();
//#end
    for (var query = 0u; query < params.tokens; query++) {
        let weight = weights[(matrix * params.tokens + query) * params.row + token / 4u];
        let row = matrix / params.heads * params.tokens + query;
        let g = gradient[(row * params.heads + matrix % params.heads) * params.head + d];
        s0 += weight.x * g;
        s1 += weight.y * g;
        s2 += weight.z * g;
        s3 += weight.w * g;
    }
//#each t 0 1 2 3
    store(matrix, token + $t, d, s$t);
//#end
}
