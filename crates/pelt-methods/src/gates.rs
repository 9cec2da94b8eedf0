//! Where the gates of an adapter stand.

use burn::module::ParamId;
use pelt_hooks::{Method, NamedParam};

use crate::{Adapter, AnyMethod};

/// One value that a gate has for every sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedGate {
    /// The gate's weight, under which a pass keeps the gate's values.
    pub weight: ParamId,
    /// The value's column among those of the gate.
    pub column: usize,
    /// Level of a stack, from 1 at the bottom; frozen levels count too.
    pub level: Option<usize>,
    /// The encoder's layer, from 0; none at the pooler.
    pub layer: Option<usize>,
    /// The part and its place in the layer, such as `lora.query` or `bottleneck.output`; a prefix stands in one place, so
    /// it is `prefix`, or `prefix.key` and `prefix.value` where these have gates of their own.
    pub component: String,
}

/// Every gate of an adapter, level by level and layer by layer; nothing for methods without gates.
pub fn named_gates(adapter: &Adapter) -> Vec<NamedGate> {
    let mut gates = Vec::new();
    for part in &adapter.parts {
        let (name, params) = match part {
            AnyMethod::Lora(part) => ("lora", part.named_params()),
            AnyMethod::Bottleneck(part) => ("bottleneck", part.named_params()),
            AnyMethod::Prefix(part) => ("prefix", part.named_params()),
            AnyMethod::Ia3(part) => ("ia3", part.named_params()),
            AnyMethod::Stack(stack) => {
                for (number, (_, level)) in stack.named_levels().enumerate() {
                    gates.extend(named_gates(level).into_iter().map(|gate| NamedGate {
                        level: Some(number + 1),
                        ..gate
                    }));
                }
                continue;
            }
            // A prompt has no gates, and those of mixed adapters take no part.
            AnyMethod::Prompt(_) | AnyMethod::Fusion(_) => continue,
        };
        gates.extend(params.iter().flat_map(|param| columns(name, param)));
    }
    // The pooler comes behind the last layer.
    gates.sort_by_key(|gate| (gate.level, gate.layer.unwrap_or(usize::MAX)));
    gates
}

/// The gates whose weight this parameter is.
fn columns(part: &str, param: &NamedParam) -> Vec<NamedGate> {
    let is_prefix = param.name.contains(".prefix_gates.") && param.name.ends_with(".weight");
    if !is_prefix && !param.name.ends_with(".gate.weight") {
        return Vec::new();
    }
    let (layer, place) = place(&param.name);
    // Files hold the weight as `[columns, width]`.
    let count = param.shape.first().copied().unwrap_or_default();
    let component = |column: usize| match (is_prefix, count) {
        (true, 1) => part.to_string(),
        (true, _) => format!("{part}.{}", ["key", "value"][column.min(1)]),
        (false, _) => format!("{part}.{place}"),
    };
    let gate = |column| NamedGate {
        weight: param.id,
        column,
        level: None,
        layer,
        component: component(column),
    };
    (0..count).map(gate).collect()
}

/// The layer that a parameter stands in, and the projection or sub-layer there.
fn place(name: &str) -> (Option<usize>, &str) {
    let inside = name.strip_prefix("encoder.layer.");
    let (layer, rest) = match inside.and_then(|rest| rest.split_once('.')) {
        Some((layer, rest)) => (layer.parse().ok(), rest),
        None => (None, name),
    };
    let site = [".loras.", ".adapters."]
        .into_iter()
        .find_map(|mark| rest.split_once(mark))
        .map_or(rest, |(site, _)| site);
    let place = match site {
        "attention.self.query" => "query",
        "attention.self.key" => "key",
        "attention.self.value" => "value",
        "attention.output.dense" | "attention.output" => "attention_output",
        "intermediate.dense" => "intermediate",
        "output.dense" | "output" => "output",
        "pooler.dense" => "pooler",
        other => other,
    };
    (layer, place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AdapterConfig;
    use burn::tensor::Device;
    use pelt_hooks::EncoderShape;

    const SHAPE: EncoderShape = EncoderShape {
        layers: 2,
        hidden_size: 32,
        heads: 4,
        intermediate_size: 64,
        vocab_size: 100,
        max_positions: 64,
        pooler: true,
    };

    /// Level, layer and component of every gate, and whether their weights are the ones that files call gates.
    fn gates(preset: &str, settings: &[&str]) -> Vec<(Option<usize>, Option<usize>, String)> {
        let mut config = AdapterConfig::preset(preset).unwrap();
        for setting in settings {
            config.set(setting).unwrap();
        }
        let adapter = config.init(&SHAPE, &Device::flex(), &|_| None).unwrap();
        let gates = named_gates(&adapter);
        for gate in &gates {
            let params = adapter.named_params();
            let param = params.iter().find(|param| param.id == gate.weight).unwrap();
            assert!(param.name.contains("gate"), "{}", param.name);
            assert!(gate.column < param.shape[0]);
        }
        let shown = |gate: NamedGate| (gate.level, gate.layer, gate.component);
        gates.into_iter().map(shown).collect()
    }

    #[test]
    fn every_gate_is_named_layer_by_layer() {
        let settings = [
            "prefix.shared_gating=false",
            "lora.pooler_lora=true",
            "lora.attn_output_lora=true",
            "bottleneck.mh_adapter=true",
        ];
        let layer = [
            "prefix.key",
            "prefix.value",
            "lora.query",
            "lora.value",
            "lora.attention_output",
            "bottleneck.attention_output",
            "bottleneck.output",
        ];
        let mut expected: Vec<_> = [0, 1]
            .into_iter()
            .flat_map(|number| layer.map(|name| (None, Some(number), name.to_string())))
            .collect();
        expected.push((None, None, "lora.pooler".into()));
        let sorted = |mut gates: Vec<(Option<usize>, Option<usize>, String)>| {
            gates.sort();
            gates
        };
        let found = gates("unipelt", &settings);
        let layers: Vec<_> = found.iter().map(|gate| gate.1).collect();
        assert_eq!(layers[..7], [Some(0); 7]);
        assert_eq!(layers[7..], [[Some(1); 7].as_slice(), &[None]].concat());
        assert_eq!(sorted(found), sorted(expected));
    }

    #[test]
    fn factors_are_no_lora_and_levels_are_told_apart() {
        let found = gates("unipelt-ia3", &[]);
        assert!(
            found.contains(&(None, Some(1), "ia3.key".into())),
            "{found:?}"
        );
        let found = gates("unipelt-stack-3", &[]);
        let of_level = |level| found.iter().filter(|gate| gate.0 == Some(level)).count();
        assert_eq!([1, 2, 3].map(of_level), [found.len() / 3; 3]);
        assert!(
            found.contains(&(Some(3), Some(0), "prefix".into())),
            "{found:?}"
        );
    }

    #[test]
    fn methods_without_gates_have_none() {
        for preset in ["lora", "ia3", "seq_bn", "prefix", "prompt"] {
            assert_eq!(gates(preset, &[]), [], "{preset}");
        }
    }
}
