//! An `adapter_fusion_config.json`, and behind the first NUL the `adapter_config.json` of one of its adapters, beside recorded
//! weights.
#![no_main]

use std::path::Path;

use burn::tensor::Device;
use libfuzzer_sys::fuzz_target;
use pelt_fuzz::{SHAPE, Scene};
use pelt_methods::Level;

macro_rules! recorded {
    ($file:literal) => {
        include_bytes!(concat!(
            "../../crates/pelt-testkit/fixtures/cases/adapters/bert_cls_fuse_seq_bn/",
            $file
        ))
    };
}

/// The files of the adapters, by the folders in which they lie.
const ADAPTERS: [(&str, &[u8], &[u8]); 2] = [
    (
        "a",
        recorded!("adapter_a/adapter_config.json"),
        recorded!("adapter_a/adapter.safetensors"),
    ),
    (
        "b",
        recorded!("adapter_b/adapter_config.json"),
        recorded!("adapter_b/adapter.safetensors"),
    ),
];
const WEIGHTS: &[u8] = recorded!("fusion/model_adapter_fusion.safetensors");

fuzz_target!(init: pelt_fuzz::allow_caught_panics(), |content: &[u8]| {
    pelt_fuzz::read(|| read(content));
});

fn read(content: &[u8]) {
    let scene = Scene::new();
    let mut parts = content.splitn(2, |byte| *byte == 0);
    scene.write("adapter_fusion_config.json", parts.next().unwrap_or_default());
    scene.write("model_adapter_fusion.safetensors", WEIGHTS);
    let mut first = parts.next();
    let mut levels = Vec::new();
    for (folder, config, weights) in ADAPTERS {
        scene.write(&format!("{folder}/adapter_config.json"), first.take().unwrap_or(config));
        scene.write(&format!("{folder}/adapter.safetensors"), weights);
        match level(&scene.path().join(folder)) {
            Some(level) => levels.push(level),
            None => return,
        }
    }
    let _ = pelt_methods::load_fusion(scene.path(), levels, &SHAPE, "bert", &Device::flex());
}

fn level(folder: &Path) -> Option<Level> {
    let loaded = pelt_methods::load(folder, &SHAPE, "bert", &Device::flex(), &|_| None).ok()?;
    Some(Level {
        name: loaded.name,
        config: loaded.config,
        adapter: loaded.adapter,
    })
}
