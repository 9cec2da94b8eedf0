//! The names and shapes of parameters equal those in files that AdapterHub wrote.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use burn::tensor::Device;
use pelt_adapter::{BottleneckConfig, ReductionFactor};
use pelt_hooks::{ADAPTER, EncoderShape, Method};
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
    let check = |case: &str, config: BottleneckConfig| {
        let method = config.init(&TINY, &Device::flex()).unwrap();
        assert_eq!(of_method(&method), adapter_shapes(case), "{case}");
    };
    let four = || ReductionFactor::Everywhere(4.0);
    check("bert_cls_seq_bn", BottleneckConfig::seq_bn());
    check("bert_cls_double_seq_bn", BottleneckConfig::double_seq_bn());
    let norms = BottleneckConfig {
        ln_before: true,
        ln_after: true,
        reduction_factor: four(),
        ..BottleneckConfig::seq_bn()
    };
    check("bert_cls_seq_bn_ln", norms);
    let learned = BottleneckConfig {
        reduction_factor: four(),
        ..BottleneckConfig::scaled_par_bn()
    };
    check("bert_cls_scaled_par_bn", learned);
    let map = BottleneckConfig {
        reduction_factor: serde_json::from_str(r#"{"0": 4, "default": 16}"#).unwrap(),
        ..BottleneckConfig::double_seq_bn()
    };
    check("bert_cls_reduction_map", map);
}
