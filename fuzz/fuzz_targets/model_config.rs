//! A `config.json`, and the index of a sharded model behind the first NUL, beside the weights of a tiny encoder.
#![no_main]

use burn::tensor::Device;
use libfuzzer_sys::fuzz_target;
use pelt_encoder::{Checkpoint, RowsRead};
use pelt_fuzz::Scene;
use pelt_hooks::{NoHooks, PackedBatch, Pass, Sequence};

/// Names without a model's prefix, so that any family can be tried on them.
const WEIGHTS: &[u8] =
    include_bytes!("../../crates/pelt-testkit/fixtures/models/bert/base/model.safetensors");

fuzz_target!(init: pelt_fuzz::allow_caught_panics(), |content: &[u8]| {
    pelt_fuzz::read(|| read(content));
});

fn read(content: &[u8]) {
    let scene = Scene::new();
    let mut parts = content.splitn(2, |byte| *byte == 0);
    scene.write("config.json", parts.next().unwrap_or_default());
    match parts.next() {
        None => scene.write("model.safetensors", WEIGHTS),
        Some(index) => {
            scene.write("model.safetensors.index.json", index);
            scene.write("model-00001-of-00001.safetensors", WEIGHTS)
        }
    };
    let Ok(checkpoint) = Checkpoint::open(scene.path()) else {
        return;
    };
    let _ = checkpoint.fingerprint();
    let Ok(encoder) = checkpoint.encoder(&Device::flex()) else {
        return;
    };
    let sequence = Sequence {
        input_ids: vec![2, 0, 1, 3],
        token_type_ids: vec![0; 4],
    };
    let batch = PackedBatch::new(&[sequence]);
    let _ = encoder.forward(&batch, &NoHooks, RowsRead::All, &Pass::evaluate());
}
