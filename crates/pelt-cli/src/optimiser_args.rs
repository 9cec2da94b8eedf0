//! The part of the command line that `pelt train` and `pelt pretrain` share: how a model is trained.

use anyhow::{Result, ensure};
use clap::Args;
use pelt_encoder::Precision;
use pelt_ops::PARTS;
use pelt_train::{EvaluateEvery, TrainConfig};

use crate::device;

#[derive(Debug, Args)]
pub struct OptimiserArgs {
    /// Passes over the training rows or texts; of texts each hides other tokens.
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub epochs: usize,
    /// Rows of a batch.
    #[arg(long, default_value_t = 32, value_name = "N")]
    pub batch_size: usize,
    /// Batches added up for one optimiser step.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub gradient_accumulation: usize,
    /// Parts of a batch that the processor works on at the same time; worth raising where there are many cores. Another number
    /// draws other dropout masks.
    #[arg(long, default_value_t = PARTS, value_name = "N")]
    pub parts: usize,
    /// Share of the steps in which the learning rate rises.
    #[arg(long, default_value_t = 0.06, value_name = "SHARE")]
    pub warmup_ratio: f64,
    /// Decoupled weight decay, never on biases and norms.
    #[arg(long, default_value_t = 0.01, value_name = "RATE")]
    pub weight_decay: f64,
    /// Largest global gradient norm; 0 for no clipping.
    #[arg(long, default_value_t = 1.0, value_name = "NORM")]
    pub max_grad_norm: f64,
    /// Dropout of the encoder and of a task head, instead of the model's own.
    #[arg(long, value_name = "P")]
    pub dropout: Option<f64>,
    /// Run every layer once more for its backward pass, which takes less memory and more time.
    #[arg(long)]
    pub gradient_checkpointing: bool,
    /// Precision of hidden states and of the encoder's frozen weights, f32, bf16 or f16; what is trained stays in f32.
    #[arg(long, default_value_t = Precision::F32, value_name = "NAME")]
    pub precision: Precision,
    /// Seed of everything random.
    #[arg(long, default_value_t = 42, value_name = "N")]
    pub seed: u64,
    /// Evaluate (a score, or perplexity) every N steps instead of every epoch.
    #[arg(long, value_name = "N")]
    pub evaluate_every: Option<usize>,
    /// Stop after N evaluations without a better score or a smaller perplexity.
    #[arg(long, value_name = "N")]
    pub patience: Option<usize>,
    /// Save a checkpoint every STEPS steps instead of every epoch.
    #[arg(long, value_name = "STEPS")]
    pub checkpoint_every: Option<usize>,
}

impl OptimiserArgs {
    /// The settings of the run, checked.
    pub fn train_config(&self, learning_rate: f64, max_length: usize) -> Result<TrainConfig> {
        let config = TrainConfig {
            epochs: self.epochs,
            batch_size: self.batch_size,
            gradient_accumulation: self.gradient_accumulation,
            parts: self.parts,
            learning_rate,
            warmup_ratio: self.warmup_ratio,
            weight_decay: self.weight_decay,
            max_grad_norm: self.max_grad_norm,
            seed: self.seed,
            max_length,
            evaluate_every: self
                .evaluate_every
                .map_or(EvaluateEvery::Epoch, EvaluateEvery::Steps),
            patience: self.patience,
            checkpoint_every: self.checkpoint_every,
            precision: self.precision,
            gradient_checkpointing: self.gradient_checkpointing,
            ..TrainConfig::default()
        };
        config.validate()?;
        device::check_precision(config.precision)?;
        if let Some(p) = self.dropout {
            ensure!(
                (0.0..1.0).contains(&p),
                "--dropout must be in [0, 1), but is {p}"
            );
        }
        Ok(config)
    }
}
