//! Rows that cannot be used.

use crate::common::{Scene, parquet_file};
use crate::{train_with, trained};

fn train_on_file(file: &str) -> String {
    train_with("").replace("train.tsv", file)
}

#[test]
fn a_missing_column_is_answered_with_those_there() {
    let scene = Scene::new();
    scene.write("a.csv", "sentence,gold\ngood,1\nbad,0\n");
    scene.write("a.jsonl", "{\"sentence\": \"good\", \"gold\": 1}\n");
    let rows = [("a", "b", 1), ("c", "d", 0)];
    parquet_file::write(
        &scene.path("a.parquet"),
        ["sentence", "other", "gold"],
        &rows,
    );
    for file in ["a.csv", "a.jsonl", "a.parquet"] {
        scene.refuses(&train_on_file(file), &[file, "column \"text\"", "sentence"]);
        let command = train_on_file(file) + " --text-column sentence";
        scene.refuses(&command, &[file, "column \"label\"", "gold"]);
    }
    scene.refuses(
        &train_with("--pair-column second"),
        &["train.tsv", "column \"second\"", "text, label"],
    );
}

#[test]
fn a_file_that_is_not_there_or_empty_or_of_no_known_kind_is_named() {
    let scene = Scene::new();
    scene.refuses(&train_on_file("none.tsv"), &["none.tsv", "No such file"]);
    scene.refuses(&train_on_file("bert"), &["bert", "extension"]);
    for (file, content) in [
        ("empty.tsv", ""),
        ("empty.csv", "text,label\n"),
        ("empty.jsonl", "\n\n"),
        ("empty.parquet", ""),
    ] {
        scene.write(file, content);
        scene.refuses(&train_on_file(file), &[file, "no rows"]);
    }
    scene.write("cut.parquet", "PAR1");
    scene.refuses(&train_on_file("cut.parquet"), &["cut.parquet", "Parquet"]);
    scene.write("rows.txt", "good\n");
    scene.refuses(&train_on_file("rows.txt"), &["rows.txt", "csv, tsv, jsonl"]);
    scene.refuses(
        &train_with("--validation-file none.tsv"),
        &["none.tsv", "No such file"],
    );
}

#[test]
fn text_that_is_not_utf8_names_its_row() {
    let scene = Scene::new();
    scene.write("a.tsv", b"text\tlabel\ngood\tyes\nb\xffd\tno\n");
    scene.refuses(&train_on_file("a.tsv"), &["row 2", "a.tsv", "UTF-8"]);
    scene.write("a.csv", b"text,label\n\xe4,yes\n");
    scene.refuses(&train_on_file("a.csv"), &["row 1", "a.csv", "UTF-8"]);
    scene.write("a.jsonl", b"{\"text\": \"\xff\", \"label\": 1}\n");
    scene.refuses(&train_on_file("a.jsonl"), &["a.jsonl", "row 1"]);
}

#[test]
fn a_row_that_is_malformed_is_named() {
    let scene = Scene::new();
    scene.write("a.csv", "text,label\ngood,yes\nbad,no,maybe\n");
    scene.refuses(
        &train_on_file("a.csv"),
        &["row 2", "a.csv", "3 fields", "expected 2"],
    );
    scene.write(
        "a.jsonl",
        "{\"text\": \"good\", \"label\": 1}\n{\"text\": \n",
    );
    scene.refuses(&train_on_file("a.jsonl"), &["row 2", "a.jsonl"]);
}

#[test]
fn a_label_that_cannot_be_is_named() {
    let scene = Scene::new();
    scene.write("other.tsv", "text\tlabel\ngood\tpositive\nfine\tneutral\n");
    scene.refuses(
        &train_with("--validation-file other.tsv"),
        &["row 2", "other.tsv", "neutral", "negative, positive"],
    );
    scene.write("missing.tsv", "text\tlabel\ngood\tpositive\nbad\t\n");
    scene.refuses(
        &train_on_file("missing.tsv"),
        &["row 2", "missing.tsv", "label"],
    );
    scene.write("one.tsv", "text\tlabel\ngood\tpositive\nfine\tpositive\n");
    scene.refuses(
        &train_on_file("one.tsv"),
        &["one", "two classes", "positive"],
    );
    scene.refuses(
        &train_with("--regression"),
        &["row 1", "train.tsv", "number", "negative"],
    );
    scene.write("nan.tsv", "text\tlabel\ngood\t1.5\nbad\tNaN\n");
    scene.refuses(
        &(train_on_file("nan.tsv") + " --regression"),
        &["row 2", "nan.tsv", "NaN", "finite"],
    );
}

