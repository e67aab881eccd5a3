// A step of AdamW, in place: decay, moments, and a step against the gradient, which is clipped by the norm of all of them.
// An invocation owns one vec4 of a parameter and of what is kept of it.

//#include elementwise

struct Settings {
    keep: f32,  // 1 − rate · decay
    beta1: f32,
    rest1: f32, // 1 − β₁
    beta2: f32,
    rest2: f32, // 1 − β₂
    step: f32,  // rate / (1 − β₁ᵗ)
    root: f32,  // √(1 − β₂ᵗ)
    eps: f32,
    limit: f32, // of the norm; 0: none
}

@group(0) @binding(N) var<storage, read> gradient: array<vec4f>; // [len]
@group(0) @binding(N) var<storage, read> settings: Settings;
@group(0) @binding(N) var<storage, read> square_norm: array<f32>; // [1], of all gradients
@group(0) @binding(N) var<storage, read_write> p: array<vec4f>;   // [len]
@group(0) @binding(N) var<storage, read_write> m: array<vec4f>;   // [len]
@group(0) @binding(N) var<storage, read_write> v: array<vec4f>;   // [len]

fn element(i: u32) {
    var clip = 1.0;
    if settings.limit > 0.0 {
        clip = min(settings.limit / (sqrt(square_norm[0]) + 1e-6), 1.0);
    }
    let g = clip * gradient[i];
    let mean = settings.beta1 * m[i] + settings.rest1 * g;
    let square = settings.beta2 * v[i] + settings.rest2 * (g * g);
    m[i] = mean;
    v[i] = square;
    p[i] = settings.keep * p[i] - settings.step * (mean / (sqrt(square) / settings.root + settings.eps));
}
