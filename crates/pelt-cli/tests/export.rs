//! Runs as files of other libraries.

#![allow(clippy::unwrap_used)] // Helpers of tests may unwrap as tests do.

mod common;

mod export {
    mod cards;
}

use common::{SMALL_UNION, Scene};
use pelt_testkit::fixture;

const TRAIN: &str = "train --model bert --train-file train.tsv --validation-file dev.tsv --epochs 1 --batch-size 8 --max-length 32 --lr 1e-2";

/// A scene with one batch for `forward`.
fn scene() -> Scene {
    let scene = Scene::new();
    scene.write_integers(
        "inputs.safetensors",
        &[
            ("input_ids", &[2, 4], &[2, 5, 6, 3, 2, 7, 3, 0]),
            ("attention_mask", &[2, 4], &[1, 1, 1, 1, 1, 1, 1, 0]),
        ],
    );
    scene
}

fn logits(scene: &Scene, arguments: &str) -> Vec<f32> {
    scene.succeeds(&format!(
        "forward --inputs inputs.safetensors --output out.safetensors {arguments}"
    ));
    scene.tensors("out.safetensors")["logits"].values.clone()
}

fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    let largest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest < 1e-5, "{found:?} {expected:?}");
}

#[test]
fn adapterhubs_files_hold_the_same_adapter_and_head_twice() {
    let scene = scene();
    for head in ["auto", "flexible"] {
        let run = format!("run_{head}");
        let out = format!("out_{head}");
        scene.succeeds(&format!("{TRAIN} {SMALL_UNION} --head {head} --out {run}"));
        scene.succeeds(&format!(
            "export --run {run} --model bert --format adapterhub --name mine --base-name owner/base --out {out}"
        ));
        let files = [
            "README.md",
            "adapter.safetensors",
            "adapter_config.json",
            "head_config.json",
            "model_head.safetensors",
            "pytorch_adapter.bin",
            "pytorch_model_head.bin",
        ];
        assert_eq!(scene.names(&out), files);
        for (one, other) in [(1, 5), (4, 6)] {
            let [one, other] =
                [one, other].map(|at| scene.tensors(&format!("{out}/{}", files[at])));
            assert_eq!(one, other);
        }
        let config = scene.read_json(&format!("{out}/adapter_config.json"));
        assert_eq!(
            (&config["name"], &config["model_name"]),
            (&"mine".into(), &"owner/base".into())
        );
        let expected = logits(&scene, &format!("--model bert --adapter {run}"));
        assert_close(
            &logits(&scene, &format!("--model bert --adapter {out}")),
            &expected,
        );
        // Those of PyTorch alone give the same.
        for file in [files[1], files[4]] {
            std::fs::remove_file(scene.path(&format!("{out}/{file}"))).unwrap();
        }
        assert_close(
            &logits(&scene, &format!("--model bert --adapter {out}")),
            &expected,
        );
        let card = String::from_utf8(scene.read(&format!("{out}/README.md"))).unwrap();
        assert!(
            card.contains("base_model: \"owner/base\"") && card.contains("load_adapter"),
            "{card}"
        );
    }
    scene.refuses(
        "export --run run_auto --model bert --format adapterhub --out out_auto",
        &["out_auto", "is there already"],
    );
    scene.refuses(
        "export --run run_auto --model bert --format adapterhub --name a.b --out other",
        &["--name", "a.b"],
    );
    scene.refuses(
        "export --run run_auto --model bert --format peft --out other",
        &["run_auto", "several parts", "export --format adapterhub`"],
    );
    scene.refuses(
        "export --run run_auto --model bert --format safetensors-merged --out other",
        &["run_auto", "cannot be merged", "prompt", "adapterhub"],
    );
}

