// The softmax of a row of logits [N, row], for shaders that bind them as `logits` and have `classes` and `row` in their parameters.

const LOWEST = -3.4028234e38;

// The logits of vec4 i of a row, with the lowest number in place of padding.
fn load(start: u32, i: u32) -> vec4f {
    let column = vec4u(0u, 1u, 2u, 3u) + i * 4u;
    return select(vec4f(LOWEST), logits[start + i], column < vec4u(params.classes));
}

// The highest logit of a row, and Σ exp(logit − highest).
struct Exponentials {
    highest: f32,
    sum: f32,
}

fn exponentials(start: u32) -> Exponentials {
    var highest = vec4f(LOWEST);
    for (var i = 0u; i < params.row; i++) {
        highest = max(highest, load(start, i));
    }
    let top = max(max(highest.x, highest.y), max(highest.z, highest.w));
    var sums = vec4f();
    for (var i = 0u; i < params.row; i++) {
        sums += exp(load(start, i) - top);
    }
    return Exponentials(top, dot(sums, vec4f(1.0)));
}
