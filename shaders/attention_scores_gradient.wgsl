// dS K / √d in the place of the queries, dSᵀ Q / √d in that of the keys, and zero in that of the values. An invocation owns
// four channels of four tokens of one head, and walks the tokens that these met four at a time.

struct Params {
    heads: u32,
    tokens: u32,
    head: u32, // vec4s of a head
    row: u32,  // vec4s of a row of scores, padded with zeros
    scale: f32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(N) var<uniform> params: Params;
@group(0) @binding(N) var<storage, read> qkv: array<vec4f>;    // [N, tokens, 3 (Q, K, V), heads, head]
@group(0) @binding(N) var<storage, read> scores: array<vec4f>; // dS: [N · heads, tokens, row]
@group(0) @binding(N) var<storage, read_write> out: array<vec4f>; // [N, tokens, 3 (dQ, dK, 0), heads, head]

// Tokens beyond the last are read as the last one; what comes of them is dropped, or multiplied by zero.
fn clamped(token: u32) -> u32 {
    return min(token, params.tokens - 1u);
}

fn place(matrix: u32, token: u32, part: u32, d: u32) -> u32 {
    let row = matrix / params.heads * params.tokens + token;
    return ((row * 3u + part) * params.heads + matrix % params.heads) * params.head + d;
}

fn store(matrix: u32, token: u32, part: u32, d: u32, sum: vec4f) {
    if token < params.tokens {
        out[place(matrix, token, part, d)] = sum * params.scale;
    }
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let part = id.x / params.head;
    let d = id.x % params.head;
    let token = id.y * 4u;
    let matrix = id.z;
    if part >= 3u || token >= params.tokens {
        return;
    }
    let first = matrix * params.tokens;
//#each t 0 1 2 3
    var s$t = vec4f();
//#end
    if part == 0u {
//#each t 0 1 2 3
        let r$t = (first + clamped(token + $t)) * params.row;
//#end
        for (var i = 0u; i < params.row; i++) {
            let key = i * 4u;
//#each t 0 1 2 3
            let k$t = qkv[place(matrix, clamped(key + $t), 1u, d)];
//#end
//#each t 0 1 2 3
            let w$t = scores[r$t + i];
            s$t += w$t.x * k0 + w$t.y * k1 + w$t.z * k2 + w$t.w * k3;
//#end
        }
    } else if part == 1u {
        for (var query = 0u; query < params.tokens; query++) {
            let weights = scores[(first + query) * params.row + token / 4u];
            let q = qkv[place(matrix, query, 0u, d)];
            s0 += weights.x * q;
            s1 += weights.y * q;
            s2 += weights.z * q;
            s3 += weights.w * q;
        }
    }
//#each t 0 1 2 3
    store(matrix, token + $t, part, d, s$t);
//#end
}
