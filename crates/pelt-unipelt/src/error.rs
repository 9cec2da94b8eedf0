//! Errors of unions.

/// Why methods cannot form a union.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnionError {
    /// Two parts adapt the same place in the same way, so a file could not tell their parameters apart.
    #[error(
        "union: parts must have different parameters, but parts {first} and {second} both have `{name}`"
    )]
    SharedName {
        /// The earlier part, from 0.
        first: usize,
        /// The later part, from 0.
        second: usize,
        /// The name they share, with the adapter's name left open.
        name: String,
    },
}
