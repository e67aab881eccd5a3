// shadow − (1 − decay) (shadow − p), in place. An invocation owns one vec4.

//#include elementwise

@group(0) @binding(N) var<storage, read> p: array<vec4f>;  // [len]
@group(0) @binding(N) var<storage, read> rest: array<f32>; // [1]: 1 − decay
@group(0) @binding(N) var<storage, read_write> shadow: array<vec4f>; // [len]

fn element(i: u32) {
    shadow[i] -= rest[0] * (shadow[i] - p[i]);
}
