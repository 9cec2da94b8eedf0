//! Initial values of trainable parameters. Random ones come from a generator of the thread, which [`seed`] starts anew: they
//! are drawn on the host, so that the same seed gives the same values on every device.
//!
//! A parameter has its shape at once and its values when they are first asked for, so that methods can be described and
//! counted for free. [`draw`] asks for them all, in the module's order.

use std::cell::RefCell;
use std::f64::consts::TAU;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Shape, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

thread_local! {
    static GENERATOR: RefCell<ChaCha8Rng> = RefCell::new(ChaCha8Rng::seed_from_u64(0));
}

/// Starts this thread's generator anew.
pub fn seed(seed: u64) {
    GENERATOR.set(ChaCha8Rng::seed_from_u64(seed));
}

/// A parameter drawn from N(0, `std`²).
pub fn normal<const D: usize>(shape: [usize; D], std: f64, device: &Device) -> Param<Tensor<D>> {
    random(shape, device, move |generator| std * gaussian(generator))
}

/// A parameter drawn uniformly from `±bound`.
pub fn uniform<const D: usize>(shape: [usize; D], bound: f64, device: &Device) -> Param<Tensor<D>> {
    random(shape, device, move |generator| {
        bound * (2.0 * share(generator) - 1.0)
    })
}

/// A parameter drawn from N(0, `std`²) cut off at `±limit` (values outside are set to the limit).
pub fn truncated_normal<const D: usize>(
    shape: [usize; D],
    std: f64,
    limit: f64,
    device: &Device,
) -> Param<Tensor<D>> {
    random(shape, device, move |generator| {
        (std * gaussian(generator)).clamp(-limit, limit)
    })
}

/// A parameter of values that are drawn one after another.
fn random<const D: usize>(
    shape: [usize; D],
    device: &Device,
    value: impl Fn(&mut ChaCha8Rng) -> f64 + Send + Sync + 'static,
) -> Param<Tensor<D>> {
    lazy(shape, device, move |device| {
        let count = shape.iter().product();
        let values = GENERATOR.with_borrow_mut(|generator| {
            let values = (0..count).map(|_| value(generator) as f32);
            values.collect::<Vec<_>>()
        });
        Tensor::from_data(TensorData::new(values, shape), device)
    })
}

/// A number from 0 to below 1.
fn share(generator: &mut ChaCha8Rng) -> f64 {
    (generator.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A number from N(0, 1), by the method of Box and Muller.
fn gaussian(generator: &mut ChaCha8Rng) -> f64 {
    // Never the logarithm of zero.
    let radius = (-2.0 * (1.0 - share(generator)).ln()).sqrt();
    radius * (TAU * share(generator)).cos()
}

/// A parameter with the same value everywhere.
pub fn constant<const D: usize>(
    shape: [usize; D],
    value: f64,
    device: &Device,
) -> Param<Tensor<D>> {
    lazy(shape, device, move |device| {
        Tensor::full(shape, value, device)
    })
}

/// Draws all values of a module now, in its own order, so that they depend on the seed alone and not on what is computed
/// first.
pub fn draw<M: Module>(module: &M) {
    struct Draw;
    impl ModuleVisitor for Draw {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            param.val();
        }
    }
    module.visit(&mut Draw);
}

fn lazy<const D: usize>(
    shape: [usize; D],
    device: &Device,
    values: impl FnOnce(&Device) -> Tensor<D> + Send + Sync + 'static,
) -> Param<Tensor<D>> {
    let init = move |device: &Device, trained: bool| values(device).set_require_grad(trained);
    Param::uninitialized(
        ParamId::new(),
        init,
        device.clone(),
        true,
        Shape::from(shape),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_depend_on_the_seed_once_they_are_drawn() {
        let device = Device::flex();
        let values =
            |param: &Param<Tensor<1>>| param.val().into_data().try_to_vec::<f32>().unwrap();
        let start = |first: usize| {
            seed(3);
            let params = vec![normal([4], 1.0, &device), uniform([4], 1.0, &device)];
            draw(&params);
            let found = values(&params[first]);
            (found, values(&params[1 - first]))
        };
        let (a, b) = start(0);
        assert_eq!(start(1), (b, a));
    }

    #[test]
    fn drawn_values_have_the_mean_and_spread_that_was_asked_for() {
        let device = Device::flex();
        seed(5);
        let moments = |param: Param<Tensor<1>>| {
            let values = param.val().into_data().try_to_vec::<f32>().unwrap();
            let count = values.len() as f64;
            let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
            let square = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / count;
            let largest = values.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
            (mean, square, largest)
        };
        let (mean, square, largest) = moments(normal([40_000], 2.0, &device));
        assert!(mean.abs() < 0.04, "{mean}");
        assert!((square - 4.0).abs() < 0.12, "{square}");
        assert!(largest > 6.0, "{largest}");
        let (mean, square, largest) = moments(uniform([40_000], 3.0, &device));
        assert!(mean.abs() < 0.04, "{mean}");
        assert!((square - 3.0).abs() < 0.06, "{square}");
        assert!(largest <= 3.0, "{largest}");
        let (.., largest) = moments(truncated_normal([40_000], 2.0, 1.0, &device));
        assert_eq!(largest, 1.0);
    }

    #[test]
    fn parameters_on_an_autodiff_device_want_a_gradient() {
        let param = constant([2], 3.0, &Device::flex().autodiff());
        assert!(param.val().is_require_grad());
        assert_eq!(param.lazy_shape().to_vec(), [2]);
        assert!(!constant([2], 3.0, &Device::flex()).val().is_autodiff());
    }
}
