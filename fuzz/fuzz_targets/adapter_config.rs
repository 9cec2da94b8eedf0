//! An `adapter_config.json`, and the `head_config.json` behind the first NUL, beside the weights of a LoRA in the names of
//! both libraries and those of a head.
#![no_main]

use burn::tensor::Device;
use libfuzzer_sys::fuzz_target;
use pelt_encoder::Head;
use pelt_fuzz::{SHAPE, Scene};

const WEIGHTS: &[u8] = include_bytes!(
    "../../crates/pelt-testkit/fixtures/cases/adapters/bert_cls_lora/adapter/adapter.safetensors"
);
const PEFT_WEIGHTS: &[u8] = include_bytes!(
    "../../crates/pelt-testkit/fixtures/cases/peft/bert_cls_lora/adapter/adapter_model.safetensors"
);
const HEAD: &[u8] = include_bytes!(
    "../../crates/pelt-testkit/fixtures/cases/adapters/bert_flex_cls_unipelt_prompt/adapter/model_head.safetensors"
);

fuzz_target!(init: pelt_fuzz::allow_caught_panics(), |content: &[u8]| {
    pelt_fuzz::read(|| read(content));
});

fn read(content: &[u8]) {
    let scene = Scene::new();
    let mut parts = content.splitn(2, |byte| *byte == 0);
    scene.write("adapter_config.json", parts.next().unwrap_or_default());
    if let Some(head) = parts.next() {
        scene.write("head_config.json", head);
        scene.write("model_head.safetensors", HEAD);
    }
    scene.write("adapter.safetensors", WEIGHTS);
    scene.write("adapter_model.safetensors", PEFT_WEIGHTS);
    let device = Device::flex();
    let Ok(loaded) = pelt_methods::load(scene.path(), &SHAPE, "bert", &device, &|_| None) else {
        return;
    };
    if let Some(head) = &loaded.head {
        let head = Head::from_tensors(&head.tensors, &loaded.name, SHAPE.hidden_size, &device);
        let _ = head.map(|head| head.check_fits(&SHAPE));
    }
}
