//! The model card of an exported folder: `README.md` with the block of metadata that the Hub reads.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use pelt_data::Target;
use pelt_encoder::PromptLabels;
use pelt_methods::{PartConfig, StackedLora, StackedParallel};
use pelt_tensors::write_atomically;

use super::Export;
use crate::args::{CombinationChoice, ExportFormat, MergeArgs};
use crate::method::Tuning;

impl Export<'_> {
    pub(super) fn card(&self, folder: &Path) -> Result<()> {
        let text = format!("{}{}{}", self.metadata(), self.description(), self.usage()?);
        Ok(write_atomically(
            &folder.join("README.md"),
            text.as_bytes(),
        )?)
    }

    fn metadata(&self) -> String {
        let library = match self.args.format {
            ExportFormat::Adapterhub => "adapters",
            ExportFormat::Peft => "peft",
            ExportFormat::SafetensorsMerged => "transformers",
        };
        let pipeline = match self.run.record.config.target {
            Target::Span => "question-answering",
            _ => "text-classification",
        };
        let mut out = format!(
            "---\nbase_model: {}\nlibrary_name: {library}\npipeline_tag: {pipeline}\ntags:\n- pelt\n",
            quoted(&self.info.model_name)
        );
        if let Tuning::Adapter(adapter) = &self.run.record.config.tuning {
            for part in &adapter.parts {
                out += &format!("- {}\n", part.name());
            }
        }
        out += "metrics:\n";
        for metric in &self.run.record.config.metrics {
            out += &format!("- {}\n", metric.name());
        }
        out + "---\n\n"
    }

    /// What was trained on what, and what came out.
    fn description(&self) -> String {
        let record = &self.run.record;
        let (config, results) = (&record.config, &record.results);
        let trained = match &config.tuning {
            Tuning::Adapter(adapter) => {
                let parts: Vec<&str> = adapter.parts.iter().map(PartConfig::name).collect();
                parts.join(" + ")
            }
            Tuning::Fusion(_) => "AdapterFusion".into(),
            Tuning::Full => "full fine-tuning".into(),
            Tuning::BitFit => "BitFit".into(),
        };
        let mut out = format!(
            "# {}\n\n{trained} of {}: {} trained parameters (the encoder has {}), written by pelt {}.\n",
            self.args.name,
            self.info.model_name,
            results.trainable_parameters,
            results.base_parameters,
            record.version,
        );
        if results.steps == 0 {
            return out
                + "\nIt was imported from the files of another library, so how it was trained is not known here.\n";
        }
        out += &format!(
            "\nTrained for {}: {} optimiser steps on {} rows with seed {}.\n",
            config.data.task.as_deref().unwrap_or("rows of one's own"),
            results.steps,
            config.data.train_rows,
            config.train.seed,
        );
        if let Target::Classification { labels } = &config.target {
            out += &format!(
                "\nThe classes, in the order of the head's outputs: {}.\n",
                labels.join(", ")
            );
        }
        if let Some(note) = &config.data.note {
            out += &format!("\nThe rows: {note}.\n");
        }
        let best_on = results.best_on.as_ref();
        let mut scores = vec![(best_on.map(|on| (on.set.clone(), on.rows)), &results.best)];
        if let Some(test) = &results.test {
            scores.push((Some((test.on.set.clone(), test.on.rows)), &test.values));
        }
        out += "\n| rows | metric | value |\n| --- | --- | --- |\n";
        for (on, values) in scores {
            let on = on.map_or("development rows".to_string(), |(set, rows)| {
                format!("{set} ({rows})")
            });
            for (metric, value) in values {
                // Writing to a text cannot fail.
                let _ = writeln!(out, "| {on} | {metric} | {value:.4} |");
            }
        }
        out
    }

    fn usage(&self) -> Result<String> {
        let model = quoted(&self.info.model_name);
        let class = match self.run.record.config.target {
            Target::Span => "AutoModelForQuestionAnswering",
            _ => "AutoModelForSequenceClassification",
        };
        let labels = match self.run.record.config.target {
            Target::Span => String::new(),
            _ => format!(", num_labels={}", self.run.record.config.head.labels),
        };
        let python = match self.args.format {
            ExportFormat::Adapterhub => self.with_adapters(class, &labels)?,
            ExportFormat::Peft => format!(
                "from peft import PeftModel\nfrom transformers import {class}\n\n\
                 base = {class}.from_pretrained({model}{labels})\n\
                 model = PeftModel.from_pretrained(base, \"FOLDER\").eval()\n"
            ),
            ExportFormat::SafetensorsMerged => format!(
                "from transformers import {class}, AutoTokenizer\n\n\
                 model = {class}.from_pretrained(\"FOLDER\").eval()\n\
                 tokenizer = AutoTokenizer.from_pretrained(\"FOLDER\")\n"
            ),
        };
        Ok(format!(
            "\n## Use\n\n`FOLDER` is the folder of this file.\n\n```python\n{python}```\n\n{}",
            self.with_pelt()?
        ))
    }

    /// What `pelt` can do with the folder.
    fn with_pelt(&self) -> Result<String> {
        let config = &self.run.record.config;
        let model = &self.info.model_name;
        if self.args.format == ExportFormat::SafetensorsMerged {
            return Ok(
                "For `pelt` it is an encoder like any other: `pelt train --model FOLDER`.\n".into(),
            );
        }
        let prompt_labels = match config.head.kind.prompt_labels() {
            Some(PromptLabels::Unshifted) => " --prompt-labels unshifted",
            Some(PromptLabels::Shifted) | None => "",
        };
        let in_folder = |names: &[String]| {
            let folders: Vec<String> = names.iter().map(|name| format!("FOLDER/{name}")).collect();
            folders.join(",")
        };
        let names = self.names()?;
        // What is imported, and how training goes on: what is made of several adapters is trained anew on them.
        let anew = "anew on its adapters";
        let (imported, how, further) = match (&config.tuning, names.as_slice()) {
            (Tuning::Fusion(_), all) => {
                let fused = in_folder(all);
                (
                    format!("FOLDER --fuse {fused}"),
                    anew,
                    format!("--method fusion --fuse {fused}"),
                )
            }
            (_, [below @ .., last]) if !below.is_empty() => {
                let rules = self.stack_rules();
                (
                    format!("FOLDER/{last} --stack {}{rules}", in_folder(below)),
                    anew,
                    format!("--stack {}{rules}", in_folder(&names)),
                )
            }
            _ => (
                "FOLDER".into(),
                "it further",
                "--init-adapter FOLDER --keep-head".into(),
            ),
        };
        let rows = self.rows();
        let (of_import, scored) = match &config.data.task {
            Some(_) => (rows.clone(), rows.clone()),
            None => {
                let pairs = if config.data.pairs { " --pairs" } else { "" };
                let length = config.train.max_length;
                let labels = match (&config.target, self.args.format) {
                    // The format has no place for them, and the option none for commas.
                    (Target::Classification { labels }, ExportFormat::Peft)
                        if labels.iter().all(|label| !label.contains(',')) =>
                    {
                        format!(" --labels {}", in_a_shell(&labels.join(",")))
                    }
                    _ => String::new(),
                };
                (
                    format!("--max-length {length}{pairs}{labels}"),
                    format!("--file ROWS{}", self.columns()),
                )
            }
        };
        Ok(format!(
            "With `pelt`, where MODEL is {model} or a folder with it, score it, and train {how}:\n\n```bash\n\
             pelt import --adapter {imported} --model MODEL {of_import}{prompt_labels} --out IMPORTED\n\
             pelt evaluate --run IMPORTED --model MODEL {scored}\n\
             pelt train --model MODEL {further} {rows}{prompt_labels} --out RUN\n```\n"
        ))
    }

    /// Options for how the adapters of a stack follow one another, where that is not the usual way.
    fn stack_rules(&self) -> String {
        let Some(rules) = self.rules() else {
            return String::new();
        };
        let mut options = String::new();
        if rules.lora == StackedLora::Sum {
            options += " --stacked-lora sum";
        }
        if rules.parallel == StackedParallel::Last {
            options += " --stacked-parallel last";
        }
        options
    }

    /// What `pelt train` is to be trained on.
    fn rows(&self) -> String {
        match &self.run.record.config.data.task {
            Some(task) => format!("--task {task}"),
            None => {
                let regression = match self.run.record.config.target {
                    Target::Regression { .. } => " --regression",
                    _ => "",
                };
                format!("--train-file ROWS{}{regression}", self.columns())
            }
        }
    }

    /// Options for the columns of a file of one's own, where they are not the usual ones.
    fn columns(&self) -> String {
        let data = &self.run.record.config.data;
        let options = [
            ("--text-column", &data.text_column, "text"),
            ("--pair-column", &data.pair_column, ""),
            ("--label-column", &data.label_column, "label"),
        ];
        let given = options.into_iter().filter_map(|(option, column, usual)| {
            let column = column.as_ref().filter(|column| *column != usual)?;
            Some(format!(" {option} {}", in_a_shell(column)))
        });
        given.collect()
    }

    fn with_adapters(&self, class: &str, labels: &str) -> Result<String> {
        let model = quoted(&self.info.model_name);
        let flexible = self.run.record.config.head.kind.is_flexible();
        let mut out = match flexible {
            true => format!(
                "import adapters\n\nmodel = adapters.AutoAdapterModel.from_pretrained({model})\n"
            ),
            false => format!(
                "import adapters\nfrom transformers import {class}\n\n\
                 model = {class}.from_pretrained({model}{labels})\nadapters.init(model)\n"
            ),
        };
        let names = self.names()?;
        let listed = names.iter().map(|name| format!("\"{name}\""));
        let listed = listed.collect::<Vec<_>>().join(", ");
        let fused = matches!(self.run.record.config.tuning, Tuning::Fusion(_));
        if names.len() == 1 && !fused {
            out += "model.load_adapter(\"FOLDER\")\n";
            out += &format!("model.set_active_adapters({listed})\n");
            return Ok(out + "model.eval()\n");
        }
        out += &format!("for name in [{listed}]:\n    model.load_adapter(f\"FOLDER/{{name}}\")\n");
        out += &match fused {
            true => format!(
                "model.load_adapter_fusion(\"FOLDER\")\nmodel.set_active_adapters(adapters.Fuse({listed}))\n"
            ),
            false => format!("model.set_active_adapters(adapters.Stack({listed}))\n"),
        };
        if fused && flexible {
            // The library looks for the head of one adapter, and a mixture's has the names of all.
            out += &format!("model.active_head = \"{}\"\n", names.join(","));
        }
        Ok(out + "model.eval()\n")
    }
}

