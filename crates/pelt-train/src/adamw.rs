//! AdamW over named parameters.
//!
//! burn's optimisers keep their state by random parameter ids and have one weight decay for a whole module. Here the
//! state is kept by the name that files use, so that a checkpoint restores it exactly, and decay is decided per name.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use pelt_hooks::{NamedParam, ParamGradients, ParamValues};
use pelt_ops::{AdamWStep, adamw, sum_of_squares};

/// Which parameters weight decay applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decay {
    /// All but biases and the weights of norms: see [`decays`].
    Weights,
    /// All.
    Everything,
}

/// Settings of [`AdamW`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta_1: f64,
    /// Decay of the second moment.
    pub beta_2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Which parameters it applies to.
    pub decay: Decay,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.01,
            decay: Decay::Weights,
        }
    }
}

/// Whether weight decay applies to a parameter: not to biases and not to the weights of norms (Hugging Face's rule), nor to
/// the value matrices of AdapterFusion, which have a penalty of their own (AdapterHub's).
pub fn decays(name: &str) -> bool {
    let mut parts = name.rsplit('.');
    let last = parts.next().unwrap_or_default();
    let owner = parts.next().unwrap_or_default();
    let norm = ["LayerNorm", "layer_norm"].contains(&owner)
        || owner.starts_with("adapter_norm")
        // The norm of a flexible head for tokens; no other flexible head has a part of this number.
        || (owner == "2" && name.starts_with("heads."));
    let fused_value = owner == "value" && name.contains(".adapter_fusion_layer.");
    // LoRA's change of a bias counts as one. A PHM product's bias is called `b` and decays, as by Hugging Face's rule.
    !last.starts_with("bias") && !norm && !fused_value
}

/// Adam with decoupled weight decay: `p ← p (1 - lr·wd)`, then the bias-corrected Adam step.
#[derive(Debug, Clone)]
pub struct AdamW {
    config: AdamWConfig,
    /// What is kept of each parameter that has had a gradient, by its name.
    pub(crate) kept: BTreeMap<String, Kept>,
}

/// What the optimiser keeps of a parameter.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// Steps in which it had a gradient; the bias of its moments is corrected for these (as in PyTorch), however many steps
    /// others have had.
    pub steps: usize,
    /// First and second moment, flattened.
    pub moments: [Tensor<1>; 2],
}

impl AdamW {
    /// An optimiser that has taken no step.
    pub fn new(config: AdamWConfig) -> Self {
        Self {
            config,
            kept: BTreeMap::new(),
        }
    }

    /// New values of `params` after one step with the gradients times `gradient_scale`. A parameter without a gradient
    /// stays as it is.
    pub fn step(
        &mut self,
        params: &[NamedParam],
        mut values: ParamValues,
        mut gradients: ParamGradients,
        gradient_scale: f64,
        learning_rate: f64,
    ) -> ParamValues {
        let config = self.config;
        let mut updated = ParamValues::new();
        for param in params {
            let (Some(value), Some(gradient)) =
                (values.remove(&param.id), gradients.remove(&param.id))
            else {
                continue;
            };
            let (taken, moments) = match self.kept.remove(&param.name) {
                Some(kept) => (kept.steps, kept.moments),
                None => (0, [gradient.zeros_like(), gradient.zeros_like()]),
            };
            let steps = taken.saturating_add(1);
            let decays = config.decay == Decay::Everything || decays(&param.name);
            let step = AdamWStep {
                gradient_scale,
                beta_1: config.beta_1,
                beta_2: config.beta_2,
                epsilon: config.epsilon,
                rate: learning_rate / (1.0 - config.beta_1.powi(steps as i32)),
                correction_2: 1.0 - config.beta_2.powi(steps as i32),
                decay: match decays {
                    true => 1.0 - learning_rate * config.weight_decay,
                    false => 1.0,
                },
            };
            let (value, moments) = adamw(value, gradient, moments, &step);
            updated.insert(param.id, value);
            self.kept
                .insert(param.name.clone(), Kept { steps, moments });
        }
        updated
    }
}

/// The L2 norm over all gradients together.
pub fn gradient_norm(gradients: &ParamGradients) -> f64 {
    let mut squares: Vec<f64> = gradients.values().map(sum_of_squares).collect();
    // A hash map has no order; sorted summands make the sum the same in every run.
    squares.sort_by(f64::total_cmp);
    squares.iter().sum::<f64>().sqrt()
}

/// What gradients of this norm are multiplied by: `min(1, max_norm / (norm + 1e-6))`, and 1 if `max_norm` is 0.
pub fn clipping_scale(norm: f64, max_norm: f64) -> f64 {
    match max_norm > 0.0 {
        true => (max_norm / (norm + 1e-6)).min(1.0),
        false => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use burn::module::ParamId;
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn a_first_gradient_is_corrected_as_one_however_late_it_comes() {
        let device = Device::flex();
        let params = ["early.weight", "late.weight"].map(|name| NamedParam {
            name: name.into(),
            id: ParamId::new(),
            shape: vec![1],
            transposed: false,
        });
        let one = || Tensor::<1>::ones([1], &device);
        let mut optimizer = AdamW::new(AdamWConfig::default());
        let mut values: ParamValues = params.iter().map(|param| (param.id, one())).collect();
        for step in 1..=5 {
            let with_gradient = if step < 5 { 1 } else { 2 };
            let gradients = params.iter().take(with_gradient);
            let gradients = gradients.map(|param| (param.id, one())).collect();
            let updated = optimizer.step(&params, values.clone(), gradients, 1.0, 0.1);
            values.extend(updated);
        }
        let late = values.remove(&params[1].id).unwrap().into_data();
        let late = late.try_to_vec_as::<f32>().unwrap()[0];
        // Decayed by 0.1 %, then moved by the learning rate.
        assert!((late - (0.999 - 0.1)).abs() < 1e-6, "{late}");
    }

    #[test]
    fn biases_and_norms_do_not_decay() {
        for name in [
            "classifier.bias",
            "encoder.layer.0.attention.self.query.loras.{adapter}.bias_delta",
            "encoder.layer.0.output.LayerNorm.weight",
            "lm_head.layer_norm.weight",
            "heads.{adapter}.2.weight",
            "encoder.layer.0.output.adapters.{adapter}.adapter_norm_before.weight",
        ] {
            assert!(!decays(name), "{name}");
        }
        for name in [
            "encoder.layer.0.attention.self.query.loras.{adapter}.lora_A",
            "classifier.weight",
            "encoder.layer.0.output.adapters.{adapter}.gate.weight",
        ] {
            assert!(decays(name), "{name}");
        }
    }
}
