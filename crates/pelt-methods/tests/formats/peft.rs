//! Reading PEFT folders.

use burn::tensor::Device;
use pelt_hooks::EncoderShape;
use pelt_ia3::Ia3Config;
use pelt_lora::{AttnMatrix, LoraConfig};
use pelt_methods::{AdapterConfig, ModelInfo, PartConfig, PeftTarget, peft_cannot_hold, save_peft};
use pelt_prompt::PromptInit;
use pelt_tensors::TensorFiles;
use pelt_testkit::fixture;
use serde_json::json;

use crate::folders::{Folder, load, model, parameters};

fn lora(folder: &Folder) -> LoraConfig {
    match &folder.load().unwrap().config.parts[..] {
        [PartConfig::Lora(lora)] => lora.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_target_is_the_end_of_a_path() {
    let mut folder = Folder::of("peft/bert_cls_lora");
    let usual = lora(&folder);
    assert_eq!(usual.attn_matrices, [AttnMatrix::Query, AttnMatrix::Value]);
    for targets in [
        json!(["self.query", "attention.self.value"]),
        json!(["query", "value", "q_proj"]),
        json!([
            "encoder.layer.0.attention.self.query",
            "encoder.layer.0.attention.self.value",
            "bert.encoder.layer.1.attention.self.query",
            "bert.encoder.layer.1.attention.self.value",
        ]),
        json!(null),
    ] {
        folder.config["target_modules"] = targets;
        assert_eq!(lora(&folder), usual);
    }
}

#[test]
fn dense_is_every_dense_layer_and_the_pooler_where_the_file_has_it() {
    let mut folder = Folder::of("peft/bert_cls_lora_rs_all");
    let all = lora(&folder);
    assert!(all.attn_output_lora && all.intermediate_lora && all.output_lora && all.pooler_lora);
    assert!(all.use_rslora);
    folder.tensors.retain(|name, _| !name.contains("pooler"));
    assert!(!lora(&folder).pooler_lora);
    let without_pooler = EncoderShape {
        pooler: false,
        ..model(false).shape
    };
    folder.load_for(&without_pooler, "bert").unwrap();
}

#[test]
fn only_some_layers_may_be_adapted() {
    let mut folder = Folder::of("peft/bert_cls_lora_layers");
    assert_eq!(lora(&folder).leave_out, [0]);
    folder.config["layers_to_transform"] = json!(1);
    assert_eq!(lora(&folder).leave_out, [0]);
}

#[test]
fn a_trained_bias_is_kept_as_its_difference_under_either_name() {
    let mut folder = Folder::of("peft/bert_cls_lora_bias");
    let found = parameters(&folder.load().unwrap().adapter);
    let delta = &found["encoder.layer.0.attention.self.query.loras.{adapter}.bias_delta"];
    let trained = &folder.tensors["base_model.model.bert.encoder.layer.0.attention.self.query.base_layer.bias"];
    assert!(
        delta
            .iter()
            .zip(&trained.values)
            .any(|(delta, trained)| delta != trained)
    );
    folder.rename(|name| name.replace(".base_layer.bias", ".bias"));
    assert_eq!(parameters(&folder.load().unwrap().adapter), found);
}

#[test]
fn the_head_in_the_file_keeps_its_name_in_the_model() {
    for case in ["bert_cls_lora", "bert_cls_prompt"] {
        let head = Folder::of(&format!("peft/{case}"))
            .load()
            .unwrap()
            .head
            .unwrap();
        let names: Vec<&str> = head.tensors.keys().map(String::as_str).collect();
        assert_eq!(names, ["classifier.bias", "classifier.weight"]);
    }
    assert!(
        Folder::of("peft/bert_base_lora")
            .load()
            .unwrap()
            .head
            .is_none()
    );
}

#[test]
fn virtual_tokens_keep_how_they_started() {
    let mut folder = Folder::of("peft/bert_cls_prompt");
    for (init, text, expected) in [
        (json!("RANDOM"), json!(null), PromptInit::RandomNormal),
        (json!("TEXT"), json!("a text"), PromptInit::FromString),
        (json!("SAMPLE_VOCAB"), json!(null), PromptInit::SampledVocab),
    ] {
        folder.config["prompt_tuning_init"] = init;
        folder.config["prompt_tuning_init_text"] = text;
        match &folder.load().unwrap().config.parts[..] {
            [PartConfig::Prompt(prompt)] => {
                assert_eq!(prompt.prompt_init, expected);
                assert!(prompt.word_embeddings);
            }
            other => panic!("{other:?}"),
        }
    }
}

fn ia3(folder: &Folder) -> Ia3Config {
    match &folder.load().unwrap().config.parts[..] {
        [PartConfig::Ia3(ia3)] => ia3.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_usual_modules_of_ia3_are_four_projections() {
    for case in ["peft/bert_cls_ia3", "peft/roberta_cls_ia3"] {
        let mut folder = Folder::of(case);
        assert_eq!(ia3(&folder), Ia3Config::peft());
        folder.config["target_modules"] = json!(null);
        folder.config["feedforward_modules"] = json!(null);
        assert_eq!(ia3(&folder), Ia3Config::peft());
    }
}

#[test]
fn modules_of_ia3_that_the_file_does_not_fit_are_named() {
    let refusal = |field: &str, value: serde_json::Value| {
        let mut folder = Folder::of("peft/bert_cls_ia3");
        folder.config[field] = value;
        folder.refusal()
    };
    // A feed-forward module has its factors in a row.
    let message = refusal("feedforward_modules", json!(["key", "output.dense"]));
    assert!(
        message.contains("key.ia3_l should be [1, 32] but is [32, 1]"),
        "{message}"
    );
    let message = refusal("target_modules", json!(["key", "output.dense"]));
    assert!(message.contains("value.ia3_l is unexpected"), "{message}");
    for (field, value) in [
        ("exclude_modules", json!(["key"])),
        ("target_modules", json!(".*key")),
        ("feedforward_modules", json!(".*dense")),
    ] {
        let message = refusal(field, value);
        assert!(
            message.contains(field) && message.contains("not supported"),
            "{message}"
        );
    }
}

#[test]
fn what_is_loaded_is_written_as_peft_did() {
    let cases = std::fs::read_dir(fixture("cases/peft")).unwrap();
    let mut count = 0;
    for case in cases {
        let case = case.unwrap().file_name().into_string().unwrap();
        let original = Folder::of(&format!("peft/{case}"));
        let loaded = original.load().unwrap();
        let Some(head) = &loaded.head else {
            // Written for a model without a head.
            continue;
        };
        let model = model(case.starts_with("roberta"));
        let info = ModelInfo {
            model_type: model.model_type.into(),
            model_name: "tiny".into(),
            model_class: "unused".into(),
            hidden_size: model.shape.hidden_size,
        };
        let frozen = |name: &str| model.frozen(name);
        let target = PeftTarget {
            model: &info,
            shape: &model.shape,
            base: &frozen,
            head: &head.tensors,
        };
        let written = tempfile::tempdir().unwrap();
        save_peft(written.path(), &loaded.config, &loaded.adapter, &target).unwrap();
        let files = TensorFiles::open(&written.path().join("adapter_model.safetensors")).unwrap();
        let tensors = files.read_all().unwrap();
        assert!(tensors.keys().eq(original.tensors.keys()), "{case}");
        for (name, tensor) in &tensors {
            let expected = &original.tensors[name];
            assert_eq!(tensor.shape, expected.shape, "{case} {name}");
            let pairs = tensor.values.iter().zip(&expected.values);
            // A trained bias has gone through a difference and a sum.
            let largest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(largest <= 1e-7, "{case} {name}: {largest}");
        }
        let again = load(written.path(), &model.shape, model.model_type).unwrap();
        let ours = |config: &AdapterConfig| {
            let mut config = config.clone();
            if let [PartConfig::Prompt(prompt)] = config.parts.as_mut_slice() {
                prompt.prompt_init = PromptInit::RandomNormal;
                prompt.prompt_init_text = None;
            }
            config
        };
        assert_eq!(again.config, ours(&loaded.config), "{case}");
        count += 1;
    }
    assert!(count >= 10, "only {count}");
}

#[test]
fn projections_are_named_so_that_no_others_are_found() {
    let model = model(false);
    let none = |_: &str| None;
    let head = Folder::of("peft/bert_cls_lora")
        .load()
        .unwrap()
        .head
        .unwrap();
    let info = ModelInfo {
        model_type: "bert".into(),
        model_name: "tiny".into(),
        model_class: "unused".into(),
        hidden_size: model.shape.hidden_size,
    };
    let target = PeftTarget {
        model: &info,
        shape: &model.shape,
        base: &none,
        head: &head.tensors,
    };
    let base = LoraConfig::default;
    for lora in [
        base(),
        LoraConfig {
            output_lora: true,
            ..base()
        },
        LoraConfig {
            output_lora: true,
            attn_output_lora: true,
            pooler_lora: true,
            ..base()
        },
        LoraConfig {
            attn_output_lora: true,
            intermediate_lora: true,
            leave_out: vec![0],
            ..base()
        },
    ] {
        let config = AdapterConfig {
            parts: vec![PartConfig::Lora(lora)],
        };
        let adapter = config
            .init(&model.shape, &Device::flex(), &|_| None)
            .unwrap();
        let written = tempfile::tempdir().unwrap();
        save_peft(written.path(), &config, &adapter, &target).unwrap();
        let again = load(written.path(), &model.shape, "bert").unwrap();
        assert_eq!(again.config, config);
        assert_eq!(parameters(&again.adapter), parameters(&adapter));
    }
}

#[test]
fn what_peft_does_not_have_is_refused_with_what_can_be_done() {
    let head = Folder::of("peft/bert_cls_lora")
        .load()
        .unwrap()
        .head
        .unwrap();
    for (name, expected) in [
        ("unipelt", "several parts"),
        ("seq_bn", "no bottleneck adapters"),
        ("prefix", "shift_positions"),
        ("prompt", "word_embeddings"),
    ] {
        let config = AdapterConfig::preset(name).unwrap();
        let why = peft_cannot_hold(&config, &head.tensors).unwrap();
        assert!(why.contains(expected), "{name}: {why}");
    }
    let mut gated = AdapterConfig::preset("lora").unwrap();
    gated.set("lora.use_gating=true").unwrap();
    let why = peft_cannot_hold(&gated, &head.tensors).unwrap();
    assert!(why.contains("gates"), "{why}");
    let plain = AdapterConfig::preset("lora").unwrap();
    assert_eq!(peft_cannot_hold(&plain, &head.tensors), None);
    let flexible = head
        .tensors
        .into_iter()
        .map(|(name, tensor)| (format!("heads.a.{name}"), tensor));
    let why = peft_cannot_hold(&plain, &flexible.collect()).unwrap();
    assert!(why.contains("--head auto"), "{why}");
}