#[test]
fn lora_can_be_merged_and_given_to_peft() {
    let scene = scene();
    scene.succeeds(&format!("{TRAIN} --method lora --out run"));
    let expected = logits(&scene, "--model bert --adapter run");
    scene.succeeds("export --run run --model bert --format safetensors-merged --out merged");
    assert_close(&logits(&scene, "--model merged"), &expected);
    let config = scene.read_json("merged/config.json");
    assert_eq!(config["architectures"][0], "BertForSequenceClassification");
    assert_eq!(config["id2label"].as_object().unwrap().len(), 2);
    scene.succeeds("export --run run --model bert --format peft --out peft");
    assert_close(&logits(&scene, "--model bert --adapter peft"), &expected);

    scene.succeeds(&format!(
        "{TRAIN} --method lora --head flexible --out flexible"
    ));
    for format in ["peft", "safetensors-merged"] {
        let arguments = format!("export --run flexible --model bert --format {format} --out other");
        scene.refuses(&arguments, &["flexible", "--head auto"]);
    }
}

#[test]
fn factors_are_merged_too() {
    let scene = scene();
    scene.succeeds(&format!("{TRAIN} --method ia3 --out run"));
    scene.succeeds("export --run run --model bert --format safetensors-merged --out merged");
    let expected = logits(&scene, "--model bert --adapter run");
    assert_close(&logits(&scene, "--model merged"), &expected);
}

#[test]
fn a_trained_encoder_is_a_model_of_its_own() {
    let scene = scene();
    scene.succeeds(&format!("{TRAIN} --method bitfit --out run"));
    scene.succeeds("export --run run --model bert --format safetensors-merged --out whole");
    let expected = logits(&scene, "--model bert --adapter run");
    assert_close(&logits(&scene, "--model whole"), &expected);
    for format in ["peft", "adapterhub"] {
        let arguments = format!("export --run run --model bert --format {format} --out other");
        scene.refuses(&arguments, &["the encoder itself", "safetensors-merged"]);
    }
}

#[test]
fn every_adapter_of_a_stack_has_a_folder() {
    let scene = scene();
    scene.succeeds(&format!("{TRAIN} --method lora --out first"));
    scene.succeeds(&format!("{TRAIN} --method seq_bn --stack first --out run"));
    scene.succeeds("export --run run --model bert --format adapterhub --name level --out out");
    assert_eq!(scene.names("out"), ["README.md", "level_1", "level_2"]);
    let expected = logits(&scene, "--model bert --adapter run");
    let found = logits(
        &scene,
        "--model bert --adapter out/level_1 --adapter out/level_2",
    );
    assert_close(&found, &expected);
    let card = String::from_utf8(scene.read("out/README.md")).unwrap();
    assert!(card.contains("Stack(\"level_1\", \"level_2\")"), "{card}");
    scene.refuses(
        "export --run run --model bert --format peft --out other",
        &[
            "run",
            "stands on others",
            "--format adapterhub` can hold it",
        ],
    );
}

#[test]
fn a_refusal_names_the_formats_that_can_hold_the_run() {
    let scene = scene();
    let tries = [
        ("--method prompt --set prompt.word_embeddings=true", "peft"),
        ("--method lora --set lora.use_gating=true", "adapterhub"),
        ("--method lora --set lora.use_rslora=true", "peft"),
        ("--method lora --set lora.pooler_lora=true", "peft"),
    ];
    for (number, (settings, can)) in tries.into_iter().enumerate() {
        scene.succeeds(&format!("{TRAIN} {settings} --out run{number}"));
        let export = format!("export --run run{number} --model bert --format");
        for format in ["adapterhub", "peft", "safetensors-merged"] {
            let out = format!("above/of/{number}_{format}");
            let arguments = format!("{export} {format} --out {out}");
            let answer = scene.pelt(&arguments);
            if answer.code == Some(0) {
                continue;
            }
            common::assert_error(
                &arguments,
                &answer,
                &[&format!("run{number}"), "export --format", can],
            );
            for named in ["adapterhub", "peft", "safetensors-merged"] {
                let is_named = answer.stderr.contains(&format!("--format {named}`"));
                let holds = scene.path(&format!("above/of/{number}_{named}")).exists()
                    || scene
                        .pelt(&format!(
                            "{export} {named} --out of_{number}_{format}_{named}"
                        ))
                        .code
                        == Some(0);
                assert_eq!(is_named, holds, "{named}: {answer:?}");
            }
        }
    }
    // What nothing can hold, and nothing is left of the try.
    scene.succeeds(&format!(
        "{TRAIN} --method lora --stack run1 --stacked-lora sum --out sum"
    ));
    scene.refuses(
        "export --run sum --model bert --format adapterhub --out not/there/out",
        &["sum", "--stacked-lora composed", "no other format"],
    );
}

