//! Questions about passages: reading, windows, labels and answers, and everything that can be wrong with them.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, Int32Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use pelt_data::{
    Answer, AnswerRules, Card, Question, QuestionDataset, Standing, Tokenizer, WindowLogits,
    best_answers, question_windows, read_questions, read_split,
};
use serde_json::{Value, json};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../pelt-testkit/fixtures")
        .join(path)
}

fn entries(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(fixture(path)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn squad() -> Card {
    Card::builtin("squad").unwrap()
}

/// One question as the official file has it.
fn entry(id: &str, question: &str, answers: &[(&str, i64)]) -> Value {
    let answers = answers
        .iter()
        .map(|(text, start)| json!({ "text": text, "answer_start": start }));
    json!({ "id": id, "question": question, "answers": answers.collect::<Vec<_>>() })
}

fn official(context: &str, qas: &[Value]) -> Value {
    json!({ "version": "1.1", "data": [{ "title": "t", "paragraphs": [{ "context": context, "qas": qas }] }] })
}

fn read_official(content: &str) -> Result<QuestionDataset, String> {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("squad")).unwrap();
    std::fs::write(root.path().join("squad/dev-v1.1.json"), content).unwrap();
    read_questions(root.path(), &squad(), "validation").map_err(|error| error.to_string())
}

fn official_error(context: &str, qas: &[Value]) -> String {
    let message = read_official(&official(context, qas).to_string()).unwrap_err();
    assert!(
        message.contains("dev-v1.1.json") && !message.contains('\n'),
        "{message}"
    );
    message
}

/// A row of a Parquet file: id, context, question, answers.
type Row<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, i32)]);

