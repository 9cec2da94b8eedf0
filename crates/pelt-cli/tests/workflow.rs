//! Train, evaluate, predict and run forward: the same numbers come out everywhere.

#![allow(clippy::unwrap_used)] // Helpers of tests may unwrap as tests do.

mod common;

use std::process::Stdio;

use common::{SMALL_UNION, Scene, labelled, pairs, scored};
use serde_json::Value;

/// Files of every finished run; those of the trained weights come on top.
const COMMON_FILES: [&str; 4] = [
    "head_config.json",
    "metrics.jsonl",
    "model_head.safetensors",
    "run.json",
];
const ADAPTER_FILES: [&str; 2] = ["adapter.safetensors", "adapter_config.json"];

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

fn assert_close(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!(
        (found - expected).abs() <= tolerance,
        "{what}: {found} is not {expected}"
    );
}

/// Trains with `options` on a model, and checks the folder and that every other command agrees with it.
fn check_method(scene: &Scene, model: &str, method: &str, options: &str, weights: &[&str]) {
    scene.succeeds(&format!(
        "train --model {model} --train-file train.tsv --validation-file dev.tsv --epochs 2 --batch-size 8 --lr 5e-3 \
         --max-length 50 --out run {method} {options}"
    ));
    let mut files: Vec<&str> = COMMON_FILES.iter().chain(weights).copied().collect();
    files.sort_unstable();
    assert_eq!(scene.names("run"), files);
    let run = scene.read_json("run/run.json");
    assert_eq!(run["results"]["steps"], 10);
    let best = run["results"]["best"].as_object().unwrap();

    let evaluated = scene.succeeds(&format!(
        "evaluate --run run --model {model} --file dev.tsv --json"
    ));
    let evaluated = evaluated.json();
    assert_eq!(evaluated.as_object().unwrap().len(), best.len());
    for (name, value) in best {
        assert_close(number(&evaluated[name]), number(value), 1e-6, name);
    }

    let (texts, labels): (Vec<_>, Vec<_>) = scene.rows("dev.tsv").into_iter().unzip();
    let input = texts.join("\n") + "\n";
    let predicted = scene.pelt_with_input(&format!("predict --run run --model {model}"), input);
    let predicted = predicted.json_lines();
    assert_eq!(predicted.len(), texts.len());
    let right = predicted
        .iter()
        .zip(&labels)
        .filter(|(row, label)| row["label"] == label.as_str());
    let accuracy = right.count() as f64 / texts.len() as f64;
    assert_close(
        accuracy,
        number(&evaluated["accuracy"]),
        1e-9,
        "accuracy of the predictions",
    );
    for row in &predicted {
        let sum: f64 = row["probabilities"]
            .as_object()
            .unwrap()
            .values()
            .map(number)
            .sum();
        assert_close(sum, 1.0, 1e-9, "sum of probabilities");
    }

    let inspected = scene.succeeds(&format!("inspect --model {model} --json {method}"));
    let trainable = &run["results"]["trainable_parameters"];
    assert_eq!(&inspected.json()["trainable"], trainable);
    let mut stored = 0;
    for file in files.iter().filter(|file| file.ends_with(".safetensors")) {
        stored += scene
            .tensors(&format!("run/{file}"))
            .values()
            .map(|t| t.values.len())
            .sum::<usize>();
    }
    assert_eq!(
        stored as u64,
        trainable.as_u64().unwrap(),
        "numbers in the run's files"
    );
}

