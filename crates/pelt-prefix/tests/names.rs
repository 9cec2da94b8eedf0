//! The names and shapes of parameters equal those in files that AdapterHub wrote.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use burn::tensor::Device;
use pelt_hooks::{ADAPTER, EncoderShape, Method};
use pelt_prefix::PrefixConfig;
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
    let check = |case: &str, config: PrefixConfig| {
        let method = config.init(&TINY, &Device::flex()).unwrap();
        assert_eq!(of_method(&method), adapter_shapes(case), "{case}");
    };
    let network = PrefixConfig {
        prefix_length: 6,
        bottleneck_size: 24,
        ..PrefixConfig::default()
    };
    check("bert_cls_prefix_mlp", network);
    let flat = PrefixConfig {
        prefix_length: 6,
        flat: true,
        ..PrefixConfig::default()
    };
    check("bert_cls_prefix_flat", flat);
    let one_layer = PrefixConfig {
        prefix_length: 3,
        flat: true,
        leave_out: vec![0],
        ..PrefixConfig::default()
    };
    check("bert_cls_prefix_leave_out", one_layer);
}