/// Writes the Hub's layout, in which all is optional and answers are two lists.
fn write_parquet(path: &Path, rows: &[Row<'_>]) {
    let schema = "message rows {
        optional binary id (STRING);
        optional binary context (STRING);
        optional binary question (STRING);
        optional group answers {
            optional group text (LIST) { repeated group list { optional binary element (STRING); } }
            optional group answer_start (LIST) { repeated group list { optional int32 element; } }
        }
    }";
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let texts: [Vec<ByteArray>; 3] = [
        rows.iter().map(|row| row.0.into()).collect(),
        rows.iter().map(|row| row.1.into()).collect(),
        rows.iter().map(|row| row.2.into()).collect(),
    ];
    for values in texts {
        let mut column = group.next_column().unwrap().unwrap();
        let levels = vec![1; values.len()];
        let typed = column.typed::<ByteArrayType>();
        typed.write_batch(&values, Some(&levels), None).unwrap();
        column.close().unwrap();
    }
    // Level 2 is an empty list, level 4 an element that is there.
    let (mut levels, mut repetitions) = (vec![], vec![]);
    for (.., answers) in rows {
        levels.extend(if answers.is_empty() {
            vec![2]
        } else {
            vec![4; answers.len()]
        });
        repetitions.extend((0..answers.len().max(1)).map(|index| i16::from(index > 0)));
    }
    let answers = || rows.iter().flat_map(|row| row.3.iter());
    let values: Vec<ByteArray> = answers().map(|answer| answer.0.into()).collect();
    let mut column = group.next_column().unwrap().unwrap();
    let typed = column.typed::<ByteArrayType>();
    typed
        .write_batch(&values, Some(&levels), Some(&repetitions))
        .unwrap();
    column.close().unwrap();
    let values: Vec<i32> = answers().map(|answer| answer.1).collect();
    let mut column = group.next_column().unwrap().unwrap();
    let typed = column.typed::<Int32Type>();
    typed
        .write_batch(&values, Some(&levels), Some(&repetitions))
        .unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn both_layouts_give_the_same_questions() {
    let context = "Die Grüße kamen 1907 an.";
    let qas = [
        entry("q1", "When?", &[("1907", 16), ("1907 an", 16)]),
        entry("q2", " What came?", &[("Grüße", 4)]),
        entry("q3", "Who?", &[]),
    ];
    let json = read_official(&official(context, &qas).to_string()).unwrap();
    assert_eq!(json.questions.len(), 3);
    assert_eq!(json.questions[1].question, " What came?");
    assert_eq!(json.questions[0].answers.len(), 2);
    assert!(json.questions[2].answers.is_empty());
    assert!(Arc::ptr_eq(
        &json.questions[0].context,
        &json.questions[2].context
    ));

    let root = tempfile::tempdir().unwrap();
    let file = root
        .path()
        .join("squad/plain_text/validation-00000-of-00001.parquet");
    write_parquet(
        &file,
        &[
            ("q1", context, "When?", &[("1907", 16), ("1907 an", 16)]),
            ("q2", context, " What came?", &[("Grüße", 4)]),
            ("q3", context, "Who?", &[]),
        ],
    );
    for place in ["", "squad", "squad/plain_text"] {
        let parquet = read_questions(&root.path().join(place), &squad(), "validation").unwrap();
        assert_eq!(parquet.questions, json.questions);
        assert_eq!(parquet.fingerprint(), json.fingerprint());
        assert_eq!(parquet.standing, Standing::Part);
        assert_eq!(parquet.display_name(), "squad (part)");
        assert_eq!(parquet.describe_rows(), "3 of 10,570 rows");
        assert!(Arc::ptr_eq(
            &parquet.questions[0].context,
            &parquet.questions[1].context
        ));
    }
    assert_ne!(json.first_rows(2, 1).fingerprint(), json.fingerprint());
}

#[test]
fn an_answer_outside_its_context_names_row_id_and_place() {
    let good = entry("q1", "When?", &[("1907", 3)]);
    let cases = [
        (("1907", 4), "\"1907\" at character 4", "has \"907.\" there"),
        (("1907.x", 3), "at character 3", "has 8 characters"),
        (("1907", 8), "at character 8", "has 8 characters"),
        (("1907", -1), "at character -1", "has 8 characters"),
        (
            ("1907", i64::MAX),
            "at character 9223372036854775807",
            "8 characters",
        ),
        (("", 3), "the answer \"\"", "has 8 characters"),
    ];
    for (answer, place, found) in cases {
        let message = official_error("In 1907.", &[good.clone(), entry("q2", "Why?", &[answer])]);
        assert!(message.starts_with("row 2 of "), "{message}");
        for part in ["(id \"q2\")", place, found] {
            assert!(message.contains(part), "no {part:?} in {message}");
        }
    }
}

#[test]
fn an_empty_question_or_passage_names_its_row() {
    for question in ["", " \t\n"] {
        let message = official_error("In 1907.", &[entry("q", question, &[])]);
        assert!(
            message.starts_with("row 1 of ") && message.ends_with("\"question\""),
            "{message}"
        );
    }
    let message = official_error(" ", &[entry("q", "When?", &[])]);
    assert!(
        message.ends_with("no text in the column \"context\""),
        "{message}"
    );
}

#[test]
fn an_id_that_is_there_twice_names_both_places() {
    let qas = ["a", "b", "a"].map(|id| entry(id, "When?", &[("1907", 3)]));
    let message = official_error("In 1907.", &qas);
    assert!(message.starts_with("row 3 of "), "{message}");
    assert!(
        message.ends_with("has the id \"a\", which question 1 has already"),
        "{message}"
    );
    // Files of one split count together.
    let root = tempfile::tempdir().unwrap();
    for (index, id) in ["x", "x"].into_iter().enumerate() {
        let name = format!("squad/plain_text/train-0000{index}-of-00002.parquet");
        write_parquet(&root.path().join(name), &[(id, "c", "q?", &[])]);
    }
    let error = read_questions(root.path(), &squad(), "train").unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("train-00001-of-00002") && message.contains("question 1 "),
        "{message}"
    );
}

#[test]
fn many_questions_about_one_long_passage_are_refused() {
    let context = "In 1907. ".repeat(12_000);
    let questions = |count: usize| {
        let qas: Vec<Value> = (0..count)
            .map(|id| entry(&id.to_string(), "When?", &[]))
            .collect();
        read_official(&official(&context, &qas).to_string())
    };
    assert!(questions(100).is_ok());
    let message = questions(2000).unwrap_err();
    assert!(
        message.starts_with("row ") && message.contains("out of proportion"),
        "{message}"
    );
}

