// out = x, of the precision of activations, in 32 bits. An invocation owns one vec4.

//#include elementwise

alias Stored = vec4f; // activations and weights

@group(0) @binding(N) var<storage, read> x: array<Stored>;
@group(0) @binding(N) var<storage, read_write> out: array<vec4f>;

fn element(i: u32) {
    out[i] = vec4f(x[i]);
}
