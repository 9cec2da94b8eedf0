//! Reading and writing AdapterHub folders.

use std::collections::BTreeMap;

use crate::folders::{Folder, adapter_folder, load, model, parameters};
use pelt_methods::{AdapterConfig, LoadedHead, ModelInfo, PartConfig, load_head, save, save_head};
use pelt_tensors::TensorFiles;
use pelt_testkit::{fixture, fixture_json};
use serde_json::{Value, json};

fn model_info(config: &Value) -> ModelInfo {
    let text = |key: &str| config[key].as_str().unwrap_or_default().to_string();
    ModelInfo {
        model_type: text("model_type"),
        model_name: text("model_name"),
        model_class: text("model_class"),
        hidden_size: config["hidden_size"].as_u64().unwrap_or_default() as usize,
    }
}

fn read_json(path: &std::path::Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The fixtures that load, of one library.
fn cases(group: &str) -> Vec<String> {
    let names = std::fs::read_dir(fixture(format!("cases/{group}"))).unwrap();
    let names = names.map(|entry| {
        format!(
            "{group}/{}",
            entry.unwrap().file_name().into_string().unwrap()
        )
    });
    let loads = |case: &String| adapter_folder(case).exists() && Folder::of(case).load().is_ok();
    let mut names: Vec<String> = names.filter(loads).collect();
    names.sort();
    names
}

#[test]
fn what_is_loaded_is_written_exactly_as_the_library_did() {
    let cases = cases("adapters");
    assert!(cases.len() > 40, "only {} fixtures load", cases.len());
    for case in cases {
        let original = Folder::of(&case);
        let loaded = original.load().unwrap();
        let written = tempfile::tempdir().unwrap();
        let info = model_info(&original.config);
        save(
            written.path(),
            &loaded.name,
            &loaded.config,
            &loaded.adapter,
            &info,
        )
        .unwrap();
        let config = read_json(&written.path().join("adapter_config.json"));
        // A whole number equals itself with a point in Python, and the library keeps what it was given.
        assert_eq!(as_floats(&config), as_floats(&original.config), "{case}");
        let files = TensorFiles::open(&written.path().join("adapter.safetensors")).unwrap();
        assert_eq!(files.read_all().unwrap(), original.tensors, "{case}");
        let model = model(case.contains("/roberta_"));
        let again = load(written.path(), &model.shape, model.model_type).unwrap();
        assert_eq!(again.config, loaded.config, "{case}");
        assert_eq!(again.name, loaded.name, "{case}");
        assert_eq!(
            parameters(&again.adapter),
            parameters(&loaded.adapter),
            "{case}"
        );
    }
}

fn as_floats(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(list) => list.iter().map(as_floats).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), as_floats(value)))
            .collect(),
        other => other.clone(),
    }
}

#[test]
fn whole_numbers_are_written_as_the_library_writes_them() {
    let loaded = Folder::of("adapters/bert_cls_reduction_map")
        .load()
        .unwrap();
    let written = tempfile::tempdir().unwrap();
    let info = model_info(&json!({ "model_type": "bert" }));
    save(written.path(), "a", &loaded.config, &loaded.adapter, &info).unwrap();
    let text = std::fs::read_to_string(written.path().join("adapter_config.json")).unwrap();
    let expected = std::fs::read_to_string(
        adapter_folder("adapters/bert_cls_reduction_map").join("adapter_config.json"),
    );
    let config = |text: &str| {
        text.split_once("\"hidden_size\"")
            .map(|(config, _)| config.to_string())
    };
    assert_eq!(config(&text), config(&expected.unwrap()));
}

