//! Prompt tuning
