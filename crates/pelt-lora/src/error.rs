//! Errors of merging and combining.

/// Why a LoRA cannot be folded into the frozen weights.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// A gate depends on the input, so no fixed weight equals the adapted layer.
    #[error(
        "lora: `{name}` cannot be merged into the frozen weight, expected an ungated update but it has a gate"
    )]
    Gated {
        /// Name of the adapted projection.
        name: String,
    },
}

/// Why several LoRAs cannot become one. Numbers count them from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CombineError {
    /// There is none.
    #[error("there is no LoRA to combine")]
    Empty,
    /// A gate depends on the input, so its update has no fixed weight.
    #[error("LoRA {number} has gates, so that its update is another one for every input")]
    Gated {
        /// Which one.
        number: usize,
    },
    /// It adapts other projections than the first one, or not the same biases.
    #[error("LoRA {number} adapts other projections or biases than the first one")]
    OtherSites {
        /// Which one.
        number: usize,
    },
    /// Matrices of different ranks cannot be added.
    #[error(
        "LoRA {number} should have the rank {expected} of the first one, but has {found}; concatenated they may differ"
    )]
    OtherRank {
        /// Which one.
        number: usize,
        /// The first one's.
        expected: usize,
        /// Its own.
        found: usize,
    },
}