#[test]
fn what_peft_wrote_survives_our_format() {
    let cases = cases("peft");
    assert!(cases.len() > 10, "only {} fixtures load", cases.len());
    for case in cases {
        let loaded = Folder::of(&case).load().unwrap();
        let model = model(case.contains("/roberta_"));
        let written = tempfile::tempdir().unwrap();
        let info = model_info(&json!({ "model_type": model.model_type, "hidden_size": 32 }));
        save(written.path(), "a", &loaded.config, &loaded.adapter, &info).unwrap();
        let again = load(written.path(), &model.shape, model.model_type).unwrap();
        assert_eq!(
            parameters(&again.adapter),
            parameters(&loaded.adapter),
            "{case}"
        );
        // What AdapterHub would compute differently, it must not accept.
        let config = read_json(&written.path().join("adapter_config.json"));
        let own = config["config"]["architecture"] == "pelt";
        let plain = ["lora", "lora_layers"]
            .iter()
            .any(|end| case.ends_with(&format!("_{end}")));
        assert_eq!(own, !plain, "{case}");
        if own {
            assert_eq!(again.config, loaded.config, "{case}");
        }
    }
}

#[test]
fn a_pickle_gives_the_same_adapter_and_head() {
    for case in [
        "bert_cls_lora",
        "bert_cls_seq_bn",
        "bert_cls_unipelt_prompt",
    ] {
        let case = format!("adapters/{case}");
        let from = adapter_folder(&case);
        let to = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(&from).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().unwrap() != "safetensors" {
                std::fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
            }
        }
        let model = model(false);
        let pickle = load(to.path(), &model.shape, "bert").unwrap();
        let safetensors = load(&from, &model.shape, "bert").unwrap();
        assert_eq!(
            parameters(&pickle.adapter),
            parameters(&safetensors.adapter),
            "{case}"
        );
        let tensors = |head: Option<LoadedHead>| head.map(|head| head.tensors);
        assert_eq!(tensors(pickle.head), tensors(safetensors.head), "{case}");
    }
}

#[test]
fn an_adapter_may_have_any_name() {
    for case in [
        "adapters/bert_cls_unipelt_prompt",
        "adapters/bert_cls_prefix_flat",
        "adapters/bert_cls_prompt",
    ] {
        let original = Folder::of(case).load().unwrap();
        for name in ["my.task-2", "output", "weight"] {
            let mut folder = Folder::of(case);
            folder.rename(|tensor| tensor.replace(".a.", &format!(".{name}.")));
            let mut check = |config_name: Value| {
                folder.config["name"] = config_name;
                let loaded = folder.load().unwrap();
                assert_eq!(loaded.name, name, "{case}");
                assert_eq!(
                    parameters(&loaded.adapter),
                    parameters(&original.adapter),
                    "{case} {name}"
                );
            };
            check(name.into());
            if name != "weight" {
                check(Value::Null);
                check("another".into());
            }
        }
    }
}

#[test]
fn a_prompt_that_kept_its_old_name_is_found() {
    let mut folder = Folder::of("adapters/bert_cls_unipelt_prompt");
    folder.rename(|name| match name.contains("prompt_tunings") {
        true => name.replace(".a.", ".before."),
        false => name.to_string(),
    });
    let original = Folder::of("adapters/bert_cls_unipelt_prompt")
        .load()
        .unwrap();
    assert_eq!(
        parameters(&folder.load().unwrap().adapter),
        parameters(&original.adapter)
    );
}

#[test]
fn names_without_the_models_prefix_and_old_names_are_read() {
    let original = Folder::of("adapters/bert_cls_double_seq_bn")
        .load()
        .unwrap();
    let mut folder = Folder::of("adapters/bert_cls_double_seq_bn");
    folder.rename(|name| name.trim_start_matches("bert.").to_string());
    assert_eq!(
        parameters(&folder.load().unwrap().adapter),
        parameters(&original.adapter)
    );
    folder.rename(|name| {
        let name = name.replace(
            ".attention.output.adapters.",
            ".attention.output.attention_text_task_adapters.",
        );
        name.replace(".output.adapters.", ".output.layer_text_task_adapters.")
    });
    assert_eq!(
        parameters(&folder.load().unwrap().adapter),
        parameters(&original.adapter)
    );
}

