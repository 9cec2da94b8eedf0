//! Everything that can go wrong with data, one sentence each.

use std::path::PathBuf;

/// Why data could not be read or tokenised. Rows are counted from 1, without headers and blank lines.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder could not be read.
    #[error("{} could not be read: {reason}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said. Not called `source`, because its text is part of this one.
        reason: std::io::Error,
    },
    /// No data set of this name is built in.
    #[error("there is no data set {name:?}; the known ones are {known}{suggestion}")]
    UnknownCard {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
        /// `; did you mean ...?`, or nothing.
        suggestion: String,
    },
    /// A card is not valid.
    #[error("the data set card {} is not valid: {message}", path.display())]
    Card {
        /// The card's file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The folder of a data set was not found.
    #[error("the data set {name:?} was not found under {}: none of {looked} is a folder", root.display())]
    NoFolder {
        /// The data set.
        name: String,
        /// The data directory given.
        root: PathBuf,
        /// The folders looked for.
        looked: String,
    },
    /// A data set has no such split.
    #[error("{} has no split {split:?}; the splits there are {found}", folder.display())]
    NoSplit {
        /// The data set's folder, or the Hub repository and folder.
        folder: PathBuf,
        /// The split asked for.
        split: String,
        /// The splits there are.
        found: String,
    },
    /// A split is made of several files and some are not there.
    #[error("the split {split:?} in {} should have {expected} files, found {found}", folder.display())]
    MissingFile {
        /// The data set's folder.
        folder: PathBuf,
        /// The split.
        split: String,
        /// Number of files by their names.
        expected: usize,
        /// Number of files there.
        found: usize,
    },
    /// A file name has no known extension.
    #[error("{} has no known extension: expected csv, tsv, jsonl, ndjson, json or parquet", path.display())]
    UnknownExtension {
        /// The file.
        path: PathBuf,
    },
    /// A file has no such column.
    #[error("{} has no column {column:?}; its columns are {found}", path.display())]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column asked for.
        column: String,
        /// The columns there are.
        found: String,
    },
    /// A file holds no rows.
    #[error("{} holds no rows", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Text is not UTF-8.
    #[error("row {row} of {} is not valid UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The row.
        row: usize,
    },
    /// A row cannot be parsed.
    #[error("row {row} of {} is malformed: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The row.
        row: usize,
        /// What is wrong.
        message: String,
    },
    /// A Parquet file is damaged, cut short or no Parquet file.
    #[error("{} is not a readable Parquet file: {message}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        message: String,
    },
    /// A value has the wrong type.
    #[error("row {row} of {} holds {found} in the column {column:?}, expected {expected}", path.display())]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The row.
        row: usize,
        /// The column.
        column: String,
        /// What was expected.
        expected: &'static str,
        /// What was found.
        found: String,
    },
    /// A label is not one of the task's.
    #[error("row {row} of {} has the label {found}, expected {allowed}", path.display())]
    LabelOutside {
        /// The file.
        path: PathBuf,
        /// The row.
        row: usize,
        /// The label found.
        found: String,
        /// The labels there can be.
        allowed: String,
    },
    /// A score is NaN or infinite.
    #[error("row {row} of {} has the score {found}, expected a finite number", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The row.
        row: usize,
        /// The score found.
        found: String,
    },
    /// A folder holds no tokenizer.
    #[error("{} holds no tokenizer: expected {looked}", folder.display())]
    NoTokenizer {
        /// The model's folder.
        folder: PathBuf,
        /// The file names looked for.
        looked: &'static str,
    },
    /// A tokenizer's file is not valid.
    #[error("the tokenizer file {} is not valid: {message}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A text could not be tokenised.
    #[error("row {row} could not be tokenised: {message}")]
    Tokenise {
        /// The row.
        row: usize,
        /// What the tokenizer said.
        message: String,
    },
    /// The maximum length leaves no room for text.
    #[error(
        "a maximum length of {max_length} tokens leaves no room for text beside {special} special tokens"
    )]
    MaxLength {
        /// The maximum length, special tokens included.
        max_length: usize,
        /// Number of special tokens.
        special: usize,
    },
    /// The text that may be shortened is too short.
    #[error(
        "row {row} cannot be shortened to {max_length} tokens by its {part} text alone, which has {tokens} tokens"
    )]
    TooShort {
        /// The row.
        row: usize,
        /// The maximum length, special tokens included.
        max_length: usize,
        /// `first` or `second`.
        part: &'static str,
        /// Tokens of that text.
        tokens: usize,
    },
    /// Overlapping windows would not move forward.
    #[error(
        "row {row} leaves windows of {room} tokens for its second text, which cannot share {stride} tokens: expected fewer"
    )]
    Stride {
        /// The row.
        row: usize,
        /// Tokens of the text in each window.
        room: usize,
        /// Tokens that consecutive windows share.
        stride: usize,
    },
    /// A data set has questions where labelled texts are wanted.
    #[error("the data set {name:?} has questions about passages, not labelled texts")]
    NoTexts {
        /// The data set.
        name: String,
    },
    /// A data set has labelled texts where questions are wanted.
    #[error("the data set {name:?} has labelled texts, not questions about passages")]
    NoQuestions {
        /// The data set.
        name: String,
    },
    /// A JSON file cannot be parsed, or lacks something.
    #[error("{} is not a file of questions in the official layout: {message}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        message: String,
    },
    /// A question or a passage is empty.
    #[error("row {row} of {} has no text in the column {column:?}", path.display())]
    EmptyText {
        /// The file.
        path: PathBuf,
        /// The row.
        row: usize,
        /// `question` or `context`.
        column: &'static str,
    },
    /// Two questions have the same name.
    #[error("row {row} of {} has the id {id:?}, which question {first} has already", path.display())]
    DuplicateId {
        /// The file.
        path: PathBuf,
        /// The row.
        row: usize,
        /// The id.
        id: String,
        /// The question that has it, counted over all files of the split.
        first: usize,
    },
    /// An answer does not stand in its passage where its file says.
    #[error(
        "row {row} of {} (id {id:?}) has the answer {answer:?} at character {start} of its passage, but {found}",
        path.display()
    )]
    AnswerOutside {
        /// The file.
        path: PathBuf,
        /// The row.
        row: usize,
        /// The question.
        id: String,
        /// The answer.
        answer: String,
        /// Its first character by the file.
        start: i64,
        /// What is there.
        found: String,
    },
    /// More rows are wanted than there are.
    #[error(
        "{name} has {rows} rows, but {wanted} are wanted for training and development together"
    )]
    TooFewRows {
        /// The data set.
        name: String,
        /// Rows there are.
        rows: usize,
        /// Rows wanted.
        wanted: usize,
    },
    /// A corpus has nothing in it.
    #[error("{} holds no text", path.display())]
    NoText {
        /// The file or folder.
        path: PathBuf,
    },
    /// Nothing can be masked.
    #[error(
        "the tokenizer has no special token [MASK] or <mask>, or no ordinary one, so no token can be masked"
    )]
    NoMask,
    /// The Hub does not have a data set in a layout that is read.
    #[error(
        "the data set {name:?} cannot be fetched from the Hugging Face Hub; give the folder that holds it (--data DIR)"
    )]
    NotOnHub {
        /// The data set.
        name: String,
    },
    /// The Hugging Face Hub did not give what was asked for.
    #[cfg(feature = "hub")]
    #[error("the rows of {name} are neither given (--data DIR) nor to be had from the Hub")]
    Hub {
        /// The data set.
        name: String,
        /// Why not.
        source: Box<pelt_hub::HubError>,
    },
}

