//! Elementary functions, of numbers and of vectors, and the loops over vectors that ops share.

use pulp::{Simd, WithSimd};

use crate::scratch;

/// Adding 1.5 · 2²³ rounds a float to an integer and leaves that integer in its low bits.
const ROUND: f32 = 12_582_912.0;

/// eˣ, within 2 units in the last place of the true value for x in [−87, 88], clamped beyond.
///
/// Cody–Waite reduction to |r| ≤ ln 2 / 2, a polynomial in r, and a scale by a power of two made from the bits of the
/// rounded quotient (the method and coefficients of Moshier's Cephes `expf`).
#[inline]
pub fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let scale = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    (p * r * r + r + 1.0) * scale
}

/// `x · sigmoid(x)`.
#[inline]
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// [`exp`] of a vector.
#[inline(always)]
fn exp_vector<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let x = simd.max_f32s(simd.splat_f32s(-87.0), simd.min_f32s(simd.splat_f32s(88.0), x));
    let shifted = simd.mul_add_e_f32s(x, simd.splat_f32s(std::f32::consts::LOG2_E), simd.splat_f32s(ROUND));
    let n = simd.sub_f32s(shifted, simd.splat_f32s(ROUND));
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(-0.693_359_4), x);
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(2.121_944_4e-4), r);
    let p = simd.splat_f32s(1.987_569_1e-4);
    let p = simd.mul_add_e_f32s(p, r, simd.splat_f32s(1.398_2e-3));
    let p = simd.mul_add_e_f32s(p, r, simd.splat_f32s(8.333_452e-3));
    let p = simd.mul_add_e_f32s(p, r, simd.splat_f32s(4.166_579_6e-2));
    let p = simd.mul_add_e_f32s(p, r, simd.splat_f32s(1.666_666_5e-1));
    let p = simd.mul_add_e_f32s(p, r, simd.splat_f32s(0.5));
    let biased = simd.add_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(127));
    // Times 2²³ and not shifted by 23: in wasm a vector can only be shifted lane by lane here.
    let scale = simd.transmute_f32s_u32s(simd.mul_u32s(biased, simd.splat_u32s(1 << 23)));
    let p = simd.mul_add_e_f32s(simd.mul_f32s(p, r), r, r);
    simd.mul_f32s(simd.add_f32s(p, simd.splat_f32s(1.0)), scale)
}

/// [`silu`] of a vector.
#[inline(always)]
fn silu_vector<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let e = exp_vector(simd, simd.neg_f32s(x));
    simd.div_f32s(x, simd.add_f32s(simd.splat_f32s(1.0), e))
}

/// `out = f(out, a, b)`, element by element, of slices of the same length.
#[inline(always)]
fn update<S: Simd>(simd: S, out: &mut [f32], a: &[f32], b: &[f32], f: impl Fn(S::f32s, S::f32s, S::f32s) -> S::f32s) {
    let ((outs, out), (a_s, a), (b_s, b)) = (S::as_mut_simd_f32s(out), S::as_simd_f32s(a), S::as_simd_f32s(b));
    for ((out, a), b) in outs.iter_mut().zip(a_s).zip(b_s) {
        *out = f(*out, *a, *b);
    }
    if !out.is_empty() {
        let value = f(simd.partial_load_f32s(out), simd.partial_load_f32s(a), simd.partial_load_f32s(b));
        simd.partial_store_f32s(out, value);
    }
}

/// Applies [`silu`] to every element.
pub fn silu_all(x: &mut [f32]) {
    struct Silu<'a>(&'a mut [f32]);

    impl WithSimd for Silu<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let (vectors, rest) = S::as_mut_simd_f32s(self.0);
            for x in vectors {
                *x = silu_vector(simd, *x);
            }
            for x in rest {
                *x = silu(*x);
            }
        }
    }

    pulp::Arch::new().dispatch(Silu(x));
}

