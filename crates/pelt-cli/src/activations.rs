//! What `--cache-activations` needs, and what it takes.

use anyhow::{Result, ensure};
use pelt_hooks::EncoderHooks;
use pelt_methods::Adapter;
use pelt_train::{Examples, PeftModel};

/// Checks that there are layers whose results can be kept.
pub fn check(model: &PeftModel<Adapter>) -> Result<()> {
    ensure!(
        model.method.prompt().is_none(),
        "--cache-activations keeps what layers below the method give, but this method has a prompt, which the first layer reads"
    );
    ensure!(
        model.layers_left_alone() > 0,
        "--cache-activations keeps what layers below the method give, but this method changes the first layer; leave out leading layers, e.g. with --set bottleneck.leave_out=[0,1]"
    );
    Ok(())
}

/// One line on what is kept, and on the memory that takes once all rows have been seen.
pub fn describe(model: &PeftModel<Adapter>, rows: &Examples) -> String {
    let shape = model.encoder().shape();
    let mib = rows.activation_bytes(shape.hidden_size) as f64 / f64::from(1 << 20);
    format!(
        "keeping what the embeddings and {} of {} layers give, without dropout there: at most {mib:.2} MiB",
        model.layers_left_alone(),
        shape.layers
    )
}