/// Checks that `forward` with the run gives the probabilities that `predict` gives.
fn check_forward(scene: &Scene, prompt_rows: usize) {
    // [CLS] the good movie [SEP], and [CLS] bad [SEP]: words follow five special tokens in the vocabulary.
    scene.write_integers(
        "inputs.safetensors",
        &[
            ("input_ids", &[2, 5], &[2, 15, 5, 16, 3, 2, 10, 3, 0, 0]),
            ("attention_mask", &[2, 5], &[1, 1, 1, 1, 1, 1, 1, 1, 0, 0]),
        ],
    );
    scene.succeeds(
        "forward --model bert --adapter run --inputs inputs.safetensors --output out.safetensors",
    );
    let out = scene.tensors("out.safetensors");
    assert_eq!(out["last_hidden_state"].shape, [2, 5 + prompt_rows, 32]);
    let padding = &out["last_hidden_state"].values[(2 * (5 + prompt_rows) - 2) * 32..];
    assert!(padding.iter().all(|x| *x == 0.0), "padding is not zero");
    assert_eq!(out["pooler_output"].shape, [2, 32]);
    assert_eq!(out["logits"].shape, [2, 2]);
    let predicted =
        scene.pelt_with_input("predict --run run --model bert", "the good movie\nbad\n");
    for (row, logits) in predicted
        .json_lines()
        .iter()
        .zip(out["logits"].values.chunks(2))
    {
        let odds = f64::from(logits[0] - logits[1]).exp();
        let found = number(&row["probabilities"]["negative"]);
        assert_close(found, odds / (1.0 + odds), 1e-5, "probability");
    }
}

#[test]
fn unipelt_with_a_prompt_trains_and_all_commands_agree() {
    let scene = Scene::new();
    check_method(&scene, "bert", SMALL_UNION, "", &ADAPTER_FILES);
    check_forward(&scene, 3);
    // As an adapter of the public library, without this tool's own record, it is the same.
    let with_record = scene.read("out.safetensors");
    std::fs::remove_file(scene.path("run/run.json")).unwrap();
    scene.succeeds(
        "forward --model bert --adapter run --inputs inputs.safetensors --output out.safetensors",
    );
    assert_eq!(scene.read("out.safetensors"), with_record);
}

#[test]
fn lora_trains_and_all_commands_agree() {
    let scene = Scene::new();
    check_method(&scene, "bert", "--method lora", "", &ADAPTER_FILES);
    check_forward(&scene, 0);
}

#[test]
fn full_fine_tuning_trains_and_all_commands_agree() {
    let scene = Scene::new();
    check_method(&scene, "bert", "--method full", "", &["tuned.safetensors"]);
    check_forward(&scene, 0);
}

#[test]
fn bitfit_trains_and_all_commands_agree() {
    let scene = Scene::new();
    check_method(
        &scene,
        "bert",
        "--method bitfit",
        "",
        &["tuned.safetensors"],
    );
    check_forward(&scene, 0);
}

#[test]
fn a_flexible_head_trains_and_all_commands_agree() {
    let scene = Scene::new();
    check_method(
        &scene,
        "bert",
        "--method bottleneck --head flexible",
        "",
        &ADAPTER_FILES,
    );
    check_forward(&scene, 0);
    let names: Vec<_> = scene
        .tensors("run/model_head.safetensors")
        .into_keys()
        .collect();
    assert_eq!(
        names,
        [
            "heads.pelt.1.bias",
            "heads.pelt.1.weight",
            "heads.pelt.4.bias",
            "heads.pelt.4.weight"
        ]
    );
}

#[test]
fn a_union_from_a_file_trains_and_all_commands_agree() {
    let scene = Scene::new();
    let union = "[[parts]]\ntype = \"lora\"\nr = 2\n\n[[parts]]\ntype = \"bottleneck\"\nreduction_factor = 8\n";
    scene.write("union.toml", union);
    let method = "--method-file union.toml --set lora.r=4";
    check_method(&scene, "bert", method, "", &ADAPTER_FILES);
    let parts = &scene.read_json("run/run.json")["config"]["tuning"]["adapter"]["parts"];
    assert_eq!(parts[0]["r"], 4);
    assert_eq!(parts[1]["reduction_factor"], 8.0);
}

#[test]
fn settings_that_the_public_library_lacks_are_saved_too() {
    let scene = Scene::new();
    let method =
        "--method prompt --set prompt.word_embeddings=true --set prompt.prompt_init=sampled_vocab";
    check_method(&scene, "bert", method, "", &ADAPTER_FILES);
    check_forward(&scene, 10);
    let scene = Scene::new();
    let method = "--method lora --set lora.use_rslora=true --set lora.pooler_lora=true --set lora.bias=lora_only";
    check_method(&scene, "bert", method, "", &ADAPTER_FILES);
    check_forward(&scene, 0);
}