/// An adapter of a fixture, with the encoder that it is for, as the folders `adapter` and `model`.
fn published(scene: &Scene, case: &str, model: &str) {
    for (from, to) in [
        (format!("cases/{case}/adapter"), "adapter"),
        (format!("models/{model}"), "model"),
    ] {
        for file in std::fs::read_dir(fixture(from)).unwrap() {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            scene.write(&format!("{to}/{name}"), std::fs::read(file.path()).unwrap());
        }
    }
    scene.bert("words");
    scene.write("model/vocab.txt", scene.read("words/vocab.txt"));
}

#[test]
fn a_published_adapter_is_scored_trained_further_and_handed_back() {
    let scene = scene();
    published(&scene, "adapters/bert_flex_cls_unipelt_prompt", "bert/base");
    scene.succeeds("import --adapter adapter --model model --labels bad,good,fair --out run");
    let expected = logits(&scene, "--model model --adapter adapter");
    assert_close(&logits(&scene, "--model model --adapter run"), &expected);
    let answer = scene.pelt_with_input("predict --run run --model model", "the movie was good\n");
    let label = answer.json_lines()[0]["label"]
        .as_str()
        .unwrap()
        .to_string();
    assert!(
        ["bad", "good", "fair"].contains(&label.as_str()),
        "{answer:?}"
    );

    let name = scene.read_json("adapter/adapter_config.json")["name"]
        .as_str()
        .unwrap()
        .to_string();
    scene.succeeds(&format!(
        "export --run run --model model --format adapterhub --name {name} --out back"
    ));
    let card = String::from_utf8(scene.read("back/README.md")).unwrap();
    let folder = scene.path("").display().to_string();
    assert!(
        card.contains("imported") && !card.contains(&folder),
        "{card}"
    );
    for (published, back) in [
        ("adapter", "pytorch_adapter.bin"),
        ("model_head", "pytorch_model_head.bin"),
    ] {
        let published = scene.tensors(&format!("adapter/{published}.safetensors"));
        assert_eq!(scene.tensors(&format!("back/{back}")), published);
    }

    scene.succeeds(
        "train --model model --init-adapter adapter --train-file train.tsv --validation-file dev.tsv --epochs 1 --batch-size 8 \
         --max-length 32 --out further",
    );
}

#[test]
fn a_head_can_be_trained_further_with_its_adapter() {
    let scene = scene();
    let train = |options: &str| format!("{TRAIN} {options}");
    scene.succeeds(&train("--method lora --head flexible --out run"));
    // So small a rate changes nothing.
    let further = train("--init-adapter run").replace("--lr 1e-2", "--lr 1e-12");
    scene.succeeds(&format!("{further} --keep-head --out kept"));
    scene.succeeds(&format!("{further} --head flexible --out new"));
    let expected = logits(&scene, "--model bert --adapter run");
    assert_close(&logits(&scene, "--model bert --adapter kept"), &expected);
    let with_new = logits(&scene, "--model bert --adapter new");
    assert_ne!(with_new, expected);
    let record = scene.read_json("kept/run.json");
    let digest = scene.read_json("run/run.json")["files"]["model_head.safetensors"].clone();
    assert_eq!(record["config"]["init_head"], digest);
    assert_eq!(record["config"]["head"]["kind"], "flexible");

    // As others save it, and with another number of classes.
    published(&scene, "adapters/bert_flex_cls_unipelt_prompt", "bert/base");
    let more = "--train-file train.tsv --epochs 1 --max-length 32 --out no";
    scene.refuses(
        &format!("train --model model --init-adapter adapter --keep-head {more}"),
        &["adapter", "3 outputs", "need 2", "--keep-head"],
    );
    std::fs::remove_file(scene.path("run/head_config.json")).unwrap();
    scene.refuses(
        &format!("{further} --keep-head --out no"),
        &["run", "no task head"],
    );
    assert!(!scene.path("no").exists());
}

