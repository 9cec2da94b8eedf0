//! The names and shapes of parameters equal those in files that AdapterHub wrote.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use burn::tensor::Device;
use pelt_hooks::{ADAPTER, EncoderShape, Method};
use pelt_testkit::adapter_shapes;
use pelt_unipelt::UniPeltConfig;

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
    let check = |case: &str, config: UniPeltConfig| {
        let method = config.init(&TINY, &Device::flex()).unwrap();
        assert_eq!(of_method(&method), adapter_shapes(case), "{case}");
    };
    let narrow = |mut config: UniPeltConfig| {
        config.prefix.bottleneck_size = 16;
        config
    };
    check("bert_cls_unipelt", narrow(UniPeltConfig::default()));
    check(
        "bert_cls_unipelt_prompt",
        narrow(UniPeltConfig::with_prompt()),
    );
    let mut apart = narrow(UniPeltConfig::default());
    apart.prefix.shared_gating = false;
    check("bert_cls_unipelt_two_prefix_gates", apart);
}
