//! Task heads.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use pelt_hooks::{
    ADAPTER, EncoderShape, Hidden, NamedParam, Pass, constant, draw, load_named, normal,
};
use pelt_ops::{Linear, dropout, full};
use pelt_tensors::{HostTensor, shown, shown_shape};
use serde::{Deserialize, Serialize};

use crate::encoder::linear_params;
use crate::masked_lm::MaskedLm;
use crate::{Encoder, PromptLabels};

/// At most this many tensors are listed where none belongs to a head.
const LISTED: usize = 20;

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
    /// BERT's masked-language model: the token at every row (`cls.predictions`), with tied word embeddings.
    BertMaskedLm,
    /// RoBERTa's masked-language model (`lm_head`).
    RobertaMaskedLm,
    /// The `adapters` library's flexible one (`heads.NAME.0`, `.2` and `.3`).
    FlexibleMaskedLm,
}

impl HeadKind {
    /// Whether the head predicts tokens, which [`Head::token_logits`] does and [`Head::forward`] cannot.
    pub fn is_masked_lm(self) -> bool {
        matches!(
            self,
            Self::BertMaskedLm | Self::RobertaMaskedLm | Self::FlexibleMaskedLm
        )
    }

    /// Whether the head reads every row and gives start and end of a span.
    pub fn is_span(self) -> bool {
        self.prompt_labels().is_some()
    }

    /// Whether it is one of the heads that the `adapters` library gives its own model classes.
    pub fn is_flexible(self) -> bool {
        match self {
            Self::Flexible | Self::FlexibleSpan { .. } | Self::FlexibleMaskedLm => true,
            Self::BertPooled | Self::Roberta | Self::Span { .. } => false,
            Self::BertMaskedLm | Self::RobertaMaskedLm => false,
        }
    }

    /// What a position means where there is a prompt, for a head that gives spans.
    pub fn prompt_labels(self) -> Option<PromptLabels> {
        match self {
            Self::Span { prompt_labels } | Self::FlexibleSpan { prompt_labels } => {
                Some(prompt_labels)
            }
            Self::BertPooled | Self::Roberta | Self::Flexible => None,
            Self::BertMaskedLm | Self::RobertaMaskedLm | Self::FlexibleMaskedLm => None,
        }
    }
}

/// What a head is built from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadConfig {
    /// Which head.
    pub kind: HeadKind,
    /// Number of outputs; 1 for regression, 2 for spans, that of the vocabulary for tokens.
    pub labels: usize,
    /// Dropout in front of each linear layer, while training.
    pub dropout: f64,
}

impl HeadConfig {
    /// Checks settings that come from a file.
    ///
    /// # Errors
    /// The first one that cannot work, as part of a sentence.
    pub fn validate(&self) -> Result<(), String> {
        if !self.has_outputs() {
            let found = self.labels;
            let expected = match self.kind.is_span() {
                true => "2 in a head that gives spans",
                false => "at least 1",
            };
            return Err(format!("labels must be {expected}, but is {found}"));
        }
        match (0.0..1.0).contains(&self.dropout) {
            true => Ok(()),
            false => Err(format!(
                "dropout must be at least 0 and below 1, but is {}",
                self.dropout
            )),
        }
    }

    /// Whether a head of this kind can have so many outputs.
    pub(crate) fn has_outputs(&self) -> bool {
        match self.kind.is_span() {
            true => self.labels == 2,
            false => self.labels > 0,
        }
    }
}

/// A task head; always trained at full precision together with the adapter.
#[derive(Module, Debug)]
pub struct Head {
    /// The layer before the tanh, `[d, d]`; absent in a BERT head, whose pooler stands in for it, and in span heads.
    dense: Option<Linear>,
    /// The last layer, `[d, labels]`; absent in a head that predicts tokens.
    output: Option<Linear>,
    /// All of a head that predicts tokens.
    masked_lm: Option<MaskedLm>,
    #[module(skip)]
    config: HeadConfig,
}

impl Head {
    /// A new head for rows of width `width`: weights N(0, 0.02²), biases zero.
    pub fn new(config: HeadConfig, width: usize, device: &Device) -> Self {
        let head = Self::lazy(config, width, device);
        draw(&head);
        head
    }