#[test]
fn classes_in_another_order_are_no_head_to_go_on_with() {
    let scene = scene();
    scene.succeeds(&format!("{TRAIN} --method lora --out run"));
    scene.change_json("run/head_config.json", |json| {
        let text = json.to_string();
        let swapped = text
            .replace("\"negative\":0", "\"negative\":2")
            .replace("\"positive\":1", "\"positive\":0")
            .replace("\"negative\":2", "\"negative\":1");
        assert_ne!(swapped, text);
        *json = serde_json::from_str(&swapped).unwrap();
    });
    scene.refuses(
        &format!("{TRAIN} --init-adapter run --keep-head --out no"),
        &["run", "positive, negative", "negative, positive"],
    );
    // Nor are they names for this one's.
    scene.refuses(
        "import --adapter run --model bert --labels negative,positive --out no",
        &[
            "run",
            "positive, negative",
            "negative, positive",
            "--labels",
        ],
    );
}

#[test]
fn an_adapter_without_a_fitting_head_is_no_run() {
    let scene = scene();
    published(&scene, "peft/bert_cls_lora", "bert/base");
    let import = "import --adapter adapter --model model --out run";
    scene.refuses(
        &format!("{import} --labels one"),
        &["adapter", "3 outputs", "--labels", "has 1"],
    );
    scene.refuses(
        &format!("{import} --task mrpc"),
        &["3 outputs", "mrpc has 2"],
    );
    scene.refuses(&format!("{import} --task mrcp"), &["mrcp"]);
    scene.refuses(
        &format!("{import} --head model"),
        &["model", "no classification head"],
    );
    scene.refuses(&format!("{import} --labels a,b,a"), &["--labels", "a,b,a"]);
    scene.succeeds(import);
    scene.refuses(import, &["run", "--force"]);
    scene.succeeds(&format!("{import} --force"));
    let labels = scene.read_json("run/run.json")["config"]["target"]["labels"].clone();
    assert_eq!(labels, serde_json::json!(["LABEL_0", "LABEL_1", "LABEL_2"]));
}

#[test]
fn an_ejected_prefix_computes_the_same_with_less() {
    let scene = scene();
    scene.succeeds(&format!("{TRAIN} {SMALL_UNION} --out run"));
    scene.succeeds("eject --run run --model bert --out small");
    let expected = logits(&scene, "--model bert --adapter run");
    assert_close(&logits(&scene, "--model bert --adapter small"), &expected);
    let names = scene.tensors("small/adapter.safetensors");
    assert!(
        names
            .keys()
            .any(|name| name.ends_with(".self_prefix.control_trans"))
    );
    assert!(!names.keys().any(|name| name.ends_with(".wte.weight")));
    scene.refuses(
        "eject --run small --model bert --out other",
        &["small", "no prefix"],
    );
    scene.refuses(
        "eject --run run --model bert --out small",
        &["small", "--force"],
    );
}

#[test]
fn the_prefixes_of_a_stack_are_ejected() {
    let scene = scene();
    scene.succeeds(&format!("{TRAIN} --method unipelt-stack-3 --out run"));
    scene.succeeds("eject --run run --model bert --out small");
    let expected = logits(&scene, "--model bert --adapter run");
    assert_close(&logits(&scene, "--model bert --adapter small"), &expected);
    let names = scene.tensors("small/adapter.safetensors");
    assert!(!names.keys().any(|name| name.ends_with(".wte.weight")));
}

