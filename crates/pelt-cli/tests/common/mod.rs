//! A folder with tiny models, made-up rows, and the program.

// Every test binary uses another part of this module, and helpers of tests may unwrap as tests do.
#![allow(dead_code, unused_imports, clippy::unwrap_used)]

pub mod parquet_file;
mod rows;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use pelt_encoder::{Encoder, EncoderConfig};
use pelt_tensors::{
    HostIntTensor, HostTensor, TensorFiles, write_safetensors, write_safetensors_mixed,
};
use pelt_testkit::fixture;
use serde_json::Value;
use tempfile::TempDir;

use rows::vocabulary;
pub use rows::{labelled, pairs, scored};

/// Settings that make UniPELT with a prompt small enough for the tiny models.
pub const SMALL_UNION: &str = "--method unipelt-prompt --set prefix.bottleneck_size=8 --set prefix.prefix_length=2 \
     --set lora.r=2 --set prompt.prompt_length=3";

/// What the program answered.
#[derive(Debug)]
pub struct Answer {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    /// The standard output as one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The standard output as JSON lines.
    pub fn json_lines(&self) -> Vec<Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Content of a folder: files with their bytes, folders with nothing.
pub type Snapshot = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// A temporary folder in which the program runs; paths in arguments are relative to it.
pub struct Scene {
    folder: TempDir,
}

impl Scene {
    /// A folder with the model `bert`, and labelled rows `train.tsv` and `dev.tsv`.
    pub fn new() -> Self {
        let scene = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        scene.bert("bert");
        scene.write("train.tsv", labelled(40, 1));
        scene.write("dev.tsv", labelled(20, 2));
        scene
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    pub fn write(&self, relative: &str, content: impl AsRef<[u8]>) {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub fn read(&self, relative: &str) -> Vec<u8> {
        std::fs::read(self.path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"))
    }

    /// The texts and labels of a file with a header.
    pub fn rows(&self, relative: &str) -> Vec<(String, String)> {
        let text = String::from_utf8(self.read(relative)).unwrap();
        let rows = text
            .lines()
            .skip(1)
            .map(|line| line.rsplit_once('\t').unwrap());
        rows.map(|(text, label)| (text.to_string(), label.to_string()))
            .collect()
    }

    pub fn read_json(&self, relative: &str) -> Value {
        serde_json::from_slice(&self.read(relative)).unwrap()
    }

    /// The lines of a run's `metrics.jsonl` of one kind.
    pub fn metrics(&self, run: &str, kind: &str) -> Vec<Value> {
        let text = String::from_utf8(self.read(&format!("{run}/metrics.jsonl"))).unwrap();
        // The last line of a run that was killed may be cut.
        let lines = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["kind"] == kind).collect()
    }

    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<_> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub fn snapshot(&self) -> Snapshot {
        let mut out = Snapshot::new();
        collect(self.folder.path(), &mut out);
        out
    }

    pub fn copy(&self, from: &str, to: &str) {
        copy_folder(&self.path(from), &self.path(to));
    }

    /// The tiny BERT with a vocabulary of a few words.
    pub fn bert(&self, name: &str) {
        copy_folder(&fixture("models/bert/base"), &self.path(name));
        self.write(&format!("{name}/vocab.txt"), vocabulary().join("\n"));
    }

    /// The tiny RoBERTa with a byte-level vocabulary of the letters and a few words.
    pub fn roberta(&self, name: &str) {
        copy_folder(&fixture("models/roberta/base"), &self.path(name));
        let (vocabulary, merges) = rows::byte_pairs();
        self.write(&format!("{name}/vocab.json"), vocabulary);
        self.write(&format!("{name}/merges.txt"), merges);
    }

    /// A BERT with made-up weights and a changed `config.json`.
    pub fn made_bert(&self, name: &str, change: impl Fn(&mut Value)) {
        self.bert(name);
        self.change_json(&format!("{name}/config.json"), change);
        let mut config = EncoderConfig::read(&self.path(name)).unwrap();
        config.shape.pooler = true;
        let mut tensors = BTreeMap::new();
        for (name, shape) in Encoder::tensor_shapes(&config) {
            let count = shape.iter().product();
            let values = (0..count)
                .map(|i| 0.1 * ((i * 7919 % 101) as f32 / 50.0 - 1.0))
                .collect();
            tensors.insert(name, HostTensor::new(shape, values).unwrap());
        }
        let path = self.path(name).join("model.safetensors");
        write_safetensors(&path, &tensors, &BTreeMap::new()).unwrap();
    }

    pub fn change_json(&self, relative: &str, change: impl Fn(&mut Value)) {
        let mut value = self.read_json(relative);
        change(&mut value);
        self.write(relative, value.to_string());
    }

    pub fn change_bytes(&self, relative: &str, change: impl Fn(&mut Vec<u8>)) {
        let mut bytes = self.read(relative);
        change(&mut bytes);
        self.write(relative, bytes);
    }

    /// Inputs for `forward`.
    pub fn write_integers(&self, relative: &str, tensors: &[(&str, &[usize], &[i64])]) {
        let tensors = tensors.iter().map(|(name, shape, values)| {
            let tensor = HostIntTensor::new(shape.to_vec(), values.to_vec());
            (name.to_string(), tensor.unwrap())
        });
        let path = self.path(relative);
        write_safetensors_mixed(
            &path,
            &BTreeMap::new(),
            &tensors.collect(),
            &BTreeMap::new(),
        )
        .unwrap();
    }

    /// The last hidden states of the model `bert` for one text, with these further options.
    pub fn last_hidden(&self, options: &str) -> HostTensor {
        let ids: &[i64] = &[2, 5, 6, 3];
        self.write_integers(
            "inputs.safetensors",
            &[
                ("input_ids", &[1, 4], ids),
                ("attention_mask", &[1, 4], &[1, 1, 1, 1]),
            ],
        );
        self.succeeds(&format!(
            "forward --model bert --inputs inputs.safetensors --output out.safetensors {options}"
        ));
        self.tensors("out.safetensors")["last_hidden_state"].clone()
    }

    pub fn tensors(&self, relative: &str) -> BTreeMap<String, HostTensor> {
        let files = TensorFiles::open(&self.path(relative)).unwrap();
        files.read_all().unwrap()
    }

    /// Runs the program; the arguments are separated by spaces.
    pub fn pelt(&self, arguments: &str) -> Answer {
        self.pelt_with_input(arguments, "")
    }

    pub fn pelt_with_input(&self, arguments: &str, input: impl Into<Vec<u8>>) -> Answer {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_pelt"));
        command
            .current_dir(self.folder.path())
            .args(arguments.split_whitespace());
        command.write_stdin(input).timeout(Duration::from_secs(120));
        let output = command.output().unwrap();
        Answer {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The program as a process of its own, to be killed or to be given other streams.
    pub fn process(&self, arguments: &str) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pelt"));
        command
            .current_dir(self.folder.path())
            .args(arguments.split_whitespace());
        command.stdin(Stdio::null());
        command
    }

    /// Starts the program and kills it (`SIGKILL`) as soon as `reached` holds, which must be before it ends.
    pub fn kill_when(&self, arguments: &str, reached: impl Fn() -> bool) {
        let mut process = self.process(arguments);
        let mut child = process
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while !reached() {
            assert!(
                started.elapsed() < Duration::from_secs(100),
                "{arguments}: it never came so far"
            );
            assert!(
                child.try_wait().unwrap().is_none(),
                "{arguments}: it ended before it could be killed"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Runs the program, which must succeed.
    pub fn succeeds(&self, arguments: &str) -> Answer {
        let answer = self.pelt(arguments);
        assert_eq!(answer.code, Some(0), "{arguments}: {}", answer.stderr);
        answer
    }

    /// Runs the program, which must refuse with one sentence that has all of `fragments`, say nothing else and leave
    /// everything as it was.
    pub fn refuses(&self, arguments: &str, fragments: &[&str]) {
        self.refuses_input(arguments, "", fragments);
    }

    pub fn refuses_input(&self, arguments: &str, input: impl Into<Vec<u8>>, fragments: &[&str]) {
        let answer = self.fails(arguments, input, fragments);
        assert_eq!(
            answer.stderr.lines().count(),
            1,
            "{arguments}: {}",
            answer.stderr
        );
    }

    /// As [`refuses`](Self::refuses), with lines of progress before the sentence.
    pub fn fails(&self, arguments: &str, input: impl Into<Vec<u8>>, fragments: &[&str]) -> Answer {
        let before = self.snapshot();
        let answer = self.pelt_with_input(arguments, input);
        assert_error(arguments, &answer, fragments);
        assert_eq!(answer.stdout, "", "{arguments}");
        let after = self.snapshot();
        assert!(
            before == after,
            "{arguments}: {:?} became {:?}",
            before.keys(),
            after.keys()
        );
        answer
    }
}

/// Checks exit code and message of an error that came after lines of progress.
pub fn assert_error(arguments: &str, answer: &Answer, fragments: &[&str]) {
    let stderr = &answer.stderr;
    assert_eq!(answer.code, Some(2), "{arguments}: {stderr}");
    let errors = stderr
        .lines()
        .filter(|line| line.starts_with("error: "))
        .count();
    let last = stderr.lines().last().unwrap_or_default();
    assert!(
        errors == 1 && last.starts_with("error: "),
        "{arguments}: {stderr}"
    );
    assert!(!stderr.contains("panicked"), "{arguments}: {stderr}");
    for fragment in fragments {
        assert!(
            last.contains(fragment),
            "{arguments}: no {fragment:?} in {last}"
        );
    }
}

fn collect(folder: &Path, out: &mut Snapshot) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            out.insert(path.clone(), None);
            collect(&path, out);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            out.insert(path, Some(bytes));
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
