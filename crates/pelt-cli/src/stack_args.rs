//! How adapters in a stack follow one another, on the command line.

use clap::Args;
use pelt_methods::{StackRules, StackedLora, StackedParallel};

/// How adapters in a stack follow one another.
#[derive(Debug, Args)]
pub struct StackArgs {
    /// How LoRAs in a stack follow one another [default: composed].
    #[arg(long, value_enum)]
    pub stacked_lora: Option<StackedLoraChoice>,
    /// How parallel adapters in a stack follow one another [default: sum].
    #[arg(long, value_enum)]
    pub stacked_parallel: Option<StackedParallelChoice>,
}

impl StackArgs {
    pub fn rules(&self) -> StackRules {
        StackRules {
            lora: match self.stacked_lora {
                Some(StackedLoraChoice::Composed) | None => StackedLora::Composed,
                Some(StackedLoraChoice::Sum) => StackedLora::Sum,
            },
            parallel: match self.stacked_parallel {
                Some(StackedParallelChoice::Sum) | None => StackedParallel::Sum,
                Some(StackedParallelChoice::Last) => StackedParallel::Last,
            },
        }
    }

    /// Whether a rule was chosen.
    pub fn is_given(&self) -> bool {
        self.stacked_lora.is_some() || self.stacked_parallel.is_some()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum StackedLoraChoice {
    /// Each reads what the one below gives, as in the `adapters` library.
    Composed,
    /// All read the projection's input, and their results are added.
    Sum,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum StackedParallelChoice {
    /// Their results are added.
    Sum,
    /// The last one's result counts, as in the `adapters` library.
    Last,
}