/// Joins names for a message; long lists and long names are cut.
pub(crate) fn join_names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 30;
    const LONGEST: usize = 60;
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() {
        return "(none)".to_owned();
    }
    let shown: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| on_one_line(&clipped(name, LONGEST)))
        .collect();
    let shown = shown.join(", ");
    if names.len() > SHOWN {
        format!("{shown}, ... ({} in all)", names.len())
    } else {
        shown
    }
}

/// The first line of a foreign error message, cut to a readable length.
pub(crate) fn first_line(message: &str) -> String {
    const LONGEST: usize = 200;
    let line = message.lines().next().unwrap_or_default().trim();
    on_one_line(&clipped(line, LONGEST))
}

/// Text from a file, cut to so many characters.
pub(crate) fn clipped(text: &str, longest: usize) -> String {
    let mut shown: String = text.chars().take(longest).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}

/// Text that may repeat parts of a file, without what would control the terminal.
fn on_one_line(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_messages_of_files_are_cut_and_kept_to_one_line() {
        let long = "x".repeat(100_000);
        assert_eq!(join_names(["a", "b\nc\u{1b}"]), "a, b c ");
        assert!(join_names([long.as_str()]).len() < 100);
        let many = join_names(std::iter::repeat_n(long.as_str(), 100));
        assert!(many.len() < 3000 && many.ends_with("(100 in all)"));
        assert_eq!(first_line("one\u{7}\ntwo"), "one ");
        assert_eq!(first_line(&long).len(), 203);
        assert_eq!(clipped("caf\u{e9}", 4), "caf\u{e9}");
    }
}
