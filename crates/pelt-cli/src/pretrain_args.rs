//! The command line of `pelt pretrain`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use pelt_data::TextPacking;

use crate::args::HeadChoice;
use crate::optimiser_args::OptimiserArgs;

#[derive(Debug, Args)]
pub struct PretrainArgs {
    /// Folder of the pretrained encoder (Hugging Face layout).
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// What is learnt.
    #[arg(long, value_enum, default_value_t = Objective::Mlm)]
    pub objective: Objective,
    /// Texts: plain text (blank lines part documents), CSV, TSV, JSON lines or Parquet, a folder of such files, or a task of
    /// `pelt tasks`, of which the training texts are read; can be several.
    #[arg(long, value_name = "FILE|DIR|TASK", num_args = 1.., required = true)]
    pub corpus: Vec<String>,
    /// Folder of data sets, for a task; without it GLUE and SQuAD come from the Hub.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Column of the texts in files of rows.
    #[arg(long, default_value = "text", value_name = "NAME")]
    pub text_column: String,
    /// How texts become rows.
    #[arg(long, value_enum, default_value_t = PackingChoice::Documents)]
    pub packing: PackingChoice,
    /// Share of the documents (lines with --packing lines) that perplexity is measured on, or a file of such texts; 0 for
    /// none.
    #[arg(long, default_value = "0.05", value_name = "SHARE|FILE")]
    pub held_out: String,

    /// A method of `pelt methods`, or `full` or `bitfit`.
    #[arg(long, default_value = "full", value_name = "NAME")]
    pub method: String,
    /// A TOML or JSON file that describes the method instead.
    #[arg(long, value_name = "FILE", conflicts_with = "method")]
    pub method_file: Option<PathBuf>,
    /// Change one setting of the method; can be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// Names under which an adapter's head is kept: those of the model, or those of AdapterHub's flexible head.
    #[arg(long, value_enum, default_value_t = HeadChoice::Auto)]
    pub head: HeadChoice,

    /// Folder that is written: a whole model where the encoder itself is trained, else an adapter with its head.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Replace what an earlier `pelt pretrain` wrote to the folder.
    #[arg(long, conflicts_with = "resume")]
    pub force: bool,
    /// Continue from the folder's last checkpoint, bit for bit.
    #[arg(long)]
    pub resume: bool,

    /// Largest learning rate.
    #[arg(long = "lr", default_value_t = 1e-4, value_name = "RATE")]
    pub learning_rate: f64,
    /// Longest row in tokens.
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub max_length: usize,
    #[command(flatten)]
    pub optimiser: OptimiserArgs,
    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Objective {
    /// Masked-language modelling: predict hidden tokens of a text.
    Mlm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PackingChoice {
    /// Documents follow one another, parted by a separator, in rows of the maximum length.
    Documents,
    /// Every line is a row of its own.
    Lines,
}

impl PackingChoice {
    pub fn packing(self) -> TextPacking {
        match self {
            Self::Documents => TextPacking::Documents,
            Self::Lines => TextPacking::Lines,
        }
    }
}
