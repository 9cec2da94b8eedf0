//! The command line.
//!
//! Where an option `requires` another one that conflicts with a third, it has to conflict with the third as well: clap asks for nothing
//! that could not be given.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use pelt_encoder::PromptLabels;

use crate::column_args::ColumnArgs;
use crate::examples;
use crate::inference::InferenceArgs;
use crate::optimiser_args::OptimiserArgs;
use crate::pretrain_args::PretrainArgs;
use crate::stack_args::StackArgs;

/// Train, evaluate and ship adapters of pretrained text encoders.
#[derive(Debug, Parser)]
#[command(name = "pelt", version, arg_required_else_help = true, after_help = examples::PELT)]
pub struct Cli {
    /// Device that everything runs on: see `pelt devices`.
    #[arg(long, global = true, default_value = pelt_device::default_name(), value_name = "NAME")]
    pub device: String,
    /// Tell nothing but results, warnings and errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Tell every step, and where everything comes from.
    #[arg(short, long, global = true)]
    pub verbose: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Adapt a pretrained encoder to a task.
    #[command(after_help = examples::TRAIN)]
    Train(Box<TrainArgs>),
    /// Go on pretraining an encoder, or train an adapter, on texts without labels.
    #[command(after_help = examples::PRETRAIN)]
    Pretrain(Box<PretrainArgs>),
    /// Score a finished run on labelled rows.
    #[command(after_help = examples::EVALUATE)]
    Evaluate(EvaluateArgs),
    /// Label texts from standard input or a file; writes JSON lines.
    #[command(after_help = examples::PREDICT)]
    Predict(PredictArgs),
    /// Write a finished run as files that Python's `adapters`, `peft` or `transformers` load.
    #[command(after_help = examples::EXPORT)]
    Export(ExportArgs),
    /// Make a finished run of an adapter that Python's `adapters` or `peft` saved.
    #[command(after_help = examples::IMPORT)]
    Import(ImportArgs),
    /// Merge a run's LoRA or (IA)³ into a whole model for `transformers`, or several LoRAs into one.
    #[command(after_help = examples::MERGE)]
    Merge(MergeArgs),
    /// Keep the table that a prefix's network gives, and not the network.
    #[command(after_help = examples::EJECT)]
    Eject(EjectArgs),
    /// Compare the settings and weights of two adapters; exits with 1 if they differ.
    #[command(after_help = examples::DIFF)]
    Diff(DiffArgs),
    /// Show what a method would train in a model, by component.
    #[command(after_help = examples::INSPECT)]
    Inspect(InspectArgs),
    /// Run a batch of token ids through a model, to compare with other implementations.
    #[command(after_help = examples::FORWARD)]
    Forward(ForwardArgs),
    /// List the methods with their defaults and parameter counts.
    #[command(after_help = examples::METHODS)]
    Methods(MethodsArgs),
    /// List the tasks with their labels, metrics and sizes.
    #[command(after_help = examples::TASKS)]
    Tasks(TasksArgs),
    /// List the devices that this build can use, and those that it finds.
    #[command(after_help = examples::DEVICES)]
    Devices,
    /// Print the completions of a shell, for its folder of them.
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Train a logistic regression on the frozen encoder's mean hidden states.
    #[command(hide = true)]
    Probe(ProbeArgs),
}

