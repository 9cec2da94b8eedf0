//! UniPELT: gated unions of parameter-efficient methods
