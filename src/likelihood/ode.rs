//! Ordinary differential equations with a fixed number of steps.

use crate::Result;

/// How a step is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Heun's method: the mean of the slopes at both ends; of second order, two evaluations a step.
    Heun,
    /// The classical Runge–Kutta method; of fourth order, four evaluations a step.
    Rk4,
}

impl Method {
    /// How often a step needs the slope.
    pub fn evaluations(self) -> usize {
        match self {
            Method::Heun => 2,
            Method::Rk4 => 4,
        }
    }
}

/// Where `state` is at `end`, if it moves by `slope(s, state)` from `begin` on, in steps of the same length.
///
/// # Errors
/// Those of the slope.
pub async fn integrate(
    method: Method,
    [begin, end]: [f64; 2],
    steps: usize,
    mut state: Vec<f64>,
    mut slope: impl AsyncFnMut(f64, &[f64]) -> Result<Vec<f64>>,
) -> Result<Vec<f64>> {
    let h = (end - begin) / steps as f64;
    let ahead =
        |state: &[f64], k: &[f64], by: f64| -> Vec<f64> { state.iter().zip(k).map(|(x, k)| x + by * k).collect() };
    for step in 0..steps {
        let s = begin + step as f64 * h;
        let k1 = slope(s, &state).await?;
        match method {
            Method::Heun => {
                let k2 = slope(s + h, &ahead(&state, &k1, h)).await?;
                for (i, x) in state.iter_mut().enumerate() {
                    *x += h / 2.0 * (k1[i] + k2[i]);
                }
            }
            Method::Rk4 => {
                let k2 = slope(s + h / 2.0, &ahead(&state, &k1, h / 2.0)).await?;
                let k3 = slope(s + h / 2.0, &ahead(&state, &k2, h / 2.0)).await?;
                let k4 = slope(s + h, &ahead(&state, &k3, h)).await?;
                for (i, x) in state.iter_mut().enumerate() {
                    *x += h / 6.0 * (k1[i] + 2.0 * (k2[i] + k3[i]) + k4[i]);
                }
            }
        }
    }
    Ok(state)
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;

    /// Where images are normal of variance s², ε̂ = σ x̄ / (s² + σ²), and both x̄ and the integral of the trace are known.
    #[test]
    fn a_normal_distribution_is_encoded_as_it_has_to_be() {
        let (variance, [least, most]) = (0.3_f64, [0.01_f64, 150.0]);
        let begin = [0.4, -1.1, 0.05];
        let slope = async |log: f64, state: &[f64]| {
            let sigma = log.exp();
            let part = sigma * sigma / (variance + sigma * sigma);
            Ok(state[..3].iter().map(|x| part * x).chain([3.0 * part]).collect::<Vec<f64>>())
        };
        let growth = (variance + most * most) / (variance + least * least);
        let exact: Vec<f64> = begin.iter().map(|x| x * growth.sqrt()).chain([1.5 * growth.ln()]).collect();
        for (method, order, bound) in [(Method::Heun, 2, 1e-3), (Method::Rk4, 4, 1e-6)] {
            let off = |steps: usize| {
                let state = begin.into_iter().chain([0.0]).collect();
                let span = [least.ln(), most.ln()];
                let end = pollster::block_on(integrate(method, span, steps, state, slope)).unwrap();
                end.iter().zip(&exact).map(|(x, exact)| ((x - exact) / exact).abs()).fold(0.0, f64::max)
            };
            let (coarse, fine) = (off(160), off(320));
            println!("{method:?}: {coarse:.1e}, {fine:.1e}");
            assert!(fine <= bound, "{method:?}: {fine:.1e}");
            let found = (coarse / fine).log2();
            assert!((found - f64::from(order)).abs() < 0.5, "{method:?} is of order {found:.2}");
        }
    }
}
