//! Layers in which adapters do nothing.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use burn::tensor::Device;
use pelt_encoder::{Checkpoint, Encoder, RowsRead};
use pelt_hooks::{Method, PackedBatch, Pass, Sequence, gradients};
use pelt_methods::{Adapter, AdapterConfig};
use pelt_testkit::fixture;

fn encoder() -> Encoder {
    let checkpoint = Checkpoint::open(&fixture("models/bert/base")).unwrap();
    checkpoint.encoder(&Device::flex()).unwrap()
}

fn batch() -> PackedBatch {
    let sequence = |ids: &[u32]| Sequence {
        input_ids: ids.to_vec(),
        token_type_ids: vec![0; ids.len()],
    };
    PackedBatch::new(&[sequence(&[2, 5, 9, 3]), sequence(&[2, 7, 3])])
}

fn adapter(settings: &[&str], encoder: &Encoder, device: &Device) -> Adapter {
    let mut config = AdapterConfig::preset("unipelt-prompt").unwrap();
    for setting in settings {
        config.set(setting).unwrap();
    }
    pelt_hooks::seed(5);
    config.init(encoder.shape(), device, &|_| None).unwrap()
}

fn run(encoder: &Encoder, adapter: &Adapter, pass: &Pass) -> burn::tensor::Tensor<2> {
    let hidden = encoder.forward(&batch(), adapter, RowsRead::First, pass);
    hidden.unwrap().values
}

#[test]
fn only_the_prompt_acts_in_a_skipped_layer() {
    let (encoder, device) = (encoder(), Device::flex());
    let whole = adapter(&[], &encoder, &device);
    let host = |pass: Pass, adapter: &Adapter| {
        let values = run(&encoder, adapter, &pass).into_data();
        values.try_to_vec::<f32>().unwrap()
    };
    let all = host(Pass::evaluate().skipping(0..2), &whole);
    let prompt = Adapter {
        parts: vec![whole.parts[3].clone()],
    };
    assert_eq!(all, host(Pass::evaluate(), &prompt));
    let plain = host(Pass::evaluate(), &whole);
    let first = host(Pass::evaluate().skipping([0]), &whole);
    let second = host(Pass::evaluate().skipping([1]), &whole);
    assert!(first != plain && second != plain && first != second && first != all);
}

#[test]
fn a_skipped_layer_gets_no_gradient_and_the_others_do() {
    let (encoder, device) = (encoder(), Device::flex().autodiff());
    let adapter = adapter(&["prefix.flat=true"], &encoder, &device);
    let trained = |pass: Pass| {
        let loss = run(&encoder, &adapter, &pass).powf_scalar(2.0).sum();
        let found = gradients(&adapter, &loss.backward());
        let params = adapter.named_params().into_iter();
        let params = params.filter(|param| found.contains_key(&param.id));
        params.map(|param| param.name).collect::<Vec<_>>()
    };
    let all = trained(Pass::train(1));
    assert_eq!(all.len(), adapter.named_params().len());
    let left = trained(Pass::train(1).skipping(0..1));
    let expected: Vec<_> = all
        .into_iter()
        .filter(|name| !name.starts_with("encoder.layer.0."))
        .collect();
    assert_eq!(left, expected);
}
