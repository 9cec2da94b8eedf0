//! Adapters at the sub-layers of an encoder.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use pelt_hooks::{
    ADAPTER, EncoderHooks, Method, NamedParam, Pass, ProjectionDelta, ProjectionSite, Reads,
    Sublayer, SublayerSite, SublayerStates,
};

use crate::BottleneckBlock;

/// Bottleneck adapters (arXiv 1902.00751, 2005.00052, 2110.04366), with UniPELT's gates where they are asked for.
#[derive(Module, Debug)]
pub struct Bottleneck {
    /// The adapters of every layer; nothing in layers that are left out.
    pub layers: Vec<BottleneckLayer>,
    /// What all projections share, `[n, n, n]`, trained; only with `phm_layer`.
    pub phm_rule: Option<Param<Tensor<3>>>,
}

/// The adapters of one layer.
#[derive(Module, Debug)]
pub struct BottleneckLayer {
    /// At the self-attention sub-layer.
    pub attention: Option<BottleneckBlock>,
    /// At the feed-forward sub-layer.
    pub feed_forward: Option<BottleneckBlock>,
}

impl BottleneckLayer {
    fn blocks_mut(&mut self) -> impl Iterator<Item = &mut BottleneckBlock> {
        [&mut self.attention, &mut self.feed_forward]
            .into_iter()
            .flatten()
    }
}

impl Bottleneck {
    /// The adapter at one sub-layer.
    pub fn block(&self, site: SublayerSite) -> Option<&BottleneckBlock> {
        let layer = self.layers.get(site.layer)?;
        match site.sublayer {
            Sublayer::Attention => layer.attention.as_ref(),
            Sublayer::FeedForward => layer.feed_forward.as_ref(),
        }
    }
}

impl EncoderHooks for Bottleneck {
    fn changes(&self, _site: ProjectionSite) -> bool {
        false
    }

    fn changes_layer(&self, layer: usize) -> bool {
        let layer = self.layers.get(layer);
        layer.is_some_and(|layer| layer.attention.is_some() || layer.feed_forward.is_some())
    }

    fn sublayer_reads(&self, site: SublayerSite) -> Reads {
        match self.block(site) {
            Some(block) if block.is_parallel() => Reads::Input,
            _ => Reads::Output,
        }
    }

    fn sublayer(
        &self,
        site: SublayerSite,
        states: &SublayerStates<'_>,
        pass: &Pass,
    ) -> Option<Tensor<2>> {
        let block = self.block(site)?;
        let rule = self.phm_rule.as_ref().map(|rule| rule.val());
        Some(block.contribution(states, rule.as_ref(), pass))
    }

    /// A gate averages over all rows of `z`.
    fn needs_all_rows(&self, layer: usize) -> bool {
        self.layers.get(layer).is_some_and(|layer| {
            [&layer.attention, &layer.feed_forward]
                .into_iter()
                .flatten()
                .any(|block| block.gate.is_some())
        })
    }
}

impl Method for Bottleneck {
    fn named_params(&self) -> Vec<NamedParam> {
        let mut params = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            for (block, place) in [
                (&layer.attention, "attention.output"),
                (&layer.feed_forward, "output"),
            ] {
                if let Some(block) = block {
                    let path = format!("encoder.layer.{index}.{place}.adapters.{ADAPTER}");
                    params.extend(block.named_params(&path));
                }
            }
        }
        if let Some(rule) = &self.phm_rule {
            let name = format!("shared_parameters.{ADAPTER}.phm_rule");
            params.push(NamedParam::new(name, rule));
        }
        params
    }

    /// Sums of Kronecker products are computed once and not in every pass.
    fn for_inference(mut self) -> (Self, Vec<ProjectionDelta>) {
        if let Some(rule) = self.phm_rule.take() {
            let rule = rule.val();
            for block in self.layers.iter_mut().flat_map(BottleneckLayer::blocks_mut) {
                block.down = block.down.clone().into_dense(&rule);
                block.up = block.up.clone().into_dense(&rule);
            }
        }
        (self, Vec::new())
    }
}
