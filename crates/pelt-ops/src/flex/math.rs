//! Branch-free `f32` functions that compile to vector instructions.

use super::vectorise::Arithmetic;

/// `e^x` to about one unit in the last place; 0 up to rounding below -87, and at most `e^88`.
#[inline(always)]
pub(crate) fn exp<A: Arithmetic>(x: f32) -> f32 {
    // Written as comparisons, a NaN passes through.
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    // Adding 1.5 * 2^23 rounds to an integer, and leaves that integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = A::mul_add(x, std::f32::consts::LOG2_E, ROUND);
    let power = shifted - ROUND;
    // ln 2 in two parts, the first exact when multiplied by a small integer.
    let rest = A::mul_add(power, -0.693_359_4, x);
    let rest = A::mul_add(power, 2.121_944_4e-4, rest);
    let mut series = 1.0 / 720.0;
    for coefficient in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = A::mul_add(series, rest, coefficient);
    }
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3F80_0000));
    series * scale
}

/// The standard normal distribution at `x`: `(Φ(x), φ(x))`, with an absolute error below 2e-7.
///
/// `Φ(-z) = e^(-z²/2) r(z)` for positive z, where `r` is smooth: a polynomial in `t = 1 / (1 + 0.29 z)`, fitted by
/// weighted least squares at Chebyshev nodes (error 2e-9 before rounding).
#[inline(always)]
pub(crate) fn normal<A: Arithmetic>(x: f32) -> (f32, f32) {
    const R: [f32; 8] = [
        0.037_635_067,
        -0.183_851_1,
        0.285_926_56,
        -0.126_171_22,
        0.167_098_69,
        0.085_242_48,
        0.118_595_62,
        0.115_523_9,
    ];
    let t = 1.0 / A::mul_add(x.abs(), 0.29, 1.0);
    let bell = exp::<A>(-0.5 * x * x);
    let mut r = R[0];
    for coefficient in &R[1..] {
        r = A::mul_add(r, t, *coefficient);
    }
    let tail = bell * t * r;
    let below = if x < 0.0 { tail } else { 1.0 - tail };
    (below, bell * 0.398_942_3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flex::vectorise::Fused;

    #[test]
    fn exp_agrees_with_the_standard_library() {
        for step in -8600..8800 {
            let x = step as f32 * 0.01;
            let (found, expected) = (exp::<Fused>(x), f64::from(x).exp());
            let error = (f64::from(found) / expected - 1.0).abs();
            assert!(error < 2.5e-7, "e^{x} is {expected}, found {found}");
        }
        assert!(exp::<Fused>(-1000.0) < 1e-37);
        assert!(exp::<Fused>(f32::NAN).is_nan());
    }

    /// Φ by its series around 0, which converges everywhere, in double precision.
    fn distribution(x: f64) -> f64 {
        let mut term = x;
        let mut total = x;
        for n in 1..400 {
            term *= x * x / f64::from(2 * n + 1);
            total += term;
        }
        0.5 + total * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
    }

    #[test]
    fn the_normal_distribution_is_exact_to_2e_7() {
        for step in -700..=700 {
            let x = step as f32 * 0.01;
            let (below, density) = normal::<Fused>(x);
            let wide = f64::from(x);
            assert!((f64::from(below) - distribution(wide)).abs() < 2e-7, "{x}");
            let expected = (-0.5 * wide * wide).exp() / (2.0 * std::f64::consts::PI).sqrt();
            assert!((f64::from(density) - expected).abs() < 2e-7, "{x}");
        }
    }
}