#[test]
fn roberta_trains_and_all_commands_agree() {
    let scene = Scene::new();
    scene.roberta("roberta");
    check_method(&scene, "roberta", SMALL_UNION, "", &ADAPTER_FILES);
    let names: Vec<_> = scene
        .tensors("run/model_head.safetensors")
        .into_keys()
        .collect();
    assert!(
        names.contains(&"classifier.out_proj.weight".to_string()),
        "{names:?}"
    );
}

#[test]
fn rows_that_can_be_learnt_are_learnt() {
    for (method, least) in [
        ("--method full --lr 3e-3", 0.95),
        // Without dropout, so that the outcome does not hang on the masks that a seed happens to draw.
        ("--method lora --set lora.r=4 --lr 1e-2 --dropout 0", 0.9),
    ] {
        let scene = Scene::new();
        scene.write("train.tsv", labelled(200, 3));
        let train = "train --model bert --train-file train.tsv --max-length 32 --batch-size 8 --epochs 12 --out run";
        scene.succeeds(&format!("{train} {method}"));
        let scores = scene
            .succeeds("evaluate --run run --model bert --file dev.tsv --json")
            .json();
        assert!(number(&scores["accuracy"]) >= least, "{method}: {scores}");
    }
}

#[test]
fn pairs_are_read_from_two_columns_and_from_lines_with_a_tab() {
    let scene = Scene::new();
    scene.write("train.tsv", pairs(40, 1));
    scene.write("dev.tsv", pairs(20, 2));
    let named = "--text-column first --pair-column second";
    scene.succeeds(&format!(
        "train --model bert --train-file train.tsv --validation-file dev.tsv {named} --method lora --epochs 2 \
         --batch-size 8 --max-length 32 --out run"
    ));
    let scores = scene
        .succeeds(&format!(
            "evaluate --run run --model bert --file dev.tsv {named} --json"
        ))
        .json();
    let (texts, labels): (Vec<_>, Vec<_>) = scene.rows("dev.tsv").into_iter().unzip();
    scene.write("pairs.tsv", texts.join("\n"));
    let predicted = scene
        .succeeds("predict --run run --model bert --file pairs.tsv")
        .json_lines();
    let right = predicted
        .iter()
        .zip(&labels)
        .filter(|(row, label)| row["label"] == label.as_str());
    assert_close(
        right.count() as f64 / 20.0,
        number(&scores["accuracy"]),
        1e-9,
        "accuracy",
    );
    // The second text counts: without it the prediction is another one.
    let other = scene.pelt_with_input(
        "predict --run run --model bert",
        "the good\tthe good\nthe good\tthe bad\n",
    );
    let rows = other.json_lines();
    assert_ne!(rows[0]["probabilities"], rows[1]["probabilities"]);
}

#[test]
fn a_regression_learns_scores() {
    let scene = Scene::new();
    scene.write("train.tsv", scored(150, 1));
    scene.write("dev.tsv", scored(30, 2));
    scene.succeeds(
        "train --model bert --train-file train.tsv --validation-file dev.tsv --regression --method full --epochs 10 \
         --batch-size 8 --lr 3e-3 --max-length 32 --out run",
    );
    let scores = scene
        .succeeds("evaluate --run run --model bert --file dev.tsv --json")
        .json();
    assert!(
        number(&scores["pearson"]) > 0.8 && number(&scores["spearmanr"]) > 0.7,
        "{scores}"
    );
    let best = &scene.read_json("run/run.json")["results"]["best"];
    assert_close(
        number(&scores["pearson"]),
        number(&best["pearson"]),
        1e-6,
        "pearson",
    );
    let predicted = scene
        .pelt_with_input("predict --run run --model bert", "good great\nbad\n")
        .json_lines();
    assert!(
        number(&predicted[0]["score"]) > number(&predicted[1]["score"]),
        "{predicted:?}"
    );
}

#[test]
fn train_rows_limits_the_rows() {
    let scene = Scene::new();
    scene.succeeds(
        "train --model bert --train-file train.tsv --train-rows 10 --method lora --epochs 2 --batch-size 4 \
         --max-length 32 --out run",
    );
    let run = scene.read_json("run/run.json");
    assert_eq!(run["config"]["data"]["train_rows"], 10);
    let rows = scene
        .metrics("run", "step")
        .iter()
        .map(|step| step["rows"].as_u64().unwrap())
        .collect::<Vec<_>>();
    assert_eq!(rows, [4, 4, 2, 4, 4, 2]);
}

