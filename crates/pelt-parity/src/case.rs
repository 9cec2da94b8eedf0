//! A recorded case, and its inputs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use pelt_hooks::{PackedBatch, Pass, Sequence};
use pelt_tensors::TensorFiles;
use serde_json::Value;

/// A JSON file.
pub(crate) fn read_json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// One folder of `cases`: a model, an adapter, inputs, and what a reference made of them.
#[derive(Debug)]
pub struct Case {
    /// `base/bert_cls`.
    pub name: String,
    pub(crate) meta: Value,
    fixtures: PathBuf,
}

impl Case {
    /// All cases below a folder of fixtures, by name.
    ///
    /// # Errors
    /// If the folder or a case cannot be read.
    pub fn all(fixtures: &Path) -> Result<Vec<Self>> {
        let mut names = vec![];
        for group in ["adapters", "base", "peft"] {
            let folder = fixtures.join("cases").join(group);
            let entries =
                std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
            for entry in entries {
                let name = entry?.file_name();
                names.push(format!("{group}/{}", name.to_string_lossy()));
            }
        }
        names.sort();
        let load = |name: String| {
            let meta = fixtures.join("cases").join(&name).join("meta.json");
            Ok(Self {
                meta: read_json(&meta)?,
                name,
                fixtures: fixtures.to_path_buf(),
            })
        };
        names.into_iter().map(load).collect()
    }

    pub(crate) fn text(&self, key: &str) -> &str {
        self.meta[key].as_str().unwrap_or_default()
    }

    /// A file or folder of this case.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.fixtures.join("cases").join(&self.name).join(name)
    }

    /// A file or folder that several cases share.
    pub(crate) fn shared(&self, key: &str) -> PathBuf {
        self.fixtures.join(self.text(key))
    }

    pub(crate) fn file(&self, file: &str) -> Result<Option<TensorFiles>> {
        let path = self.path(file);
        Ok(match path.exists() {
            true => Some(TensorFiles::open(&path)?),
            false => None,
        })
    }

    /// The names of adapters under `stack` or `fuse`, in order.
    pub(crate) fn composed(&self, how: &str) -> Vec<&str> {
        let names = self.meta["setup"].get(how).and_then(Value::as_array);
        let names = names.into_iter().flatten();
        names.filter_map(Value::as_str).collect()
    }

    /// The pass, with nothing from the adapter in the layers that the case leaves out.
    pub(crate) fn skipping(&self, pass: Pass) -> Pass {
        let layers = self.meta.get("skip_layers").and_then(Value::as_array);
        let layers = layers.into_iter().flatten().filter_map(Value::as_u64);
        pass.skipping(layers.map(|layer| layer as usize))
    }

    /// The references let padding into gates, and the fused-attention path of `adapters` lets padding keys into prompt
    /// rows. Only rows without padding can be compared then.
    pub(crate) fn only_full_rows(&self) -> bool {
        self.name.ends_with("_padded") || self.name.ends_with("_sdpa_quirk")
    }
}

/// A padded batch, packed, with the lengths of its rows.
pub(crate) struct Inputs {
    pub batch: PackedBatch,
    pub lengths: Vec<usize>,
    pub columns: usize,
    pub files: TensorFiles,
}

impl Inputs {
    pub fn read(case: &Case) -> Result<Self> {
        let files = TensorFiles::open(&case.shared("inputs"))?;
        let use_types = case.meta.get("token_types_used") != Some(&Value::Bool(false));
        let (sequences, columns) = sequences(&files, "", use_types)?;
        Ok(Self {
            lengths: sequences.iter().map(|s| s.input_ids.len()).collect(),
            batch: PackedBatch::new(&sequences),
            columns,
            files,
        })
    }
}

/// The rows of a padded batch without their padding, and how many columns they had with it.
pub(crate) fn sequences(
    files: &TensorFiles,
    start: &str,
    use_types: bool,
) -> Result<(Vec<Sequence>, usize)> {
    let read = |name: &str| files.read_int(&format!("{start}{name}"));
    let ids = read("input_ids")?;
    let mask = read("attention_mask")?.values;
    let types = read("token_type_ids")?.values;
    ensure!(ids.shape.len() == 2, "input_ids are no matrix");
    let columns = ids.shape[1];
    let sequences = (0..ids.shape[0]).map(|row| {
        let range = row * columns..(row + 1) * columns;
        let length = mask[range.clone()].iter().sum::<i64>() as usize;
        let take = |values: &[i64], keep: bool| {
            let values = values[range.clone()][..length].iter();
            values.map(|v| if keep { *v as u32 } else { 0 }).collect()
        };
        Sequence {
            input_ids: take(&ids.values, true),
            token_type_ids: take(&types, use_types),
        }
    });
    Ok((sequences.collect(), columns))
}
