//! The task head of an adapter that is trained further.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use pelt_data::Target;
use pelt_encoder::{Head, HeadConfig};
use pelt_tensors::TensorFiles;

use crate::data::{in_another_order, label_names};
use crate::forward::head_of;
use crate::model::Base;
use crate::trained_adapter::TrainedAdapter;

/// A head to go on with.
pub struct KeptHead {
    folder: PathBuf,
    head: Head,
    /// The names of its classes, where its file has them.
    labels: Vec<String>,
    /// SHA-256 of its file.
    fingerprint: String,
}

impl KeptHead {
    /// The head that lies beside an adapter, on `device`.
    pub fn load(
        folder: &Path,
        found: &TrainedAdapter,
        base: &Base,
        device: &Device,
    ) -> Result<Self> {
        let shown = folder.display();
        let loaded = found.head.as_ref().with_context(|| {
            format!("--keep-head: {shown}: there is no task head in this folder")
        })?;
        // PEFT keeps it in the adapter's own file.
        let file = TensorFiles::open_folder(folder, &["model_head", "adapter_model"])?;
        Ok(Self {
            folder: folder.to_path_buf(),
            head: head_of(loaded, &found.level.name, base, folder, device)?,
            labels: loaded.labels.clone().unwrap_or_default(),
            fingerprint: file.sha256()?,
        })
    }

    /// The head for rows with this target, with what of a new one's settings is no matter of its weights; and the SHA-256 of its
    /// file.
    pub fn for_task(self, target: &Target, new: HeadConfig) -> Result<(Head, Option<String>)> {
        let shown = self.folder.display();
        let config = self.head.config();
        ensure!(
            !config.kind.is_masked_lm()
                && config.kind.is_span() == (*target == Target::Span)
                && config.labels == target.outputs(),
            "--keep-head: {shown}: its head has {} outputs{}, but the rows need {}{}; leave out --keep-head for a new one",
            config.labels,
            what(config),
            target.outputs(),
            what(new),
        );
        let wanted = label_names(target).unwrap_or_default();
        ensure!(
            !in_another_order(&self.labels, &wanted),
            "--keep-head: {shown}: its head has the classes {} in this order, but the rows have {}",
            self.labels.join(", "),
            wanted.join(", ")
        );
        let mut head = self.head.with_dropout(new.dropout);
        if let Some(labels) = new.kind.prompt_labels() {
            head = head.with_prompt_labels(labels);
        }
        Ok((head, Some(self.fingerprint)))
    }
}

/// What a head's outputs are, where they are no classes or value.
fn what(config: HeadConfig) -> &'static str {
    match config.kind {
        kind if kind.is_span() => " (start and end of an answer)",
        kind if kind.is_masked_lm() => " (tokens)",
        _ => "",
    }
}
