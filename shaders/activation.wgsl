// out = f(x), element by element. An invocation owns one vec4.

struct Params {
    len: u32,      // vec4s
    function: u32, // 1 SiLU, 2 Mish, 3 GELU, 4 ReLU
    pad0: u32,
    pad1: u32,
}

alias Stored = vec4f; // activations and weights

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>;
@group(0) @binding(2) var<storage, read_write> out: array<Stored>;

// The error function within 1.2e-7 (the Chebyshev fit of Press et al., Numerical Recipes, `erfcc`).
fn erf(x: vec4f) -> vec4f {
    let z = abs(x);
    let t = 1.0 / (1.0 + 0.5 * z);
    let p = -1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 + t * (-0.18628806 + t * (0.27886807
        + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277))))))));
    return sign(x) * (1.0 - t * exp(p - z * z));
}

fn activate(x: vec4f, function: u32) -> vec4f {
    switch function {
        case 1u: {
            return x / (1.0 + exp(-x));
        }
        case 2u: {
            let e = exp(min(x, vec4f(20.0)));
            let n = e * (e + 2.0);
            return x * n / (n + 2.0);
        }
        case 3u: {
            return 0.5 * x * (1.0 + erf(x * 0.70710678));
        }
        case 4u: {
            return max(x, vec4f());
        }
        default: {
            return x;
        }
    }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x + id.y * 2097152u;
    if i >= params.len {
        return;
    }
    out[i] = Stored(activate(vec4f(x[i]), params.function));
}
