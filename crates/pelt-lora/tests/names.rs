//! The names and shapes of parameters equal those in files that AdapterHub wrote.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use burn::tensor::Device;
use pelt_hooks::{ADAPTER, EncoderShape, Method};
use pelt_lora::{AttnMatrix, LoraConfig};
use pelt_testkit::adapter_shapes;

const TINY: EncoderShape = EncoderShape {
    layers: 2,
    hidden_size: 32,
    heads: 4,
    intermediate_size: 64,
    vocab_size: 100,
    max_positions: 64,
    pooler: true,
};

type Shapes = BTreeMap<String, Vec<usize>>;

fn of_method(method: &impl Method) -> Shapes {
    method
        .named_params()
        .into_iter()
        .map(|param| (param.name.replace(ADAPTER, "a"), param.shape))
        .collect()
}

#[test]
fn names_and_shapes_equal_the_fixtures() {
    let check = |case: &str, config: LoraConfig| {
        let lora = config.init(&TINY, &Device::flex()).unwrap();
        assert_eq!(of_method(&lora), adapter_shapes(case), "{case}");
    };
    let base = LoraConfig::default;
    check("bert_cls_lora", base());
    let gated = LoraConfig {
        r: 4,
        use_gating: true,
        ..base()
    };
    check("bert_cls_lora_gated", gated);
    let all = LoraConfig {
        r: 4,
        attn_matrices: vec![AttnMatrix::Query, AttnMatrix::Key, AttnMatrix::Value],
        intermediate_lora: true,
        output_lora: true,
        ..base()
    };
    check("bert_cls_lora_all", all);
}
