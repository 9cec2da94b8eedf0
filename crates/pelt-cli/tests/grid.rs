//! The grid of comparisons, with the program it runs: cells, their records, failures and resumption.

#![allow(clippy::unwrap_used)] // Helpers of tests may unwrap as tests do.

mod common;

use std::path::PathBuf;
use std::sync::Mutex;

use common::{Scene, parquet_file};
use pelt_grid::report::{self, Summary};
use pelt_grid::{GridError, Outcome, Pelt, Plan, Record, Setup, finals, run_all, trials};

const PLAN: &str = r#"
    name = "tiny"
    seeds = [1, 2]
    [budget]
    epochs = 40
    batch_size = 8
    max_length = 32
    train_rows = 24
    dev_rows = 8
    [[tasks]]
    name = "mrpc"
    [[tasks]]
    name = "agnews"
    report = "test"
    budget = { epochs = 1 }
    [[methods]]
    name = "full"
    learning_rates = [1e-3]
    [[methods]]
    name = "union"
    method = "unipelt-prompt"
    set = ["prefix.bottleneck_size=8", "prefix.prefix_length=2", "lora.r=2", "prompt.prompt_length=3"]
    learning_rates = [1e-3, 5e-3]
"#;

/// A model, both tasks' data, and the plan.
fn scene() -> (Scene, Plan, Setup) {
    let scene = Scene::new();
    let pairs = [
        ("good movie", "great film", 1),
        ("good movie", "bad plot", 0),
        ("poor story", "bad film", 1),
        ("poor story", "great movie", 0),
    ];
    for (split, copies) in [("train", 12), ("validation", 5)] {
        let rows: Vec<_> = pairs.iter().cycle().take(4 * copies).copied().collect();
        let file = format!("data/glue/mrpc/{split}-00000-of-00001.parquet");
        let columns = ["sentence1", "sentence2", "label"];
        parquet_file::write(&scene.path(&file), columns, &rows);
    }
    for (split, copies) in [("train", 12), ("dev", 2), ("test", 3)] {
        let topics = ["good movie", "bad film", "great story", "poor plot"];
        let rows = topics.iter().enumerate().cycle().take(4 * copies);
        let lines: String = rows
            .map(|(label, text)| format!("{{\"text\": \"{text}\", \"label\": {}}}\n", label + 1))
            .collect();
        scene.write(&format!("data/ag/{split}.jsonl"), lines);
    }
    scene.write("plan.toml", PLAN);
    let plan = Plan::read(&scene.path("plan.toml")).unwrap();
    let setup = Setup {
        pelt: Pelt {
            program: PathBuf::from(env!("CARGO_BIN_EXE_pelt")),
            threads: None,
        },
        model: scene.path("bert"),
        data: Some(scene.path("data")),
        device: "flex".into(),
        keep_weights: false,
        jobs: 2,
        commit: None,
    };
    (scene, plan, setup)
}

fn bench(scene: &Scene, plan: &Plan, setup: &Setup) -> (Result<Outcome, GridError>, Vec<String>) {
    let said = Mutex::new(Vec::new());
    let say = |line: String| said.lock().unwrap().push(line);
    let encoder = setup.fetch_model().unwrap();
    let outcome = run_all(plan, &scene.path("results"), setup, &encoder, None, &say);
    (outcome, said.into_inner().unwrap())
}

/// The records of all cells, without what differs between two runs of a cell.
fn records(scene: &Scene, plan: &Plan) -> Vec<Record> {
    let results = scene.path("results");
    let read = |cell: &pelt_grid::Cell| Record::read(&cell.folder(&results)).unwrap();
    let mut records: Vec<Record> = trials(plan).iter().filter_map(read).collect();
    let cells: Vec<_> = finals(plan)
        .iter()
        .filter_map(|one| one.cell(plan, &records))
        .collect();
    records.extend(cells.iter().filter_map(read));
    for record in &mut records {
        record.cost.seconds = 0.0;
        record.cost.seconds_per_epoch = 0.0;
        record.cost.tokens_per_second = 0.0;
        record.cost.peak_memory_mib = None;
        record.machine.finished = 0;
    }
    records
}