/// How questions about passages are read and answered.
#[derive(Debug, Clone, Args)]
pub struct QuestionArgs {
    /// Questions: tokens that consecutive windows over a long passage share.
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub doc_stride: usize,
    /// Questions: best starts and ends that are combined in each window, and best answers that are kept.
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub n_best: usize,
    /// Questions: longest answer in tokens.
    #[arg(long, default_value_t = 30, value_name = "N")]
    pub max_answer_tokens: usize,
    /// Questions: what a position means where the method has a prompt.
    #[arg(long, value_enum, default_value_t = PromptLabelsChoice::Shifted)]
    pub prompt_labels: PromptLabelsChoice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PromptLabelsChoice {
    /// The row of that token, past the prompt.
    Shifted,
    /// The row of that number, prompt or not, as the `adapters` library has it.
    Unshifted,
}

impl PromptLabelsChoice {
    pub fn labels(self) -> PromptLabels {
        match self {
            Self::Shifted => PromptLabels::Shifted,
            Self::Unshifted => PromptLabels::Unshifted,
        }
    }
}

#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Folder of the pretrained encoder (Hugging Face layout).
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Folder of data sets; without it GLUE and SQuAD come from the Hub.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// A task of `pelt tasks`, such as mrpc or chemprot.
    #[arg(long, conflicts_with = "train_file")]
    pub task: Option<String>,
    /// Split to train on, where it is not the task's own.
    #[arg(
        long,
        value_name = "NAME",
        requires = "task",
        conflicts_with = "train_file"
    )]
    pub train_split: Option<String>,
    /// Training rows of one's own: CSV, TSV, JSON lines or Parquet.
    #[arg(long, value_name = "FILE")]
    pub train_file: Option<PathBuf>,
    /// Rows that choose the best weights; same columns as --train-file.
    #[arg(
        long,
        value_name = "FILE",
        requires = "train_file",
        conflicts_with = "task"
    )]
    pub validation_file: Option<PathBuf>,
    #[command(flatten)]
    pub columns: ColumnArgs,
    /// Train on the first N of the shuffled rows.
    #[arg(long, value_name = "N")]
    pub train_rows: Option<usize>,
    /// Choose the best weights on the next N of the shuffled rows, or on the last N without --train-rows, which leaves all
    /// others to train on; and score the task's own development set at the end.
    #[arg(long, value_name = "N")]
    pub dev_rows: Option<usize>,
    /// Seed of the shuffled rows that --train-rows and --dev-rows take from; default: --seed.
    #[arg(long, value_name = "N")]
    pub data_seed: Option<u64>,

    #[command(flatten)]
    pub questions: QuestionArgs,

    /// A method of `pelt methods`, or `full` or `bitfit`.
    #[arg(long, default_value = "unipelt-prompt", value_name = "NAME")]
    pub method: String,
    /// A TOML or JSON file that describes the method instead.
    #[arg(long, value_name = "FILE", conflicts_with = "method")]
    pub method_file: Option<PathBuf>,
    /// Change one setting of the method, e.g. unipelt.lora.r=4; can be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// Start from the adapter in this folder (of `pelt pretrain`, `pelt train` or AdapterHub) instead of a new one.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["method", "method_file", "settings"])]
    pub init_adapter: Option<PathBuf>,
    /// With --init-adapter: start from the task head in its folder too. Its classes must be those of the rows.
    #[arg(
        long,
        requires = "init_adapter",
        conflicts_with_all = ["head", "method", "method_file", "settings"]
    )]
    pub keep_head: bool,
    /// Train a new adapter on top of the trained ones in these folders (of `pelt pretrain`, `pelt train` or AdapterHub),
    /// which stay as they are; the first one is at the bottom.
    #[arg(
        long,
        value_name = "DIR",
        value_delimiter = ',',
        conflicts_with = "init_adapter"
    )]
    pub stack: Vec<PathBuf>,
    #[command(flatten)]
    pub stack_rules: StackArgs,
    /// With --method fusion: the trained bottleneck adapters that are mixed and stay as they are (folders as for --stack).
    #[arg(
        long,
        value_name = "DIR",
        value_delimiter = ',',
        conflicts_with_all = ["init_adapter", "stack"]
    )]
    pub fuse: Vec<PathBuf>,
    /// Task head.
    #[arg(long, value_enum, default_value_t = HeadChoice::Auto)]
    pub head: HeadChoice,

    /// Folder of the run.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Replace a run that is already in the folder.
    #[arg(long, conflicts_with = "resume")]
    pub force: bool,
    /// Continue from the folder's last checkpoint, bit for bit.
    #[arg(long)]
    pub resume: bool,

    /// Largest learning rate.
    #[arg(long = "lr", default_value_t = 5e-4, value_name = "RATE")]
    pub learning_rate: f64,
    /// Longest sequence in tokens; default: the task's own, else 128.
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,
    #[command(flatten)]
    pub optimiser: OptimiserArgs,
    /// In every step, train without the method in a random number of leading layers (AdapterDrop).
    #[arg(long)]
    pub adapter_drop: bool,
    /// Compute what the layers below the first one that the method changes give once for every row, and keep it in memory
    /// for later epochs. Leaves out dropout in these layers, which changes what is trained. Needs a method with leading
    /// layers left out, e.g. by `--set bottleneck.leave_out=[0,1]`.
    #[arg(long)]
    pub cache_activations: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum HeadChoice {
    /// BERT's pooled head where the model has a pooler, RoBERTa's head for RoBERTa, else the flexible one.
    Auto,
    /// The `adapters` library's flexible head: linear, tanh, linear on the first row.
    Flexible,
}

