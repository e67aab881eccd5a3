// softmax(Q Kᵀ / √d) V of every image and head without keeping a score: the keys pass by in tiles, and what was summed up
// is scaled down whenever a larger score turns up (Milakov and Gimelshein 2018; Dao et al. 2022).
//
// A workgroup owns 32 queries of one head. An invocation computes the scores of four queries by some of a tile's 32 keys,
// and owns four queries by COLUMNS vec4s of d, LANES apart, of the output; larger heads are left to several workgroups in
// y. Or, where shared memory is slow, an invocation owns one query by eight vec4s of d, and computes all its scores itself.

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

alias Stored = vec4f; // activations and weights

@group(0) @binding(N) var<uniform> params: Params;
@group(0) @binding(N) var<storage, read> qkv: array<Stored>; // [N, tokens, 3 (Q, K, V), heads, head]
@group(0) @binding(N) var<storage, read_write> out: array<Stored>; // [N, tokens, heads, head]

// Lower than any score, and not infinite: the difference of two is a number.
const LOWEST = -3.0e38;

// Where the head of a token begins; part 0 is the query, 1 the key, 2 the value. Tokens beyond the last are read as the
// last one, and what comes of them is dropped.
fn token_start(matrix: u32, token: u32, part: u32) -> u32 {
    let row = matrix / params.heads * params.tokens + min(token, params.tokens - 1u);
    return ((row * 3u + part) * params.heads + matrix % params.heads) * params.head;
}

fn store(matrix: u32, query: u32, d: u32, sum: vec4f) {
    if query < params.tokens && d < params.head {
        let token = matrix / params.heads * params.tokens + query;
        out[(token * params.heads + matrix % params.heads) * params.head + d] = Stored(sum);
    }
}

//#if serial
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) own: vec3u, @builtin(local_invocation_index) thread: u32) {
    let matrix = own.z;
    let query = (own.x + params.first) * 64u + thread;
    let column = own.y * 8u;
    if query >= params.tokens {
        return;
    }
    let q = token_start(matrix, query, 0u);
    var most = LOWEST;
    var total = 0.0;
//#each c 0 1 2 3 4 5 6 7
    var s$c = vec4f();
//#end
    for (var key = 0u; key < params.tokens; key++) {
        let k = token_start(matrix, key, 1u);
        var products = vec4f();
        for (var d = 0u; d < params.head; d++) {
            products += vec4f(qkv[q + d]) * vec4f(qkv[k + d]);
        }
        let score = dot(products, vec4f(params.scale));
        let next = max(most, score);
        let factor = exp(most - next);
        let weight = exp(score - next);
        most = next;
        total = total * factor + weight;
        let v = token_start(matrix, key, 2u);
//#each c 0 1 2 3 4 5 6 7
        s$c = s$c * factor + weight * vec4f(qkv[v + min(column + $c, params.head - 1u)]);
//#end
    }
//#each c 0 1 2 3 4 5 6 7
    store(matrix, query, column + $c, s$c / total);
//#end
}
//#else
const COLUMNS: u32 = $columns;
const LANES: u32 = $lanes;
const KEYS: u32 = $keys; // of an invocation: 32 / LANES

// [lane, line]: of four queries, their largest score in a column of the tile.
var<workgroup> largest: array<array<vec4f, 8>, LANES>;
// [key, line]: of four queries, exp of the score less the largest.
var<workgroup> weights: array<array<vec4f, 8>, 32>;

@compute @workgroup_size(LANES, 8)
fn main(@builtin(workgroup_id) own: vec3u, @builtin(local_invocation_id) thread: vec3u) {
    let matrix = own.z;
    let line = thread.y;
    let lane = thread.x;
    let query = (own.x + params.first) * 32u + line * 4u;
    let column = own.y * COLUMNS * LANES + lane;
//#each q 0 1 2 3
    let q$q = token_start(matrix, query + $q, 0u);
//#end
    // Each a vec4 of four queries.
    var most = vec4f(LOWEST);
    var total = vec4f();
//#each c columns
//#each q 0 1 2 3
    var s$q_$c = vec4f();
//#end
//#end
    for (var first = 0u; first < params.tokens; first += 32u) {
        let key = first + lane * KEYS;
//#each k keys
        let k$k = token_start(matrix, key + $k, 1u);
        var score$k = vec4f();
//#end
        for (var d = 0u; d < params.head; d++) {
//#each q 0 1 2 3
            let x$q = vec4f(qkv[q$q + d]);
//#end
//#each k keys
            let y$k = vec4f(qkv[k$k + d]);
            score$k += vec4f(dot(x0, y$k), dot(x1, y$k), dot(x2, y$k), dot(x3, y$k));
//#end
        }
        var next = most;
//#each k keys
        score$k = select(vec4f(LOWEST), score$k * params.scale, key + $k < params.tokens);
        next = max(next, score$k);
//#end
        largest[lane][line] = next;
        workgroupBarrier();
        for (var i = 0u; i < LANES; i++) {
            next = max(next, largest[i][line]);
        }
//#each k keys
        weights[lane * KEYS + $k][line] = exp(score$k - next);
//#end
        let factor = exp(most - next);
        most = next;
        workgroupBarrier();
        total *= factor;
//#each c columns
//#each q,l 0,x 1,y 2,z 3,w
        s$q_$c *= factor.$l;
//#end
//#end
        for (var i = 0u; i < 32u; i++) {
            let weight = weights[i][line];
            let v = token_start(matrix, first + i, 2u);
            total += weight;
//#each c columns
            let v$c = vec4f(qkv[v + min(column + LANES * $c, params.head - 1u)]);
//#each q,l 0,x 1,y 2,z 3,w
            s$q_$c += weight.$l * v$c;
//#end
//#end
        }
    }
//#each c columns
//#each q,l 0,x 1,y 2,z 3,w
    store(matrix, query + $q, column + LANES * $c, s$q_$c / total.$l);
//#end
//#end
}
//#end
