//! Cards: what a data set is, where it lies and how it is read.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use pelt_metrics::{Metric, PredictionKind};
use serde::{Deserialize, Serialize};

use crate::error::{DataError, join_names};
use crate::labels::Target;

const BUILTIN: [(&str, &str); 21] = [
    ("acl_arc", include_str!("../../../datasets/acl_arc.toml")),
    ("agnews", include_str!("../../../datasets/agnews.toml")),
    ("ax", include_str!("../../../datasets/ax.toml")),
    ("chemprot", include_str!("../../../datasets/chemprot.toml")),
    ("cola", include_str!("../../../datasets/cola.toml")),
    (
        "helpfulness",
        include_str!("../../../datasets/helpfulness.toml"),
    ),
    (
        "helpfulness_standin",
        include_str!("../../../datasets/helpfulness_standin.toml"),
    ),
    (
        "hyperpartisan",
        include_str!("../../../datasets/hyperpartisan.toml"),
    ),
    (
        "hyperpartisan_resplit",
        include_str!("../../../datasets/hyperpartisan_resplit.toml"),
    ),
    ("imdb", include_str!("../../../datasets/imdb.toml")),
    ("mnli", include_str!("../../../datasets/mnli.toml")),
    ("mrpc", include_str!("../../../datasets/mrpc.toml")),
    ("qnli", include_str!("../../../datasets/qnli.toml")),
    ("qqp", include_str!("../../../datasets/qqp.toml")),
    ("rct", include_str!("../../../datasets/rct.toml")),
    ("rte", include_str!("../../../datasets/rte.toml")),
    ("scierc", include_str!("../../../datasets/scierc.toml")),
    ("squad", include_str!("../../../datasets/squad.toml")),
    ("sst2", include_str!("../../../datasets/sst2.toml")),
    ("stsb", include_str!("../../../datasets/stsb.toml")),
    ("wnli", include_str!("../../../datasets/wnli.toml")),
];

/// Describes a data set of Parquet files in the layout of the Hugging Face Hub, or of JSON lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Short name, as on the command line.
    pub name: String,
    /// Full name.
    pub title: String,
    /// What a reader should know about these rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The card of the published set, where these rows are others: no result on them may go under its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stand_in_for: Option<String>,
    /// Licence of the data, as far as known.
    pub licence: String,
    /// Metrics that are reported.
    pub metrics: Vec<Metric>,
    /// The metric by whose largest value the best model is chosen; `combined_score` is the mean of `metrics`.
    pub primary_metric: Metric,
    /// Longest sequence in tokens, where the literature uses another one than usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// The split that is trained on, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_split: Option<String>,
    /// The labelled splits that are evaluated on; the first one chooses the best model.
    #[serde(default)]
    pub evaluation_splits: Vec<String>,
    /// Where the files are.
    pub source: Source,
    /// What the columns mean.
    pub columns: Columns,
    /// What is predicted.
    pub target: Target,
    /// Rows of each published split. A folder may hold fewer, or other splits.
    #[serde(default)]
    pub published_rows: BTreeMap<String, usize>,
    /// Other names of splits, used where a split of the name itself is not there.
    #[serde(default)]
    pub aliases: BTreeMap<String, String>,
    /// Labels as JSON lines write them, and the label each stands for. Numbers then stand for nothing else.
    #[serde(default)]
    pub json_lines_labels: BTreeMap<String, String>,
}

/// Where the files of a data set are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Data set repository on the Hugging Face Hub, where the set is there in this layout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Folder in that repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_folder: Option<String>,
    /// Folder below the data directory; its last part is the name of the task's folder.
    pub local_folder: String,
    /// Other folders in which it may lie.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_folders: Vec<String>,
    /// The layouts of its files, the preferred one first.
    #[serde(default = "parquet_alone")]
    pub layouts: Vec<Layout>,
}

/// How the files of a data set are named and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// `SPLIT-00000-of-00001.parquet` and so on.
    Parquet,
    /// `train.jsonl`, `dev.jsonl` (the split `validation`) and `test.jsonl`.
    JsonLines,
    /// `train-v1.1.json` and `dev-v1.1.json`, as SQuAD was published.
    OfficialJson,
}

