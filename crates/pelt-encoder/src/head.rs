//! Task heads.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use pelt_hooks::{ADAPTER, NamedParam, Pass, constant, draw, load_named, normal};
use pelt_ops::{Linear, dropout};
use pelt_tensors::HostTensor;
use serde::{Deserialize, Serialize};

use crate::PromptLabels;
use crate::encoder::linear_params;

/// The classification, regression and span heads of the public libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// BERT: one linear layer on the pooler's output (`classifier`).
    BertPooled,
    /// RoBERTa: linear, tanh, linear on the first row (`classifier.dense`, `classifier.out_proj`).
    Roberta,
    /// The `adapters` library's flexible head: linear, tanh, linear on the first row (`heads.NAME.1`, `heads.NAME.4`).
    Flexible,
    /// BERT and RoBERTa: one linear layer to start and end on every row, without dropout (`qa_outputs`).
    Span {
        /// What a position means where there is a prompt.
        prompt_labels: PromptLabels,
    },
    /// The `adapters` library's flexible span head: the same with dropout in front of it (`heads.NAME.1`).
    FlexibleSpan {
        /// What a position means where there is a prompt.
        prompt_labels: PromptLabels,
    },
}

impl HeadKind {
    /// Whether the head reads every row and gives start and end of a span.
    pub fn is_span(self) -> bool {
        self.prompt_labels().is_some()
    }

    /// What a position means where there is a prompt, for a head that gives spans.
    pub fn prompt_labels(self) -> Option<PromptLabels> {
        match self {
            Self::Span { prompt_labels } | Self::FlexibleSpan { prompt_labels } => {
                Some(prompt_labels)
            }
            Self::BertPooled | Self::Roberta | Self::Flexible => None,
        }
    }
}

/// What a head is built from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadConfig {
    /// Which head.
    pub kind: HeadKind,
    /// Number of outputs; 1 for regression, 2 for spans.
    pub labels: usize,
    /// Dropout in front of each linear layer, while training.
    pub dropout: f64,
}

/// A task head; always trained at full precision together with the adapter.
#[derive(Module, Debug)]
pub struct Head {
    /// The layer before the tanh, `[d, d]`; absent in a BERT head, whose pooler stands in for it, and in span heads.
    dense: Option<Linear>,
    /// The last layer, `[d, labels]`.
    output: Linear,
    #[module(skip)]
    config: HeadConfig,
}

impl Head {
    /// A new head for rows of width `width`: weights N(0, 0.02²), biases zero.
    pub fn new(config: HeadConfig, width: usize, device: &Device) -> Self {
        let linear = |outputs| Linear {
            weight: normal([width, outputs], 0.02, device),
            bias: constant([outputs], 0.0, device),
        };
        let head = Self {
            dense: match config.kind {
                HeadKind::BertPooled | HeadKind::Span { .. } | HeadKind::FlexibleSpan { .. } => {
                    None
                }
                HeadKind::Roberta | HeadKind::Flexible => Some(linear(width)),
            },
            output: linear(config.labels),
            config,
        };
        draw(&head);
        head
    }

    /// The head whose tensors these are, under the names of [`named_params`](Self::named_params) with `name` in the place
    /// of the adapter's; its kind and number of outputs show in the names and shapes.
    ///
    /// # Errors
    /// A sentence: no head that is known, or a tensor that is missing or mis-shaped.
    pub fn from_tensors(
        tensors: &BTreeMap<String, HostTensor>,
        name: &str,
        width: usize,
        device: &Device,
    ) -> Result<Self, String> {
        let prompt_labels = PromptLabels::default();
        let last_layers = [
            (HeadKind::BertPooled, "classifier.weight".to_string()),
            (HeadKind::Roberta, "classifier.out_proj.weight".to_string()),
            (HeadKind::Flexible, format!("heads.{name}.4.weight")),
            (
                HeadKind::Span { prompt_labels },
                "qa_outputs.weight".to_string(),
            ),
            (
                HeadKind::FlexibleSpan { prompt_labels },
                format!("heads.{name}.1.weight"),
            ),
        ];
        let found = last_layers.into_iter().find_map(|(kind, last)| {
            let labels = *tensors.get(&last)?.shape.first()?;
            (!kind.is_span() || labels == 2).then_some((kind, labels))
        });
        let Some((kind, labels)) = found else {
            let names: Vec<&str> = tensors.keys().map(String::as_str).collect();
            return Err(format!(
                "no head that is supported; the tensors are {}",
                names.join(", ")
            ));
        };
        let config = HeadConfig {
            kind,
            labels,
            dropout: 0.0,
        };
        let head = Self::new(config, width, device);
        let params = head.named_params();
        load_named(head, &params, device, |param| {
            let key = param.name.replace(ADAPTER, name);
            match tensors.get(&key) {
                Some(tensor) if tensor.shape == param.shape => Ok(tensor.values.clone()),
                Some(tensor) => Err(format!(
                    "{key} should be {:?} but is {:?}",
                    param.shape, tensor.shape
                )),
                None => Err(format!("{key} is missing")),
            }
        })
    }

    /// What this head was built from.
    pub fn config(&self) -> HeadConfig {
        self.config
    }

    /// The same head with another dropout probability.
    pub fn with_dropout(mut self, dropout: f64) -> Self {
        self.config.dropout = dropout;
        self
    }

    /// Logits, the predicted score as the only column, or start and end logits.
    ///
    /// # Shapes
    /// `[sequences, d]` (the pooler's output for [`HeadKind::BertPooled`], else the first rows) to `[sequences, labels]`;
    /// for spans all rows, `[rows, d]`, to `[rows, 2]`.
    pub fn forward(&self, input: Tensor<2>, pass: &Pass) -> Tensor<2> {
        let drop = |x| dropout(x, self.config.dropout, pass.dropout_key());
        let x = match &self.dense {
            Some(dense) => dense.forward(drop(input)).tanh(),
            None => input,
        };
        let x = match self.config.kind {
            HeadKind::Span { .. } => x,
            _ => drop(x),
        };
        self.output.forward(x)
    }

    /// Every tensor under its name in files.
    pub fn named_params(&self) -> Vec<NamedParam> {
        let (dense, output) = match self.config.kind {
            HeadKind::BertPooled => (String::new(), "classifier".to_string()),
            HeadKind::Roberta => ("classifier.dense".into(), "classifier.out_proj".into()),
            HeadKind::Flexible => (format!("heads.{ADAPTER}.1"), format!("heads.{ADAPTER}.4")),
            HeadKind::Span { .. } => (String::new(), "qa_outputs".to_string()),
            HeadKind::FlexibleSpan { .. } => (String::new(), format!("heads.{ADAPTER}.1")),
        };
        let mut out = vec![];
        if let Some(layer) = &self.dense {
            linear_params(&dense, layer, &mut out);
        }
        linear_params(&output, &self.output, &mut out);
        out
    }
}
