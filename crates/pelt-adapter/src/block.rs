//! The small network at one sub-layer.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use pelt_hooks::{
    Gate, GateBias, Hidden, NamedParam, Pass, SublayerStates, constant, normal, truncated_normal,
    uniform,
};
use pelt_ops::{LayerNorm, Linear, Narrow, add, dropout, gate, like};

use crate::{
    AdapterLinear, BottleneckConfig, InitWeights, NonLinearity, PhmLinear, ResidualBeforeLn,
    Scaling,
};

/// ε of the norms that an adapter brings along.
const EPSILON: f64 = 1e-5;

/// `u = g s (φ(z W_down + b_down) W_up + b_up)`, and the rule by which `u` joins the sub-layer.
#[derive(Module, Debug)]
pub struct BottleneckBlock {
    /// A norm on `z` before the down-projection, trained; only with `ln_before`.
    pub norm_before: Option<LayerNorm>,
    /// `d -> m`, trained.
    pub down: AdapterLinear,
    /// `m -> d`, trained.
    pub up: AdapterLinear,
    /// A norm on `u`, trained; only with `ln_after`.
    pub norm_after: Option<LayerNorm>,
    /// `s`, `[1]`, trained; only with `scaling = "learned"`.
    pub learned_scaling: Option<Param<Tensor<1>>>,
    /// Reads `z`, trained; only with `use_gating`.
    pub gate: Option<Gate>,
    /// `s` where it is not learned.
    pub fixed_scaling: f64,
    /// Probability of dropping an entry of `u`.
    pub dropout: f64,
    /// φ.
    #[module(skip)]
    pub non_linearity: NonLinearity,
    /// What the block reads.
    #[module(skip)]
    pub(crate) source: Source,
    /// What is added to `u`.
    #[module(skip)]
    pub(crate) residual: ResidualBeforeLn,
    /// Whether `norm_after` covers the residual.
    pub(crate) residual_before_norm_after: bool,
}

/// `z` in the equations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// `h`, the sub-layer's output.
    Output,
    /// `LN(h + x)`, the sub-layer's result without an adapter.
    Normed,
    /// `x`, the sub-layer's input.
    Parallel,
}

impl BottleneckBlock {
    /// Parameters for rows of width `d` and a bottleneck of `width`; `config` is taken as valid.
    pub fn new(config: &BottleneckConfig, d: usize, width: usize, device: &Device) -> Self {
        let weight = |shape: [usize; 2], up: bool| match config.init_weights {
            InitWeights::Bert => normal(shape, 0.02, device),
            InitWeights::Houlsby => truncated_normal(shape, 0.01, 0.02, device),
            InitWeights::MamAdapter if up => constant(shape, 0.0, device),
            InitWeights::MamAdapter => uniform(shape, 1.0 / (d as f64).sqrt(), device),
        };
        let linear = |shape: [usize; 2], up: bool| match config.phm_layer {
            true => {
                let (n, k) = (config.phm_dim, config.phm_rank);
                AdapterLinear::Phm(PhmLinear::new(shape, n, k, device))
            }
            false => AdapterLinear::Dense(Linear {
                weight: weight(shape, up),
                bias: constant([shape[1]], 0.0, device),
            }),
        };
        let norm = || LayerNorm {
            weight: constant([d], 1.0, device),
            bias: constant([d], 0.0, device),
            epsilon: EPSILON,
        };
        Self {
            norm_before: config.ln_before.then(norm),
            down: linear([d, width], false),
            up: linear([width, d], true),
            norm_after: config.ln_after.then(norm),
            learned_scaling: match config.scaling {
                Scaling::Learned => Some(constant([1], 1.0, device)),
                Scaling::Fixed(_) => None,
            },
            gate: config
                .use_gating
                .then(|| Gate::new(d, 1, GateBias::Zero, device)),
            fixed_scaling: match config.scaling {
                Scaling::Learned => 1.0,
                Scaling::Fixed(number) => number,
            },
            dropout: config.dropout,
            non_linearity: config.non_linearity,
            source: match (config.is_parallel, config.original_ln_before) {
                (true, _) => Source::Parallel,
                (false, true) => Source::Normed,
                (false, false) => Source::Output,
            },
            residual: config.residual_before_ln,
            residual_before_norm_after: config.adapter_residual_before_ln,
        }
    }

    /// Whether the block reads the sub-layer's input beside it, instead of its output.
    pub fn is_parallel(&self) -> bool {
        self.source == Source::Parallel
    }

    /// `u`, without norm and residual. `rule` is what the projections share, where they are sums of Kronecker products.
    ///
    /// # Shapes
    /// `[rows, d]` to `[rows, d]`.
    ///
    /// # Panics
    /// Where such a rule is needed and missing.
    pub fn forward(&self, z: &Hidden, rule: Option<&Tensor<3>>, pass: &Pass) -> Tensor<2> {
        let gate = self.gate.as_ref().map(|weights| gate(weights, z, pass));
        let u = self.up(z, rule, gate);
        dropout(u, self.dropout, pass.dropout_key(), z.packing.rows_before())
    }

