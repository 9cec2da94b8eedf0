//! Reading PEFT folders.

use pelt_hooks::EncoderShape;
use pelt_ia3::Ia3Config;
use pelt_lora::{AttnMatrix, LoraConfig};
use pelt_methods::PartConfig;
use pelt_prompt::PromptInit;
use serde_json::json;

use crate::folders::{Folder, model, parameters};

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