impl Layout {
    /// The file of a split, for a message.
    pub(crate) fn example(self) -> &'static str {
        match self {
            Self::Parquet => "SPLIT-00000-of-00001.parquet",
            Self::JsonLines => "SPLIT.jsonl",
            Self::OfficialJson => "SPLIT-v1.1.json",
        }
    }
}

fn parquet_alone() -> Vec<Layout> {
    vec![Layout::Parquet]
}

/// What the columns mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// The text, or the first text of a pair.
    pub text: String,
    /// The second text of a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// The label. The value -1 means that the label is private.
    pub label: String,
}

impl Card {
    /// The built-in card of this name.
    pub fn builtin(name: &str) -> Option<Self> {
        let (_, text) = BUILTIN.iter().find(|(known, _)| *known == name)?;
        Self::parse(text, Path::new(name)).ok()
    }

    /// As [`Card::builtin`], with an error that lists the names there are.
    ///
    /// # Errors
    /// No built-in card has this name.
    pub fn require_builtin(name: &str) -> Result<Self, DataError> {
        Self::builtin(name).ok_or_else(|| DataError::UnknownCard {
            name: name.to_owned(),
            known: join_names(Self::names()),
            suggestion: Self::nearest(name)
                .map(|name| format!("; did you mean {name:?}?"))
                .unwrap_or_default(),
        })
    }