#[test]
fn training_stops_when_patience_runs_out() {
    let scene = Scene::new();
    // A learning rate at which nothing changes: only the first evaluation is the best so far.
    let answer = scene.succeeds(
        "train --model bert --train-file train.tsv --validation-file dev.tsv --method lora --epochs 9 --batch-size 8 \
         --lr 1e-12 --patience 2 --max-length 32 --out run --json",
    );
    let results = answer.json();
    assert_eq!(results["stopped_early"], true);
    assert_eq!(
        (&results["steps"], &results["best_step"]),
        (&15.into(), &5.into())
    );
    assert_eq!(scene.read_json("run/run.json")["results"], results);
}

#[test]
fn evaluations_come_every_so_many_steps_and_at_the_end() {
    let scene = Scene::new();
    scene.succeeds(
        "train --model bert --train-file train.tsv --validation-file dev.tsv --method lora --epochs 2 --batch-size 8 \
         --evaluate-every 4 --max-length 32 --out run",
    );
    let steps: Vec<_> = scene
        .metrics("run", "evaluation")
        .iter()
        .map(|e| e["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [4, 8, 10]);
}

#[test]
fn two_accumulated_batches_are_one_batch_of_double_size() {
    let scene = Scene::new();
    // The last step of an epoch has an odd batch: 36 rows are nine batches of four.
    let train = "train --model bert --train-file train.tsv --train-rows 36 --method bottleneck --dropout 0 --epochs 2 \
                 --max-length 32 --lr 1e-3";
    scene.succeeds(&format!("{train} --batch-size 8 --out whole"));
    scene.succeeds(&format!(
        "{train} --batch-size 4 --gradient-accumulation 2 --out halves"
    ));
    let (whole, halves) = (
        scene.metrics("whole", "step"),
        scene.metrics("halves", "step"),
    );
    assert_eq!((whole.len(), halves.len()), (10, 10));
    for (whole, halves) in whole.iter().zip(&halves) {
        assert_eq!(whole["rows"], halves["rows"]);
        assert_close(
            number(&halves["loss"]),
            number(&whole["loss"]),
            1e-5,
            "loss",
        );
    }
    for file in ["adapter.safetensors", "model_head.safetensors"] {
        let halves = scene.tensors(&format!("halves/{file}"));
        for (name, whole) in scene.tensors(&format!("whole/{file}")) {
            for (found, expected) in halves[&name].values.iter().zip(&whole.values) {
                assert_close(f64::from(*found), f64::from(*expected), 1e-5, &name);
            }
        }
    }
}

#[test]
fn a_seed_decides_every_byte_on_any_number_of_threads() {
    let scene = Scene::new();
    let train = format!(
        "train --model bert --train-file train.tsv --validation-file dev.tsv --epochs 2 --batch-size 8 --max-length 32 \
         {SMALL_UNION}"
    );
    for (threads, seed, out) in [("1", 7, "one"), ("4", 7, "four"), ("2", 8, "other")] {
        let mut process = scene.process(&format!("{train} --seed {seed} --out {out}"));
        let output = process.env("RAYON_NUM_THREADS", threads).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    for file in ["adapter.safetensors", "model_head.safetensors"] {
        let [one, four, other] =
            ["one", "four", "other"].map(|run| scene.read(&format!("{run}/{file}")));
        assert!(one == four, "{file} depends on the number of threads");
        assert!(one != other, "{file} does not depend on the seed");
    }
}

#[test]
fn a_model_with_a_head_of_its_own_gives_logits() {
    let scene = Scene::new();
    scene.copy("bert", "cls");
    let trained = pelt_testkit::fixture("models/bert/cls/model.safetensors");
    std::fs::copy(trained, scene.path("cls/model.safetensors")).unwrap();
    scene.write_integers(
        "in.safetensors",
        &[
            ("input_ids", &[1, 3], &[2, 7, 3]),
            ("attention_mask", &[1, 3], &[1, 1, 1]),
            ("token_type_ids", &[1, 3], &[0, 1, 1]),
        ],
    );
    scene.succeeds("forward --model cls --inputs in.safetensors --output out.safetensors");
    let out = scene.tensors("out.safetensors");
    assert_eq!(out["logits"].shape, [1, 3]);
    scene.succeeds(
        "forward --model bert --head cls --inputs in.safetensors --output borrowed.safetensors",
    );
    assert_eq!(
        scene.tensors("borrowed.safetensors")["logits"].shape,
        [1, 3]
    );
    scene.succeeds("forward --model bert --inputs in.safetensors --output headless.safetensors");
    assert!(!scene.tensors("headless.safetensors").contains_key("logits"));
}

#[test]
fn methods_lists_the_registry_with_counts() {
    let scene = Scene::new();
    let methods = scene.succeeds("methods --json").json();
    let methods = methods.as_array().unwrap();
    let named = |name: &str| {
        methods
            .iter()
            .find(|method| method["name"] == name)
            .unwrap()
    };
    assert_eq!(named("unipelt-prompt")["parameters_bert_base"], 11_091_056);
    assert_eq!(named("lora")["parameters_bert_base"], 294_912);
    assert_eq!(named("lora")["defaults"]["parts"][0]["r"], 8);
    assert_eq!(named("full")["parameters_bert_base"], 109_482_240);
    let text = scene.succeeds("methods").stdout;
    for method in methods {
        assert!(text.contains(method["name"].as_str().unwrap()), "{text}");
    }
}

#[test]
fn inspect_shows_components_that_add_up() {
    let scene = Scene::new();
    let inspected = scene
        .succeeds(&format!("inspect --model bert --json {SMALL_UNION}"))
        .json();
    let components = inspected["components"].as_array().unwrap();
    let sum: f64 = components
        .iter()
        .map(|component| number(&component["parameters"]))
        .sum();
    assert_close(
        sum,
        number(&inspected["trainable"]),
        0.0,
        "sum of the components",
    );
    let count = |name: &str| {
        let component = components
            .iter()
            .find(|component| component["component"] == name);
        component.unwrap()["parameters"].as_u64().unwrap()
    };
    // Two layers, query and value, two factors of 2 × 32 each.
    assert_eq!(count("lora"), 2 * 2 * 2 * 64);
    assert_eq!(count("prompt"), 3 * 32);
    assert_eq!(count("head"), 33 * 2);
    let text = scene
        .succeeds(&format!("inspect --model bert {SMALL_UNION}"))
        .stdout;
    assert!(
        text.contains("lora gates") && text.contains("frozen encoder"),
        "{text}"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let scene = Scene::new();
    let mut process = scene.process("methods --json");
    let mut child = process
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}

#[test]
fn every_shell_has_completions() {
    let scene = Scene::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = scene.succeeds(&format!("completions {shell}")).stdout;
        assert!(
            script.contains("unipelt") || script.contains("--method"),
            "{shell}"
        );
    }
    let answer = scene.pelt("completions basch");
    assert!(
        answer.code == Some(2) && answer.stderr.contains("bash"),
        "{answer:?}"
    );
}

/// Every example of a subcommand's help is a command line that the program reads.
#[test]
fn the_examples_in_the_help_are_understood() {
    let scene = Scene::new();
    let mut examples = 0;
    for command in [
        "train", "pretrain", "evaluate", "predict", "export", "import", "merge",
    ] {
        let help = scene.succeeds(&format!("{command} --help")).stdout;
        let (_, shown) = help.split_once("Examples:").unwrap();
        for line in shown.lines().filter(|line| line.contains("pelt ")) {
            let (_, arguments) = line.split_once("pelt ").unwrap();
            let answer = scene.pelt(arguments);
            // Its folders are not here, but nothing is wrong with the words: clap would add how to get help.
            assert!(!answer.stderr.contains("--help"), "{line}: {answer:?}");
            assert_eq!(answer.code, Some(2), "{line}: {answer:?}");
            examples += 1;
        }
    }
    assert!(examples >= 14, "{examples}");
}