#[test]
fn files_that_are_something_else_are_refused() {
    for (content, expected) in [
        ("{\"data\": [", "EOF"),
        ("{\"version\": \"1.1\"}", "missing field `data`"),
        ("{\"data\": []}", "holds no rows"),
        ("[1]", "official layout"),
    ] {
        let message = read_official(content).unwrap_err();
        assert!(
            message.contains(expected) && message.contains("dev-v1.1.json"),
            "{message}"
        );
    }
    let root = tempfile::tempdir().unwrap();
    let path = root
        .path()
        .join("squad/plain_text/train-00000-of-00001.parquet");
    write_parquet(&path, &[("q", "text", "Why?", &[("text", 0), ("ex", 1)])]);
    let bytes = std::fs::read(&path).unwrap();
    let read = || read_questions(root.path(), &squad(), "train");
    assert!(read().is_ok());
    for length in (0..bytes.len()).step_by(7) {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let message = read().unwrap_err().to_string();
        assert!(message.contains("not a readable Parquet file"), "{message}");
    }
    for position in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[position] ^= 0x41;
        std::fs::write(&path, &changed).unwrap();
        // Whatever was changed, this ends; most changes are noticed.
        drop(read());
    }
    // Questions and labelled rows are told apart by their cards.
    assert!(
        read_split(root.path(), &squad(), "train")
            .unwrap_err()
            .to_string()
            .contains("questions")
    );
    let cola = Card::builtin("cola").unwrap();
    assert!(
        read_questions(root.path(), &cola, "train")
            .unwrap_err()
            .to_string()
            .contains("labelled")
    );
}

fn tokenizer(kind: &str) -> Tokenizer {
    Tokenizer::load(&fixture("tokenizers").join(kind)).unwrap()
}

fn question(question: &str, context: &str, answers: &[(&str, usize)]) -> Question {
    Question {
        id: "q".into(),
        question: question.into(),
        context: context.into(),
        answers: answers
            .iter()
            .map(|(text, start)| Answer {
                text: (*text).into(),
                start: *start,
            })
            .collect(),
    }
}

#[test]
fn windows_and_labels_equal_the_references() {
    for kind in ["wordpiece", "bytebpe"] {
        let entries = entries(&format!("tokenizers/{kind}/qa_windows.json"));
        let questions: Vec<Question> = entries
            .iter()
            .map(|entry| {
                let text = |field: &str| entry[field].as_str().unwrap();
                let start = entry["answer_start"].as_u64().unwrap() as usize;
                // The references strip a question's start before they tokenise it.
                let spaced = format!(" \n{}", text("question"));
                question(&spaced, text("context"), &[(text("answer"), start)])
            })
            .collect();
        let windows = question_windows(&tokenizer(kind), &questions, 32, 8).unwrap();
        let expected: Vec<(usize, &Value)> = entries
            .iter()
            .enumerate()
            .flat_map(|(index, entry)| {
                assert_eq!(
                    (&entry["max_length"], &entry["stride"]),
                    (&32.into(), &8.into())
                );
                let features = entry["features"].as_array().unwrap();
                features.iter().map(move |feature| (index, feature))
            })
            .collect();
        assert_eq!(windows.len(), expected.len());
        let mut inside = 0;
        for (window, (index, feature)) in windows.iter().zip(expected) {
            assert_eq!(window.question, index);
            let span =
                ["start_position", "end_position"].map(|name| feature[name].as_u64().unwrap());
            assert_eq!(
                window.span.map(|token| token as u64),
                span,
                "{kind} {index}"
            );
            inside += usize::from(window.span != [0, 0]);
            for (token, id) in window.input_ids.iter().enumerate() {
                assert_eq!(feature["ids"][token], *id);
                assert_eq!(feature["type_ids"][token], window.token_type_ids[token]);
                let expected = match feature["sequence_ids"][token] == 1 {
                    true => feature["offsets"][token].clone(),
                    false => Value::Null,
                };
                assert_eq!(json!(window.offsets[token]), expected);
            }
        }
        assert!(inside >= 4, "only {inside} windows hold their answer");
    }
}

