//! A safetensors file.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| pelt_fuzz::read_tensors("model.safetensors", content));
