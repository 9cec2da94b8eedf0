//! A low-rank update at one projection of an encoder.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use pelt_hooks::{Gate, NamedParam, Pass, SiteInput, constant};
use pelt_ops::{dropout, gate, like};

use crate::{LoraBias, LoraConfig, LowRank};

/// `g s (dropout(x) A) B + δ` at one projection: the update, its gate and the change of the bias.
///
/// The gate `g` is a scalar per sequence that is read from the projection's own input. Where it exists `s` is 1, and
/// neither `alpha` nor `r` scale anything: both public implementations of UniPELT do so.
#[derive(Module, Debug)]
pub struct LoraSite {
    /// The update.
    pub low_rank: LowRank,
    /// `d -> 1`, trained; only with `use_gating`.
    pub gate: Option<Gate>,
    /// δ, `[out]`, trained, starts at zero; only with `bias = "lora_only"`. PEFT trains the frozen bias itself, of
    /// which this is the difference.
    pub bias_delta: Option<Param<Tensor<1>>>,
    /// Probability of dropping an entry of the input.
    pub dropout: f64,
}

impl LoraSite {
    /// Parameters for a projection from `inputs` to `outputs`; `config` is taken as valid.
    pub fn new(config: &LoraConfig, inputs: usize, outputs: usize, device: &Device) -> Self {
        let gate = || Gate::new(inputs, 1, config.init.gate_bias(), device);
        let bias = config.bias == LoraBias::LoraOnly;
        Self {
            low_rank: LowRank::new(inputs, outputs, config.r, config.scale(), device),
            gate: config.use_gating.then(gate),
            bias_delta: bias.then(|| constant([outputs], 0.0, device)),
            dropout: config.dropout,
        }
    }

    /// What is added to the projection's output, `[rows, out]`.
    pub fn contribution(&self, input: &SiteInput<'_>, pass: &Pass) -> Tensor<2> {
        let rows = &input.rows;
        let x = dropout(
            rows.values.clone(),
            self.dropout,
            pass.dropout_key(),
            rows.packing.rows_before(),
        );
        // The gate averages over whole sequences, even where only some of their rows are projected.
        let gate = self
            .gate
            .as_ref()
            .map(|weights| gate(weights, input.all, pass));
        let gate = gate.map(|gate| (gate, &rows.packing));
        let mut value = self.low_rank.forward_gated(x, gate);
        if let Some(delta) = &self.bias_delta {
            let delta = like(delta.val(), &value);
            value = value + delta.unsqueeze();
        }
        value
    }

    /// `s A B` as `[in, out]`; `None` with a gate, whose value depends on the input.
    pub fn delta_weight(&self) -> Option<Tensor<2>> {
        match self.gate {
            Some(_) => None,
            None => Some(self.low_rank.delta_weight()),
        }
    }

    /// All tensors below `path`. `bias_delta` is a name of our own: AdapterHub has no such parameter.
    pub fn named_params(&self, path: &str) -> Vec<NamedParam> {
        let mut params = self.low_rank.named_params(path);
        if let Some(gate) = &self.gate {
            params.extend(gate.named_params(&format!("{path}.gate")));
        }
        if let Some(delta) = &self.bias_delta {
            params.push(NamedParam::new(format!("{path}.bias_delta"), delta));
        }
        params
    }
}
