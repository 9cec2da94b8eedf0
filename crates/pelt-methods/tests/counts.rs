//! Parameter counts of the literature and of the public libraries, for bert-base.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use burn::tensor::Device;
use pelt_hooks::EncoderShape;
use pelt_methods::{AdapterConfig, PartConfig};

const BERT_BASE: EncoderShape = EncoderShape {
    layers: 12,
    hidden_size: 768,
    heads: 12,
    intermediate_size: 3072,
    vocab_size: 30522,
    max_positions: 512,
    pooler: true,
};

fn count(config: &AdapterConfig) -> usize {
    let summary = config.summary(&BERT_BASE, &Device::flex()).unwrap();
    summary.iter().map(|(_, count)| count).sum()
}

#[test]
fn counts_are_those_of_the_libraries() {
    let lora_everywhere = [
        "lora.attn_matrices=[\"q\",\"k\",\"v\"]",
        "lora.intermediate_lora=true",
        "lora.output_lora=true",
    ];
    let two_gates = [
        "prefix.prefix_length=10",
        "prefix.use_gating=true",
        "prefix.shared_gating=false",
    ];
    // PEFT's `dense` also hits the output of the attention and the pooler.
    let peft_all = [
        "lora.attn_matrices=[\"q\",\"k\",\"v\"]",
        "lora.attn_output_lora=true",
        "lora.intermediate_lora=true",
        "lora.output_lora=true",
        "lora.pooler_lora=true",
    ];
    let cases: [(&str, &[&str], usize); 28] = [
        ("lora", &[], 294_912),
        ("lora", &["lora.use_gating=true"], 313_368),
        ("lora", &lora_everywhere, 1_179_648),
        ("lora", &peft_all, 1_179_648 + 12 * 8 * 1536 + 8 * 1536),
        ("seq_bn", &[], 894_528),
        ("seq_bn", &["bottleneck.use_gating=true"], 903_756),
        ("double_seq_bn", &[], 1_789_056),
        ("par_bn", &[], 7_091_712),
        ("scaled_par_bn", &[], 7_091_724),
        ("prefix", &[], 9_872_384),
        ("prefix_flat", &[], 552_960),
        ("prefix", &["prefix.prefix_length=10"], 9_857_024),
        ("prefix_flat", &["prefix.prefix_length=10"], 184_320),
        (
            "prefix",
            &["prefix.prefix_length=10", "prefix.use_gating=true"],
            9_866_252,
        ),
        ("prefix", &two_gates, 9_875_480),
        ("prompt", &[], 7_680),
        ("mam", &[], 22_493_984),
        ("unipelt", &[], 11_083_376),
        ("unipelt", &["unipelt.prefix.flat=true"], 1_410_672),
        ("unipelt-prompt", &[], 11_091_056),
        ("unipelt-ia3", &[], 10_852_988),
        ("compacter", &[], 57_088),
        ("compacter++", &[], 28_576),
        ("unipelt-stack-3", &[], 33_250_128),
        ("ia3", &[], 55_296),
        ("ia3", &["ia3.use_gating=true"], 82_980),
        ("ia3_peft", &[], 64_512),
        (
            "prompt",
            &["prompt.prompt_length=20", "prompt.word_embeddings=true"],
            15_360,
        ),
    ];
    for (preset, settings, expected) in cases {
        let mut config = AdapterConfig::preset(preset).unwrap();
        for setting in settings {
            config.set(setting).unwrap();
        }
        assert_eq!(count(&config), expected, "{preset} {settings:?}");
    }
}

#[test]
fn unipelt_with_prompts_has_the_count_of_the_paper_on_roberta_base() {
    let roberta_base = EncoderShape {
        vocab_size: 50265,
        max_positions: 512,
        ..BERT_BASE
    };
    let config = AdapterConfig::preset("unipelt-prompt").unwrap();
    let summary = config.summary(&roberta_base, &Device::flex()).unwrap();
    let components: BTreeMap<&str, usize> = summary
        .iter()
        .map(|(name, count)| (name.as_str(), *count))
        .collect();
    let expected = BTreeMap::from([
        ("prefix", 7_680 + 393_728 + 9_455_616),
        ("prefix gates", 9_228),
        ("bottleneck", 894_528),
        ("bottleneck gates", 9_228),
        ("lora", 294_912),
        ("lora gates", 18_456),
        ("prompt", 7_680),
    ]);
    assert_eq!(components, expected);
    assert_eq!(components.values().sum::<usize>(), 11_091_056);
}

#[test]
fn a_norm_with_two_names_in_files_is_counted_once() {
    let mut config = AdapterConfig::preset("seq_bn").unwrap();
    let before = count(&config);
    config.set("bottleneck.ln_before=true").unwrap();
    assert_eq!(count(&config), before + 12 * 2 * 768);
    assert!(matches!(
        config.parts.as_slice(),
        [PartConfig::Bottleneck(_)]
    ));
}