/// A word as a shell reads it back.
fn in_a_shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.,/:+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// The card of several LoRAs that were made one.
pub fn card_of_combination(folder: &Path, args: &MergeArgs, model: &str) -> Result<()> {
    let combination = match args.combination {
        CombinationChoice::Concatenated => "put beside one another",
        CombinationChoice::Linear => "added up",
    };
    let name = &args.name;
    let quoted = quoted(model);
    let mut text = format!(
        "---\nbase_model: {quoted}\nlibrary_name: adapters\ntags:\n- pelt\n- lora\n---\n\n# {name}\n\n\
         LoRAs of {model}, {combination} by `pelt merge`. It has no task head.\n\n| LoRA | weight |\n| --- | --- |\n"
    );
    for (adapter, weight) in args.adapter.iter().zip(&args.weights) {
        let adapter = adapter.file_name().unwrap_or(adapter.as_os_str());
        // Writing to a text cannot fail.
        let _ = writeln!(text, "| {} | {weight} |", adapter.to_string_lossy());
    }
    text += &format!(
        "\n## Use\n\n`FOLDER` is the folder of this file.\n\n```python\nimport adapters\n\n\
         model = adapters.AutoAdapterModel.from_pretrained({quoted})\nmodel.load_adapter(\"FOLDER\")\n\
         model.set_active_adapters(\"{name}\")\nmodel.eval()\n```\n\n\
         With `pelt`, where MODEL is {model} or a folder with it, train it further under a new head:\n\n```bash\n\
         pelt train --model MODEL --init-adapter FOLDER --train-file ROWS --out RUN\n```\n"
    );
    Ok(write_atomically(
        &folder.join("README.md"),
        text.as_bytes(),
    )?)
}

/// A text as YAML and Python read it back, whatever is in it: a JSON string is one of theirs.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
