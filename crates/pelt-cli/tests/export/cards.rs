//! The lines for `pelt` on model cards.

use std::collections::BTreeMap;

use pelt_tensors::HostTensor;

use crate::common::Scene;
use crate::{TRAIN, assert_close, logits, scene};

/// Runs the lines for `pelt` on the card of an exported folder: an import, a score and a training.
fn run_lines_of_card(scene: &Scene, out: &str, rows: &str) {
    let card = String::from_utf8(scene.read(&format!("{out}/README.md"))).unwrap();
    let block = card.split("```bash\n").nth(1).unwrap();
    let lines: Vec<&str> = block.split("```").next().unwrap().lines().collect();
    assert_eq!(lines.len(), 3, "{card}");
    for line in lines {
        let mut line = line
            .trim_start_matches("pelt ")
            .replace("FOLDER", out)
            .replace("MODEL", "bert")
            .replace("ROWS", rows)
            .replace("IMPORTED", &format!("{out}_imported"))
            .replace("RUN", &format!("{out}_run"));
        if line.starts_with("train") {
            line += " --epochs 1 --max-length 32";
        }
        scene.succeeds(&line);
    }
}

/// The tensor files of an exported folder and of the folders in it.
fn tensor_files(scene: &Scene, folder: &str) -> Vec<(String, BTreeMap<String, HostTensor>)> {
    let mut all = Vec::new();
    for name in scene.names(folder) {
        let path = format!("{folder}/{name}");
        if scene.path(&path).is_dir() {
            all.extend(tensor_files(scene, &path));
        } else if name.ends_with(".safetensors") {
            all.push((name, scene.tensors(&path)));
        }
    }
    all
}

#[test]
fn stacks_and_mixtures_come_back_as_runs() {
    let scene = scene();
    scene.succeeds(&format!("{TRAIN} --method seq_bn --out first"));
    scene.succeeds(&format!("{TRAIN} --method seq_bn --seed 7 --out second"));
    for (name, options) in [
        (
            "stacked",
            "--method par_bn --stack first,second --stacked-parallel last --head flexible",
        ),
        ("whole", "--method unipelt-stack-3"),
        ("mixed", "--method fusion --fuse second,first"),
    ] {
        scene.succeeds(&format!("{TRAIN} {options} --out {name}"));
        let out = format!("{name}_out");
        let export = format!("--model bert --format adapterhub --name {name} --out");
        scene.succeeds(&format!("export --run {name} {export} {out}"));
        run_lines_of_card(&scene, &out, "train.tsv");
        let again = format!("{out}_imported");
        let expected = logits(&scene, &format!("--model bert --adapter {name}"));
        assert_close(
            &logits(&scene, &format!("--model bert --adapter {again}")),
            &expected,
        );
        // Handed back they are what they were.
        scene.succeeds(&format!("export --run {again} {export} {name}_back"));
        assert_eq!(
            tensor_files(&scene, &format!("{name}_back")),
            tensor_files(&scene, &out)
        );
        scene.refuses(
            &format!("import --adapter {out} --model bert --out no"),
            &[&out, "there are adapters in its folders"],
        );
    }
    scene.refuses(
        "import --adapter mixed_out --fuse first --model bert --out no",
        &["mixed_out", "the fusion is of the adapters"],
    );
    scene.refuses(
        "import --adapter first --stacked-lora sum --model bert --out no",
        &["--stacked-lora", "--stack"],
    );
}

#[test]
fn the_lines_of_a_card_run_on_files_of_ones_own() {
    let scene = scene();
    let pairs: String = (0..24)
        .map(|row| match row % 2 {
            0 => "good film\tbad film\tno\n",
            _ => "good film\tgreat film\tyes\n",
        })
        .collect();
    scene.write("pairs.tsv", format!("one\ttwo\tsame\n{pairs}"));
    let numbers: String = (0..24)
        .map(|row| format!("good film {row}\t{}\n", f64::from(row) / 4.0))
        .collect();
    scene.write("numbers.tsv", format!("text\tlabel\n{numbers}"));
    let train = "train --model bert --epochs 1 --batch-size 8 --max-length 32 --method lora";
    for (name, rows, options) in [
        ("words", "train.tsv", ""),
        (
            "pairs",
            "pairs.tsv",
            "--text-column one --pair-column two --label-column same",
        ),
        ("numbers", "numbers.tsv", "--regression"),
    ] {
        scene.succeeds(&format!(
            "{train} --train-file {rows} {options} --out {name}"
        ));
        for format in ["adapterhub", "peft"] {
            let out = format!("{name}_{format}");
            scene.succeeds(&format!(
                "export --run {name} --model bert --format {format} --out {out}"
            ));
            run_lines_of_card(&scene, &out, rows);
            let target =
                |run: &str| scene.read_json(&format!("{run}/run.json"))["config"]["target"].clone();
            assert_eq!(target(&format!("{out}_imported")), target(name));
        }
    }
}
