//! Which files of a repository are needed.
//!
//! Each function is given the names of all files, in a repository or in a cache, and gives those that are needed, the
//! indispensable ones last: a download that breaks off must not leave a folder that only looks complete. Where something
//! indispensable is missing, the error says what.

use std::collections::HashSet;

/// Picks the files that are needed from the names of all, or says what is missing, as part of a sentence.
pub type Choose<'a> = dyn Fn(&[String]) -> Result<Vec<String>, String> + 'a;

/// Files of a tokenizer beside its vocabulary.
const TOKENIZER_EXTRAS: [&str; 3] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];

/// The files of a tokenizer, in the order in which they are looked for; one group is enough.
const TOKENIZERS: [&[&str]; 3] = [
    &["tokenizer.json"],
    &["vocab.txt"],
    &["vocab.json", "merges.txt"],
];

/// Everything that an adapter's folder may have beside its weights.
const ADAPTER_EXTRAS: [&str; 4] = [
    "head_config.json",
    "adapter_fusion_config.json",
    "run.json",
    "pretrain.json",
];

/// An encoder: `config.json`, its weights (safetensors rather than PyTorch's format) and a tokenizer.
///
/// # Errors
/// What is missing, as part of a sentence.
pub fn model_files(all: &[String]) -> Result<Vec<String>, String> {
    let has = |name: &str| all.iter().any(|one| one == name);
    require(has("config.json"), "config.json")?;
    let weights = weights(all, &["model"])?
        .ok_or("model.safetensors, pytorch_model.bin, or an index of parts of either")?;
    let mut chosen: Vec<String> = present(all, &TOKENIZER_EXTRAS);
    let tokenizers = TOKENIZERS
        .into_iter()
        .filter(|group| group.iter().all(|name| has(name)));
    let tokenizers: Vec<&str> = tokenizers.flatten().copied().collect();
    require(
        !tokenizers.is_empty(),
        "tokenizer.json, vocab.txt, or vocab.json with merges.txt",
    )?;
    chosen.extend(tokenizers.into_iter().map(String::from));
    chosen.push("config.json".into());
    chosen.extend(weights);
    Ok(chosen)
}

/// An adapter in the format of `adapters` or `peft`, or a run, with its head.
///
/// # Errors
/// What is missing, as part of a sentence.
pub fn adapter_files(all: &[String]) -> Result<Vec<String>, String> {
    let has = |name: &str| all.iter().any(|one| one == name);
    require(has("adapter_config.json"), "adapter_config.json")?;
    let weights = weights(all, &["adapter", "adapter_model"])?.ok_or(
        "adapter.safetensors, pytorch_adapter.bin, adapter_model.safetensors or adapter_model.bin",
    )?;
    let mut chosen = present(all, &ADAPTER_EXTRAS);
    for stem in ["model_head", "model_adapter_fusion"] {
        chosen.extend(self::weights(all, &[stem])?.unwrap_or_default());
    }
    chosen.push("adapter_config.json".into());
    chosen.extend(weights);
    Ok(chosen)
}

fn require(there: bool, what: &str) -> Result<(), String> {
    if there { Ok(()) } else { Err(what.into()) }
}

fn present(all: &[String], names: &[&str]) -> Vec<String> {
    let found = names
        .iter()
        .filter(|name| all.iter().any(|one| one == *name));
    found.map(|name| (*name).to_owned()).collect()
}

/// The tensor file of the first of `stems` that has one, or its index and parts, as a reader of the folder would choose.
fn weights(all: &[String], stems: &[&str]) -> Result<Option<Vec<String>>, String> {
    let has = |name: &String| all.contains(name);
    for stem in stems {
        for (whole, ending) in [
            (format!("{stem}.safetensors"), "safetensors"),
            (format!("pytorch_{stem}.bin"), "bin"),
            (format!("{stem}.bin"), "bin"),
        ] {
            if has(&whole) {
                return Ok(Some(vec![whole]));
            }
            let index = format!("{whole}.index.json");
            if has(&index) {
                let stem = whole.trim_end_matches(&format!(".{ending}")).to_owned();
                let mut files = parts(all, &stem, ending)?;
                files.push(index);
                return Ok(Some(files));
            }
        }
    }
    Ok(None)
}