/// Multiplies every element of `data` by the derivative of [`silu`] at the element of `x` in the same place, which with
/// σ = sigmoid(x) is σ (1 + x (1 − σ)).
pub fn silu_derivative_all(x: &[f32], data: &mut [f32]) {
    struct Derivative<'a> {
        x: &'a [f32],
        data: &'a mut [f32],
    }

    impl WithSimd for Derivative<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let one = simd.splat_f32s(1.0);
            update(
                simd,
                self.data,
                self.x,
                self.x,
                #[inline(always)]
                |data, x, _| {
                    let sigmoid = simd.div_f32s(one, simd.add_f32s(one, exp_vector(simd, simd.neg_f32s(x))));
                    let slope = simd.mul_add_e_f32s(x, simd.sub_f32s(one, sigmoid), one);
                    simd.mul_f32s(data, simd.mul_f32s(sigmoid, slope))
                },
            );
        }
    }

    pulp::Arch::new().dispatch(Derivative { x, data });
}

/// The gradients of `x · scale + shift`, x being `[…, scale.len()]`, from that by its value, which `gradient` holds: by x to
/// `gradient`, and by scale and shift, summed over the rows, to `by_scale` and `by_shift`.
///
/// That by scale is summed about the first row, not about zero: where a mean is far from it, that would take the last bits
/// (Chan, Golub and LeVeque 1979).
pub fn scale_shift_gradient(
    gradient: &mut [f32],
    x: &[f32],
    scale: &[f32],
    by_scale: &mut [f32],
    by_shift: &mut [f32],
) {
    struct Gradient<'a> {
        gradient: &'a mut [f32],
        x: &'a [f32],
        scale: &'a [f32],
        deviation: &'a mut [f32],
        by_scale: &'a mut [f32],
        by_shift: &'a mut [f32],
    }

    impl WithSimd for Gradient<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Gradient { gradient, x, scale, deviation, by_scale, by_shift } = self;
            by_scale.fill(0.0);
            by_shift.fill(0.0);
            let width = scale.len();
            let pivot = &x[..width];
            for (gradient, x) in gradient.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                update(
                    simd,
                    deviation,
                    x,
                    pivot,
                    #[inline(always)]
                    |_, x, pivot| simd.sub_f32s(x, pivot),
                );
                update(
                    simd,
                    by_scale,
                    gradient,
                    deviation,
                    #[inline(always)]
                    |sum, gradient, deviation| simd.mul_add_e_f32s(gradient, deviation, sum),
                );
                update(
                    simd,
                    by_shift,
                    gradient,
                    x,
                    #[inline(always)]
                    |sum, gradient, _| simd.add_f32s(sum, gradient),
                );
                update(
                    simd,
                    gradient,
                    scale,
                    scale,
                    #[inline(always)]
                    |gradient, scale, _| simd.mul_f32s(gradient, scale),
                );
            }
            update(
                simd,
                by_scale,
                pivot,
                by_shift,
                #[inline(always)]
                |sum, pivot, by_shift| simd.mul_add_e_f32s(pivot, by_shift, sum),
            );
        }
    }

    scratch(scale.len(), |deviation| {
        pulp::Arch::new().dispatch(Gradient { gradient, x, scale, deviation, by_scale, by_shift });
    });
}

/// `by_mean + 2 (x − mean) · by_m2`, and the rest if there is one, for every row of x, `[…, mean.len()]`, to `out`.
pub fn moments_gradient(
    x: &[f32],
    mean: &[f32],
    by_mean: &[f32],
    by_m2: &[f32],
    rest: Option<&[f32]>,
    out: &mut [f32],
) {
    struct Gradient<'a> {
        x: &'a [f32],
        mean: &'a [f32],
        by_mean: &'a [f32],
        by_m2: &'a [f32],
        rest: Option<&'a [f32]>,
        out: &'a mut [f32],
    }

    impl WithSimd for Gradient<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let width = self.mean.len();
            let two = simd.splat_f32s(2.0);
            for (row, out) in self.out.chunks_exact_mut(width).enumerate() {
                let here = row * width..(row + 1) * width;
                update(
                    simd,
                    out,
                    &self.x[here.clone()],
                    self.mean,
                    #[inline(always)]
                    |_, x, mean| simd.mul_f32s(two, simd.sub_f32s(x, mean)),
                );
                update(
                    simd,
                    out,
                    self.by_m2,
                    self.by_mean,
                    #[inline(always)]
                    |deviation, by_m2, by_mean| simd.mul_add_e_f32s(deviation, by_m2, by_mean),
                );
                if let Some(rest) = self.rest {
                    update(
                        simd,
                        out,
                        &rest[here.clone()],
                        &rest[here],
                        #[inline(always)]
                        |gradient, rest, _| simd.add_f32s(gradient, rest),
                    );
                }
            }
        }
    }

    pulp::Arch::new().dispatch(Gradient { x, mean, by_mean, by_m2, rest, out });
}

