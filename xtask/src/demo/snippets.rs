//! The demo's data set: sentences from film reviews, with the sign of their mean human rating as the label.
//!
//! Source: C. J. Hutto and E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social
//! Media Text", ICWSM 2014. The ratings come with the Python package vaderSentiment (MIT licence).

use std::fmt::{self, Display};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;
use tar::Archive;

use super::checksum::sha256;
use super::create_folder;

/// So many that training takes about two minutes on two cores.
const TRAIN_ROWS: usize = 3000;
const VALIDATION_ROWS: usize = 1000;

/// The archive inside the source archive, and the file of film sentences inside that.
const INNER_ARCHIVE: &str = "additional_resources/hutto_ICWSM_2014.tar.gz";
const SNIPPETS: &str = "movieReviewSnippets_GroundTruth.txt";

/// Far more than the file holds; a larger one is not the file that was meant.
const MOST_BYTES: u64 = 16 << 20;

/// The data set as it was written.
#[derive(Debug)]
pub struct DataSet {
    pub folder: PathBuf,
    pub train: PathBuf,
    pub validation: PathBuf,
    pub train_rows: usize,
    pub validation_rows: usize,
    /// Accuracy of always answering the label that is most frequent in the validation rows.
    pub majority_accuracy: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    Negative,
    Positive,
}

impl Display for Label {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Negative => "negative",
            Self::Positive => "positive",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    text: String,
    label: Label,
}

#[derive(Debug, Default)]
struct Split {
    train: Vec<Row>,
    validation: Vec<Row>,
}

/// Reads the rated sentences out of the source archive and writes `train.tsv` and `validation.tsv`.
pub fn build(source_archive: &Path, folder: &Path) -> Result<DataSet> {
    let file = File::open(source_archive)
        .with_context(|| format!("cannot open {}", source_archive.display()))?;
    let text =
        read_snippets(file).with_context(|| format!("cannot read {}", source_archive.display()))?;
    let mut split = split(parse(&text)?);
    split.train.truncate(TRAIN_ROWS);
    split.validation.truncate(VALIDATION_ROWS);
    create_folder(folder)?;
    let (train, validation) = (folder.join("train.tsv"), folder.join("validation.tsv"));
    write(&train, &split.train)?;
    write(&validation, &split.validation)?;
    Ok(DataSet {
        folder: folder.to_path_buf(),
        train,
        validation,
        train_rows: split.train.len(),
        validation_rows: split.validation.len(),
        majority_accuracy: majority_accuracy(&split.validation),
    })
}

/// The film sentences, read from an archive inside an archive without unpacking either to disk.
fn read_snippets(source_archive: impl Read) -> Result<String> {
    let mut outer = Archive::new(GzDecoder::new(source_archive));
    let mut inner = Archive::new(GzDecoder::new(entry(&mut outer, INNER_ARCHIVE)?));
    let mut text = String::new();
    entry(&mut inner, SNIPPETS)?
        .take(MOST_BYTES)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// The first entry of an archive whose path ends in `suffix`, compared component by component.
fn entry<'a, R: Read>(archive: &'a mut Archive<R>, suffix: &str) -> Result<tar::Entry<'a, R>> {
    for entry in archive.entries()? {
        let entry = entry?;
        if entry.path()?.ends_with(suffix) {
            return Ok(entry);
        }
    }
    bail!("the archive has no entry {suffix}")
}

/// Lines of `id TAB mean rating TAB text`. Sentences rated exactly zero have no sign and are left out.
fn parse(text: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let fields: Vec<&str> = line.splitn(3, '\t').collect();
        let [_, rating, text] = fields[..] else {
            bail!(
                "{SNIPPETS} line {}: expected id, rating and text, found {} field(s)",
                index + 1,
                fields.len()
            );
        };
        let rating: f64 = match rating.trim().parse() {
            Ok(rating) if f64::is_finite(rating) => rating,
            _ => bail!(
                "{SNIPPETS} line {}: the rating should be a number, found `{rating}`",
                index + 1
            ),
        };
        if rating != 0.0 {
            let label = if rating > 0.0 {
                Label::Positive
            } else {
                Label::Negative
            };
            rows.push(Row {
                text: clean(text),
                label,
            });
        }
    }
    Ok(rows)
}

