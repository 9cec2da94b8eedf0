//! Data sets, tokenisation and batches
