//! An `adapter_config.json`, and the `head_config.json` behind the first NUL, beside the weights of a LoRA.
#![no_main]

use std::collections::BTreeMap;

use burn::tensor::Device;
use libfuzzer_sys::fuzz_target;
use pelt_fuzz::Scene;
use pelt_hooks::EncoderShape;

/// The encoder of the recorded LoRA.
const SHAPE: EncoderShape = EncoderShape {
    layers: 2,
    hidden_size: 32,
    heads: 4,
    intermediate_size: 64,
    vocab_size: 120,
    max_positions: 64,
    pooler: true,
};

const WEIGHTS: &[u8] =
    include_bytes!("../../crates/pelt-testkit/fixtures/cases/adapters/bert_cls_lora/adapter/adapter.safetensors");

fuzz_target!(init: pelt_fuzz::allow_caught_panics(), |content: &[u8]| {
    pelt_fuzz::read(|| read(content));
});

fn read(content: &[u8]) {
    let scene = Scene::new();
    let mut parts = content.splitn(2, |byte| *byte == 0);
    scene.write("adapter_config.json", parts.next().unwrap_or_default());
    if let Some(head) = parts.next() {
        scene.write("head_config.json", head);
    }
    scene.write("adapter.safetensors", WEIGHTS);
    scene.write("adapter_model.safetensors", WEIGHTS);
    let frozen: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    let frozen = |name: &str| frozen.get(name).cloned();
    let device = Device::flex();
    let _ = pelt_methods::load(scene.path(), &SHAPE, "bert", &device, &frozen);
}
