//! Prefix tuning
