//! The method of the paper.

use burn::module::Module;
use pelt_adapter::Bottleneck;
use pelt_hooks::{EncoderHooks, Method, NamedParam, ProjectionDelta};
use pelt_lora::Lora;
use pelt_prefix::Prefix;
use pelt_prompt::PromptTuning;

use crate::combine::{Parts, hooks_of_parts};

/// UniPELT (arXiv 2110.07577): prefix tuning, LoRA and a bottleneck adapter in every layer, each behind gates of its
/// own that no other layer or part shares; and, as in arXiv 2405.05493, optionally a prompt.
///
/// The paper's text describes one LoRA gate per layer. Its code, AdapterHub and this type have one per adapted
/// projection.
#[derive(Module, Debug)]
pub struct UniPelt {
    /// Rows in front of keys and values.
    pub prefix: Prefix,
    /// Updates of projections.
    pub lora: Lora,
    /// Adapters at sub-layers.
    pub bottleneck: Bottleneck,
    /// Virtual tokens.
    pub prompt: Option<PromptTuning>,
}

impl UniPelt {
    /// The same method without the network that made its prefixes; outputs are identical.
    pub fn eject(self) -> Self {
        Self {
            prefix: self.prefix.eject(),
            ..self
        }
    }

    fn parts(&self) -> Parts<'_> {
        let mut parts: Vec<&dyn EncoderHooks> = vec![&self.prefix, &self.lora, &self.bottleneck];
        if let Some(prompt) = &self.prompt {
            parts.push(prompt);
        }
        Parts(parts)
    }
}

impl EncoderHooks for UniPelt {
    hooks_of_parts!();
}

impl Method for UniPelt {
    fn named_params(&self) -> Vec<NamedParam> {
        let mut params = self.prefix.named_params();
        params.extend(self.lora.named_params());
        params.extend(self.bottleneck.named_params());
        if let Some(prompt) = &self.prompt {
            params.extend(prompt.named_params());
        }
        params
    }

    fn for_inference(self) -> (Self, Vec<ProjectionDelta>) {
        let (prefix, mut deltas) = self.prefix.for_inference();
        let (lora, more) = self.lora.for_inference();
        deltas.extend(more);
        let (bottleneck, more) = self.bottleneck.for_inference();
        deltas.extend(more);
        let prompt = self.prompt.map(|prompt| {
            let (prompt, more) = prompt.for_inference();
            deltas.extend(more);
            prompt
        });
        let method = Self {
            prefix,
            lora,
            bottleneck,
            prompt,
        };
        (method, deltas)
    }
}
