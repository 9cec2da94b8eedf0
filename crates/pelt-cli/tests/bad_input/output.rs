//! Folders and streams that cannot be written, or should not be.

use crate::common::{Scene, assert_error};
use crate::{train_on, train_with, trained};

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let scene = Scene::new();
    scene.write("file.txt", "mine");
    for out in ["file.txt", "file.txt/run"] {
        let command = train_on("bert").replace("--out run", &format!("--out {out}"));
        scene.refuses(&command, &[out]);
    }
}

#[test]
fn a_finished_run_is_kept_unless_forced() {
    let scene = trained();
    let before = scene.read("run/run.json");
    scene.refuses(
        &train_with("--seed 7"),
        &["run", "already holds a run", "--force"],
    );
    // What is wrong with the command is noticed before the old run is touched.
    scene.refuses(&train_with("--force --lr 0"), &["learning_rate"]);
    scene.refuses(&train_with("--force --text-column nothing"), &["nothing"]);
    scene.refuses(
        &train_with("--force --max-length 65").replacen("--max-length 32", "", 1),
        &["65"],
    );
    let adapter = scene.read("run/adapter.safetensors");
    scene.succeeds(&train_with("--seed 7 --force"));
    assert_ne!(scene.read("run/run.json"), before);
    assert_ne!(scene.read("run/adapter.safetensors"), adapter);
    // Nothing of the old kind of run stays behind.
    scene.succeeds(&train_with("--force").replace("--method lora", "--method bitfit"));
    assert!(
        !scene
            .names("run")
            .contains(&"adapter.safetensors".to_string())
    );
    scene.succeeds("evaluate --run run --model bert --file dev.tsv");
}

#[test]
fn an_adapter_is_not_replaced_by_the_run_that_goes_on_with_it() {
    let scene = trained();
    let adapter = scene.read("run/adapter.safetensors");
    let command = train_with("--force --init-adapter run").replace("--method lora", "");
    scene.refuses(
        &command,
        &["--out run", "--init-adapter", "never written to"],
    );
    assert_eq!(scene.read("run/adapter.safetensors"), adapter);
    scene.refuses(
        &train_with("--force --stacked-lora sum"),
        &["--stacked-lora", "--stack", "--set stack.lora=sum"],
    );
}

#[test]
fn a_folder_with_other_things_is_left_alone() {
    let scene = Scene::new();
    scene.write("run/thesis.txt", "mine");
    for command in [
        train_on("bert"),
        train_with("--force"),
        train_on("bert").replace("--out run", "--out bert"),
    ] {
        scene.refuses(&command, &["not empty", "holds no run"]);
    }
}

/// A shell with a limit on the length of a file that fails writes, as a full disk does, instead of ending the program.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_ends_the_run_and_leaves_no_parts_of_files() {
    let scene = Scene::new();
    let program = env!("CARGO_BIN_EXE_pelt");
    // 512-byte blocks: the configuration and the record fit, the checkpoint does not.
    let train = train_with("--epochs 2").replacen("--epochs 1 ", "", 1);
    let limited = |blocks: usize| {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec {program} {train}");
        let mut shell = std::process::Command::new("sh");
        let output = shell
            .args(["-c", &script])
            .current_dir(scene.path(""))
            .output()
            .unwrap();
        crate::common::Answer {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    };
    let answer = limited(16);
    assert_error(
        "limited to 16 blocks",
        &answer,
        &["run/checkpoint.safetensors", "cannot write", "too large"],
    );
    assert_eq!(scene.names("run"), ["metrics.jsonl", "started.json"]);
    std::fs::remove_dir_all(scene.path("run")).unwrap();
    let answer = limited(1);
    assert_error(
        "limited to one block",
        &answer,
        &["run/started.json", "cannot write", "too large"],
    );
    assert!(!scene.path("run").exists() || scene.names("run").is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error() {
    let scene = trained();
    for command in [
        "methods",
        "methods --json",
        "inspect --model bert",
        "evaluate --run run --model bert --file dev.tsv --json",
        "predict --run run --model bert --file dev.tsv",
    ] {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let output = scene.process(command).stdout(full).output().unwrap();
        let answer = crate::common::Answer {
            code: output.status.code(),
            stdout: String::new(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert_error(command, &answer, &["standard output", "No space left"]);
    }
}

#[test]
fn a_run_that_was_killed_in_its_first_moment_can_be_begun_again() {
    let scene = Scene::new();
    scene.write("run/.started.json.x1y2.tmp", "{");
    scene.succeeds(&train_on("bert"));
    let names = scene.names("run");
    assert!(
        !names.iter().any(|name| name.ends_with(".tmp")),
        "{names:?}"
    );
    // Files of others stay.
    let scene = Scene::new();
    scene.write("run/.notes.tmp", "mine");
    scene.refuses(&train_on("bert"), &["run", "not empty"]);
}

#[cfg(target_os = "linux")]
#[test]
fn no_memory_ends_in_a_sentence() {
    let scene = Scene::new();
    scene.write("train.tsv", crate::common::labelled(40_000, 1));
    // The address space of the process, in KiB: enough to begin, too little for the batch.
    let command = format!(
        "ulimit -v 200000; exec \"$0\" {}",
        train_on("bert").replace("--batch-size 8", "--batch-size 40000")
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &command, env!("CARGO_BIN_EXE_pelt")])
        .env("RAYON_NUM_THREADS", "1")
        .current_dir(scene.path(""))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: there is no memory left"), "{said}");
}