#[test]
fn a_grid_runs_every_cell_once_and_keeps_what_a_report_needs() {
    let (scene, plan, setup) = scene();
    let (outcome, said) = bench(&scene, &plan, &setup);
    let outcome = outcome.unwrap();
    assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
    assert_eq!((outcome.finished, outcome.left, said.len()), (10, 0, 10));

    let found = records(&scene, &plan);
    assert_eq!(found.len(), 10);
    for record in &found {
        let split = match record.cell.task.as_str() {
            "mrpc" => "mrpc (part) validation",
            _ => "agnews (part) test",
        };
        assert_eq!(record.reported[0].set, split);
        assert!(
            record.development.set.contains("train"),
            "{:?}",
            record.development
        );
        assert_eq!(record.data.train_rows, 24);
        assert_eq!(record.gates.is_empty(), record.cell.method == "full");
        assert!(record.cost.tokens > 0 && record.size.stored > 0 && record.size.bytes > 0);
        assert!(!record.curve.is_empty() && record.score().is_finite());
        let folder = record.cell.folder(&scene.path("results"));
        let predictions = folder.join(record.reported[0].predictions.as_ref().unwrap());
        let rows = std::fs::read_to_string(predictions)
            .unwrap()
            .lines()
            .count();
        assert_eq!(rows as u64, record.reported[0].rows);
        let weights = std::fs::read_dir(folder.join("run")).unwrap();
        let mut names = weights.map(|entry| entry.unwrap().file_name());
        assert!(!names.any(|name| name.to_string_lossy().ends_with(".safetensors")));
    }

    let results = scene.path("results");
    report::write(&Summary::of(&plan, &results).unwrap(), &results).unwrap();
    let page = String::from_utf8(scene.read("results/report.html")).unwrap();
    for part in ["10 of 10 runs finished", "agnews (part) test", "lora.query"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("not tested"), "{page}");
    let lines = String::from_utf8(scene.read("results/results.csv")).unwrap();
    assert_eq!(lines.lines().count(), 11);

    let (again, said) = bench(&scene, &plan, &setup);
    assert_eq!(again.unwrap().finished, 10);
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn a_cell_that_was_killed_goes_on_and_gives_the_same_record() {
    let (undisturbed, plan, setup) = scene();
    bench(&undisturbed, &plan, &setup).0.unwrap();

    let (scene, _, _) = scene();
    let mut hurried = plan.clone();
    // The program is killed in the middle of its work.
    hurried.budget.cell_minutes = Some(0.1 / 60.0);
    let setup = Setup {
        model: scene.path("bert"),
        data: Some(scene.path("data")),
        ..setup
    };
    let (outcome, said) = bench(&scene, &hurried, &setup);
    let outcome = outcome.unwrap();
    assert!(!outcome.failed.is_empty(), "{said:?}");
    let message = &outcome.failed[0].message;
    assert!(
        message.contains("cell_minutes") || message.contains("trial"),
        "{message}"
    );

    let (outcome, _) = bench(&scene, &plan, &setup);
    assert!(outcome.unwrap().failed.is_empty());
    let (found, expected) = (records(&scene, &plan), records(&undisturbed, &plan));
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
}

#[test]
fn a_failing_cell_does_not_stop_the_rest_and_other_settings_are_noticed() {
    let (scene, mut plan, setup) = scene();
    plan.methods[1].set.push("lora.r=0".into());
    let (outcome, said) = bench(&scene, &plan, &setup);
    let outcome = outcome.unwrap();
    assert_eq!(
        (outcome.finished, outcome.failed.len(), outcome.left),
        (4, 6, 0)
    );
    assert!(
        said.iter()
            .any(|line| line.contains("failed: `pelt train` failed")),
        "{said:?}"
    );

    plan.budget.batch_size = Some(4);
    let message = bench(&scene, &plan, &setup).0.unwrap_err().to_string();
    assert!(
        message.contains("--batch-size 8") && message.contains("--batch-size 4"),
        "{message}"
    );

    plan.budget.batch_size = Some(8);
    plan.methods[1].set.pop();
    let file = "data/glue/mrpc/train-00000-of-00001.parquet";
    let rows = [("good movie", "bad film", 0); 48];
    parquet_file::write(
        &scene.path(file),
        ["sentence1", "sentence2", "label"],
        &rows,
    );
    let failed = bench(&scene, &plan, &setup).0.unwrap().failed;
    let told =
        |failure: &pelt_grid::Failure| failure.message.contains("training rows with the SHA-256");
    assert!(failed.iter().any(told), "{failed:?}");

    scene.made_bert("other", |_| {});
    let other = Setup {
        model: scene.path("other"),
        ..setup
    };
    let message = bench(&scene, &plan, &other).0.unwrap_err().to_string();
    assert!(message.contains("an encoder with the SHA-256"), "{message}");
}

/// Runs `pelt-grid`, which a test of the whole workspace builds beside `pelt`.
fn program(scene: &Scene) -> std::process::Command {
    let pelt = PathBuf::from(env!("CARGO_BIN_EXE_pelt"));
    let program = pelt.with_file_name(format!("pelt-grid{}", std::env::consts::EXE_SUFFIX));
    assert!(
        program.is_file(),
        "{}: run the tests with --workspace",
        program.display()
    );
    let mut command = std::process::Command::new(program);
    let path = |name: &str| scene.path(name);
    command
        .arg("run")
        .arg(path("plan.toml"))
        .arg("--pelt")
        .arg(pelt);
    command
        .arg("--model")
        .arg(path("bert"))
        .arg("--data")
        .arg(path("data"));
    command
        .arg("--out")
        .arg(path("results"))
        .args(["--jobs", "2"]);
    command.stdout(std::process::Stdio::null());
    command
}

/// What a report says, without times and memory.
fn reported(scene: &Scene, plan: &Plan) -> Vec<report::TaskSummary> {
    let mut tasks = Summary::of(plan, &scene.path("results")).unwrap().tasks;
    for method in tasks.iter_mut().flat_map(|task| &mut task.methods) {
        method.cost = None;
    }
    tasks
}

#[test]
fn a_bench_that_was_killed_goes_on_to_the_same_report() {
    let (undisturbed, plan, _) = scene();
    assert!(program(&undisturbed).status().unwrap().success());

    let (scene, _, _) = scene();
    let mut killed = program(&scene).spawn().unwrap();
    let cells = trials(&plan);
    let count = || {
        let done = |cell: &&pelt_grid::Cell| {
            cell.folder(&scene.path("results"))
                .join("record.json")
                .exists()
        };
        cells.iter().filter(done).count()
    };
    while count() == 0 {
        assert!(
            killed.try_wait().unwrap().is_none(),
            "it ended before it was killed"
        );
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let first = records(&scene, &plan).len();
    assert!(first < 10, "{first}");
    assert!(!scene.path("results/report.html").exists());

    assert!(program(&scene).status().unwrap().success());
    assert!(scene.path("results/report.html").exists());
    assert_eq!(records(&scene, &plan), records(&undisturbed, &plan));
    assert_eq!(reported(&scene, &plan), reported(&undisturbed, &plan));
}