#[test]
fn the_best_answers_equal_the_references() {
    let entries = entries("metrics/squad_postprocess.json");
    assert_eq!(entries.len(), 12);
    for entry in &entries {
        let number = |field: &str| entry[field].as_u64().unwrap() as usize;
        let floats = |value: &Value| -> Vec<f32> {
            let values = value.as_array().unwrap().iter();
            values.map(|value| value.as_f64().unwrap() as f32).collect()
        };
        let features: Vec<_> = entry["features"]
            .as_array()
            .unwrap()
            .iter()
            .map(|feature| {
                let offsets: Vec<Option<[u32; 2]>> =
                    serde_json::from_value(feature["offsets"].clone()).unwrap();
                (
                    offsets,
                    floats(&feature["start_logits"]),
                    floats(&feature["end_logits"]),
                )
            })
            .collect();
        let windows: Vec<WindowLogits<'_>> = features
            .iter()
            .map(|(offsets, starts, ends)| WindowLogits {
                offsets,
                starts,
                ends,
            })
            .collect();
        let rules = AnswerRules {
            n_best: number("n_best"),
            max_tokens: number("max_answer"),
        };
        let found = best_answers(entry["context"].as_str().unwrap(), &windows, rules);
        let text = found.first().map_or("", |answer| answer.text.as_str());
        assert_eq!(text, entry["answer"].as_str().unwrap());
        let expected = entry["candidates"].as_array().unwrap();
        assert_eq!(found.len().min(5), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(expected["text"], found.text.as_str());
            let place = [found.window, found.tokens[0], found.tokens[1]];
            let fields = ["feature", "start", "end"].map(|field| expected[field].as_u64().unwrap());
            assert_eq!(place.map(|number| number as u64), fields);
            for (found, field) in [(found.score(), "score"), (found.probability, "probability")] {
                let difference = found - expected[field].as_f64().unwrap();
                assert!(difference.abs() < 1e-9, "{field} differs by {difference:e}");
            }
            let characters = entry["context"].as_str().unwrap().chars();
            let [first, last] = found.characters;
            let slice: String = characters.skip(first).take(last - first).collect();
            assert_eq!(slice, found.text);
        }
    }
}

#[test]
fn a_passage_of_one_token_has_one_window_and_its_label() {
    let questions = [question(
        "Where was the engine?",
        "garden",
        &[("garden", 0)],
    )];
    let windows = question_windows(&tokenizer("wordpiece"), &questions, 32, 8).unwrap();
    assert_eq!(windows.len(), 1);
    let tokens: Vec<usize> = (0..windows[0].offsets.len())
        .filter(|token| windows[0].offsets[*token].is_some())
        .collect();
    assert_eq!(windows[0].span, [tokens[0], tokens[tokens.len() - 1]]);
    assert_eq!(windows[0].offsets[tokens[0]].unwrap()[0], 0);
}

#[test]
fn a_document_of_100000_characters_is_covered_by_windows() {
    let sentence = "The old bridge museum in the north city was built in 1899. ";
    let context: String = sentence.chars().cycle().take(100_000).collect();
    let start = context
        .char_indices()
        .filter(|(_, c)| *c == '1')
        .nth(900)
        .unwrap()
        .0;
    let questions = [question("When?", &context, &[("1899", start)])];
    let windows = question_windows(&tokenizer("wordpiece"), &questions, 384, 128).unwrap();
    assert!(windows.len() > 50, "{}", windows.len());
    let mut reached = 0;
    let mut holding = 0;
    for window in &windows {
        assert!(window.input_ids.len() <= 384);
        let mut offsets = window.offsets.iter().flatten();
        let [first, _] = *offsets.next().unwrap();
        let [_, last] = *offsets.next_back().unwrap();
        assert!(
            first <= reached + 1,
            "characters {reached} to {first} are in no window"
        );
        reached = last;
        if window.span != [0, 0] {
            let place = window.span.map(|token| window.offsets[token].unwrap());
            assert_eq!(
                [place[0][0], place[1][1]].map(|x| x as usize),
                [start, start + 4]
            );
            holding += 1;
        }
    }
    assert!(reached as usize >= 99_990, "{reached}");
    assert!((1..=3).contains(&holding), "{holding}");
}

#[test]
fn a_question_that_leaves_no_room_names_its_number() {
    let long = "museum ".repeat(60);
    let context = "garden kitchen ".repeat(30);
    let questions = [
        question("Why?", "garden", &[]),
        question(&long, &context, &[]),
    ];
    let tokenizer = tokenizer("wordpiece");
    let message = |length, stride| {
        let windows = question_windows(&tokenizer, &questions, length, stride);
        windows.unwrap_err().to_string()
    };
    assert!(
        message(40, 8).starts_with("row 2 cannot be shortened"),
        "{}",
        message(40, 8)
    );
    assert!(
        message(96, 60).starts_with("row 2 leaves windows"),
        "{}",
        message(96, 60)
    );
}