/// `p · (g − Σ p g)`, the gradient of a softmax p by its argument from that by itself, g, to `out`.
pub fn softmax_gradient(p: &[f32], g: &[f32], out: &mut [f32]) {
    struct Gradient<'a> {
        p: &'a [f32],
        g: &'a [f32],
        out: &'a mut [f32],
    }

    impl WithSimd for Gradient<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let ((p_s, p), (g_s, g)) = (S::as_simd_f32s(self.p), S::as_simd_f32s(self.g));
            let mut sums = simd.splat_f32s(0.0);
            for (p, g) in p_s.iter().zip(g_s) {
                sums = simd.mul_add_e_f32s(*p, *g, sums);
            }
            let sum = simd.reduce_sum_f32s(sums) + p.iter().zip(g).map(|(p, g)| p * g).sum::<f32>();
            let sum = simd.splat_f32s(sum);
            update(
                simd,
                self.out,
                self.p,
                self.g,
                #[inline(always)]
                |_, p, g| simd.mul_f32s(p, simd.sub_f32s(g, sum)),
            );
        }
    }

    pulp::Arch::new().dispatch(Gradient { p, g, out });
}

/// `x · scale + shift` for every row of x, `[…, scale.len()]`: rounded twice, as shaders do, since with a large mean the sum
/// cancels and would differ.
pub fn scale_shift(x: &mut [f32], scale: &[f32], shift: &[f32]) {
    struct ScaleShift<'a> {
        x: &'a mut [f32],
        scale: &'a [f32],
        shift: &'a [f32],
    }

    impl WithSimd for ScaleShift<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            for row in self.x.chunks_exact_mut(self.scale.len()) {
                update(
                    simd,
                    row,
                    self.scale,
                    self.shift,
                    #[inline(always)]
                    |x, scale, shift| simd.add_f32s(simd.mul_f32s(x, scale), shift),
                );
            }
        }
    }

    pulp::Arch::new().dispatch(ScaleShift { x, scale, shift });
}

/// `exp(x) / Σ exp(x)` in place, with the maximum taken out first. Returns the maximum, and the reciprocal of the sum.
pub fn softmax(x: &mut [f32]) -> [f32; 2] {
    struct Softmax<'a>(&'a mut [f32]);

    impl WithSimd for Softmax<'_> {
        type Output = [f32; 2];

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> [f32; 2] {
            let (vectors, rest) = S::as_mut_simd_f32s(self.0);
            let mut maxima = simd.splat_f32s(f32::NEG_INFINITY);
            for x in &*vectors {
                maxima = simd.max_f32s(maxima, *x);
            }
            let max = simd.reduce_max_f32s(maxima);
            let max = rest.iter().fold(max, |max, &x| max.max(x));
            let mut sums = simd.splat_f32s(0.0);
            for x in &mut *vectors {
                *x = exp_vector(simd, simd.sub_f32s(*x, simd.splat_f32s(max)));
                sums = simd.add_f32s(sums, *x);
            }
            let mut sum = simd.reduce_sum_f32s(sums);
            for x in &mut *rest {
                *x = exp(*x - max);
                sum += *x;
            }
            let scale = 1.0 / sum;
            for x in vectors {
                *x = simd.mul_f32s(*x, simd.splat_f32s(scale));
            }
            for x in rest {
                *x *= scale;
            }
            [max, scale]
        }
    }

    pulp::Arch::new().dispatch(Softmax(x))
}

