//! The parameters that all layers' prefixes come from.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Tensor};
use pelt_hooks::{ADAPTER, Init, NamedParam, constant, normal, uniform};
use pelt_ops::Linear;

use crate::{NonLinearity, PrefixConfig};

/// Gives a table `[prefix_length, columns]`, whose columns hold the key and value rows of all layers.
// A method has one table, so the unused bytes of the small variant cost nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum PrefixTable {
    /// The table itself, row by row: `[prefix_length * columns]`, trained.
    Flat(Param<Tensor<1>>),
    /// A network that makes the table (better conditioned to train; can be replaced by its result afterwards).
    Network(PrefixNetwork),
}

/// `φ(E W_0 + b_0) W_2 + b_2`.
#[derive(Module, Debug)]
pub struct PrefixNetwork {
    /// E, `[prefix_length, d]`, trained.
    pub embedding: Param<Tensor<2>>,
    /// `d -> bottleneck_size`, trained.
    pub hidden: Linear,
    /// `bottleneck_size -> columns`, trained.
    pub output: Linear,
    /// φ.
    #[module(skip)]
    pub non_linearity: NonLinearity,
}

impl PrefixTable {
    /// Parameters for rows of width `d` and a table of `columns`; `config` is taken as valid.
    pub(crate) fn new(config: &PrefixConfig, d: usize, columns: usize, device: &Device) -> Self {
        let rows = config.prefix_length;
        let embedding_std = match config.init {
            Init::Library => 1.0,
            Init::Original => 0.02,
        };
        if config.flat {
            return Self::Flat(normal([rows * columns], embedding_std, device));
        }
        let linear = |inputs: usize, outputs: usize| match config.init {
            Init::Library => {
                let bound = 1.0 / (inputs as f64).sqrt();
                Linear {
                    weight: uniform([inputs, outputs], bound, device),
                    bias: uniform([outputs], bound, device),
                }
            }
            Init::Original => Linear {
                weight: normal([inputs, outputs], 0.02, device),
                bias: constant([outputs], 0.0, device),
            },
        };
        Self::Network(PrefixNetwork {
            embedding: normal([rows, d], embedding_std, device),
            hidden: linear(d, config.bottleneck_size),
            output: linear(config.bottleneck_size, columns),
            non_linearity: config.non_linearity,
        })
    }

    /// The table, `[prefix_length, columns]`.
    pub fn forward(&self, prefix_length: usize) -> Tensor<2> {
        match self {
            Self::Flat(values) => {
                let columns = values.lazy_shape().num_elements() / prefix_length;
                values.val().reshape([prefix_length, columns])
            }
            Self::Network(network) => {
                let hidden = network.hidden.forward(network.embedding.val());
                network
                    .output
                    .forward(network.non_linearity.forward(hidden))
            }
        }
    }

    /// A parameter that identifies the table within a pass.
    pub(crate) fn id(&self) -> ParamId {
        match self {
            Self::Flat(values) => values.id,
            Self::Network(network) => network.embedding.id,
        }
    }

    pub(crate) fn named_params(&self) -> Vec<NamedParam> {
        let path = format!("prefix_tuning.prefix_tunings.{ADAPTER}.self_prefix");
        let linear = |name: &str, linear: &Linear| {
            [
                NamedParam::transposed(format!("{path}.{name}.weight"), &linear.weight),
                NamedParam::new(format!("{path}.{name}.bias"), &linear.bias),
            ]
        };
        match self {
            Self::Flat(values) => vec![NamedParam::new(format!("{path}.control_trans"), values)],
            Self::Network(network) => {
                let embedding = NamedParam::new(format!("{path}.wte.weight"), &network.embedding);
                let mut params = vec![embedding];
                params.extend(linear("control_trans.0", &network.hidden));
                params.extend(linear("control_trans.2", &network.output));
                params
            }
        }
    }
}
