//! Questions about passages, from training to answers.

#![allow(clippy::unwrap_used)] // Helpers of tests may unwrap as tests do.

mod common;

use std::process::Stdio;

use common::{SMALL_UNION, Scene};
use serde_json::{Value, json};

const TRAIN: &str = "train --model bert --data data --task squad --max-length 24 --doc-stride 4 --batch-size 8 --out run";

const GOOD: [&str; 5] = ["good", "great", "fine", "nice", "happy"];
const FILLER: [&str; 6] = ["the", "movie", "was", "story", "and", "plot"];

/// A file of questions, each answered by the only word of its passage that praises.
fn questions(count: usize, words: usize) -> String {
    let paragraphs = (0..count).map(|number| {
        let place = number * 7 % words;
        let answer = GOOD[number % GOOD.len()];
        let mut passage: Vec<&str> = (0..words)
            .map(|word| FILLER[(number * 3 + word * 5 + word * word) % FILLER.len()])
            .collect();
        passage[place] = answer;
        let start: usize = passage[..place].iter().map(|word| word.len() + 1).sum();
        json!({
            "context": passage.join(" "),
            "qas": [{
                "id": format!("q{number}"),
                "question": "was it good",
                "answers": [{ "text": answer, "answer_start": start }],
            }],
        })
    });
    let paragraphs: Vec<Value> = paragraphs.collect();
    json!({ "version": "1.1", "data": [{ "title": "t", "paragraphs": paragraphs }] }).to_string()
}