    /// The same, except that values are drawn when they are first asked for: a head that is about to be filled from a file.
    /// Its parameters have their shapes, so a size that the file chose can be compared with the file's tensors before
    /// any memory is taken for it.
    pub fn lazy(config: HeadConfig, width: usize, device: &Device) -> Self {
        let linear = |outputs| Linear {
            weight: normal([width, outputs], 0.02, device),
            bias: constant([outputs], 0.0, device),
        };
        let masked_lm = config.kind.is_masked_lm();
        Self {
            dense: match config.kind {
                HeadKind::Roberta | HeadKind::Flexible => Some(linear(width)),
                _ => None,
            },
            output: (!masked_lm).then(|| linear(config.labels)),
            masked_lm: masked_lm.then(|| MaskedLm::new(width, config.labels, device)),
            config,
        }
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
            (HeadKind::BertMaskedLm, "cls.predictions.bias".to_string()),
            (HeadKind::RobertaMaskedLm, "lm_head.bias".to_string()),
            (HeadKind::FlexibleMaskedLm, format!("heads.{name}.3.bias")),
        ];
        let found = last_layers.into_iter().find_map(|(kind, last)| {
            let labels = *tensors.get(&last)?.shape.first()?;
            (!kind.is_span() || labels == 2).then_some((kind, labels))
        });
        let Some((kind, labels)) = found else {
            let names = tensors.keys().take(LISTED);
            let names: Vec<String> = names.map(|name| shown(name)).collect();
            let more = match tensors.len().saturating_sub(LISTED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            return Err(format!(
                "no head that is supported; the tensors are {}{more}",
                names.join(", ")
            ));
        };
        let config = HeadConfig {
            kind,
            labels,
            dropout: 0.0,
        };
        config.validate()?;
        let head = Self::lazy(config, width, device);
        let params = head.named_params();
        load_named(head, &params, device, |param| {
            let key = param.name.replace(ADAPTER, name);
            match tensors.get(&key) {
                Some(tensor) if tensor.shape == param.shape => Ok(tensor.values.clone()),
                Some(tensor) => Err(format!(
                    "{} should be {:?} but is {}",
                    shown(&key),
                    param.shape,
                    shown_shape(&tensor.shape)
                )),
                None => Err(format!("{} is missing", shown(&key))),
            }
        })
    }

    /// What this head was built from.
    pub fn config(&self) -> HeadConfig {
        self.config
    }

    /// Checks that an encoder of these sizes gives what this head reads.
    ///
    /// # Errors
    /// What the head was made for and what the encoder has, as a sentence.
    pub fn check_fits(&self, shape: &EncoderShape) -> Result<(), String> {
        let width = match (&self.output, &self.masked_lm) {
            (Some(output), _) => output.inputs(),
            (None, Some(head)) => head.width(),
            (None, None) => return Ok(()),
        };
        if width != shape.hidden_size {
            return Err(format!(
                "the head was made for a model with hidden size {width}, but this one has {}",
                shape.hidden_size
            ));
        }
        let tokens = self.config.labels;
        match self.masked_lm.is_some() && tokens != shape.vocab_size {
            true => Err(format!(
                "the head was made for a model with {tokens} tokens, but this one has {}",
                shape.vocab_size
            )),
            false => Ok(()),
        }
    }

