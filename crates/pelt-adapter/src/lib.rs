//! Bottleneck adapters
