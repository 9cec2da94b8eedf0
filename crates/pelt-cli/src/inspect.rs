//! `pelt inspect` and `pelt methods`.

use anyhow::{Result, bail};
use pelt_encoder::{Checkpoint, Encoder, HeadKind};
use pelt_hooks::EncoderShape;
use pelt_methods::{AdapterConfig, presets};
use serde_json::json;

use crate::args::{InspectArgs, MethodsArgs};
use crate::device::device;
use crate::method::Tuning;
use crate::model::head_config;
use crate::output::print_line;

pub fn run(args: &InspectArgs) -> Result<()> {
    let tuning = Tuning::from_args(&args.method, args.method_file.as_deref(), &args.settings)?;
    let checkpoint = Checkpoint::open(&args.model)?;
    let config = checkpoint.config();
    let tensors = Encoder::tensor_shapes(config);
    let count = |shape: &[usize]| shape.iter().product::<usize>();
    let total: usize = tensors.iter().map(|(_, shape)| count(shape)).sum();
    let mut components = match &tuning {
        Tuning::Adapter(adapter) => adapter.summary(&config.shape, &device())?,
        Tuning::Fusion(_) => bail!(
            "--method fusion: how much is trained depends on the adapters that are mixed; `pelt train --method fusion --fuse DIR,DIR` says it"
        ),
        Tuning::Full | Tuning::BitFit => {
            let trained = tensors.iter().filter(|(name, _)| tuning.trains(name));
            vec![(
                "encoder".to_string(),
                trained.map(|(_, shape)| count(shape)).sum(),
            )]
        }
    };
    let head = head_config(config, args.head, args.labels, None);
    let d = config.shape.hidden_size;
    let dense = match head.kind {
        HeadKind::BertPooled | HeadKind::Span { .. } | HeadKind::FlexibleSpan { .. } => 0,
        HeadKind::Roberta | HeadKind::Flexible => (d + 1) * d,
        HeadKind::BertMaskedLm | HeadKind::RobertaMaskedLm | HeadKind::FlexibleMaskedLm => 0,
    };
    components.push(("head".into(), dense + (d + 1) * head.labels));
    let trainable: usize = components.iter().map(|(_, count)| count).sum();
    if args.json {
        let components: Vec<_> = components
            .iter()
            .map(|(name, count)| json!({ "component": name, "parameters": count }))
            .collect();
        return print_line(json!({
            "components": components,
            "trainable": trainable,
            "total": total,
            "fingerprint": checkpoint.fingerprint()?,
        }));
    }
    print_line(format!(
        "{:40} {:>12} {:>9}",
        "component", "parameters", "share"
    ))?;
    let share = |count: usize| 100.0 * count as f64 / total as f64;
    for (name, count) in &components {
        print_line(format!("{name:40} {count:>12} {:>8.3}%", share(*count)))?;
    }
    print_line(format!(
        "{:40} {trainable:>12} {:>8.3}%",
        "trained",
        share(trainable)
    ))?;
    print_line(format!(
        "{:40} {total:>12} {:>8.3}%",
        "frozen encoder", 100.0
    ))
}

/// bert-base, for which the literature gives its counts.
const BERT_BASE: EncoderShape = EncoderShape {
    layers: 12,
    hidden_size: 768,
    heads: 12,
    intermediate_size: 3072,
    vocab_size: 30522,
    max_positions: 512,
    pooler: true,
};

pub fn methods(args: &MethodsArgs) -> Result<()> {
    let mut rows = vec![];
    for preset in presets() {
        let config = AdapterConfig::preset(preset.name)?;
        let count: usize = config
            .summary(&BERT_BASE, &device())?
            .iter()
            .map(|(_, count)| count)
            .sum();
        rows.push((preset.name, preset.description, Some(config), count));
    }
    rows.push((
        "fusion",
        "AdapterFusion of seq_bn adapters (arXiv 2005.00247): --fuse names them",
        None,
        21_252_096,
    ));
    rows.push(("bitfit", "train the encoder's biases", None, 102_912));
    rows.push(("full", "train every parameter", None, 109_482_240));
    if args.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, description, config, count)| {
                json!({ "name": name, "description": description, "defaults": config, "parameters_bert_base": count })
            })
            .collect();
        return print_line(serde_json::Value::from(rows));
    }
    print_line(format!("{:18} {:>12}  description", "method", "bert-base"))?;
    for (name, description, _, count) in rows {
        print_line(format!("{name:18} {count:>12}  {description}"))?;
    }
    print_line(
        "\nDefaults: `pelt methods --json`. Change one: --set lora.r=4. Parameters without the task head.",
    )
}
