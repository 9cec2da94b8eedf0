//! `pelt predict`.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};

use anyhow::{Context, Result, bail};
use pelt_data::{TextRow, Tokenizer};
use serde_json::{Map, Value, json};

use crate::args::PredictArgs;
use crate::model::Base;
use crate::predictions::probabilities;
use crate::run_folder::{self, Run};
use crate::source::Reading;
use crate::{data, model, questions};

/// Lines that are read before their predictions are written.
const LINES_AT_ONCE: usize = 512;
const OUTPUT: &str = "standard output cannot be written to";

pub fn run(args: &PredictArgs) -> Result<()> {
    args.inference.check()?;
    let batch_size = args.inference.batch_size;
    let (name, mut input): (String, Box<dyn BufRead>) = match &args.file {
        Some(path) => {
            let file =
                File::open(path).with_context(|| format!("{}: cannot be read", path.display()))?;
            (path.display().to_string(), Box::new(BufReader::new(file)))
        }
        None => ("standard input".into(), Box::new(std::io::stdin().lock())),
    };
    let tokenizer = model::tokenizer(&args.model)?;
    let base = Base::open(&args.model, None)?;
    let record = run_folder::read_record(&args.run)?;
    let run = run_folder::load(&args.run, record, &base, &args.model)?;
    let run = args.inference.apply(run, &base)?;
    let mut output = BufWriter::new(std::io::stdout().lock());
    let mut line_number = 0;
    loop {
        let rows = read_rows(
            &mut input,
            &name,
            &mut line_number,
            run.record.config.data.pairs,
        )?;
        if rows.is_empty() {
            break;
        }
        let values = match questions::settings(&run.record) {
            None => predict(&run, &rows, &tokenizer, batch_size)?,
            Some(settings) => {
                let reading = Reading {
                    tokenizer: &tokenizer,
                    base: &base,
                    model: &args.model,
                    max_length: run.record.config.train.max_length,
                };
                let first_line = line_number + 1 - rows.len();
                questions::predict(&run, rows, first_line, &reading, settings, batch_size)
                    .with_context(|| name.clone())?
            }
        };
        for value in values {
            writeln!(output, "{value}").context(OUTPUT)?;
        }
        output.flush().context(OUTPUT)?;
    }
    Ok(())
}

fn read_rows(
    input: &mut dyn BufRead,
    name: &str,
    line_number: &mut usize,
    pairs: bool,
) -> Result<Vec<TextRow>> {
    let mut rows = Vec::new();
    let mut bytes = Vec::new();
    while rows.len() < LINES_AT_ONCE {
        bytes.clear();
        let read = input.read_until(b'\n', &mut bytes);
        if read.with_context(|| format!("{name}: cannot be read"))? == 0 {
            break;
        }
        *line_number += 1;
        let line = std::str::from_utf8(&bytes);
        let line =
            line.with_context(|| format!("{name}, line {line_number}: expected UTF-8 text"))?;
        let line = line.trim_end_matches(['\n', '\r']);
        let (text, pair) = match (pairs, line.split_once('\t')) {
            (true, Some((first, second))) => (first, Some(second.to_string())),
            (true, None) => bail!(
                "{name}, line {line_number}: expected two texts with a tab between them, found one"
            ),
            (false, _) => (line, None),
        };
        rows.push(TextRow {
            text: text.to_string(),
            pair,
            label: None,
        });
    }
    Ok(rows)
}

fn predict(
    run: &Run,
    rows: &[TextRow],
    tokenizer: &Tokenizer,
    batch_size: usize,
) -> Result<Vec<Value>> {
    let config = &run.record.config;
    let (sequences, _) = data::sequences(rows, tokenizer, config.train.max_length)?;
    let outputs = pelt_train::predict(&run.model, &sequences, batch_size)?;
    let labels = data::label_names(&config.target);
    let values = outputs.iter().map(|output| match &labels {
        Some(labels) => classification(output, labels),
        None => json!({ "score": output.first() }),
    });
    Ok(values.collect())
}

fn classification(logits: &[f32], labels: &[String]) -> Value {
    let (best, shares) = probabilities(logits);
    let shares = labels
        .iter()
        .cloned()
        .zip(shares.into_iter().map(Value::from));
    json!({ "label": labels.get(best), "probabilities": shares.collect::<Map<_, _>>() })
}