#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// Folder of a finished run.
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Folder of the pretrained encoder that the run adapted.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Folder of data sets; without it GLUE and SQuAD come from the Hub.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// A task of `pelt tasks`.
    #[arg(long, conflicts_with = "file", required_unless_present = "file")]
    pub task: Option<String>,
    /// Split to score, instead of the task's evaluation splits.
    #[arg(long, value_name = "NAME", requires = "task", conflicts_with = "file")]
    pub split: Option<String>,
    /// Labelled rows of one's own, with the columns that the run was trained on.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub columns: ColumnArgs,
    #[command(flatten)]
    pub inference: InferenceArgs,
    /// Write predictions to this folder. Labelled rows: predictions-SPLIT.jsonl with gold, predicted and probability of every
    /// row. Questions: predictions.json, as SQuAD's own script reads it, nbest_predictions.json, and question_scores.jsonl
    /// with exact match and F1 of every question, from 0 to 1.
    #[arg(long, value_name = "DIR")]
    pub predictions: Option<PathBuf>,
    /// Show the mean of every gate of the method over the scored rows.
    #[arg(long)]
    pub gates: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Whose files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    /// A folder for AdapterHub's `adapters`; one folder an adapter where the run has several.
    Adapterhub,
    /// A folder for `peft`: LoRA, (IA)³, prefixes and prompts of its own kinds.
    Peft,
    /// A whole model for `transformers`, in which LoRA or (IA)³ without gates is merged, or which was trained itself.
    SafetensorsMerged,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Folder of a finished run.
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Folder of the pretrained encoder that the run adapted.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Whose files to write.
    #[arg(long, value_enum)]
    pub format: ExportFormat,
    /// Folder to write; it must not be there yet.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The adapter's name; a number is added to each where the run has several. The adapters of a mixture keep their own names,
    /// but where these have more than letters, digits, _ and -.
    #[arg(long, default_value = "pelt", value_name = "NAME")]
    pub name: String,
    /// The base model's name on the Hub, for the files [default: the name of its folder].
    #[arg(long, value_name = "OWNER/NAME")]
    pub base_name: Option<String>,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Folder of the adapter, in the layout of `adapters` or `peft`; with --fuse that of the mixture.
    #[arg(long, value_name = "DIR")]
    pub adapter: PathBuf,
    /// Folders of the adapters that it stands on, the lowest one first. They stay where they are.
    #[arg(long, value_name = "DIR", value_delimiter = ',')]
    pub stack: Vec<PathBuf>,
    #[command(flatten)]
    pub stack_rules: StackArgs,
    /// Folders of the adapters that an AdapterFusion mixes. They stay where they are.
    #[arg(
        long,
        value_name = "DIR",
        value_delimiter = ',',
        conflicts_with = "stack"
    )]
    pub fuse: Vec<PathBuf>,
    /// Folder of the pretrained encoder that it is for.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Folder of the task head, where it lies elsewhere.
    #[arg(long, value_name = "DIR")]
    pub head: Option<PathBuf>,
    /// The task that it was trained for: one of `pelt tasks`.
    #[arg(long)]
    pub task: Option<String>,
    /// Names of the classes in their order [default: those of the task, or of the file].
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        conflicts_with = "task"
    )]
    pub labels: Vec<String>,
    /// It reads pairs of texts.
    #[arg(long, conflicts_with = "task")]
    pub pairs: bool,
    /// Questions: what a position means where the method has a prompt [default: shifted].
    #[arg(long, value_enum)]
    pub prompt_labels: Option<PromptLabelsChoice>,
    /// Longest sequence in tokens, special tokens included [default: the task's, else 128, or what the model has room for].
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,
    /// Folder of the run.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Replace a run that is there.
    #[arg(long)]
    pub force: bool,
}

/// How LoRAs are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CombinationChoice {
    /// Exactly the weighted sum of the updates; the rank is the sum of the ranks.
    Concatenated,
    /// The matrices are added, as PEFT's `linear` does; the rank stays.
    Linear,
}