#[test]
fn a_task_checks_its_rows_against_its_card() {
    let scene = Scene::new();
    let train =
        "train --model bert --method lora --epochs 1 --max-length 32 --out run --data data --task";
    scene.refuses(&format!("{train} mrcp"), &["mrcp", "mrpc"]);
    scene.refuses(&format!("{train} mrpc"), &["mrpc", "data"]);
    let file = "data/glue/mrpc/train-00000-of-00001.parquet";
    let columns = ["sentence1", "sentence2", "label"];
    let rows = [("good", "fine", 1), ("good", "bad", 7)];
    parquet_file::write(&scene.path(file), columns, &rows);
    scene.refuses(
        &format!("{train} mrpc"),
        &["row 2", file, "7", "not_equivalent, equivalent"],
    );
    parquet_file::write(
        &scene.path(file),
        ["sentence1", "sentence", "label"],
        &rows[..1],
    );
    scene.refuses(&format!("{train} mrpc"), &[file, "column \"sentence2\""]);
    parquet_file::write(&scene.path(file), columns, &rows[..1]);
    scene.refuses(
        &format!("{train} mrpc"),
        &["data/glue/mrpc", "split \"validation\"", "train"],
    );
}

#[test]
fn a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint() {
    let scene = Scene::new();
    let train = train_with("--lr 1e30 --max-grad-norm 0 --checkpoint-every 1");
    let answer = scene.pelt(&train);
    crate::common::assert_error(
        &train,
        &answer,
        // The first step is one of warm-up, with the rate 0.
        &["loss is NaN", "step 3", "epoch 1", "batch 3"],
    );
    assert_eq!(
        scene.names("run"),
        ["checkpoint.safetensors", "metrics.jsonl", "started.json"]
    );
    assert_eq!(scene.metrics("run", "step").len(), 2);
    for (name, tensor) in scene.tensors("run/checkpoint.safetensors") {
        assert!(
            tensor.values.iter().all(|x| x.is_finite()),
            "{name} in the checkpoint"
        );
    }
    scene.refuses("predict --run run --model bert", &["run", "not finished"]);
    // It goes on from the checkpoint, and so to the same end.
    scene.fails(&format!("{train} --resume"), "", &["loss is NaN", "step 3"]);
}

#[test]
fn predict_wants_the_texts_that_the_run_was_trained_on() {
    let scene = trained();
    let predict = "predict --run run --model bert";
    scene.refuses_input(
        predict,
        b"good\nb\xffd\n",
        &["standard input", "line 2", "UTF-8"],
    );
    scene.refuses(
        &format!("{predict} --file none.txt"),
        &["none.txt", "cannot be read"],
    );
    scene.refuses(
        &format!("{predict} --batch-size 0"),
        &["--batch-size", "at least 1"],
    );
    scene.write("train.tsv", crate::common::pairs(20, 1));
    scene.succeeds(&train_with(
        "--force --text-column first --pair-column second",
    ));
    let fragments = ["standard input", "line 2", "two texts", "tab", "found one"];
    scene.refuses_input(predict, "good\tfine\ngood\n", &fragments);
}

#[test]
fn a_file_is_scored_with_the_columns_and_the_kind_of_texts_of_the_run() {
    let scene = trained();
    let evaluate = "evaluate --run run --model bert --file dev.tsv";
    scene.refuses(
        &format!("{evaluate} --pair-column text"),
        &["dev.tsv", "single texts", "--pair-column"],
    );
    scene.refuses(
        "evaluate --run run --model bert --task mrpc --label-column label",
        &["--label-column", "file of one's own"],
    );
    let pairs = crate::common::pairs(20, 1);
    scene.write("train.tsv", pairs.clone());
    scene.write("dev.tsv", pairs.replacen("first\t", "one\t", 1));
    scene.succeeds(&train_with(
        "--force --text-column first --pair-column second",
    ));
    scene.refuses(evaluate, &["dev.tsv", "first"]);
    let named = scene.succeeds(&format!("{evaluate} --text-column one --json"));
    let again = scene.succeeds(&evaluate.replace("dev.tsv", "train.tsv --json"));
    assert_eq!(named.json(), again.json());
}

#[test]
fn classes_in_another_order_are_not_scored_as_they_stand() {
    let scene = Scene::new();
    let rows = [
        ("good movie", "great film", 1),
        ("good movie", "bad plot", 0),
    ];
    parquet_file::write(
        &scene.path("data/glue/mrpc/validation-00000-of-00001.parquet"),
        ["sentence1", "sentence2", "label"],
        &rows,
    );
    let lines: String = ["equivalent", "not_equivalent"]
        .iter()
        .cycle()
        .take(20)
        .map(|label| format!("good movie\tgreat film\t{label}\n"))
        .collect();
    scene.write("train.tsv", format!("text\tsecond\tlabel\n{lines}"));
    scene.succeeds(
        "train --model bert --train-file train.tsv --pair-column second --method lora --epochs 1 --max-length 32 --out run",
    );
    scene.refuses(
        "evaluate --run run --model bert --task mrpc --data data",
        &[
            "mrpc (part) validation",
            "not_equivalent, equivalent",
            "trained for equivalent, not_equivalent",
            "--file",
        ],
    );
}