/// The parts `STEM-00001-of-00003.ENDING` of a set, all of them.
fn parts(all: &[String], stem: &str, ending: &str) -> Result<Vec<String>, String> {
    let count = all.iter().find_map(|name| {
        let rest = name.strip_prefix(stem)?.strip_prefix('-')?;
        let (number, count) = rest
            .strip_suffix(ending)?
            .strip_suffix('.')?
            .split_once("-of-")?;
        let digits =
            |text: &str| text.len() == 5 && text.bytes().all(|digit| digit.is_ascii_digit());
        (digits(number) && digits(count)).then(|| count.parse::<usize>().ok())?
    });
    let name = |number: usize, count: usize| format!("{stem}-{number:05}-of-{count:05}.{ending}");
    let count = count.ok_or_else(|| name(1, 2))?;
    let wanted: Vec<String> = (1..=count).map(|number| name(number, count)).collect();
    // There can be many parts and many files.
    let there: HashSet<&str> = all.iter().map(String::as_str).collect();
    match wanted.iter().find(|name| !there.contains(name.as_str())) {
        Some(missing) => Err(missing.clone()),
        None => Ok(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn only_what_is_read_is_fetched_and_weights_come_last() {
        let all = names(&[
            "README.md",
            "config.json",
            "model.safetensors",
            "onnx/model.onnx",
            "pytorch_model.bin",
            "tf_model.h5",
            "tokenizer.json",
            "tokenizer_config.json",
            "vocab.txt",
        ]);
        let expected = [
            "tokenizer_config.json",
            "tokenizer.json",
            "vocab.txt",
            "config.json",
            "model.safetensors",
        ];
        assert_eq!(model_files(&all).unwrap(), names(&expected));
    }

    #[test]
    fn all_parts_of_a_set_are_needed() {
        let mut all = names(&[
            "config.json",
            "merges.txt",
            "model-00001-of-00002.safetensors",
            "model.safetensors.index.json",
            "vocab.json",
        ]);
        let missing = model_files(&all).unwrap_err();
        assert_eq!(missing, "model-00002-of-00002.safetensors");
        all.push(missing);
        let chosen = model_files(&all).unwrap();
        assert_eq!(chosen.len(), all.len());
        assert_eq!(chosen.last().unwrap(), "model.safetensors.index.json");
    }

    #[test]
    fn many_parts_are_found_at_once() {
        let count = 99_999;
        let part = |number: usize| format!("model-{number:05}-of-{count:05}.safetensors");
        let mut all: Vec<String> = (1..=count).map(part).collect();
        all.push("config.json".into());
        all.push("vocab.txt".into());
        all.push("model.safetensors.index.json".into());
        let start = std::time::Instant::now();
        assert_eq!(model_files(&all).unwrap().len(), all.len());
        // Looking through the whole list for each of them would take far longer.
        let taken = start.elapsed();
        assert!(taken.as_secs() < 5, "{taken:?}");
    }

    #[test]
    fn what_is_missing_is_said() {
        let missing = |all: &[&str]| model_files(&names(all)).unwrap_err();
        assert_eq!(missing(&[]), "config.json");
        assert!(missing(&["config.json"]).contains("model.safetensors"));
        let without_tokenizer = ["config.json", "pytorch_model.bin", "vocab.json"];
        assert!(missing(&without_tokenizer).contains("merges.txt"));
    }

    #[test]
    fn adapters_of_either_library_are_found() {
        let hub = names(&[
            "adapter_config.json",
            "head_config.json",
            "pytorch_adapter.bin",
            "pytorch_model_head.bin",
        ]);
        let chosen = adapter_files(&hub).unwrap();
        assert_eq!(chosen.len(), 4);
        assert_eq!(chosen.last().unwrap(), "pytorch_adapter.bin");
        let peft = names(&[
            "README.md",
            "adapter_config.json",
            "adapter_model.safetensors",
        ]);
        let expected = ["adapter_config.json", "adapter_model.safetensors"];
        assert_eq!(adapter_files(&peft).unwrap(), names(&expected));
        assert!(adapter_files(&names(&["adapter_config.json"])).is_err());
    }
}
