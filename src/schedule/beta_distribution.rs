//! Quantiles of the beta distribution.

/// The x at which the distribution function of Beta(a, b) is `p`: `scipy.stats.beta.ppf`.
pub(super) fn quantile(p: f64, a: f64, b: f64) -> f64 {
    if p <= 0.0 || p >= 1.0 {
        return p.clamp(0.0, 1.0);
    }
    // Halving an interval of doubles 1,100 times reaches the smallest of them; 100 reach full precision here.
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if distribution(middle, a, b) < p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// The regularised incomplete beta function I_x(a, b).
fn distribution(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    let log_front = a * libm::log(x) + b * libm::log1p(-x) + libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b);
    // The continued fraction converges quickly only below the mean.
    if x < (a + 1.0) / (a + b + 2.0) {
        libm::exp(log_front) * continued_fraction(x, a, b) / a
    } else {
        1.0 - libm::exp(log_front) * continued_fraction(1.0 - x, b, a) / b
    }
}

/// The continued fraction of I_x(a, b) (DLMF 8.17.22), from the front with Lentz's method.
fn continued_fraction(x: f64, a: f64, b: f64) -> f64 {
    let away_from_zero = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut result = d;
    for m in 1..1000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for coefficient in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + coefficient * d);
            c = away_from_zero(1.0 + coefficient / c);
            change = c * d;
            result *= change;
        }
        if (change - 1.0).abs() < 1e-16 {
            break;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_scipy() {
        // scipy.stats.beta.ppf(p, 0.6, 0.6)
        for (p, x) in [(0.1, 0.039_584_405_588_780_85), (0.5, 0.5), (0.75, 0.824_319_621_347_305)] {
            assert!((quantile(p, 0.6, 0.6) - x).abs() < 1e-12, "{}", quantile(p, 0.6, 0.6));
        }
        assert_eq!((quantile(0.0, 0.6, 0.6), quantile(1.0, 0.6, 0.6)), (0.0, 1.0));
    }
}