/// What [`softmax`] leaves of x, by the maximum and the reciprocal of the sum that it returned.
pub fn softmax_again(x: &mut [f32], [max, scale]: [f32; 2]) {
    struct Again<'a> {
        x: &'a mut [f32],
        max: f32,
        scale: f32,
    }

    impl WithSimd for Again<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let (vectors, rest) = S::as_mut_simd_f32s(self.x);
            for x in vectors {
                let e = exp_vector(simd, simd.sub_f32s(*x, simd.splat_f32s(self.max)));
                *x = simd.mul_f32s(e, simd.splat_f32s(self.scale));
            }
            for x in rest {
                *x = exp(*x - self.max) * self.scale;
            }
        }
    }

    pulp::Arch::new().dispatch(Again { x, max, scale });
}

/// Mean and M2, the sum of squared deviations from it, of every channel over tiles of the pixels of an image,
/// `[…, stride]`, to `out`: `[tiles, 2, stride]`. `tiles` says which tile each pixel is in, `sizes` how many are in each.
pub fn moments(image: &[f32], stride: usize, tiles: &[usize], sizes: &[usize], out: &mut [f32]) {
    struct Moments<'a> {
        image: &'a [f32],
        stride: usize,
        tiles: &'a [usize],
        sizes: &'a [usize],
        out: &'a mut [f32],
    }

    impl WithSimd for Moments<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Moments { image, stride, tiles, sizes, out } = self;
            out.fill(0.0);
            for (pixel, &tile) in image.chunks_exact(stride).zip(tiles) {
                let mean = &mut out[tile * 2 * stride..][..stride];
                update(
                    simd,
                    mean,
                    pixel,
                    pixel,
                    #[inline(always)]
                    |sum, x, _| simd.add_f32s(sum, x),
                );
            }
            for (out, &size) in out.chunks_exact_mut(2 * stride).zip(sizes) {
                let scale = 1.0 / size as f32;
                for mean in &mut out[..stride] {
                    *mean *= scale;
                }
            }
            for (pixel, &tile) in image.chunks_exact(stride).zip(tiles) {
                let (mean, m2) = out[tile * 2 * stride..][..2 * stride].split_at_mut(stride);
                update(
                    simd,
                    m2,
                    pixel,
                    mean,
                    #[inline(always)]
                    |m2, x, mean| {
                        let deviation = simd.sub_f32s(x, mean);
                        simd.mul_add_e_f32s(deviation, deviation, m2)
                    },
                );
            }
        }
    }

    pulp::Arch::new().dispatch(Moments { image, stride, tiles, sizes, out });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate() {
        for i in -8700..=8800 {
            let x = i as f32 * 0.01;
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < 2.4e-7, "exp({x}) is off by {error}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn vectors_agree_with_numbers() {
        // Of a length that leaves some over.
        let x: Vec<f32> = (0..1003).map(|i| (i - 500) as f32 * 0.2).collect();
        let mut out = x.clone();
        silu_all(&mut out);
        for (x, out) in x.iter().zip(&out) {
            assert!((out - silu(*x)).abs() <= 4e-7 * silu(*x).abs(), "silu({x}) is not {out}");
        }
        let mut slopes = vec![1.0; x.len()];
        silu_derivative_all(&x, &mut slopes);
        for (&x, slope) in x.iter().zip(slopes) {
            let (x, sigmoid) = (f64::from(x), 1.0 / (1.0 + (-f64::from(x)).exp()));
            let expected = sigmoid * (1.0 + x * (1.0 - sigmoid));
            // Where its terms cancel it is as exact as they are; beyond −87 it is nothing.
            let bound = 1e-6 * sigmoid * (1.0 + x.abs()) + 1e-35;
            assert!((f64::from(slope) - expected).abs() <= bound, "at {x} it is not {slope}");
        }
        for len in [1, 3, 8, 13, 64] {
            let mut out = x[500..][..len].to_vec();
            let mut again = out.clone();
            let numbers = softmax(&mut out);
            softmax_again(&mut again, numbers);
            assert_eq!(again, out);
            let sum: f64 = x[500..][..len].iter().map(|&x| f64::from(x).exp()).sum();
            for (x, out) in x[500..].iter().zip(&out) {
                let expected = f64::from(*x).exp() / sum;
                assert!((f64::from(*out) - expected).abs() < 1e-6 * expected + 1e-12, "{out} is not {expected}");
            }
        }
    }
}
