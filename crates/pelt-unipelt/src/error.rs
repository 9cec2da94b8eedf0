//! Errors of unions and stacks.

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

/// Why methods cannot form a stack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StackError {
    /// There is nothing to put on top of one another.
    #[error("stack: expected at least one level, but there is none")]
    Empty,
    /// Two levels have one name, so their parameters could not be told apart.
    #[error("stack: levels must have different names, but two are named `{0}`")]
    SharedName(String),
}
