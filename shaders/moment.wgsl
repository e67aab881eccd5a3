// The mean of so many numbers, and M2, the sum of their squared deviations from it.
struct Moment {
    count: f32,
    mean: f32,
    m2: f32,
}

// Those of two sets of numbers together (Chan, Golub and LeVeque 1979).
fn merge(a: Moment, b: Moment) -> Moment {
    let count = a.count + b.count;
    let delta = b.mean - a.mean;
    let weight = select(0.0, b.count / count, count > 0.0);
    return Moment(count, a.mean + delta * weight, a.m2 + b.m2 + delta * delta * a.count * weight);
}