fn scene() -> Scene {
    let scene = Scene::new();
    scene.write("data/squad/train-v1.1.json", questions(60, 30));
    scene.write("data/squad/dev-v1.1.json", questions(20, 30));
    scene
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// Trains with these options and checks that evaluation, both files and `predict` agree.
fn check(scene: &Scene, options: &str, least: f64) -> Value {
    scene.succeeds(&format!("{TRAIN} {options}"));
    let run = scene.read_json("run/run.json");
    let results = &run["results"];
    assert_eq!(run["config"]["data"]["train"], "squad (part) train");
    assert_eq!(results["best_on"]["set"], "squad (part) validation");
    let evaluate = "evaluate --run run --model bert --data data --task squad --predictions out";
    let scores = scene.succeeds(&format!("{evaluate} --json")).json();
    for name in ["exact_match", "f1"] {
        let difference = number(&scores[name]) - number(&results["best"][name]);
        assert!(difference.abs() < 1e-6, "{name}: {difference}");
    }
    assert!(number(&scores["f1"]) >= least, "{options}: {scores}");
    assert_eq!(scores["data"][0]["set"], "squad (part)");

    let gold = scene.read_json("data/squad/dev-v1.1.json");
    let predictions = scene.read_json("out/predictions.json");
    let all = scene.read_json("out/nbest_predictions.json");
    assert_eq!(predictions.as_object().unwrap().len(), 20);
    check_question_scores(scene, &predictions, &scores);
    let (mut input, mut right) = (String::new(), 0);
    for paragraph in gold["data"][0]["paragraphs"].as_array().unwrap() {
        let (context, qa) = (&paragraph["context"], &paragraph["qas"][0]);
        let id = qa["id"].as_str().unwrap();
        right += usize::from(predictions[id] == qa["answers"][0]["text"]);
        assert_eq!(all[id][0]["text"], predictions[id]);
        let shares = all[id].as_array().unwrap().iter();
        let sum: f64 = shares.map(|answer| number(&answer["probability"])).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
        let [question, context] = [&qa["question"], context].map(|text| text.as_str().unwrap());
        input.push_str(&format!("{question}\t{context}\n"));
    }
    assert!((right as f64 * 5.0 - number(&scores["exact_match"])).abs() < 1e-6);

    let answers = scene
        .pelt_with_input(
            "predict --run run --model bert --batch-size 3",
            input.clone(),
        )
        .json_lines();
    assert_eq!(answers.len(), 20);
    for (index, (answer, line)) in answers.iter().zip(input.lines()).enumerate() {
        let text = answer["answer"].as_str().unwrap();
        assert_eq!(predictions[format!("q{index}")], text);
        let passage: Vec<char> = line.split_once('\t').unwrap().1.chars().collect();
        let [start, end] = ["start", "end"].map(|side| answer[side].as_u64().unwrap() as usize);
        assert_eq!(passage[start..end].iter().collect::<String>(), text);
        let best = &all[format!("q{index}")][0];
        let score = number(&best["start_logit"]) + number(&best["end_logit"]);
        assert!((number(&answer["score"]) - score).abs() < 1e-4);
    }
    run
}

/// Checks that the scores of single questions fit the predictions, and that their means are the whole set's.
fn check_question_scores(scene: &Scene, predictions: &Value, scores: &Value) {
    let text = String::from_utf8(scene.read("out/question_scores.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    assert_eq!(lines.len(), 20);
    for (index, line) in lines.iter().enumerate() {
        assert_eq!(line["id"], format!("q{index}"));
        assert_eq!(line.as_object().unwrap().len(), 3);
        let is_right = predictions[format!("q{index}")] == GOOD[index % GOOD.len()];
        assert_eq!(number(&line["exact_match"]), f64::from(u8::from(is_right)));
        assert!((0.0..=1.0).contains(&number(&line["f1"])), "{line}");
    }
    for name in ["exact_match", "f1"] {
        let sum: f64 = lines.iter().map(|line| number(&line[name])).sum();
        let difference = 100.0 * sum / 20.0 - number(&scores[name]);
        assert!(difference.abs() < 1e-9, "{name}: {difference}");
    }
}

#[test]
fn questions_are_learnt_and_all_commands_agree() {
    let scene = scene();
    let run = check(&scene, "--method full --lr 3e-3 --epochs 8", 80.0);
    assert_eq!(run["config"]["target"]["kind"], "span");
    let head = scene.read_json("run/head_config.json");
    assert_eq!(head["model_class"], "BertForQuestionAnswering");
    let names: Vec<String> = scene
        .tensors("run/model_head.safetensors")
        .into_keys()
        .collect();
    assert_eq!(names, ["qa_outputs.bias", "qa_outputs.weight"]);
}

#[test]
fn prompts_are_passed_over_unless_told_otherwise() {
    let scene = scene();
    let method = "--method prompt --epochs 1 --lr 5e-3";
    let shifted = check(&scene, method, 0.0);
    let kind = &shifted["config"]["head"]["kind"];
    assert_eq!(kind["span"]["prompt_labels"], "shifted");
    let method = "--method prompt --set prompt.combine=prefix_after_bos --epochs 1 --force";
    check(&scene, method, 0.0);
    let unshifted = format!("{SMALL_UNION} --prompt-labels unshifted --epochs 1 --force");
    let unshifted = check(&scene, &unshifted, 0.0);
    let kind = &unshifted["config"]["head"]["kind"];
    assert_eq!(kind["span"]["prompt_labels"], "unshifted");

    let evaluate = "evaluate --run run --model bert --data data --task squad --json";
    let plain = scene.succeeds(evaluate).json();
    let mut shown = scene.succeeds(&format!("{evaluate} --gates")).json();
    let gates = shown.as_object_mut().unwrap().remove("gates").unwrap();
    assert_eq!(shown, plain);
    assert_eq!(gates.as_array().unwrap().len(), 8);
    for gate in gates.as_array().unwrap() {
        assert!((0.0..1.0).contains(&number(&gate["mean"])), "{gate}");
    }
    let skipped = scene.succeeds(&format!("{evaluate} --gates --skip-layers 0"));
    let skipped = skipped.json()["gates"].clone();
    assert_eq!(skipped.as_array().unwrap().len(), 4);
    scene.refuses(
        &format!("{evaluate} --skip-layers 2"),
        &["--skip-layers", "2 layers"],
    );
}

#[test]
fn a_flexible_head_is_saved_under_the_public_librarys_names() {
    let scene = scene();
    check(&scene, "--method lora --head flexible --epochs 1", 0.0);
    let head = scene.read_json("run/head_config.json");
    assert_eq!(head["config"]["head_type"], "question_answering");
    let names: Vec<String> = scene
        .tensors("run/model_head.safetensors")
        .into_keys()
        .collect();
    assert_eq!(names, ["heads.pelt.1.bias", "heads.pelt.1.weight"]);
    // The public files alone give the same logits as the run.
    let (ids, mask) = ([2, 15, 5, 16, 3], [1; 5]);
    scene.write_integers(
        "in.safetensors",
        &[
            ("input_ids", &[1, 5], &ids),
            ("attention_mask", &[1, 5], &mask),
        ],
    );
    let forward =
        "forward --model bert --adapter run --inputs in.safetensors --output out.safetensors";
    scene.succeeds(forward);
    let of_run = scene.read("out.safetensors");
    let out = scene.tensors("out.safetensors");
    assert_eq!(
        (&out["start_logits"].shape, &out["end_logits"].shape),
        (&vec![1, 5], &vec![1, 5])
    );
    std::fs::remove_file(scene.path("run/run.json")).unwrap();
    scene.succeeds(forward);
    assert!(scene.read("out.safetensors") == of_run);
}

#[test]
fn a_model_with_a_span_head_of_its_own_gives_start_and_end_logits() {
    let scene = Scene::new();
    scene.copy("bert", "qa");
    let trained = pelt_testkit::fixture("models/bert/qa/model.safetensors");
    std::fs::copy(trained, scene.path("qa/model.safetensors")).unwrap();
    let inputs = pelt_testkit::fixture("inputs/bert_ragged.safetensors");
    scene.succeeds(&format!(
        "forward --model qa --inputs {} --output out.safetensors",
        inputs.display()
    ));
    let expected = pelt_testkit::fixture("cases/base/bert_qa/expected.safetensors");
    let expected = pelt_tensors::TensorFiles::open(&expected).unwrap();
    // Real tokens of the first and of the last sequence; the reference has values for padding, which is zero here.
    let out = scene.tensors("out.safetensors");
    for name in ["start_logits", "end_logits"] {
        let (found, expected) = (&out[name], expected.read(name).unwrap());
        assert_eq!(found.shape, expected.shape);
        for place in (0..12).chain(48..59) {
            let difference = (found.values[place] - expected.values[place]).abs();
            assert!(difference < 1e-4, "{name} {place}: {difference}");
        }
        assert_eq!(found.values[59], 0.0);
    }
}

#[test]
fn a_run_of_questions_that_was_stopped_goes_on() {
    let scene = scene();
    let train = format!("{TRAIN} --method lora --epochs 2 --train-rows 24 --checkpoint-every 2");
    scene.succeeds(&train.replace("--out run", "--out whole"));
    let mut process = scene.process(&train);
    let mut child = process.stderr(Stdio::null()).spawn().unwrap();
    for _ in 0..2000 {
        if scene.path("run/checkpoint.safetensors").exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    if !scene.path("run/run.json").exists() {
        scene.refuses(
            &format!("{train} --resume --doc-stride 5").replace("--doc-stride 4", ""),
            &["cannot resume", "questions"],
        );
        scene.succeeds(&format!("{train} --resume"));
    }
    for file in ["adapter.safetensors", "model_head.safetensors"] {
        assert!(
            scene.read(&format!("run/{file}")) == scene.read(&format!("whole/{file}")),
            "{file}"
        );
    }
}

#[test]
fn held_out_questions_choose_and_the_development_set_is_the_test() {
    let scene = scene();
    scene.succeeds(&format!(
        "{TRAIN} --method lora --epochs 1 --train-rows 20 --dev-rows 15"
    ));
    let results = scene.read_json("run/run.json")["results"].clone();
    assert_eq!(results["best_on"]["set"], "squad (part) train (held out)");
    assert_eq!(results["best_on"]["rows"], 15);
    assert_eq!(results["test"]["set"], "squad (part) validation");
    assert!(results["test"]["values"]["f1"].is_number());
    // Without a number all other questions are trained on.
    scene.succeeds(&format!(
        "{TRAIN} --method lora --epochs 1 --dev-rows 15 --force"
    ));
    let run = scene.read_json("run/run.json");
    assert_eq!(run["config"]["data"]["train_rows"], 45);
    assert_eq!(run["results"]["best_on"]["rows"], 15);
    assert_eq!(run["results"]["test"]["set"], "squad (part) validation");
    scene.refuses(
        &format!("{TRAIN} --method lora --epochs 1 --dev-rows 60")
            .replace("--out run", "--out other"),
        &[
            "--dev-rows 60",
            "no row to train on",
            "squad (part) train",
            "60 rows",
        ],
    );
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let scene = scene();
    scene.refuses(
        &format!("{TRAIN} --method lora --max-answer-tokens 0"),
        &["--max-answer-tokens", "at least 1"],
    );
    scene.refuses(
        &format!("{TRAIN} --method lora").replace("--doc-stride 4", "--doc-stride 30"),
        &["squad (part) train", "row 1", "30 tokens"],
    );
    let good = scene.read("data/squad/train-v1.1.json");
    scene.change_json("data/squad/train-v1.1.json", |file| {
        file["data"][0]["paragraphs"][2]["qas"][0]["answers"] = json!([]);
    });
    scene.refuses(
        &format!("{TRAIN} --method lora"),
        &["squad (part) train", "question 3", "\"q2\"", "no answer"],
    );
    scene.write("data/squad/train-v1.1.json", good);
    scene.succeeds(&format!("{TRAIN} --method lora --epochs 1 --train-rows 8"));
    scene.refuses(
        "evaluate --run run --model bert --data data --task mrpc",
        &["mrpc"],
    );
    scene.refuses(
        "evaluate --run run --model bert --file dev.tsv",
        &["--task squad"],
    );
    let predict = "predict --run run --model bert";
    scene.refuses_input(predict, "was it good\n", &["line 1", "two texts"]);
    scene.refuses_input(
        predict,
        "was it good\tgood\n \tgood\n",
        &["line 2", "question is empty"],
    );
    scene.refuses_input(predict, "was it good\t\n", &["line 1", "passage is empty"]);
    // A passage of one token, and one that gives no token at all.
    let answers = scene
        .pelt_with_input(predict, "was it good\tgood\nwas it good\t\u{200b}\n")
        .json_lines();
    assert_eq!(answers[0]["answer"], "good");
    assert_eq!(
        (&answers[0]["start"], &answers[0]["end"]),
        (&0.into(), &4.into())
    );
    assert_eq!(answers[1]["answer"], Value::Null);

    let train = "train --model bert --train-file train.tsv --method lora --epochs 1 --max-length 32 --out rows";
    scene.succeeds(train);
    scene.refuses(
        "evaluate --run rows --model bert --data data --task squad",
        &["squad", "questions"],
    );
}