    /// The same head with another meaning of positions where there is a prompt; of no effect where it gives no spans.
    pub fn with_prompt_labels(mut self, labels: PromptLabels) -> Self {
        if let HeadKind::Span { prompt_labels } | HeadKind::FlexibleSpan { prompt_labels } =
            &mut self.config.kind
        {
            *prompt_labels = labels;
        }
        self
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
    ///
    /// # Panics
    /// If the head predicts tokens.
    pub fn forward(&self, input: Hidden, pass: &Pass) -> Tensor<2> {
        let first_row = input.packing.rows_before();
        let values = full(input.values);
        let drop = |x| dropout(x, self.config.dropout, pass.dropout_key(), first_row);
        let x = match &self.dense {
            Some(dense) => dense.forward(drop(values)).tanh(),
            None => values,
        };
        let x = match self.config.kind {
            HeadKind::Span { .. } => x,
            _ => drop(x),
        };
        match &self.output {
            Some(output) => output.forward(x),
            None => panic!("a head that predicts tokens needs the word embeddings"),
        }
    }

    /// Logits of every token of the vocabulary at each of these rows, or `None` where the head predicts something else.
    /// There is no dropout in such a head.
    ///
    /// # Shapes
    /// `[rows, d]` to `[rows, vocabulary]`.
    ///
    /// # Panics
    /// If the encoder has another width or vocabulary than the head.
    pub fn token_logits(&self, rows: Tensor<2>, encoder: &Encoder) -> Option<Tensor<2>> {
        let head = self.masked_lm.as_ref()?;
        Some(head.forward(rows, encoder, self.config.kind))
    }

    /// Every tensor under its name in files.
    pub fn named_params(&self) -> Vec<NamedParam> {
        if let Some(head) = &self.masked_lm {
            return head.named_params(self.config.kind);
        }
        let (dense, output) = match self.config.kind {
            HeadKind::BertPooled => (String::new(), "classifier".to_string()),
            HeadKind::Roberta => ("classifier.dense".into(), "classifier.out_proj".into()),
            HeadKind::Flexible => (format!("heads.{ADAPTER}.1"), format!("heads.{ADAPTER}.4")),
            HeadKind::Span { .. } => (String::new(), "qa_outputs".to_string()),
            HeadKind::FlexibleSpan { .. } => (String::new(), format!("heads.{ADAPTER}.1")),
            HeadKind::BertMaskedLm | HeadKind::RobertaMaskedLm | HeadKind::FlexibleMaskedLm => {
                return Vec::new();
            }
        };
        let mut out = vec![];
        if let Some(layer) = &self.dense {
            linear_params(&dense, layer, &mut out);
        }
        if let Some(layer) = &self.output {
            linear_params(&output, layer, &mut out);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Checkpoint;

    /// More outputs than any machine has memory for.
    const HUGE: usize = 1_000_000_000_000;

    fn refusal(tensors: impl IntoIterator<Item = (String, Vec<usize>)>) -> String {
        // Shapes without elements: a file can have any number of those.
        let empty = |(name, shape)| (name, HostTensor::new(shape, vec![]).unwrap());
        let tensors: BTreeMap<String, HostTensor> = tensors.into_iter().map(empty).collect();
        Head::from_tensors(&tensors, "a", 32, &Device::flex()).unwrap_err()
    }

    #[test]
    fn the_size_of_a_head_is_compared_before_any_memory_is_taken() {
        for (name, expected) in [
            (
                "classifier.weight",
                "classifier.weight should be [1000000000000, 32] but is [1000000000000, 0]",
            ),
            ("heads.a.4.weight", "heads.a.1.weight is missing"),
            (
                "cls.predictions.bias",
                "cls.predictions.transform.dense.weight is missing",
            ),
        ] {
            assert_eq!(refusal([(name.into(), vec![HUGE, 0])]), expected);
        }
        let folder = pelt_testkit::fixture("models/bert/cls");
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let config = HeadConfig {
            kind: HeadKind::BertPooled,
            labels: HUGE,
            dropout: 0.0,
        };
        let head = checkpoint.head(config, &Device::flex()).unwrap();
        assert!(head.is_none());
        let lazy = Head::lazy(config, 32, &Device::flex());
        assert_eq!(lazy.named_params()[0].shape, [HUGE, 32]);
    }

    #[test]
    fn heads_that_cannot_work_are_refused() {
        assert_eq!(
            refusal([("classifier.weight".into(), vec![0, 32])]),
            "labels must be at least 1, but is 0"
        );
        let config = |kind, labels, dropout| {
            let config = HeadConfig {
                kind,
                labels,
                dropout,
            };
            config.validate()
        };
        let span = HeadKind::Span {
            prompt_labels: PromptLabels::default(),
        };
        assert_eq!(config(span, 2, 0.1), Ok(()));
        assert_eq!(config(HeadKind::Flexible, 1, 0.0), Ok(()));
        assert!(
            config(span, 3, 0.1)
                .unwrap_err()
                .contains("labels must be 2")
        );
        for dropout in [1.0, -0.1, f64::NAN] {
            let message = config(HeadKind::Flexible, 2, dropout).unwrap_err();
            assert!(message.starts_with("dropout must be"), "{message}");
        }
    }

    #[test]
    fn a_head_of_another_model_says_so() {
        let device = Device::flex();
        let folder = pelt_testkit::fixture("models/bert/mlm");
        let shape = Checkpoint::open(&folder).unwrap().config().shape;
        let refusal = |kind, labels, width| {
            let config = HeadConfig {
                kind,
                labels,
                dropout: 0.0,
            };
            Head::lazy(config, width, &device).check_fits(&shape)
        };
        let tokens = HeadKind::BertMaskedLm;
        assert_eq!(refusal(HeadKind::Flexible, 3, shape.hidden_size), Ok(()));
        assert_eq!(refusal(tokens, shape.vocab_size, shape.hidden_size), Ok(()));
        for kind in [HeadKind::BertPooled, tokens] {
            let message = refusal(kind, shape.vocab_size, 16).unwrap_err();
            assert!(message.contains("hidden size 16"), "{message}");
        }
        let message = refusal(tokens, 119, shape.hidden_size).unwrap_err();
        assert!(message.contains("119 tokens"), "{message}");
    }

    #[test]
    fn foreign_tensors_are_listed_in_one_short_line() {
        let names = (0..100).map(|number| format!("{number}\n{}", "x".repeat(10_000)));
        let message = refusal(names.map(|name| (name, vec![0])));
        assert!(message.ends_with(" and 80 more"), "{message}");
        assert!(!message.contains('\n') && message.len() < 10_000);
    }
}
