//! Weights in which the adapter is merged: a model folder that `transformers` loads.

use std::path::Path;

use anyhow::Result;
use pelt_data::Target;
use pelt_encoder::HeadKind;
use pelt_hooks::{EncoderHooks, ProjectionSite};
use pelt_methods::{Adapter, PartConfig};
use serde_json::{Map, Value, json};

use super::Export;
use crate::method::Tuning;
use crate::model_folder;

impl Export<'_> {
    pub(super) fn merged(&self, folder: &Path) -> Result<()> {
        let config = &self.run.record.config;
        let model = self.run.model.clone().for_inference();
        let mut changes = vec![("architectures", json!([self.info.model_class]))];
        if !config.head.kind.is_span() {
            changes.extend(labels(&config.target));
        }
        model_folder::write(folder, &model, &self.base, &self.args.model, changes)
    }

    /// Why weights of the encoder and a class of `transformers` cannot hold the run, if they cannot.
    pub(super) fn not_merged(&self) -> Option<String> {
        let config = &self.run.record.config;
        let mut reasons: Vec<String> = Vec::new();
        let model = self.run.model.clone().for_inference();
        if is_left(&model.method, self.base.encoder.shape().layers) {
            match &config.tuning {
                Tuning::Fusion(_) => {
                    reasons.push("a mixture of adapters depends on what passes through it".into());
                }
                _ if config.stack.is_some() => reasons.push(STACKED.into()),
                tuning => {
                    let parts = tuning.adapter().parts;
                    reasons.extend(parts.iter().filter_map(stays).map(String::from));
                }
            }
            if reasons.is_empty() {
                reasons.push("it changes more than weights of the layers".into());
            }
        }
        let is_of_a_class = matches!(
            config.head.kind,
            HeadKind::BertPooled | HeadKind::Roberta | HeadKind::Span { .. }
        );
        if !is_of_a_class {
            reasons.push(
                "it has a flexible head, which no class of transformers has (train with --head auto)".into(),
            );
        }
        (!reasons.is_empty()).then(|| reasons.join(", "))
    }
}

/// Why a stack cannot be merged.
const STACKED: &str = "adapters on top of one another read one another";

/// Whether a method that was prepared for inference still contributes anything.
fn is_left(method: &Adapter, layers: usize) -> bool {
    method.prompt().is_some()
        || method.position_shift() > 0
        || method.changes(ProjectionSite::Pooler)
        || (0..layers).any(|layer| method.changes_layer(layer))
}

/// Why a part cannot be merged, if it cannot.
fn stays(part: &PartConfig) -> Option<&'static str> {
    match part {
        PartConfig::Lora(lora) if lora.use_gating => {
            Some("LoRA's gates depend on what passes through them")
        }
        PartConfig::Ia3(ia3) if ia3.use_gating => {
            Some("the gates of (IA)³ depend on what passes through them")
        }
        PartConfig::Lora(_) | PartConfig::Ia3(_) => None,
        PartConfig::Bottleneck(_) => Some("a bottleneck adapter is not linear"),
        PartConfig::Prefix(_) => Some("a prefix is rows that attention sees, not weights"),
        PartConfig::Prompt(_) => Some("a prompt is part of the input, not of the weights"),
        PartConfig::Stack(_) => Some(STACKED),
    }
}

/// Entries of a model's configuration that name its outputs.
fn labels(target: &Target) -> Vec<(&'static str, Value)> {
    let (names, problem) = match target {
        Target::Classification { labels } => (labels.clone(), "single_label_classification"),
        Target::Regression { .. } => (vec!["LABEL_0".to_string()], "regression"),
        Target::Span => return Vec::new(),
    };
    let numbered = names.iter().enumerate();
    let id2label: Map<String, Value> = numbered
        .clone()
        .map(|(number, name)| (number.to_string(), name.clone().into()))
        .collect();
    let label2id: Map<String, Value> = numbered
        .map(|(number, name)| (name.clone(), number.into()))
        .collect();
    vec![
        ("id2label", id2label.into()),
        ("label2id", label2id.into()),
        ("problem_type", problem.into()),
    ]
}