#[test]
fn a_prefix_may_be_stored_in_the_layers_only() {
    let original = Folder::of("adapters/bert_cls_prefix_mlp").load().unwrap();
    let mut folder = Folder::of("adapters/bert_cls_prefix_mlp");
    let layer = "bert.encoder.layer.1.attention.self.prefix_tuning.pool.prefix_tunings.";
    folder.rename(|name| name.replace("bert.prefix_tuning.prefix_tunings.", layer));
    assert_eq!(
        parameters(&folder.load().unwrap().adapter),
        parameters(&original.adapter)
    );
}

#[test]
fn a_norm_may_be_stored_under_one_of_its_two_names() {
    let original = Folder::of("adapters/bert_cls_seq_bn_ln").load().unwrap();
    for left_out in ["adapter_norm_before", "adapter_down.0"] {
        let mut folder = Folder::of("adapters/bert_cls_seq_bn_ln");
        folder.tensors.retain(|name, _| !name.contains(left_out));
        assert_eq!(
            parameters(&folder.load().unwrap().adapter),
            parameters(&original.adapter)
        );
    }
}

#[test]
fn an_ejected_prefix_is_flat_whatever_its_configuration_says() {
    let mut folder = Folder::of("adapters/bert_cls_prefix_flat");
    folder.config["config"]["flat"] = false.into();
    let [PartConfig::Prefix(prefix)] = &folder.load().unwrap().config.parts[..] else {
        panic!("not a prefix");
    };
    assert!(prefix.flat);
}

#[test]
fn the_forgotten_scale_of_old_versions_stays_forgotten() {
    let alpha = |version: Value, gated: bool| {
        let case = if gated {
            "adapters/bert_cls_lora_gated"
        } else {
            "adapters/bert_base_lora"
        };
        let mut folder = Folder::of(case);
        folder.config["version"] = version;
        match &folder.load().unwrap().config.parts[..] {
            [PartConfig::Lora(lora)] => lora.alpha,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(alpha("adapters.1.3.0".into(), false), 8.0);
    assert_eq!(alpha("adapters.1.1.0".into(), false), 8.0);
    assert_eq!(alpha("3.2.1".into(), false), 8.0);
    assert_eq!(alpha("adapters.1.0.1".into(), false), 4.0);
    assert_eq!(alpha("adapters.0.2.2".into(), false), 4.0);
    assert_eq!(alpha("adapters.1.0.1".into(), true), 12.0);
}

#[test]
fn missing_entries_take_the_librarys_defaults_and_unknown_ones_are_ignored() {
    let mut folder = Folder::of("adapters/bert_cls_seq_bn");
    let kept = [
        "mh_adapter",
        "output_adapter",
        "reduction_factor",
        "non_linearity",
        "original_ln_before",
    ];
    let config = folder.config["config"].as_object_mut().unwrap();
    config.retain(|key, _| kept.contains(&key.as_str()));
    config.insert("something_new".into(), json!({ "x": 1 }));
    let loaded = folder.load().unwrap();
    assert_eq!(
        loaded.config,
        Folder::of("adapters/bert_cls_seq_bn")
            .load()
            .unwrap()
            .config
    );
    folder.config["config"]
        .as_object_mut()
        .unwrap()
        .remove("original_ln_before");
    let [PartConfig::Bottleneck(bottleneck)] = &folder.load().unwrap().config.parts[..] else {
        panic!("not a bottleneck adapter");
    };
    assert!(!bottleneck.original_ln_before);
}

#[test]
fn gelu_meant_its_approximation_before_files_had_a_version() {
    let mut folder = Folder::of("adapters/bert_cls_seq_bn");
    folder.config["config"]["non_linearity"] = "gelu".into();
    let non_linearity = |folder: &Folder| match &folder.load().unwrap().config.parts[..] {
        [PartConfig::Bottleneck(bottleneck)] => format!("{:?}", bottleneck.non_linearity),
        other => panic!("{other:?}"),
    };
    assert_eq!(non_linearity(&folder), "Gelu");
    folder.config.as_object_mut().unwrap().remove("version");
    assert_eq!(non_linearity(&folder), "GeluNew");
}

#[test]
fn heads_are_written_as_the_library_does() {
    for case in [
        "bert_cls_seq_bn",
        "roberta_cls_seq_bn",
        "bert_flex_cls_unipelt_prompt",
        "roberta_flex_cls_unipelt",
    ] {
        let folder = adapter_folder(&format!("adapters/{case}"));
        let head = load_head(&folder).unwrap().unwrap();
        let labels = head.labels.clone().unwrap();
        assert_eq!(labels, ["LABEL_0", "LABEL_1", "LABEL_2"]);
        let written = tempfile::tempdir().unwrap();
        let expected = read_json(&folder.join("head_config.json"));
        let info = model_info(&expected);
        save_head(written.path(), "a", &head.tensors, Some(&labels), 3, &info).unwrap();
        assert_eq!(
            read_json(&written.path().join("head_config.json")),
            expected,
            "{case}"
        );
        let again = load_head(written.path()).unwrap().unwrap();
        assert_eq!(again.tensors, head.tensors, "{case}");
        assert_eq!(again.labels, head.labels, "{case}");
        assert_eq!(again.name, head.name, "{case}");
    }
}

#[test]
fn a_flexible_head_takes_the_adapters_name() {
    let case = "adapters/bert_flex_cls_unipelt_prompt";
    let to = tempfile::tempdir().unwrap();
    let mut folder = Folder::of(case);
    folder.rename(|name| name.replace(".a.", ".b."));
    folder.config["name"] = "b".into();
    folder.write(to.path());
    for file in ["head_config.json", "model_head.safetensors"] {
        std::fs::copy(adapter_folder(case).join(file), to.path().join(file)).unwrap();
    }
    let loaded = load(to.path(), &model(false).shape, "bert").unwrap();
    let head = loaded.head.unwrap();
    assert_eq!(head.name.as_deref(), Some("b"));
    let names: Vec<&str> = head.tensors.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "heads.b.1.bias",
            "heads.b.1.weight",
            "heads.b.4.bias",
            "heads.b.4.weight"
        ]
    );
}

