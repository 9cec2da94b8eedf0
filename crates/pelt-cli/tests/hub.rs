//! Names on the Hub in the place of folders, and how much the program tells.

#![allow(clippy::unwrap_used)] // Helpers of tests may unwrap as tests do.

mod common;
// Not all of what it can do is needed here.
#[allow(dead_code)]
#[path = "../../pelt-hub/tests/hub/server.rs"]
mod server;

use common::{Answer, Scene, assert_error};
use pelt_testkit::fixture;
use server::{Manner, Server};

/// Runs the program with the scene's own cache of the Hub, and without a network.
fn offline(scene: &Scene, arguments: &str) -> Answer {
    with(scene, arguments, &[("HF_HUB_OFFLINE", "1".into())])
}

/// Runs the program with the scene's own home of the Hub and these variables of its libraries.
fn with(scene: &Scene, arguments: &str, variables: &[(&str, String)]) -> Answer {
    let mut command = scene.process(arguments);
    for variable in [
        "HF_ENDPOINT",
        "HF_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "HF_TOKEN",
        "HF_TOKEN_PATH",
        "HUGGING_FACE_HUB_TOKEN",
        "TRANSFORMERS_OFFLINE",
    ] {
        command.env_remove(variable);
    }
    command.env("HF_HOME", scene.path("home"));
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let output = command.output().unwrap();
    Answer {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A snapshot in the cache, as the folder of the repository's only commit.
fn snapshot(scene: &Scene, repository: &str) -> String {
    let folder = format!("home/hub/models--{}", repository.replace('/', "--"));
    scene.write(&format!("{folder}/refs/main"), "abc\n");
    format!("{folder}/snapshots/abc")
}

fn succeeds(scene: &Scene, arguments: &str) -> Answer {
    let answer = offline(scene, arguments);
    assert_eq!(answer.code, Some(0), "{arguments}: {}", answer.stderr);
    answer
}

#[test]
fn a_model_and_an_adapter_can_be_named_as_on_the_hub() {
    let scene = Scene::new();
    let model = snapshot(&scene, "owner/bert");
    scene.copy("bert", &model);
    let train = "--train-file train.tsv --validation-file dev.tsv --method lora --set lora.r=2 --max-length 32 --epochs 1";
    succeeds(
        &scene,
        &format!("train --model owner/bert {train} --out run"),
    );
    let export = "export --run run --model owner/bert --format adapterhub --name mine --out";
    succeeds(&scene, &format!("{export} shipped"));
    let config = scene.read_json("shipped/adapter_config.json");
    assert_eq!(config["model_name"], "owner/bert");

    let adapter = snapshot(&scene, "owner/adapter");
    std::fs::create_dir_all(scene.path(&adapter)).unwrap();
    scene.copy("shipped", &adapter);
    let import = "import --adapter owner/adapter@main --labels negative,positive --model owner/bert --out imported";
    succeeds(&scene, import);
    let same = offline(&scene, "diff run owner/adapter");
    assert_eq!(same.code, Some(0), "{}{}", same.stdout, same.stderr);
    let score = |run: &str| {
        let evaluate = format!("evaluate --run {run} --model owner/bert --file dev.tsv --json");
        succeeds(&scene, &evaluate).json()["loss"].as_f64().unwrap()
    };
    assert!((score("run") - score("imported")).abs() < 1e-6);
}

#[test]
fn the_variables_of_the_hub_s_libraries_say_where_and_as_whom() {
    let scene = Scene::new();
    let server = Server::start();
    for name in scene.names("bert") {
        let content = scene.read(&format!("bert/{name}"));
        server.add(&name, &content, Manner::default());
    }
    server.ask_for("secret");
    let place = |name: &str| scene.path(name).display().to_string();
    let endpoint = ("HF_ENDPOINT", server.address.clone());
    let arguments = "inspect --model owner/name --method lora";

    let refused = with(&scene, arguments, std::slice::from_ref(&endpoint));
    assert_error(arguments, &refused, &["owner/name", "token"]);
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);

    scene.write("token", "secret\n");
    let cache = ("HF_HUB_CACHE", place("cache"));
    let token = ("HF_TOKEN_PATH", place("token"));
    let found = with(&scene, arguments, &[endpoint.clone(), cache.clone(), token]);
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    assert!(
        found.stderr.contains("fetching model.safetensors"),
        "{}",
        found.stderr
    );
    let kept = place("cache/models--owner--name");
    assert!(std::path::Path::new(&kept).is_dir(), "{kept}");
    assert!(!scene.path("home/hub").exists());

    let requests = server.requests().len();
    let offline = ("TRANSFORMERS_OFFLINE", "1".to_string());
    let again = with(&scene, arguments, &[endpoint.clone(), cache, offline]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(server.requests().len(), requests);

    let token = ("HF_TOKEN", "secret".to_string());
    let found = with(&scene, arguments, &[endpoint, token]);
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    assert!(scene.path("home/hub/models--owner--name").is_dir());
}

#[test]
fn a_folder_goes_before_a_name_on_the_hub() {
    let scene = Scene::new();
    scene.copy("bert", "owner/bert");
    succeeds(&scene, "inspect --model owner/bert --method lora");
}

#[test]
fn what_is_missing_is_said_with_its_place() {
    let scene = Scene::new();
    let arguments = "inspect --model owner/absent --method lora";
    let answer = offline(&scene, arguments);
    let place = "home/hub/models--owner--absent";
    assert_error(
        arguments,
        &answer,
        &["owner/absent: no such folder", "config.json", place],
    );
    assert_eq!(answer.stderr.lines().count(), 1);

    let model = snapshot(&scene, "owner/part");
    scene.write(&format!("{model}/config.json"), "{}");
    let arguments = "inspect --model owner/part --method lora";
    assert_error(
        arguments,
        &offline(&scene, arguments),
        &["model.safetensors", "snapshots/abc"],
    );

    let arguments = "train --model bert --task mrpc --out run";
    assert_error(
        arguments,
        &offline(&scene, arguments),
        &["mrpc", "--data", "datasets--nyu-mll--glue"],
    );
    scene.refuses("inspect --model nowhere --method lora", &["nowhere"]);
}

#[test]
fn a_run_tells_as_much_as_it_is_asked_to() {
    let scene = Scene::new();
    let train = "train --model bert --train-file train.tsv --validation-file dev.tsv --method lora --max-length 32 --epochs 1";
    let quiet = scene.succeeds(&format!("{train} --out quiet --quiet"));
    assert_eq!(quiet.stderr, "");
    assert!(quiet.stdout.contains("best at step"), "{}", quiet.stdout);
    let usual = scene.succeeds(&format!("{train} --out usual"));
    assert!(usual.stderr.contains("epoch 1:"), "{}", usual.stderr);
    assert!(!usual.stderr.contains('\u{1b}'), "colours in a file");
    let verbose = scene.succeeds(&format!("{train} --out verbose --verbose"));
    for step in ["step 1/2 ", "step 2/2 "] {
        assert!(verbose.stderr.contains(step), "{}", verbose.stderr);
    }
    let both = scene.pelt(&format!("{train} --out both --quiet --verbose"));
    assert_eq!(both.code, Some(2), "{}", both.stderr);
}

#[test]
fn a_recorded_adapter_is_read_from_the_cache() {
    let scene = Scene::new();
    let adapter = snapshot(&scene, "owner/recorded");
    std::fs::create_dir_all(scene.path(&adapter)).unwrap();
    let from = fixture("cases/adapters/bert_cls_lora/adapter");
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = scene.path(&adapter).join(entry.file_name());
        std::fs::copy(entry.path(), place).unwrap();
    }
    let train = "train --model bert --train-file train.tsv --init-adapter owner/recorded --max-length 32 --epochs 1 --out further";
    succeeds(&scene, train);
}
