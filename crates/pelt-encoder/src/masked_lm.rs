//! What predicts the token at a row: the heads of masked-language models.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation};
use pelt_hooks::{ADAPTER, NamedParam, constant, normal};
use pelt_ops::{LayerNorm, Linear, full, gelu, like};

use crate::encoder::linear_params;
use crate::{Activation, Encoder, HeadKind};

/// Linear, GELU, norm, and the word embeddings as the last layer's weight (tied), with a bias of its own. The norm's ε and
/// BERT's activation are those of the encoder that it is run on.
#[derive(Module, Debug)]
pub(crate) struct MaskedLm {
    /// `[d, d]`.
    dense: Linear,
    /// `[d]`.
    norm_weight: Param<Tensor<1>>,
    /// `[d]`.
    norm_bias: Param<Tensor<1>>,
    /// `[vocabulary]`.
    bias: Param<Tensor<1>>,
}

impl MaskedLm {
    /// Weights N(0, 0.02²), the norm's weight one, all biases zero.
    pub fn new(width: usize, vocabulary: usize, device: &Device) -> Self {
        Self {
            dense: Linear {
                weight: normal([width, width], 0.02, device),
                bias: constant([width], 0.0, device),
            },
            norm_weight: constant([width], 1.0, device),
            norm_bias: constant([width], 0.0, device),
            bias: constant([vocabulary], 0.0, device),
        }
    }

    /// `d`.
    pub fn width(&self) -> usize {
        self.dense.inputs()
    }

    /// `[rows, d]` to `[rows, vocabulary]`.
    pub fn forward(&self, rows: Tensor<2>, encoder: &Encoder, kind: HeadKind) -> Tensor<2> {
        let config = encoder.config();
        let rows = self.dense.forward(full(rows));
        // RoBERTa's and the flexible head have the exact function, whatever the layers have.
        let rows = match (kind, config.activation) {
            (HeadKind::BertMaskedLm, Activation::Relu) => activation::relu(rows),
            (HeadKind::BertMaskedLm, Activation::GeluTanh) => activation::gelu_approximate(rows),
            _ => gelu(rows),
        };
        let norm = LayerNorm {
            weight: self.norm_weight.clone(),
            bias: self.norm_bias.clone(),
            epsilon: config.layer_norm_eps,
        };
        let words = encoder.word_table().transpose();
        let rows = like(norm.forward(rows), &words);
        full(rows.matmul(words)) + self.bias.val().unsqueeze()
    }

    /// Every tensor under its name in files, for this kind of head.
    pub fn named_params(&self, kind: HeadKind) -> Vec<NamedParam> {
        let [dense, norm, bias] = match kind {
            HeadKind::BertMaskedLm => [
                "cls.predictions.transform.dense".to_string(),
                "cls.predictions.transform.LayerNorm".into(),
                "cls.predictions.bias".into(),
            ],
            HeadKind::RobertaMaskedLm => [
                "lm_head.dense".into(),
                "lm_head.layer_norm".into(),
                "lm_head.bias".into(),
            ],
            _ => [
                format!("heads.{ADAPTER}.0"),
                format!("heads.{ADAPTER}.2"),
                format!("heads.{ADAPTER}.3.bias"),
            ],
        };
        let mut out = vec![];
        linear_params(&dense, &self.dense, &mut out);
        out.push(NamedParam::new(format!("{norm}.weight"), &self.norm_weight));
        out.push(NamedParam::new(format!("{norm}.bias"), &self.norm_bias));
        out.push(NamedParam::new(bias, &self.bias));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Checkpoint, HeadConfig};
    use pelt_testkit::fixture;

    fn head(model: &str, kind: HeadKind, labels: usize) -> Option<crate::Head> {
        let checkpoint = Checkpoint::open(&fixture(format!("models/{model}"))).unwrap();
        let config = HeadConfig {
            kind,
            labels,
            dropout: 0.0,
        };
        checkpoint.head(config, &Device::flex()).unwrap()
    }

    #[test]
    fn a_checkpoint_gives_its_own_head_and_no_other() {
        use HeadKind::{BertMaskedLm, RobertaMaskedLm};
        assert!(head("bert/mlm", BertMaskedLm, 120).is_some());
        assert!(head("roberta/mlm", RobertaMaskedLm, 120).is_some());
        for (model, kind, labels) in [
            ("bert/mlm", RobertaMaskedLm, 120),
            ("bert/mlm", BertMaskedLm, 119),
            ("bert/base", BertMaskedLm, 120),
            ("roberta/cls", RobertaMaskedLm, 120),
        ] {
            assert!(head(model, kind, labels).is_none(), "{model} {kind:?}");
        }
    }

    #[test]
    fn a_new_head_has_logits_for_the_whole_vocabulary() {
        let checkpoint = Checkpoint::open(&fixture("models/bert/base")).unwrap();
        let encoder = checkpoint.encoder(&Device::flex()).unwrap();
        let kind = HeadKind::BertMaskedLm;
        let new = MaskedLm::new(32, 120, &Device::flex());
        pelt_hooks::draw(&new);
        let rows = Tensor::<2>::ones([3, 32], &Device::flex());
        let logits = new.forward(rows, &encoder, kind);
        assert_eq!(logits.dims(), [3, 120]);
        let counts: usize = new.named_params(kind).iter().map(NamedParam::count).sum();
        assert_eq!(counts, 32 * 32 + 3 * 32 + 120);
    }
}
