//! Runs and adapters that are broken or belong to another model.

use crate::common::{SMALL_UNION, Scene};
use crate::{train_with, trained};

const EVALUATE: &str = "evaluate --run run --model bert --file dev.tsv --json";

fn on(model: &str) -> [String; 2] {
    [
        format!("evaluate --run run --model {model} --file dev.tsv"),
        format!("predict --run run --model {model}"),
    ]
}

fn write_inputs(scene: &Scene) {
    let tensors: [(&str, &[usize], &[i64]); 2] = [
        ("input_ids", &[1, 3], &[2, 5, 3]),
        ("attention_mask", &[1, 3], &[1, 1, 1]),
    ];
    scene.write_integers("in.safetensors", &tensors);
}

fn forward(model: &str) -> String {
    format!(
        "forward --model {model} --adapter run --inputs in.safetensors --output out.safetensors"
    )
}

#[test]
fn a_run_of_another_base_model_is_refused() {
    let scene = trained();
    write_inputs(&scene);
    scene.made_bert("other", |_| {});
    scene.made_bert("narrow", |config| {
        config["hidden_size"] = 16.into();
    });
    scene.made_bert("deep", |config| config["num_hidden_layers"] = 3.into());
    for model in ["other", "narrow", "deep"] {
        for command in on(model).into_iter().chain([forward(model)]) {
            scene.refuses(&command, &["run", "another base model", "SHA-256", model]);
        }
    }
    scene.roberta("roberta");
    scene.refuses(&on("roberta")[0], &["run", "another base model"]);
    // One bit of one weight makes it another model, too.
    scene.change_bytes("bert/model.safetensors", |bytes| {
        *bytes.last_mut().unwrap() ^= 1
    });
    for command in on("bert").into_iter().chain([forward("bert")]) {
        scene.refuses(&command, &["run", "another base model", "SHA-256"]);
    }
}

#[test]
fn a_bare_adapter_of_another_shape_is_refused() {
    for method in ["--method lora", "--method bottleneck", SMALL_UNION] {
        let scene = Scene::new();
        let train = train_with("").replace("--method lora", method);
        scene.succeeds(&train);
        std::fs::remove_file(scene.path("run/run.json")).unwrap();
        write_inputs(&scene);
        scene.made_bert("narrow", |config| config["hidden_size"] = 16.into());
        scene.refuses(
            &forward("narrow"),
            &["run/adapter_config.json", "hidden size 32", "16"],
        );
        scene.change_json("run/adapter_config.json", |config| {
            config["hidden_size"] = 16.into()
        });
        // A configuration that lies is caught by the shapes (those of a prefix could also mean more layers).
        scene.refuses(&forward("narrow"), &["run/adapter", "but"]);
        scene.change_json("run/adapter_config.json", |config| {
            config["hidden_size"] = 32.into()
        });
        scene.made_bert("deep", |config| config["num_hidden_layers"] = 3.into());
        scene.refuses(
            &forward("deep"),
            &["run/adapter_config.json", "2 layers", "3"],
        );
        scene.made_bert("flat", |config| config["num_hidden_layers"] = 1.into());
        scene.refuses(
            &forward("flat"),
            &["run/adapter_config.json", "2 layers", "1"],
        );
        scene.roberta("roberta");
        scene.refuses(
            &forward("roberta"),
            &["run/adapter_config.json", "bert", "roberta"],
        );
    }
}

#[test]
fn a_run_with_a_missing_or_changed_file_is_refused() {
    let scene = trained();
    for file in ["adapter.safetensors", "model_head.safetensors"] {
        let path = format!("run/{file}");
        let whole = scene.read(&path);
        scene.write(&path, &whole[..whole.len() - 3]);
        scene.refuses(EVALUATE, &[&path, "expected", "found"]);
        // A bit of a weight: the file is well formed, but it is not what the run wrote.
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 0x40;
        scene.write(&path, flipped);
        scene.refuses(EVALUATE, &[&path, "has changed", "SHA-256"]);
        let mut flipped = whole.clone();
        flipped[20] ^= 0x40;
        scene.write(&path, flipped);
        scene.refuses(EVALUATE, &[&path]);
        std::fs::remove_file(scene.path(&path)).unwrap();
        scene.refuses(EVALUATE, &[&path, "No such file"]);
        scene.write(&path, whole);
    }
    scene.succeeds(EVALUATE);
}

#[test]
fn a_broken_record_is_refused() {
    let scene = trained();
    scene.change_json("run/run.json", |run| {
        run["config"]["train"]["epochs"] = "many".into()
    });
    scene.refuses(EVALUATE, &["run/run.json", "many"]);
    scene.write("run/run.json", "{");
    scene.refuses(EVALUATE, &["run/run.json", "not a run's record"]);
    std::fs::remove_file(scene.path("run/run.json")).unwrap();
    scene.refuses(EVALUATE, &["run/run.json", "not a finished run"]);
}

#[test]
fn a_broken_adapter_configuration_is_refused() {
    let scene = trained();
    std::fs::remove_file(scene.path("run/run.json")).unwrap();
    write_inputs(&scene);
    scene.change_json("run/adapter_config.json", |config| {
        config["config"]["architecture"] = "reft".into()
    });
    scene.refuses(&forward("bert"), &["run/adapter_config.json", "reft"]);
    scene.write("run/adapter_config.json", "{}");
    scene.refuses(&forward("bert"), &["run/adapter_config.json"]);
    std::fs::remove_file(scene.path("run/adapter_config.json")).unwrap();
    scene.refuses(&forward("bert"), &["run", "adapter_config.json"]);
}

#[test]
fn rows_that_do_not_fit_the_run_are_refused() {
    let scene = trained();
    scene.write("three.tsv", "text\tlabel\ngood\tpositive\nfine\tneutral\n");
    scene.refuses(
        "evaluate --run run --model bert --file three.tsv",
        &["three.tsv", "row 2", "neutral", "negative, positive"],
    );
    scene.write("glue/mnli/validation_matched-00000-of-00001.parquet", "");
    scene.refuses(
        "evaluate --run run --model bert --data . --task nonsense",
        &["nonsense", "mrpc"],
    );
}
