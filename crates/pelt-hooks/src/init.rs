//! Initial values of trainable parameters. Random ones come from the device's generator: seed it first.
//!
//! A parameter has its shape at once and its values when they are first asked for, so that methods can be described and
//! counted for free. [`draw`] asks for them all, in the module's order.

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Distribution, Shape, Tensor};

/// A parameter drawn from N(0, `std`²).
pub fn normal<const D: usize>(shape: [usize; D], std: f64, device: &Device) -> Param<Tensor<D>> {
    lazy(shape, device, move |device| {
        Tensor::random(shape, Distribution::Normal(0.0, std), device)
    })
}

/// A parameter drawn uniformly from `±bound`.
pub fn uniform<const D: usize>(shape: [usize; D], bound: f64, device: &Device) -> Param<Tensor<D>> {
    lazy(shape, device, move |device| {
        Tensor::random(shape, Distribution::Uniform(-bound, bound), device)
    })
}

/// A parameter drawn from N(0, `std`²) cut off at `±limit` (values outside are set to the limit).
pub fn truncated_normal<const D: usize>(
    shape: [usize; D],
    std: f64,
    limit: f64,
    device: &Device,
) -> Param<Tensor<D>> {
    lazy(shape, device, move |device| {
        Tensor::random(shape, Distribution::Normal(0.0, std), device).clamp(-limit, limit)
    })
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
            device.seed(3);
            let params = vec![normal([4], 1.0, &device), uniform([4], 1.0, &device)];
            draw(&params);
            let found = values(&params[first]);
            (found, values(&params[1 - first]))
        };
        let (a, b) = start(0);
        assert_eq!(start(1), (b, a));
    }

    #[test]
    fn parameters_on_an_autodiff_device_want_a_gradient() {
        let param = constant([2], 3.0, &Device::flex().autodiff());
        assert!(param.val().is_require_grad());
        assert_eq!(param.lazy_shape().to_vec(), [2]);
        assert!(!constant([2], 3.0, &Device::flex()).val().is_autodiff());
    }
}