    /// The built-in name that is most like another one, however that is written (`STS-B`), if one is close.
    fn nearest(name: &str) -> Option<&'static str> {
        let name = name.to_lowercase().replace(['-', '_'], "");
        let scored = Self::names().map(|known| (strsim::jaro_winkler(&name, known), known));
        let (score, known) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
        (score > 0.75).then_some(known)
    }

    /// Names of the built-in cards, sorted.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILTIN.iter().map(|(name, _)| *name)
    }

    /// Names of the classes; `None` for a regression.
    pub fn labels(&self) -> Option<&[String]> {
        match &self.target {
            Target::Classification { labels } => Some(labels),
            Target::Regression { .. } | Target::Span => None,
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Self, DataError> {
        let wrong = |message: String| DataError::Card {
            path: path.to_owned(),
            message,
        };
        let card: Self = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(1, |before| before.matches('\n').count() + 1);
            wrong(format!(
                "line {line}: {}",
                error.message().replace('\n', "; ")
            ))
        })?;
        card.check().map_err(wrong)?;
        Ok(card)
    }

    fn check(&self) -> Result<(), String> {
        if self.metrics.is_empty() {
            return Err("metrics is empty, expected at least one".to_owned());
        }
        let kind = match self.target {
            Target::Classification { .. } => PredictionKind::Classes,
            Target::Regression { .. } => PredictionKind::Scores,
            Target::Span => PredictionKind::Answers,
        };
        for metric in &self.metrics {
            if !metric.fits(kind) || *metric == Metric::CombinedScore {
                return Err(format!(
                    "the metric {} does not fit the kind of target",
                    metric.name()
                ));
            }
        }
        let combined = self.primary_metric == Metric::CombinedScore && self.metrics.len() > 1;
        if !combined && !self.metrics.contains(&self.primary_metric) {
            return Err(format!(
                "primary_metric is {}, which is not among metrics",
                self.primary_metric.name()
            ));
        }
        let choosing = match combined {
            true => self.metrics.as_slice(),
            false => std::slice::from_ref(&self.primary_metric),
        };
        if let Some(metric) = choosing.iter().find(|metric| !metric.larger_is_better()) {
            return Err(format!(
                "the data set {:?} has {} choose the best weights, of which a smaller value is the better one",
                self.name,
                metric.name()
            ));
        }
        self.target.check()?;
        let labels = self.labels().unwrap_or_default();
        if let Some(unknown) = self
            .json_lines_labels
            .values()
            .find(|label| !labels.contains(label))
        {
            return Err(format!(
                "json_lines_labels has {unknown:?}, which is not among the labels"
            ));
        }
        let source = &self.source;
        let folders = source.hub_folder.iter().chain([&source.local_folder]);
        for folder in folders.chain(&source.other_folders) {
            // A card may come from anywhere, and must not lead out of the data directory.
            let inside = Path::new(folder)
                .components()
                .all(|part| matches!(part, Component::Normal(_)));
            if folder.is_empty() || !inside {
                return Err(format!(
                    "the folder {folder:?} is not a plain relative path"
                ));
            }
        }
        Ok(())
    }

    /// The folders in which the data set may lie below a data directory, in the order in which they are tried.
    pub(crate) fn candidate_folders(&self, root: &Path) -> Vec<PathBuf> {
        let source = &self.source;
        let mut folders = Vec::new();
        for folder in [&source.local_folder]
            .into_iter()
            .chain(&source.other_folders)
        {
            let local = Path::new(folder);
            folders.push(root.join(local));
            let Some(last) = local.file_name() else {
                continue;
            };
            if local != Path::new(last) {
                folders.push(root.join(last));
            }
            // A folder counts as the task's own only by its name: tasks share column names, so that reading another
            // task's files would go unnoticed.
            let root_is_task = root
                .canonicalize()
                .is_ok_and(|root| root.file_name() == Some(last));
            if root_is_task {
                folders.push(root.to_owned());
            }
        }
        folders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_card_is_valid_and_named_after_its_file() {
        for (name, text) in BUILTIN {
            let card = Card::parse(text, Path::new(name)).unwrap();
            assert_eq!(card.name, name);
            for split in card.evaluation_splits.iter().chain(&card.train_split) {
                let published = card.published_rows.contains_key(split);
                assert_eq!(published, card.stand_in_for.is_none(), "{name} {split}");
            }
            if let Some(other) = &card.stand_in_for {
                assert!(Card::builtin(other).unwrap().stand_in_for.is_none());
                assert!(card.note.is_some(), "{name} does not say what its rows are");
            }
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = Card::require_builtin("colaa").unwrap_err().to_string();
        assert!(
            message.contains("\"colaa\"") && message.contains("cola, helpfulness"),
            "{message}"
        );
        for (name, meant) in [
            ("colaa", "; did you mean \"cola\"?"),
            ("STS-B", "; did you mean \"stsb\"?"),
            ("IMDB", "; did you mean \"imdb\"?"),
        ] {
            let message = Card::require_builtin(name).unwrap_err().to_string();
            assert!(message.ends_with(meant), "{message}");
        }
        let message = Card::require_builtin("zzz").unwrap_err().to_string();
        assert!(!message.contains("did you mean"), "{message}");
    }

    #[test]
    fn a_card_must_fit_together() {
        let (_, cola) = BUILTIN.iter().find(|(name, _)| *name == "cola").unwrap();
        let cases = [
            ("matthews_correlation\"]", "pearson\"]", "does not fit"),
            (
                "primary_metric = \"matthews_correlation\"",
                "primary_metric = \"f1\"",
                "not among metrics",
            ),
            (
                "labels = [\"unacceptable\", ",
                "labels = [\"acceptable\", ",
                "twice",
            ),
            ("glue/cola", "../secret", "plain relative path"),
            ("[columns]", "[columns]\ntypo = 1", "line 16"),
        ];
        for (from, to, expected) in cases {
            assert!(cola.contains(from), "{from}");
            let message = Card::parse(&cola.replace(from, to), Path::new("card.toml"))
                .unwrap_err()
                .to_string();
            assert!(message.contains(expected), "{message}");
            assert!(
                message.contains("card.toml") && !message.contains('\n'),
                "{message}"
            );
        }
    }

    #[test]
    fn an_error_does_not_choose_the_best_model() {
        let (_, stsb) = BUILTIN.iter().find(|(name, _)| *name == "stsb").unwrap();
        for (metrics, primary) in [
            ("\"mse\"", "mse"),
            ("\"pearson\", \"mse\"", "combined_score"),
        ] {
            let card = stsb
                .replace("\"pearson\", \"spearmanr\"", metrics)
                .replace("\"combined_score\"", &format!("\"{primary}\""));
            let error = Card::parse(&card, Path::new("card.toml")).unwrap_err();
            let message = error.to_string();
            assert!(message.contains("\"stsb\" has mse choose"), "{message}");
        }
    }
}
