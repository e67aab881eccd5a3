// out = x, in the precision of activations. An invocation owns one vec4.

//#include elementwise

alias Stored = vec4f; // activations and weights

@group(0) @binding(N) var<storage, read> x: array<vec4f>;
@group(0) @binding(N) var<storage, read_write> out: array<Stored>;

fn element(i: u32) {
    out[i] = Stored(x[i]);
}
