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
    last != "bias" && !norm && !fused_value
}

/// Adam with decoupled weight decay: `p ← p (1 - lr·wd)`, then the bias-corrected Adam step.
#[derive(Debug, Clone)]
pub struct AdamW {
    config: AdamWConfig,
    /// Steps taken.
    pub(crate) steps: usize,
    /// First and second moment by parameter name, flattened.
    pub(crate) moments: BTreeMap<String, [Tensor<1>; 2]>,
}

impl AdamW {
    /// An optimiser that has taken no step.
    pub fn new(config: AdamWConfig) -> Self {
        Self {
            config,
            steps: 0,
            moments: BTreeMap::new(),
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
        self.steps += 1;
        let correction_1 = 1.0 - config.beta_1.powi(self.steps as i32);
        let mut step = AdamWStep {
            gradient_scale,
            beta_1: config.beta_1,
            beta_2: config.beta_2,
            epsilon: config.epsilon,
            rate: learning_rate / correction_1,
            correction_2: 1.0 - config.beta_2.powi(self.steps as i32),
            decay: 1.0,
        };
        let mut updated = ParamValues::new();
        for param in params {
            let (Some(value), Some(gradient)) =
                (values.remove(&param.id), gradients.remove(&param.id))
            else {
                continue;
            };
            let moments = match self.moments.remove(&param.name) {
                Some(moments) => moments,
                None => [gradient.zeros_like(), gradient.zeros_like()],
            };
            step.decay = match config.decay == Decay::Everything || decays(&param.name) {
                true => 1.0 - learning_rate * config.weight_decay,
                false => 1.0,
            };
            let (value, moments) = adamw(value, gradient, moments, &step);
            updated.insert(param.id, value);
            self.moments.insert(param.name.clone(), moments);
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
    use super::*;

    #[test]
    fn biases_and_norms_do_not_decay() {
        for name in [
            "classifier.bias",
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
