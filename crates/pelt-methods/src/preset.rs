//! Named configurations.

use pelt_adapter::BottleneckConfig;
use pelt_ia3::Ia3Config;
use pelt_lora::LoraConfig;
use pelt_prefix::PrefixConfig;
use pelt_prompt::PromptConfig;
use pelt_unipelt::{StackedLora, StackedParallel, UniPeltConfig};

use crate::{AdapterConfig, PartConfig, StackConfig};

/// A configuration with a name.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// The name on the command line.
    pub name: &'static str,
    /// One line of explanation.
    pub description: &'static str,
    pub(crate) parts: fn() -> Vec<PartConfig>,
}

/// All presets; the first is the tool's default.
pub fn presets() -> &'static [Preset] {
    &PRESETS
}

const PRESETS: [Preset; 18] = [
    Preset {
        name: "unipelt-prompt",
        description: "UniPELT with a prompt-tuning layer (arXiv 2405.05493)",
        parts: || unipelt(UniPeltConfig::with_prompt()),
    },
    Preset {
        name: "unipelt",
        description: "gated prefix tuning, bottleneck adapter and LoRA (arXiv 2110.07577)",
        parts: || unipelt(UniPeltConfig::default()),
    },
    Preset {
        name: "unipelt-ia3",
        description: "UniPELT with (IA)³ in the place of LoRA (arXiv 2405.05493)",
        parts: unipelt_ia3,
    },
    Preset {
        name: "unipelt-stack-3",
        description: "three UniPELT adapters on top of one another (arXiv 2405.05493)",
        parts: || {
            let level = || AdapterConfig {
                parts: unipelt(UniPeltConfig::default()),
            };
            vec![PartConfig::Stack(StackConfig {
                lora: StackedLora::default(),
                parallel: StackedParallel::default(),
                levels: vec![level(), level(), level()],
            })]
        },
    },
    Preset {
        name: "lora",
        description: "LoRA on query and value (arXiv 2106.09685)",
        parts: || vec![PartConfig::Lora(LoraConfig::default())],
    },
    Preset {
        name: "ia3",
        description: "(IA)³: factors on keys, values and the feed-forward layer (arXiv 2205.05638)",
        parts: || vec![PartConfig::Ia3(Ia3Config::default())],
    },
    Preset {
        name: "ia3_peft",
        description: "(IA)³ as PEFT places it: keys, values and inputs of the output layers",
        parts: || vec![PartConfig::Ia3(Ia3Config::peft())],
    },
    Preset {
        name: "bottleneck",
        description: "bottleneck adapter behind the feed-forward layer; the same as seq_bn",
        parts: || vec![PartConfig::Bottleneck(BottleneckConfig::seq_bn())],
    },
    Preset {
        name: "seq_bn",
        description: "Pfeiffer's bottleneck adapter (arXiv 2005.00052)",
        parts: || vec![PartConfig::Bottleneck(BottleneckConfig::seq_bn())],
    },
    Preset {
        name: "double_seq_bn",
        description: "Houlsby's two bottleneck adapters a layer (arXiv 1902.00751)",
        parts: || vec![PartConfig::Bottleneck(BottleneckConfig::double_seq_bn())],
    },
    Preset {
        name: "par_bn",
        description: "parallel bottleneck adapter (arXiv 2110.04366)",
        parts: || vec![PartConfig::Bottleneck(BottleneckConfig::par_bn())],
    },
    Preset {
        name: "scaled_par_bn",
        description: "parallel bottleneck adapter with a learned scale (arXiv 2110.04366)",
        parts: || vec![PartConfig::Bottleneck(BottleneckConfig::scaled_par_bn())],
    },
    Preset {
        name: "compacter",
        description: "two bottleneck adapters a layer made of Kronecker products (arXiv 2106.04647)",
        parts: || vec![PartConfig::Bottleneck(BottleneckConfig::compacter())],
    },
    Preset {
        name: "compacter++",
        description: "the same behind the feed-forward layer only (arXiv 2106.04647)",
        parts: || vec![PartConfig::Bottleneck(BottleneckConfig::compacter_pp())],
    },
    Preset {
        name: "prefix",
        description: "prefix tuning through a small network (arXiv 2101.00190)",
        parts: || vec![PartConfig::Prefix(PrefixConfig::default())],
    },
    Preset {
        name: "prefix_flat",
        description: "prefix tuning without the network",
        parts: || {
            vec![PartConfig::Prefix(PrefixConfig {
                flat: true,
                ..PrefixConfig::default()
            })]
        },
    },
    Preset {
        name: "prompt",
        description: "prompt tuning (arXiv 2104.08691)",
        parts: || vec![PartConfig::Prompt(PromptConfig::default())],
    },
    Preset {
        name: "mam",
        description: "mix-and-match: prefix tuning and a parallel adapter (arXiv 2110.04366)",
        parts: || {
            vec![
                PartConfig::Prefix(PrefixConfig {
                    bottleneck_size: 800,
                    ..PrefixConfig::default()
                }),
                PartConfig::Bottleneck(BottleneckConfig::par_bn()),
            ]
        },
    },
];

/// The parts of a UniPELT configuration, in the order of the library's preset.
fn unipelt(config: UniPeltConfig) -> Vec<PartConfig> {
    let mut parts = vec![
        PartConfig::Prefix(config.prefix),
        PartConfig::Bottleneck(config.bottleneck),
        PartConfig::Lora(config.lora),
    ];
    parts.extend(config.prompt.map(PartConfig::Prompt));
    parts
}

/// The gated parts of UniPELT with (IA)³ instead of LoRA.
fn unipelt_ia3() -> Vec<PartConfig> {
    let config = UniPeltConfig::default();
    let ia3 = Ia3Config {
        use_gating: true,
        ..Ia3Config::default()
    };
    vec![
        PartConfig::Prefix(config.prefix),
        PartConfig::Bottleneck(config.bottleneck),
        PartConfig::Ia3(ia3),
    ]
}
