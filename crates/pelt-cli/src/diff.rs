//! `pelt diff`: what differs between two adapters.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Result, ensure};
use pelt_tensors::{HostTensor, TensorFiles};
use serde::Serialize;
use serde_json::Value;

use crate::args::DiffArgs;
use crate::output::print_line;

/// Copies of prefix tensors, one a layer, which `adapters` writes and nobody reads.
const COPIES: &str = ".prefix_tuning.pool.";

/// Stands for the adapter's own name in the names of its tensors.
const OWN_NAME: &str = ".*.";

/// Entries of a description that say nothing about what is computed: names, and the class that the head was on.
const UNCOMPARED: [&str; 5] = [
    "name",
    "version",
    "model_name",
    "model_class",
    "base_model_name_or_path",
];

/// A setting that differs; `null` where there is none.
#[derive(Serialize)]
struct Setting {
    key: String,
    a: Value,
    b: Value,
}

/// A tensor that differs.
#[derive(Serialize)]
struct Tensor {
    name: String,
    /// Its shape there; nothing where it is missing.
    a: Option<Vec<usize>>,
    b: Option<Vec<usize>>,
    /// The largest difference, where the shapes are the same. Not a number where one of the values is not.
    largest: Option<f32>,
}

#[derive(Serialize)]
struct Difference {
    settings: Vec<Setting>,
    tensors: Vec<Tensor>,
    /// Tensors with the same bits.
    equal: usize,
}

/// Whether the adapters are the same.
pub fn run(args: &DiffArgs) -> Result<bool> {
    let [a, b] = [Adapter::read(&args.a)?, Adapter::read(&args.b)?];
    ensure!(
        a.is_of_peft() == b.is_of_peft(),
        "{} and {}: one is in PEFT's format and the other in AdapterHub's, in which settings and tensors have other names; import \
         the one of PEFT, and compare the run",
        args.a.display(),
        args.b.display()
    );
    let mut found = Difference {
        settings: Vec::new(),
        tensors: Vec::new(),
        equal: 0,
    };
    let keys: BTreeSet<&String> = a.settings.keys().chain(b.settings.keys()).collect();
    for key in keys {
        let [a, b] = [&a, &b].map(|side| side.settings.get(key).cloned().unwrap_or_default());
        if a != b {
            let key = key.clone();
            found.settings.push(Setting { key, a, b });
        }
    }
    let names: BTreeSet<&String> = a.tensors.keys().chain(b.tensors.keys()).collect();
    for name in names {
        let [a, b] = [a.tensor(name)?, b.tensor(name)?];
        let largest = match (&a, &b) {
            (Some(a), Some(b)) if a.shape == b.shape => Some(largest(a, b)),
            _ => None,
        };
        match largest {
            Some(None) => found.equal += 1,
            largest => found.tensors.push(Tensor {
                name: name.clone(),
                a: a.map(|tensor| tensor.shape),
                b: b.map(|tensor| tensor.shape),
                largest: largest.flatten(),
            }),
        }
    }
    let same = found.settings.is_empty() && found.tensors.is_empty();
    match args.json {
        true => print_line(serde_json::to_string(&found)?)?,
        false => show(&found)?,
    }
    Ok(same)
}

fn show(found: &Difference) -> Result<()> {
    for Setting { key, a, b } in &found.settings {
        print_line(format!("{key}: {a} and {b}"))?;
    }
    for tensor in &found.tensors {
        let Tensor {
            name,
            a,
            b,
            largest,
        } = tensor;
        print_line(match (a, b, largest) {
            (Some(_), Some(_), Some(largest)) => format!("{name}: differs by at most {largest:e}"),
            (Some(a), Some(b), None) => format!("{name}: {a:?} and {b:?}"),
            (Some(_), None, _) => format!("{name}: only in the first"),
            (None, ..) => format!("{name}: only in the second"),
        })?;
    }
    print_line(format!(
        "{} settings and {} tensors differ, {} tensors are equal",
        found.settings.len(),
        found.tensors.len(),
        found.equal
    ))
}

/// The largest difference, or nothing if all bits are the same.
fn largest(a: &HostTensor, b: &HostTensor) -> Option<f32> {
    let pairs = || a.values.iter().zip(&b.values);
    if pairs().all(|(a, b)| a.to_bits() == b.to_bits()) {
        return None;
    }
    let differences = pairs().map(|(a, b)| (a - b).abs());
    Some(
        differences.fold(0.0, |most, one| match one > most || one.is_nan() {
            true => one,
            false => most,
        }),
    )
}

/// An adapter's folder, as it is.
struct Adapter {
    /// Settings by their place in the description.
    settings: BTreeMap<String, Value>,
    files: TensorFiles,
    /// The names of tensors in the file, by those without the adapter's own name.
    tensors: BTreeMap<String, String>,
}

impl Adapter {
    fn read(folder: &Path) -> Result<Self> {
        let json = pelt_methods::description(folder)?;
        let files = TensorFiles::open_folder(folder, &["adapter", "adapter_model"])?;
        let own = json.get("name").and_then(Value::as_str);
        let own = own.map(|name| format!(".{name}."));
        let general = |name: &str| match &own {
            Some(own) => name.replace(own, OWN_NAME),
            None => name.to_string(),
        };
        let names = files.names().filter(|name| !name.contains(COPIES));
        let tensors = names
            .map(|name| (general(name), name.to_string()))
            .collect();
        let mut settings = BTreeMap::new();
        flatten(&json, "", &mut settings);
        settings.retain(|key, _| !UNCOMPARED.contains(&key.as_str()));
        Ok(Self {
            settings,
            files,
            tensors,
        })
    }

    fn is_of_peft(&self) -> bool {
        self.settings.contains_key("peft_type")
    }

    fn tensor(&self, name: &str) -> Result<Option<HostTensor>> {
        Ok(match self.tensors.get(name) {
            Some(name) => Some(self.files.read(name)?),
            None => None,
        })
    }
}

/// Every value of a description under its path, such as `config.configs.0.r`.
fn flatten(value: &Value, path: &str, out: &mut BTreeMap<String, Value>) {
    let inner = |key: &str| match path {
        "" => key.to_string(),
        path => format!("{path}.{key}"),
    };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                flatten(value, &inner(key), out);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (number, value) in items.iter().enumerate() {
                flatten(value, &inner(&number.to_string()), out);
            }
        }
        value => {
            out.insert(path.to_string(), value.clone());
        }
    }
}
