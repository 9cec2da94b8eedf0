//! Errors of merging.

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
