//! Files of rows. The first byte says which kind the rest is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pelt_data::{Card, UserFile, UserTask, read_documents, read_questions, read_split};
use pelt_fuzz::Scene;

fuzz_target!(init: pelt_fuzz::allow_caught_panics(), |content: &[u8]| {
    pelt_fuzz::read(|| read(content));
});

fn read(content: &[u8]) {
    let Some((kind, content)) = content.split_first() else {
        return;
    };
    let scene = Scene::new();
    let ending = match kind % 8 {
        0 => "csv",
        1 => "tsv",
        2 => "jsonl",
        3 => "parquet",
        4 => {
            scene.write("squad/train-v1.1.json", content);
            let card = Card::builtin("squad").expect("a built-in task");
            let _ = read_questions(scene.path(), &card, "train");
            return;
        }
        5 => {
            scene.write("glue/mrpc/train-00000-of-00001.parquet", content);
            let card = Card::builtin("mrpc").expect("a built-in task");
            let _ = read_split(scene.path(), &card, "train");
            return;
        }
        6 => {
            scene.write("domain/chemprot/train.jsonl", content);
            let card = Card::builtin("chemprot").expect("a built-in task");
            let _ = read_split(scene.path(), &card, "train");
            return;
        }
        _ => {
            scene.write("squad/train-00000-of-00001.parquet", content);
            let card = Card::builtin("squad").expect("a built-in task");
            let _ = read_questions(scene.path(), &card, "train");
            return;
        }
    };
    let path = scene.write(&format!("rows.{ending}"), content);
    for task in [UserTask::Classification, UserTask::Regression] {
        let file = UserFile {
            path: path.clone(),
            text_column: "text".into(),
            pair_column: None,
            label_column: Some("label".into()),
            task,
            labels: None,
        };
        let _ = file.read();
    }
    let _ = read_documents(&path, "text");
}
