//! Initial values of trainable parameters. Random ones come from the device's generator: seed it first.

use burn::module::Param;
use burn::tensor::{Device, Distribution, Tensor};

/// A parameter drawn from N(0, `std`²).
pub fn normal<const D: usize>(shape: [usize; D], std: f64, device: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(Tensor::random(
        shape,
        Distribution::Normal(0.0, std),
        device,
    ))
}

/// A parameter drawn uniformly from `±bound`.
pub fn uniform<const D: usize>(shape: [usize; D], bound: f64, device: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(Tensor::random(
        shape,
        Distribution::Uniform(-bound, bound),
        device,
    ))
}

/// A parameter drawn from N(0, `std`²) cut off at `±limit` (values outside are set to the limit).
pub fn truncated_normal<const D: usize>(
    shape: [usize; D],
    std: f64,
    limit: f64,
    device: &Device,
) -> Param<Tensor<D>> {
    let values = Tensor::random(shape, Distribution::Normal(0.0, std), device);
    Param::from_tensor(values.clamp(-limit, limit))
}

/// A parameter with the same value everywhere.
pub fn constant<const D: usize>(
    shape: [usize; D],
    value: f64,
    device: &Device,
) -> Param<Tensor<D>> {
    Param::from_tensor(Tensor::full(shape, value, device))
}
