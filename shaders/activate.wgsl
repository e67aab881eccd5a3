// The activation functions and their derivatives, for the shaders of the ops that apply them, before which this stands.
// Their numbers: 0 none, 1 SiLU, 2 Mish, 3 GELU, 4 ReLU.

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

// The derivative of `activate` at x.
fn derivative(x: vec4f, function: u32) -> vec4f {
    switch function {
        case 1u: {
            // e⁻ˣ is finite, so that nothing is multiplied by infinity.
            let sigmoid = 1.0 / (1.0 + exp(min(-x, vec4f(80.0))));
            return sigmoid * (1.0 + x * (1.0 - sigmoid));
        }
        case 2u: {
            // Beyond 20 the second term is nothing and the first is 1.
            let e = exp(min(x, vec4f(20.0)));
            let n = e * (e + 2.0);
            return n / (n + 2.0) + 4.0 * x * (e / (n + 2.0)) * ((e + 1.0) / (n + 2.0));
        }
        case 3u: {
            return 0.5 * (1.0 + erf(x * 0.70710678)) + 0.39894228 * x * exp(-0.5 * x * x);
        }
        case 4u: {
            return select(vec4f(), vec4f(1.0), x > vec4f());
        }
        default: {
            return vec4f(1.0);
        }
    }
}
