// out[n, i] = Σ M[i, j] · x[n, j] + e[i] over the pixels j of an image, of every channel alike. An invocation owns one vec4.

//#include flat

struct Params {
    len: u32,      // vec4s of the output
    row: u32,      // vec4s of a run of channels
    made: u32,     // tokens of an image of the output: I
    given: u32,    // and of x: J
    by_made: u32,  // how far apart in M neighbours in i are
    by_given: u32, // and in j
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(N) var<uniform> params: Params;
@group(0) @binding(N) var<storage, read> x: array<vec4f>;    // [N, J, row]
@group(0) @binding(N) var<storage, read> matrix: array<f32>; // M
//#if added
@group(0) @binding(N) var<storage, read> added: array<vec4f>; // [I, row]: e
//#end
@group(0) @binding(N) var<storage, read_write> out: array<vec4f>; // [N, I, row]

fn element(index: u32) {
    let token = index / params.row; // over all images
    let channel = index % params.row;
    let i = token % params.made;
    let first = token / params.made * params.given * params.row + channel;
    var sum = vec4f();
//#if added
    sum = added[i * params.row + channel];
//#end
    for (var j = 0u; j < params.given; j++) {
        sum += matrix[i * params.by_made + j * params.by_given] * x[first + j * params.row];
    }
    out[index] = sum;
}