#[test]
fn what_differs_between_adapters_is_shown() {
    let scene = scene();
    scene.succeeds(&format!("{TRAIN} --method lora --out run"));
    scene.succeeds("export --run run --model bert --format adapterhub --name other --base-name owner/bert --out same");
    let answer = scene.succeeds("diff run same");
    assert!(
        answer.stdout.starts_with("0 settings and 0 tensors differ"),
        "{answer:?}"
    );

    scene.succeeds(&format!(
        "{TRAIN} --method lora --set lora.r=4 --seed 7 --out smaller"
    ));
    let answer = scene.pelt("diff same smaller --json");
    assert_eq!(answer.code, Some(1));
    let found = answer.json();
    let settings = found["settings"].as_array().unwrap();
    let rank = settings
        .iter()
        .find(|setting| setting["key"] == "config.r")
        .unwrap();
    assert_eq!((&rank["a"], &rank["b"]), (&8.into(), &4.into()));
    let tensors = found["tensors"].as_array().unwrap();
    assert!(!tensors.is_empty() && tensors.iter().all(|one| one["a"] != one["b"]));
    assert_eq!(found["equal"], 0);

    scene.succeeds(&format!("{TRAIN} --method lora --seed 7 --out seventh"));
    let answer = scene.pelt("diff same seventh");
    assert_eq!(answer.code, Some(1));
    assert!(answer.stdout.contains("differs by at most"), "{answer:?}");
    scene.refuses("diff same bert", &["bert", "adapter_config.json"]);
    scene.succeeds("export --run run --model bert --format peft --out peft");
    scene.refuses("diff peft same", &["PEFT's format", "import"]);
    scene.succeeds("diff peft peft");
}

#[test]
fn several_loras_become_one() {
    let scene = scene();
    scene.succeeds(&format!("{TRAIN} --method lora --out first"));
    scene.succeeds(&format!(
        "{TRAIN} --method lora --set lora.r=4 --seed 7 --out second"
    ));
    let merge = "merge --adapter first,second --model bert";
    scene.succeeds(&format!("{merge} --weights 1,0 --out sum"));
    let config = scene.read_json("sum/adapter_config.json");
    assert_eq!(config["config"]["r"], 12);
    let forward = |adapter: &str| {
        scene.succeeds(&format!(
            "forward --inputs inputs.safetensors --output out.safetensors --model bert --adapter {adapter}"
        ));
        scene.tensors("out.safetensors")["last_hidden_state"]
            .values
            .clone()
    };
    assert_close(&forward("sum"), &forward("first"));
    scene.succeeds(&format!("{merge} --weights 0.5,-0.5 --out difference"));
    assert_ne!(forward("difference"), forward("first"));
    scene.refuses(
        &format!("{merge} --weights 1 --out other"),
        &["--weights has 1", "2 adapters"],
    );
    scene.refuses(
        &format!("{merge} --weights 1,1 --combination linear --out other"),
        &["rank 8", "has 4"],
    );
    scene.succeeds(&format!("{TRAIN} --method seq_bn --out third"));
    scene.refuses(
        "merge --adapter first,third --weights 1,1 --model bert --out other",
        &["only LoRAs", "bottleneck"],
    );
    // Side by side they must still be of less rank than the encoder is wide.
    scene.refuses(
        "merge --adapter first,first,first,first,first --weights 1,1,1,1,1 --model bert --out other",
        &["5 LoRAs", "--combination linear", "r must be", "40"],
    );
    let card = String::from_utf8(scene.read("difference/README.md")).unwrap();
    assert!(card.contains("| second | -0.5 |"), "{card}");
    scene.succeeds("merge --run first --model bert --out whole");
    assert!(scene.path("whole/model.safetensors").exists());
}