/// The text on one line, without tabs, and quoted as most of the file's sentences are, so that every
/// reader of tab-separated values sees the same text.
fn clean(text: &str) -> String {
    text.replace('"', "''")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// Sends about four fifths of the texts to training. A text's digest alone decides, so that equal texts
/// fall on the same side and the split is the same everywhere; each side is in the order of the digests.
fn split(rows: Vec<Row>) -> Split {
    let mut keyed: Vec<(String, Row)> = rows
        .into_iter()
        .map(|row| (sha256(row.text.as_bytes()), row))
        .collect();
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut split = Split::default();
    for (digest, row) in keyed {
        // The digest's last character is one of sixteen, so 13 of 16 (81 %) train. Its first characters
        // give the order, and would leave each side with one end of it.
        if digest.ends_with(['d', 'e', 'f']) {
            split.validation.push(row)
        } else {
            split.train.push(row)
        }
    }
    split
}

fn majority_accuracy(rows: &[Row]) -> f64 {
    let positive = rows
        .iter()
        .filter(|row| row.label == Label::Positive)
        .count();
    let right = positive.max(rows.len() - positive);
    right as f64 / rows.len().max(1) as f64
}

fn write(path: &Path, rows: &[Row]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut text = String::from("text\tlabel\n");
    for row in rows {
        text.push_str(&format!("{}\t{}\n", row.text, row.label));
    }
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(text.as_bytes())?;
    temporary
        .persist(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    fn archive_of(path: &str, content: &[u8]) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, content).unwrap();
        builder.into_inner().unwrap().finish().unwrap()
    }

    fn rows(count: usize) -> Vec<Row> {
        let label = |index: usize| {
            if index.is_multiple_of(3) {
                Label::Positive
            } else {
                Label::Negative
            }
        };
        (0..count)
            .map(|index| Row {
                text: format!("sentence {index}"),
                label: label(index),
            })
            .collect()
    }

    #[test]
    fn the_label_is_the_sign_of_the_rating_and_zeros_are_left_out() {
        let rows =
            parse("1\t2.5\tGood.\r\n2\t-0.1\tBad.\r\n3\t0.0\tSo so.\r\n4\t-0\tAlso.\r\n").unwrap();
        let expected = [("Good.", Label::Positive), ("Bad.", Label::Negative)];
        assert_eq!(
            rows,
            expected.map(|(text, label)| Row {
                text: text.to_string(),
                label
            })
        );
    }

    #[test]
    fn texts_hold_no_tabs_or_double_quotes() {
        let rows = parse("1\t1\t \"A\"\tb\u{a0}c \r\n").unwrap();
        assert_eq!(rows[0].text, "''A'' b c");
    }

    #[test]
    fn lines_without_three_fields_or_a_number_are_errors_that_name_the_line() {
        for text in [
            "1\t1\tfine\n2\t1\n",
            "1\t1\tfine\n2\tone\tx\n",
            "1\t1\tfine\n2\tNaN\tx\n",
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains("line 2"), "{message}");
        }
    }

    #[test]
    fn the_split_does_not_depend_on_the_order_and_loses_nothing() {
        let split_a = split(rows(1000));
        let mut reversed = rows(1000);
        reversed.reverse();
        let split_b = split(reversed);
        assert_eq!(split_a.train, split_b.train);
        assert_eq!(split_a.validation, split_b.validation);
        assert_eq!(split_a.train.len() + split_a.validation.len(), 1000);
        assert!(
            (750..870).contains(&split_a.train.len()),
            "{}",
            split_a.train.len()
        );
    }

    #[test]
    fn equal_texts_fall_on_the_same_side() {
        let mut twice = rows(100);
        twice.extend(rows(100));
        let split = split(twice);
        assert!(
            split
                .train
                .iter()
                .all(|row| !split.validation.contains(row))
        );
    }

    #[test]
    fn the_majority_is_right_on_its_own_rows() {
        let row = |label| Row {
            text: String::new(),
            label,
        };
        let mut rows = vec![row(Label::Negative), row(Label::Positive)];
        assert_eq!(majority_accuracy(&rows), 0.5);
        rows.extend([row(Label::Negative), row(Label::Negative)]);
        assert_eq!(majority_accuracy(&rows), 0.75);
    }

    #[test]
    fn a_file_is_found_in_an_archive_inside_an_archive() {
        let inner = archive_of(&format!("folder/{SNIPPETS}"), "1\t1\tété\n".as_bytes());
        let outer = archive_of(&format!("package-1/{INNER_ARCHIVE}"), &inner);
        assert_eq!(read_snippets(&outer[..]).unwrap(), "1\t1\tété\n");
        let message = read_snippets(&inner[..]).unwrap_err().to_string();
        assert!(message.contains(INNER_ARCHIVE), "{message}");
        assert!(read_snippets(&outer[..outer.len() / 2]).is_err());
    }

    #[test]
    fn what_is_written_has_a_header_and_one_line_for_each_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.tsv");
        write(&path, &rows(2)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "text\tlabel\nsentence 0\tpositive\nsentence 1\tnegative\n"
        );
    }
}