#[test]
fn a_head_that_computes_something_else_is_refused() {
    let from = adapter_folder("adapters/bert_flex_cls_unipelt_prompt");
    for (field, value) in [
        ("activation_function", json!("relu")),
        ("use_pooler", json!(true)),
        ("layers", json!(3)),
        ("head_type", json!("tagging")),
    ] {
        let to = tempfile::tempdir().unwrap();
        let file = "model_head.safetensors";
        std::fs::copy(from.join(file), to.path().join(file)).unwrap();
        let mut config =
            fixture_json("cases/adapters/bert_flex_cls_unipelt_prompt/adapter/head_config.json");
        config["config"][field] = value;
        std::fs::write(to.path().join("head_config.json"), config.to_string()).unwrap();
        let message = load_head(to.path()).unwrap_err().to_string();
        let named = message.contains(field) || message.contains("tagging");
        assert!(named && message.contains("not supported"), "{message}");
    }
}

#[test]
fn settings_that_adapterhub_does_not_have_survive_saving() {
    let mut config = AdapterConfig::preset("unipelt-prompt").unwrap();
    for setting in [
        "lora.use_rslora=true",
        "lora.use_gating=false",
        "prompt.word_embeddings=true",
        "prefix.prefix_length=3",
    ] {
        config.set(setting).unwrap();
    }
    let model = model(false);
    let adapter = config
        .init(&model.shape, &burn::tensor::Device::flex(), &|_| None)
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let info = model_info(&json!({ "model_type": "bert", "hidden_size": 32 }));
    save(folder.path(), "a", &config, &adapter, &info).unwrap();
    let again = load(folder.path(), &model.shape, "bert").unwrap();
    assert_eq!(again.config, config);
    let found: BTreeMap<_, _> = parameters(&again.adapter);
    assert_eq!(found, parameters(&adapter));
}