#[derive(Debug, Args)]
pub struct MergeArgs {
    /// Folder of a finished run, whose adapter is merged into the encoder's weights: the same as
    /// `pelt export --format safetensors-merged`.
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with = "adapter",
        required_unless_present = "adapter"
    )]
    pub run: Option<PathBuf>,
    /// Folders of LoRAs, ours or another library's, that are combined into one.
    #[arg(long, value_name = "DIR", value_delimiter = ',', requires = "weights")]
    pub adapter: Vec<PathBuf>,
    /// What each of them is multiplied by.
    #[arg(
        long,
        value_name = "NUMBERS",
        value_delimiter = ',',
        requires = "adapter",
        conflicts_with = "run",
        allow_hyphen_values = true
    )]
    pub weights: Vec<f64>,
    /// How they are combined.
    #[arg(long, value_enum, default_value_t = CombinationChoice::Concatenated)]
    pub combination: CombinationChoice,
    /// Folder of the pretrained encoder.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// The adapter's name.
    #[arg(long, default_value = "pelt", value_name = "NAME")]
    pub name: String,
    /// Folder to write; it must not be there yet.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
pub struct EjectArgs {
    /// Folder of a finished run.
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Folder of the pretrained encoder that the run adapted.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Folder of the new run.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Replace a run that is there.
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Folder of an adapter, of ours or of another library.
    #[arg(value_name = "A")]
    pub a: PathBuf,
    /// Folder of the other one.
    #[arg(value_name = "B")]
    pub b: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct PredictArgs {
    /// Folder of a finished run.
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Folder of the pretrained encoder that the run adapted.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// One text a line, or two with a tab between them, as a question and its passage; default: standard input.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub inference: InferenceArgs,
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Folder of the pretrained encoder.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// A method of `pelt methods`, or `full` or `bitfit`.
    #[arg(long, default_value = "unipelt-prompt", value_name = "NAME")]
    pub method: String,
    /// A TOML or JSON file that describes the method instead.
    #[arg(long, value_name = "FILE", conflicts_with = "method")]
    pub method_file: Option<PathBuf>,
    /// Change one setting of the method; can be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// Task head.
    #[arg(long, value_enum, default_value_t = HeadChoice::Auto)]
    pub head: HeadChoice,
    /// Outputs of the task head.
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub labels: usize,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct MethodsArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct TasksArgs {
    /// Print JSON.
    #[arg(long, conflicts_with = "fetch")]
    pub json: bool,
    /// Read this task's training and evaluation rows, fetching them from the Hub where --data is not given, and count them.
    #[arg(long, value_name = "TASK")]
    pub fetch: Option<String>,
    /// With --fetch: folder of data sets.
    #[arg(long, value_name = "DIR", requires = "fetch")]
    pub data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ForwardArgs {
    /// Folder of the pretrained encoder.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Folder of an adapter (AdapterHub, PEFT or a finished run). Several are put on top of one another, the first one at
    /// the bottom.
    #[arg(long, value_name = "DIR")]
    pub adapter: Vec<PathBuf>,
    #[command(flatten)]
    pub stack_rules: StackArgs,
    /// Folder of an AdapterFusion of the adapters, which are then mixed instead of stacked.
    #[arg(long, value_name = "DIR", requires = "adapter")]
    pub fusion: Option<PathBuf>,
    /// Layers, from 0, in which adapters do nothing (AdapterDrop), e.g. 0,2.
    #[arg(long, value_name = "LAYERS", value_delimiter = ',')]
    pub skip_layers: Vec<usize>,
    /// Folder of a task head: a model, or an adapter saved with its head. Default: the adapter's, else the model's own.
    #[arg(long, value_name = "DIR")]
    pub head: Option<PathBuf>,
    /// `input_ids`, `attention_mask` and optionally `token_type_ids`: I64, [batch, seq], padded on the right.
    #[arg(long, value_name = "FILE")]
    pub inputs: PathBuf,
    /// Written: `last_hidden_state`, and `pooler_output` and `logits` where there are any.
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Folder of the pretrained encoder.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Training rows.
    #[arg(long, value_name = "FILE")]
    pub train_file: PathBuf,
    /// Rows to score.
    #[arg(long, value_name = "FILE")]
    pub validation_file: PathBuf,
    #[command(flatten)]
    pub columns: ColumnArgs,
    /// Longest sequence in tokens.
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub max_length: usize,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
