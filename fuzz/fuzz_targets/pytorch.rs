//! A PyTorch checkpoint: a zip file with a pickle in it, or the older form.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: pelt_fuzz::allow_caught_panics(), |content: &[u8]| {
    pelt_fuzz::read(|| pelt_fuzz::read_tensors("pytorch_model.bin", content));
});
