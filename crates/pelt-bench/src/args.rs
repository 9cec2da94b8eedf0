//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pelt_bench::{Dropout, LORA_QV, Shape};
use pelt_encoder::Precision;

/// Measure one thing, and print one JSON object on one line.
#[derive(Debug, Parser)]
#[command(name = "pelt-bench", arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub bench: Bench,
}

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Time and memory.
    Speed {
        /// Threads to compute on [default: one per core].
        #[arg(long, value_name = "N", global = true)]
        threads: Option<usize>,
        /// Device to measure, such as flex, tch-cpu or cuda:0.
        #[arg(long, default_value = pelt_device::default_name(), value_name = "NAME", global = true)]
        device: String,
        #[command(subcommand)]
        kind: Speed,
    },
}

#[derive(Debug, Subcommand)]
pub enum Speed {
    /// List the methods that can be measured.
    Methods,
    /// The matrix products of an encoder's linear layers alone.
    Ceiling {
        /// Rows of the left matrix.
        #[arg(long, default_value_t = 2048, value_name = "N")]
        tokens: usize,
        /// Width of a hidden state.
        #[arg(long, default_value_t = 384, value_name = "N")]
        hidden: usize,
        /// Width of the feed-forward layer.
        #[arg(long, default_value_t = 1536, value_name = "N")]
        intermediate: usize,
        /// f32, bf16 or f16.
        #[arg(long, default_value_t = Precision::F32, value_name = "NAME")]
        precision: Precision,
        /// Seconds for each of the three shapes.
        #[arg(long, default_value_t = 2.0, value_name = "S")]
        seconds: f64,
    },
    /// Write a checkpoint folder of an encoder's sizes with random weights, to measure speed without a download.
    Shape {
        #[arg(long, value_name = "NAME")]
        name: Shape,
        /// Folder to write config.json and model.safetensors to.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Training steps on made-up tokens of equal length.
    Step {
        #[command(flatten)]
        model: ModelArguments,
        /// Tokens of each sequence.
        #[arg(long, default_value_t = 64, value_name = "N")]
        length: usize,
        #[command(flatten)]
        steps: StepArguments,
        /// Also clip the gradients and update with AdamW.
        #[arg(long)]
        update: bool,
    },
    /// Where the time of training steps goes, kernel by kernel; needs a build with the feature `profile`.
    Profile {
        #[command(flatten)]
        model: ModelArguments,
        /// Tokens of each sequence.
        #[arg(long, default_value_t = 64, value_name = "N")]
        length: usize,
        #[command(flatten)]
        steps: StepArguments,
    },
    /// Time per token of batches of 512 tokens, from one sequence to 64.
    Scaling {
        #[command(flatten)]
        model: ModelArguments,
        #[command(flatten)]
        steps: StepArguments,
    },
    /// Training on a real task, without evaluation.
    Epoch {
        #[command(flatten)]
        model: ModelArguments,
        #[command(flatten)]
        data: DataArguments,
        /// Take as many random rows as N steps need [default: a whole epoch].
        #[arg(long, value_name = "N")]
        steps: Option<usize>,
        /// Largest learning rate.
        #[arg(long = "lr", default_value_t = 5e-4, value_name = "RATE")]
        learning_rate: f64,
    },
    /// Prediction of a task's validation rows.
    Infer {
        #[command(flatten)]
        model: ModelArguments,
        #[command(flatten)]
        data: DataArguments,
    },
}

#[derive(Debug, Args)]
pub struct ModelArguments {
    /// Folder of the pretrained encoder (Hugging Face layout).
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// A name that `pelt-bench speed methods` lists.
    #[arg(long, default_value = LORA_QV, value_name = "NAME")]
    pub method: String,
    /// Change one setting of the method, e.g. lora.r=4; can be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// Of hidden states and frozen weights: f32, bf16 or f16.
    #[arg(long, default_value_t = Precision::F32, value_name = "NAME")]
    pub precision: Precision,
    /// Rows of a batch.
    #[arg(long, default_value_t = 32, value_name = "N")]
    pub batch: usize,
    /// Seed of everything random.
    #[arg(long, default_value_t = 42, value_name = "N")]
    pub seed: u64,
}

#[derive(Debug, Args)]
pub struct DataArguments {
    /// A known task, such as mrpc.
    #[arg(long, value_name = "NAME")]
    pub task: String,
    /// Folder of data sets in the Hub's Parquet layout.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Longest sequence in tokens.
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub max_length: usize,
}

#[derive(Debug, Args)]
pub struct StepArguments {
    /// Steps that are timed.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub rounds: usize,
    /// Whether dropout is active.
    #[arg(long, value_enum, default_value_t = DropoutChoice::Off)]
    pub dropout: DropoutChoice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DropoutChoice {
    On,
    Off,
}

impl From<DropoutChoice> for Dropout {
    fn from(choice: DropoutChoice) -> Self {
        match choice {
            DropoutChoice::On => Self::On,
            DropoutChoice::Off => Self::Off,
        }
    }
}