    /// `s (φ(z W_down + b_down) W_up + b_up)`, times a gate per sequence where there is one.
    pub(crate) fn up(
        &self,
        z: &Hidden,
        rule: Option<&Tensor<3>>,
        gate: Option<Tensor<2>>,
    ) -> Tensor<2> {
        let input = match &self.norm_before {
            Some(norm) => norm.forward(z.values.clone()),
            None => z.values.clone(),
        };
        let u = match self.non_linearity {
            NonLinearity::Relu => {
                let (down, down_bias) = self.down.tensors(rule);
                let (up, up_bias) = self.up.tensors(rule);
                let network = Narrow {
                    down,
                    up,
                    biases: Some((down_bias, up_bias)),
                    relu: true,
                    scale: self.fixed_scaling,
                    gate: gate.map(|gate| (gate, &z.packing)),
                };
                network.forward(input)
            }
            other => {
                let inner = other.forward(self.down.forward(input, rule));
                let u = self.up.forward(inner, rule) * self.fixed_scaling;
                match gate {
                    Some(gate) => {
                        let gate = like(z.packing.spread(gate), &u);
                        u * gate
                    }
                    None => u,
                }
            }
        };
        // Scaling, gate and dropout all multiply, so their order is free.
        match &self.learned_scaling {
            Some(scaling) => {
                let scaling = like(scaling.val(), &u);
                u * scaling.unsqueeze()
            }
            None => u,
        }
    }

    /// `z`: what the block reads.
    pub(crate) fn source(&self, states: &SublayerStates<'_>) -> Hidden {
        let h = &states.output.values;
        let x = states.residual;
        Hidden {
            values: match self.source {
                Source::Output => h.clone(),
                Source::Normed => (states.norm)(add(h.clone(), x.clone())),
                Source::Parallel => x.clone(),
            },
            packing: states.output.packing.clone(),
        }
    }

    /// What the block's residual adds beyond `h`, which the encoder adds to every contribution.
    pub(crate) fn excess(&self, states: &SublayerStates<'_>, z: &Hidden) -> Option<Tensor<2>> {
        match (self.residual, self.source) {
            (ResidualBeforeLn::Output, _) | (_, Source::Parallel) => None,
            (ResidualBeforeLn::AdapterInput, Source::Output) => None,
            (ResidualBeforeLn::AdapterInput, Source::Normed) => {
                Some(z.values.clone() - states.output.values.clone())
            }
            (ResidualBeforeLn::Sum, _) => Some(states.residual.clone()),
        }
    }

    /// What has to be added to the sub-layer's output `h`, so that `LN(h + contribution + x)` is the adapted result.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn contribution(
        &self,
        states: &SublayerStates<'_>,
        rule: Option<&Tensor<3>>,
        pass: &Pass,
    ) -> Tensor<2> {
        let h = &states.output.values;
        let z = self.source(states);
        let u = self.forward(&z, rule, pass);
        if self.source == Source::Parallel {
            return self.normed(u);
        }
        let excess = self.excess(states, &z);
        if self.residual_before_norm_after && self.norm_after.is_some() {
            let residual = match excess {
                Some(excess) => h.clone() + excess,
                None => h.clone(),
            };
            return self.normed(u + residual) - h.clone();
        }
        match excess {
            Some(excess) => self.normed(u) + excess,
            None => self.normed(u),
        }
    }

    fn normed(&self, u: Tensor<2>) -> Tensor<2> {
        match &self.norm_after {
            Some(norm) => norm.forward(u),
            None => u,
        }
    }

    /// All tensors below `path`.
    ///
    /// With `ln_before` AdapterHub's files hold that norm twice, under `adapter_norm_before` and as the first element of
    /// `adapter_down`: both names are given, with the same parameter.
    pub fn named_params(&self, path: &str) -> Vec<NamedParam> {
        let linear =
            |name: &str, linear: &AdapterLinear| linear.named_params(&format!("{path}.{name}"));
        let norm = |name: &str, norm: &LayerNorm| {
            [
                NamedParam::new(format!("{path}.{name}.weight"), &norm.weight),
                NamedParam::new(format!("{path}.{name}.bias"), &norm.bias),
            ]
        };
        let mut params = Vec::new();
        match &self.norm_before {
            Some(before) => {
                params.extend(norm("adapter_norm_before", before));
                params.extend(norm("adapter_down.0", before));
                params.extend(linear("adapter_down.1", &self.down));
            }
            None => params.extend(linear("adapter_down.0", &self.down)),
        }
        params.extend(linear("adapter_up", &self.up));
        if let Some(after) = &self.norm_after {
            params.extend(norm("adapter_norm_after", after));
        }
        if let Some(scaling) = &self.learned_scaling {
            params.push(NamedParam::new(format!("{path}.scaling"), scaling));
        }
        if let Some(gate) = &self.gate {
            params.extend(gate.named_params(&format!("{path}.gate")));
        }
        params
    }
}
