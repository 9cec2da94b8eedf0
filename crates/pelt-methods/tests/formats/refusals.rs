//! Files that do not fit, each refused with one sentence that says why.

use crate::folders::{Folder, load, model};
use pelt_hooks::EncoderShape;
use serde_json::{Value, json};

/// One sentence that names the file and has all of these words.
fn assert_says(message: &str, words: &[&str]) {
    assert!(!message.contains('\n'), "{message}");
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn an_adapter_for_another_model_says_for_which() {
    let shape = model(false).shape;
    let wider = EncoderShape {
        hidden_size: 64,
        ..shape
    };
    let deeper = EncoderShape { layers: 6, ..shape };
    for case in [
        "adapters/bert_cls_lora",
        "adapters/bert_cls_seq_bn",
        "adapters/bert_cls_unipelt_prompt",
        "adapters/bert_cls_prefix_flat",
        "adapters/bert_cls_prefix_mlp",
        "adapters/bert_cls_prompt",
        "peft/bert_cls_lora",
        "peft/bert_cls_prefix",
        "peft/bert_cls_prompt",
    ] {
        let folder = Folder::of(case);
        let refusal =
            |shape, model_type| folder.load_for(shape, model_type).unwrap_err().to_string();
        assert_says(&refusal(&wider, "bert"), &["hidden size 32", "64"]);
        // A prompt fits any number of layers.
        if !case.ends_with("_prompt") || case.contains("unipelt") {
            let message = refusal(&deeper, "bert");
            assert!(
                message.contains("2 layers, but this one has 6")
                    || message.contains("num_layers 2"),
                "{case}: {message}"
            );
        }
        // PEFT's virtual tokens do not say for which family they were trained.
        if !case.starts_with("peft/bert_cls_p") {
            assert_says(&refusal(&shape, "roberta"), &["type bert", "roberta"]);
        }
    }
    let fewer = EncoderShape { layers: 1, ..shape };
    let message = Folder::of("adapters/bert_cls_lora")
        .load_for(&fewer, "bert")
        .unwrap_err()
        .to_string();
    assert_says(&message, &["2 layers", "has 1"]);
}

#[test]
fn everything_missing_unexpected_and_mis_shaped_is_listed_at_once() {
    let mut folder = Folder::of("adapters/bert_cls_lora");
    let path = "bert.encoder.layer.0.attention.self.query.loras.a";
    let a = folder.tensors.remove(&format!("{path}.lora_A")).unwrap();
    folder.tensors.insert(format!("{path}.lora_B"), a.clone());
    folder
        .tensors
        .insert("bert.encoder.layer.0.extra".into(), a);
    assert_says(
        &folder.refusal(),
        &[
            "query.loras.a.lora_A is missing",
            "query.loras.a.lora_B should be [32, 8] but is [8, 32]",
            "bert.encoder.layer.0.extra is unexpected",
        ],
    );
    let mut folder = Folder::of("peft/bert_cls_lora");
    let path = "base_model.model.bert.encoder.layer.0.attention.self";
    let a = folder
        .tensors
        .remove(&format!("{path}.query.lora_A.weight"))
        .unwrap();
    folder
        .tensors
        .insert(format!("{path}.key.lora_A.weight"), a);
    assert_says(
        &folder.refusal(),
        &[
            "query.lora_A.weight is missing",
            "key.lora_A.weight is unexpected",
        ],
    );
}

#[test]
fn what_adapterhub_can_and_we_cannot_is_named() {
    for (case, field, value, word) in [
        (
            "bert_cls_lora",
            "composition_mode",
            json!("other"),
            "a way to combine",
        ),
        ("bert_cls_lora", "use_dora", json!(true), "DoRA"),
        ("bert_cls_ia3", "use_dora", json!(true), "DoRA"),
        ("bert_cls_ia3", "r", json!(2), "more than one column"),
        ("bert_cls_ia3", "dropout", json!(0.1), "dropout"),
        ("bert_cls_lora", "vera_d", json!(0.1), "VeRA"),
        ("bert_cls_lora", "architecture", json!("reft"), "reft"),
        (
            "bert_cls_compacter",
            "shared_phm_rule",
            json!(false),
            "Compacter",
        ),
        (
            "bert_cls_seq_bn",
            "inv_adapter",
            json!("nice"),
            "invertible",
        ),
        (
            "bert_cls_seq_bn",
            "original_ln_after",
            json!(false),
            "original_ln_after",
        ),
        (
            "bert_cls_seq_bn",
            "stochastic_depth",
            json!(0.1),
            "stochastic",
        ),
        ("bert_cls_seq_bn", "non_linearity", json!("mish"), "mish"),
        (
            "bert_cls_prefix_mlp",
            "encoder_prefix",
            json!(false),
            "encoder_prefix",
        ),
    ] {
        let mut folder = Folder::of(&format!("adapters/{case}"));
        folder.config["config"][field] = value;
        let message = folder.refusal();
        assert_says(&message, &[word, "adapter_config.json"]);
        assert!(
            message.contains("not supported") || message.contains("unknown variant"),
            "{message}"
        );
    }
    let mut folder = Folder::of("adapters/bert_cls_lora");
    let part = folder.config["config"].clone();
    folder.config["config"] = json!({ "architecture": "union", "configs": [part, part] });
    assert_says(&folder.refusal(), &["one part of type lora"]);
}

#[test]
fn what_peft_can_and_we_cannot_is_named() {
    for (field, value) in [
        ("peft_type", json!("LOHA")),
        ("rank_pattern", json!({ "query": 4 })),
        ("alpha_pattern", json!({ "query": 4 })),
        ("use_dora", json!(true)),
        ("fan_in_fan_out", json!(true)),
        ("layers_pattern", json!("layer")),
        ("exclude_modules", json!(["key"])),
        ("target_modules", json!("all-linear")),
        ("target_modules", json!(".*query")),
        ("bias", json!("all")),
        ("init_lora_weights", json!("pissa")),
        (
            "target_modules",
            json!(["encoder.layer.0.attention.self.query", "value"]),
        ),
    ] {
        let mut folder = Folder::of("peft/bert_cls_lora");
        folder.config[field] = value.clone();
        assert_says(&folder.refusal(), &[field, "not supported"]);
    }
    let mut folder = Folder::of("peft/bert_cls_lora");
    folder.config["target_modules"] = json!(["q_proj", "v_proj"]);
    assert_says(&folder.refusal(), &["none of q_proj, v_proj"]);
    folder.config["target_modules"] = json!(["query", "value"]);
    folder.config["layers_to_transform"] = json!([0, 7]);
    assert_says(&folder.refusal(), &["layer 7", "2 layers"]);
}

#[test]
fn damaged_configurations_are_refused_without_harm() {
    let set = |case: &str, field: &str, value: Value| {
        let mut folder = Folder::of(case);
        let config = match case.starts_with("peft/") {
            true => &mut folder.config,
            false => &mut folder.config["config"],
        };
        config[field] = value;
        folder.refusal()
    };
    let huge = json!(u64::MAX);
    for (case, field) in [
        ("adapters/bert_cls_lora", "r"),
        ("adapters/bert_cls_prefix_mlp", "prefix_length"),
        ("adapters/bert_cls_prefix_mlp", "bottleneck_size"),
        ("adapters/bert_cls_prompt", "prompt_length"),
        ("peft/bert_cls_lora", "r"),
        ("peft/bert_cls_prefix", "num_virtual_tokens"),
        ("peft/bert_cls_prompt", "num_virtual_tokens"),
    ] {
        for value in [huge.clone(), json!(-1), json!("x"), json!(0)] {
            let message = set(case, field, value);
            assert!(message.contains("adapter_config.json"), "{message}");
        }
    }
    for value in [json!(0), json!(1e-300), json!("x"), json!({ "7": 2 })] {
        let message = set("adapters/bert_cls_seq_bn", "reduction_factor", value);
        assert_says(&message, &["reduction_factor"]);
    }
    let mut folder = Folder::of("adapters/bert_cls_lora");
    for config in [
        json!(null),
        json!([]),
        json!({}),
        json!({ "config": 3 }),
        json!({ "config": { "architecture": "union" } }),
    ] {
        folder.config = config;
        assert_says(&folder.refusal(), &["adapter_config.json"]);
    }
}

#[test]
fn folders_that_are_no_adapters_say_what_is_missing() {
    let shape = model(false).shape;
    let folder = tempfile::tempdir().unwrap();
    let refusal = || load(folder.path(), &shape, "bert").unwrap_err().to_string();
    assert_says(&refusal(), &["no adapter_config.json"]);
    std::fs::write(folder.path().join("adapter_fusion_config.json"), "{}").unwrap();
    assert_says(&refusal(), &["this is an AdapterFusion"]);
    std::fs::create_dir(folder.path().join("adapter_config.json")).unwrap();
    assert_says(&refusal(), &["expected a file, found a folder"]);
    std::fs::remove_dir(folder.path().join("adapter_config.json")).unwrap();
    std::fs::write(folder.path().join("adapter_config.json"), "{").unwrap();
    assert_says(&refusal(), &["not a JSON file"]);
    let config = Folder::of("adapters/bert_cls_lora").config;
    std::fs::write(
        folder.path().join("adapter_config.json"),
        config.to_string(),
    )
    .unwrap();
    assert_says(&refusal(), &["adapter.safetensors", "pytorch_adapter.bin"]);
    std::fs::write(
        folder.path().join("adapter.safetensors"),
        "not a tensor file",
    )
    .unwrap();
    assert_says(&refusal(), &["adapter.safetensors"]);
}

#[test]
fn sizes_are_compared_before_any_memory_is_taken() {
    // Each of these would take more than any machine has.
    let wide = 1 << 24;
    let shape = EncoderShape {
        hidden_size: wide,
        ..model(false).shape
    };
    for (case, field, value) in [
        ("bert_cls_seq_bn", "reduction_factor", json!(0.125)),
        ("bert_cls_prefix_mlp", "bottleneck_size", json!(16_384)),
        ("bert_cls_lora", "r", json!(wide)),
    ] {
        let mut folder = Folder::of(&format!("adapters/{case}"));
        folder.config["hidden_size"] = json!(wide);
        folder.config["config"][field] = value;
        let message = folder.load_for(&shape, "bert").unwrap_err().to_string();
        assert_says(
            &message,
            &["adapter.safetensors", "should be [", "16777216"],
        );
    }
    let mut folder = Folder::of("adapters/bert_cls_lora");
    let level = json!({ "parts": [{ "type": "lora" }] });
    let levels = vec![level; 65];
    folder.config["config"] = json!({ "architecture": "pelt", "type": "stack", "levels": levels });
    assert_says(
        &folder.refusal(),
        &["adapter_config.json", "at most 64 adapters, but is 65"],
    );
}

#[test]
fn names_that_no_message_can_hold_are_refused_or_cut() {
    for name in ["x".repeat(257), "x\ny".into()] {
        let mut folder = Folder::of("adapters/bert_cls_lora");
        folder.rename(|tensor| tensor.replace(".a.", &format!(".{name}.")));
        folder.config["name"] = json!(name);
        assert_says(
            &folder.refusal(),
            &["adapter_config.json", "a name must have at most 256 bytes"],
        );
        let head = tempfile::tempdir().unwrap();
        let config = json!({ "name": name }).to_string();
        std::fs::write(head.path().join("head_config.json"), config).unwrap();
        let message = pelt_methods::load_head(head.path()).unwrap_err();
        assert_says(&message.to_string(), &["head_config.json", "256 bytes"]);
    }
    let mut folder = Folder::of("adapters/bert_cls_lora");
    let tensor = folder.tensors.values().next().cloned().unwrap();
    let name = format!("bert.\n{}", "x".repeat(100_000));
    folder.tensors.insert(name, tensor);
    let message = folder.refusal();
    assert_says(&message, &["\"bert.\\nxxx", "... is unexpected"]);
    assert!(message.len() < 1000, "{}", message.len());
    let mut folder = Folder::of("adapters/bert_cls_lora");
    folder.config["config"]["architecture"] = json!("long\n".repeat(100_000));
    let message = folder.refusal();
    assert_says(&message, &["the architecture", "long long"]);
    assert!(message.len() < 10_000, "{}", message.len());
}
