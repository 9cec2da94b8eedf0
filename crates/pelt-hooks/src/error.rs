//! Errors of method configurations.

/// A setting of a method that cannot work, found before any parameter is created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{method}: {field} must be {expected}, but is {found}")]
pub struct ConfigError {
    /// The method whose configuration this is, e.g. `lora`.
    pub method: &'static str,
    /// The field, as it is spelt in configuration files.
    pub field: &'static str,
    /// What is allowed.
    pub expected: String,
    /// What was given.
    pub found: String,
}

impl ConfigError {
    /// An error for `field` of `method`.
    pub fn new(
        method: &'static str,
        field: &'static str,
        expected: impl ToString,
        found: impl ToString,
    ) -> Self {
        Self {
            method,
            field,
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }
}
