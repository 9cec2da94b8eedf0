//! Data sets, tokenisation and batches
//!
//! A [`Card`] says where a data set lies and what its columns mean; [`read_split`] reads one split of it into a
//! [`TextDataset`], [`read_questions`] reads questions about passages into a [`QuestionDataset`]. A [`UserFile`] does the same for a single file without a card. A [`Tokenizer`] turns rows into
//! token ids, [`pack_texts`] and [`Masking`] make rows for masked-language modelling of unlabelled texts, and
//! [`shuffled_order`] decides in which order rows are trained on. Nothing here depends on the number of threads.
//!
//! Files may come from anywhere: what they claim is checked before memory is reserved for it, and whatever is wrong with
//! them is an error and no panic.
//!
//! ```
//! use pelt_data::{Label, UserFile, UserTask, shuffled_order};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("reviews.tsv");
//! std::fs::write(&path, "review\tverdict\na fine film\tgood\nfar too long\tbad\na fine cast\tgood\n")?;
//! let file = UserFile {
//!     path,
//!     text_column: "review".into(),
//!     pair_column: None,
//!     label_column: Some("verdict".into()),
//!     task: UserTask::Classification,
//!     labels: None,
//! };
//! let data = file.read()?;
//! assert_eq!(data.rows[0].text, "a fine film");
//! // The classes are numbered in the order of their names: `bad`, `good`.
//! assert_eq!(data.target.outputs(), 2);
//! assert_eq!(data.rows[0].label, Some(Label::Class(1)));
//! let order = shuffled_order(data.rows.len(), 42, 0);
//! assert_eq!(order.len(), 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batches;
mod card;
mod corpus;
mod delimited;
mod error;
#[cfg(feature = "hub")]
mod hub;
mod json_lines;
mod labels;
mod parquet_checks;
mod parquet_file;
mod parquet_thrift;
mod questions;
mod regular_file;
mod split_files;
mod standing;
mod table;
mod text_dataset;
mod tokenizer;
mod user_file;

pub use batches::{first_rows, shuffled_order};
pub use card::{Card, Columns, Layout, Source};
pub use corpus::{
    MaskedRow, Masking, TextPacking, fingerprint_of_rows, pack_texts, read_documents,
};
pub use error::DataError;
#[cfg(feature = "hub")]
pub use hub::fetch_from_hub;
pub use labels::{Label, Target};
pub use questions::{
    Answer, AnswerRules, Candidate, Question, QuestionDataset, QuestionWindow, WindowLogits,
    best_answers, question_windows, read_questions,
};
pub use standing::Standing;
pub use text_dataset::{TextDataset, TextRow, fingerprint, read_split};
pub use tokenizer::{Encoded, Piece, Tokenizer, Truncation, Window};
pub use user_file::{UserFile, UserTask};
