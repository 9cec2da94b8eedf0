//! Tensor operations of a frozen encoder with small trainable parts
