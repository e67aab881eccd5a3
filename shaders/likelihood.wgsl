// What a learned variance costs a number of an image, in nats, and how that changes with the logarithm of the variance, for
// the shaders of the variational bound, before which this stands.

// What is given of an image.
struct Given {
    factor: f32,  // of target − prediction, to make it the distance of the means
    min_log: f32, // ln of the posterior's variance
    range: f32,   // ln β − min_log
    first: f32,   // 1: what is predicted is x_0
}

// eᵈ − 1 − d, also where little is left of it.
fn exp_rest(d: vec4f) -> vec4f {
    let series = d * d * (0.5 + d * (0.16666667 + d * (0.041666668 + d * (0.008333334 + d * (0.0013888889 + d * 0.0001984127)))));
    return select(exp(d) - 1.0 - d, series, abs(d) < vec4f(0.5));
}

// The normal distribution function as improved-diffusion approximates it: ½ (1 + tanh h) with h = √(2/π) (x + 0.044715 x³),
// which is the logistic function of 2h.
fn cdf(x: vec4f) -> vec4f {
    let h = 0.7978846 * (x + 0.044715 * x * x * x);
    return 1.0 / (1.0 + exp(clamp(-2.0 * h, vec4f(-80.0), vec4f(80.0))));
}

// x times the derivative of `cdf` at x.
fn cdf_slope(x: vec4f) -> vec4f {
    let p = cdf(x);
    return 2.0 * 0.7978846 * x * (1.0 + 0.134145 * x * x) * p * (1.0 - p);
}

// The probability of a number within half of one of 255 levels of x_0, and its derivative by the logarithm of the variance.
struct Level {
    probability: vec4f,
    slope: vec4f,
}

fn level(x0: vec4f, distance: vec4f, log_variance: vec4f) -> Level {
    let inverse = exp(-0.5 * log_variance);
    // Where the mean lies below, everything is mirrored: the function is exact only where it is small.
    let upper = inverse * select(distance + 0.003921569, 0.003921569 - distance, distance > vec4f());
    let lower = inverse * select(distance - 0.003921569, -0.003921569 - distance, distance > vec4f());
    // The last levels also have what lies beyond them.
    let lowest = inverse * (distance + 0.003921569);
    let highest = inverse * (0.003921569 - distance);
    let edge = select(highest, lowest, x0 < vec4f(-0.999));
    let inside = abs(x0) <= vec4f(0.999);
    let probability = select(cdf(edge), cdf(upper) - cdf(lower), inside);
    let slope = -0.5 * select(cdf_slope(edge), cdf_slope(upper) - cdf_slope(lower), inside);
    return Level(probability, slope);
}

// The variance's logarithm for what the network says of it, v.
fn log_variance(v: vec4f, given: Given) -> vec4f {
    return given.min_log + 0.5 * (v + 1.0) * given.range;
}

fn loss(prediction: vec4f, truth: vec4f, v: vec4f, x0: vec4f, given: Given) -> vec4f {
    let distance = given.factor * (truth - prediction);
    if given.first == 1.0 {
        return -log(max(level(x0, distance, log_variance(v, given)).probability, vec4f(1e-12)));
    }
    let d = -0.5 * (v + 1.0) * given.range;
    return 0.5 * (exp_rest(d) + distance * distance * exp(-log_variance(v, given)));
}

// The derivative of `loss` by v.
fn loss_slope(prediction: vec4f, truth: vec4f, v: vec4f, x0: vec4f, given: Given) -> vec4f {
    let distance = given.factor * (truth - prediction);
    if given.first == 1.0 {
        let own = level(x0, distance, log_variance(v, given));
        let slope = -own.slope / max(own.probability, vec4f(1e-12));
        return 0.5 * given.range * select(vec4f(), slope, own.probability >= vec4f(1e-12));
    }
    let d = -0.5 * (v + 1.0) * given.range;
    return 0.5 * given.range * -0.5 * (d + exp_rest(d) + distance * distance * exp(-log_variance(v, given)));
}
