//! The factors at one projection of an encoder.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use pelt_hooks::{
    Gate, NamedParam, Pass, ProjectionChange, ProjectionDelta, ProjectionSite, SiteInput, constant,
};
use pelt_ops::{gate, like};

use crate::Ia3Config;

/// What the factors multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The projection's output, bias included: `(x W + b) ⊙ l`.
    Output,
    /// The projection's input: `(x ⊙ l) W + b`.
    Input,
}

/// `alpha l`, or `g l` with a gate, at one projection.
///
/// The gate `g` is a scalar per sequence that is read from the projection's own input; where it exists `alpha` scales
/// nothing, as in AdapterHub. The paper scales the intermediate activation behind its non-linearity; AdapterHub, and
/// with it the default of this crate, in front of it.
#[derive(Module, Debug)]
pub struct Ia3Site {
    /// `l`, `[out]` or, at the input, `[in]`; trained, starts at one.
    pub factor: Param<Tensor<1>>,
    /// `in -> 1`, trained; only with `use_gating`.
    pub gate: Option<Gate>,
    /// `alpha`.
    pub alpha: f64,
    /// What the factors multiply.
    #[module(skip)]
    pub side: Side,
    /// The projection.
    #[module(skip)]
    pub place: ProjectionSite,
}

impl Ia3Site {
    /// Parameters for a projection of these inputs and outputs; `config` is taken as valid.
    pub fn new(
        config: &Ia3Config,
        place: ProjectionSite,
        side: Side,
        [inputs, outputs]: [usize; 2],
        device: &Device,
    ) -> Self {
        let width = match side {
            Side::Output => outputs,
            Side::Input => inputs,
        };
        let gate = || Gate::new(inputs, 1, config.init.gate_bias(), device);
        Self {
            factor: constant([width], 1.0, device),
            gate: config.use_gating.then(gate),
            alpha: config.alpha,
            side,
            place,
        }
    }

    /// What is added to the projection's output, `[rows, out]`: the scaled output less the output.
    pub fn contribution(&self, input: &SiteInput<'_>, pass: &Pass) -> Tensor<2> {
        let output = input.output.clone();
        match &self.gate {
            None => {
                let change = like(self.scale() - 1.0, &output);
                output * change.unsqueeze()
            }
            Some(weights) => {
                // The gate averages over whole sequences, even where only some of their rows are projected.
                let gate = gate(weights, input.all, pass);
                let gate = input.rows.packing.spread(gate);
                let factor: Tensor<2> = self.factor.val().unsqueeze();
                let change = like(gate.matmul(factor) - 1.0, &output);
                output * change
            }
        }
    }

    /// `alpha l`, without the gate.
    pub fn scale(&self) -> Tensor<1> {
        match self.alpha {
            1.0 => self.factor.val(),
            alpha => self.factor.val() * alpha,
        }
    }

    /// What replaces the factors in the frozen projection; `None` with a gate, whose value depends on the input. With
    /// `keep_bias` only the weight is scaled, as AdapterHub merges: outputs then change where the bias is not zero.
    pub fn delta(&self, keep_bias: bool) -> Option<ProjectionDelta> {
        if self.gate.is_some() {
            return None;
        }
        let factor = self.scale();
        Some(ProjectionDelta {
            site: self.place,
            change: match self.side {
                Side::Output => ProjectionChange::ScaleOutput { factor, keep_bias },
                Side::Input => ProjectionChange::ScaleInput { factor },
            },
        })
    }

    /// All tensors below `path`. `lora_B` is AdapterHub's name for the factors, as one column. `input_factor` is a name
    /// of our own: AdapterHub scales no inputs.
    pub fn named_params(&self, path: &str) -> Vec<NamedParam> {
        let name = match self.side {
            Side::Output => "lora_B",
            Side::Input => "input_factor",
        };
        let mut factor = NamedParam::new(format!("{path}.{name}"), &self.factor);
        if self.side == Side::Output {
            factor.shape.push(1);
        }
        let mut params = vec![factor];
        if let Some(gate) = &self.gate {
            params.extend(gate.named_params(&format!("{path}.gate")));
        }
        params
    }
}
