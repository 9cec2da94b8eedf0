//! Compiling one plain loop for several instruction sets.

/// How a kernel computes `a * b + c`.
pub(crate) trait Arithmetic {
    /// `a * b + c`, rounded once or twice.
    fn mul_add(a: f32, b: f32, c: f32) -> f32;
}

/// One instruction, for machines that have it.
pub(crate) struct Fused;

impl Arithmetic for Fused {
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

/// Two instructions: on a machine without a fused one, `f32::mul_add` is a slow call.
#[cfg(target_arch = "x86_64")]
pub(crate) struct Separate;

#[cfg(target_arch = "x86_64")]
impl Arithmetic for Separate {
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}

/// What the target has for certain.
#[cfg(target_arch = "x86_64")]
pub(crate) type Baseline = Separate;
#[cfg(not(target_arch = "x86_64"))]
pub(crate) type Baseline = Fused;

/// Makes `fn name(arguments)` out of a generic `#[inline(always)] fn body<A: Arithmetic>(arguments)`: the compiler
/// vectorises the body once for the target's baseline, once for AVX2 and once for AVX-512, and each call picks what the
/// machine has.
macro_rules! vectorised {
    ($(#[$meta:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) = $body:ident) => {
        $(#[$meta])*
        // A function compiled for other instructions than the target's baseline is unsafe to call.
        #[allow(unsafe_code)]
        pub(crate) fn $name($($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn with_avx2($($argument: $type),*) {
                    $body::<$crate::flex::vectorise::Fused>($($argument),*)
                }
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
                fn with_avx512($($argument: $type),*) {
                    $body::<$crate::flex::vectorise::Fused>($($argument),*)
                }
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                {
                    // SAFETY: the machine has just been found to have the features that the function is compiled for.
                    return unsafe { with_avx512($($argument),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the machine has just been found to have the features that the function is compiled for.
                    return unsafe { with_avx2($($argument),*) };
                }
            }
            $body::<$crate::flex::vectorise::Baseline>($($argument),*)
        }
    };
}
pub(crate) use vectorised;

/// Partial sums that a compiler can keep in vector registers; additions of `f32` are never reordered by itself.
pub(crate) const LANES: usize = 16;

/// The sum of `term(a[i], b[i], c[i])` over slices of one length, in a fixed order.
#[inline(always)]
pub(crate) fn sum(a: &[f32], b: &[f32], c: &[f32], term: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    let (c_lanes, c_rest) = c.as_chunks::<LANES>();
    let mut lanes = [0.0_f32; LANES];
    for ((a, b), c) in a_lanes.iter().zip(b_lanes).zip(c_lanes) {
        for lane in 0..LANES {
            lanes[lane] += term(a[lane], b[lane], c[lane]);
        }
    }
    let mut total = 0.0;
    for lane in lanes {
        total += lane;
    }
    for ((a, b), c) in a_rest.iter().zip(b_rest).zip(c_rest) {
        total += term(*a, *b, *c);
    }
    total
}
