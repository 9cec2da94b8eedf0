//! One program, and a backend that is chosen when it is built. No library of this workspace knows of any: the program's cargo
//! features compile backends in, and a device, which it passes on, says which of them computes.
//!
//!     cargo run --release -p switch-backend -- MODEL_FOLDER flex
//!     cargo run --release -p switch-backend --features vulkan -- MODEL_FOLDER vulkan:0
#![allow(clippy::print_stdout)] // It shows what it does.

use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::Device;
use pelt_encoder::{Checkpoint, RowsRead};
use pelt_hooks::{NoHooks, PackedBatch, Pass, Sequence};

/// The first numbers of the first hidden state of a sequence.
fn embed(folder: &Path, device: &Device) -> Result<Vec<f32>> {
    let encoder = Checkpoint::open(folder)?.encoder(device)?;
    let sequence = Sequence {
        input_ids: vec![2, 7, 11, 3],
        token_type_ids: vec![0; 4],
    };
    let batch = PackedBatch::new(&[sequence]);
    let hidden = encoder.forward(&batch, &NoHooks, RowsRead::First, &Pass::evaluate())?;
    let values = hidden.values.into_data().try_to_vec_as::<f32>();
    let values = values.ok().context("the device gave no numbers")?;
    Ok(values.into_iter().take(4).collect())
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments
        .next()
        .context("name the folder of a BERT or RoBERTa model, and a device")?;
    let name = arguments.next();
    let name = name.as_deref().unwrap_or(pelt_device::default_name());
    let device = pelt_device::open(name)?;
    println!("{name}: {:?}", embed(Path::new(&folder), &device)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_is_an_argument_and_nothing_else_changes() {
        let folder = pelt_testkit::fixture("models/bert/base");
        let device = pelt_device::open("flex").unwrap();
        let values = embed(&folder, &device).unwrap();
        assert_eq!(values, embed(&folder, &Device::flex()).unwrap());
        assert!(values.iter().all(|value| value.is_finite()) && values.len() == 4);
    }
}
