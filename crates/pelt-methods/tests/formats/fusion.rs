//! Reading and writing folders of AdapterFusion.

use std::path::Path;

use burn::tensor::Device;
use pelt_methods::{Level, LoadedFusion, MethodError, ModelInfo, load_fusion, save_fusion};
use pelt_tensors::TensorFiles;
use pelt_testkit::{fixture, fixture_json};
use serde_json::{Value, json};

use crate::folders::{adapter_folder, load, model};

const DYNAMIC: &str = "adapters/bert_cls_fuse_seq_bn";
const STATIC: &str = "adapters/bert_cls_fuse_static_double";

fn level(folder: &Path, name: &str) -> Level {
    let loaded = load(folder, &model(false).shape, "bert").unwrap();
    Level {
        name: name.into(),
        config: loaded.config,
        adapter: loaded.adapter,
    }
}

fn levels(case: &str, names: &[&str]) -> Vec<Level> {
    let folder = |at: usize| fixture(format!("cases/{case}/adapter_{}", ["a", "b", "b"][at]));
    let names = names.iter().enumerate();
    names.map(|(at, name)| level(&folder(at), name)).collect()
}

fn open(folder: &Path, levels: Vec<Level>) -> Result<LoadedFusion, MethodError> {
    load_fusion(folder, levels, &model(false).shape, "bert", &Device::flex())
}

fn config(case: &str) -> Value {
    fixture_json(format!("cases/{case}/fusion/adapter_fusion_config.json"))
}

fn tensors(folder: &Path) -> std::collections::BTreeMap<String, pelt_tensors::HostTensor> {
    let files = TensorFiles::open(&folder.join("model_adapter_fusion.safetensors"));
    files.unwrap().read_all().unwrap()
}

#[test]
fn what_is_loaded_is_written_exactly_as_the_library_did() {
    for case in [DYNAMIC, STATIC] {
        let folder = fixture(format!("cases/{case}/fusion"));
        // The order of the file decides, not the one that they are given in.
        let mut given = levels(case, &["a", "b"]);
        given.reverse();
        let loaded = open(&folder, given).unwrap();
        assert_eq!(loaded.names, ["a", "b"]);
        let expected = config(case);
        let text = |key: &str| expected[key].as_str().unwrap().to_string();
        let info = ModelInfo {
            model_type: text("model_type"),
            model_name: text("model_name"),
            model_class: text("model_class"),
            hidden_size: 32,
        };
        let written = tempfile::tempdir().unwrap();
        let (names, fusion) = (&loaded.names, &loaded.fusion);
        save_fusion(written.path(), names, &loaded.config, fusion, &info).unwrap();
        let found = std::fs::read_to_string(written.path().join("adapter_fusion_config.json"));
        let found: Value = serde_json::from_str(&found.unwrap()).unwrap();
        assert_eq!(found, expected, "{case}");
        assert_eq!(tensors(written.path()), tensors(&folder), "{case}");
    }
}

#[test]
fn fusions_that_do_not_fit_are_refused() {
    let from = fixture(format!("cases/{DYNAMIC}/fusion"));
    let refusal = |change: fn(&mut Value), levels: Vec<Level>| {
        let to = tempfile::tempdir().unwrap();
        let file = "model_adapter_fusion.safetensors";
        std::fs::copy(from.join(file), to.path().join(file)).unwrap();
        let mut config = config(DYNAMIC);
        change(&mut config);
        let path = to.path().join("adapter_fusion_config.json");
        std::fs::write(path, config.to_string()).unwrap();
        open(to.path(), levels).unwrap_err().to_string()
    };
    let both = || levels(DYNAMIC, &["a", "b"]);
    let says = |message: String, fragment: &str| assert!(message.contains(fragment), "{message}");
    let same = |_: &mut Value| ();
    says(
        refusal(same, levels(DYNAMIC, &["a", "c"])),
        "those given are a, c",
    );
    says(
        refusal(same, levels(DYNAMIC, &["a", "b", "c"])),
        "c is none of them",
    );
    let lora = level(&adapter_folder("adapters/bert_cls_lora"), "b");
    let mut with_lora = both();
    with_lora[1] = lora;
    says(
        refusal(same, with_lora),
        "only bottleneck adapters can be fused",
    );
    says(refusal(same, levels(STATIC, &["a", "b"])), "is missing");
    says(
        refusal(|c| c["config"]["temperature"] = json!(true), both()),
        "temperature is true",
    );
    says(
        refusal(|c| c["config"]["value"] = json!(false), both()),
        "is unexpected",
    );
    says(
        refusal(|c| c["config"]["dropout_prob"] = json!("x"), both()),
        "dropout_prob",
    );
    says(
        refusal(|c| c["model_type"] = json!("roberta"), both()),
        "roberta",
    );
    says(
        refusal(|c| c["hidden_size"] = json!(64), both()),
        "hidden size 64",
    );
    says(
        refusal(|c| c["adapter_names"] = json!(3), both()),
        "adapter_names",
    );
    says(refusal(|c| c["config"] = json!(3), both()), "config");
    let nowhere = tempfile::tempdir().unwrap();
    let message = open(nowhere.path(), both()).unwrap_err().to_string();
    assert!(message.contains("adapter_fusion_config.json"), "{message}");
}
