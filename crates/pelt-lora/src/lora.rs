//! LoRA at the projections of an encoder.

use burn::module::Module;
use burn::tensor::Tensor;
use pelt_hooks::{
    ADAPTER, EncoderHooks, Method, NamedParam, Pass, Projection, ProjectionChange, ProjectionDelta,
    ProjectionSite, SiteInput,
};

use crate::{LoraSite, MergeError};

/// LoRA (arXiv 2106.09685), with the gates of UniPELT (arXiv 2110.07577) where they are asked for.
#[derive(Module, Debug)]
pub struct Lora {
    /// The adapted projections of every layer; nothing in layers that are left out.
    pub layers: Vec<LoraLayer>,
    /// The adapted pooler.
    pub pooler: Option<LoraSite>,
}

/// The adapted projections of one layer.
#[derive(Module, Debug)]
pub struct LoraLayer {
    /// At `attention.self.query`.
    pub query: Option<LoraSite>,
    /// At `attention.self.key`.
    pub key: Option<LoraSite>,
    /// At `attention.self.value`.
    pub value: Option<LoraSite>,
    /// At `attention.output.dense`.
    pub attention_output: Option<LoraSite>,
    /// At `intermediate.dense`.
    pub intermediate: Option<LoraSite>,
    /// At `output.dense`.
    pub output: Option<LoraSite>,
}

const PROJECTIONS: [Projection; 6] = [
    Projection::Query,
    Projection::Key,
    Projection::Value,
    Projection::AttentionOutput,
    Projection::Intermediate,
    Projection::Output,
];

impl LoraLayer {
    /// The update at one projection.
    pub fn site(&self, projection: Projection) -> Option<&LoraSite> {
        match projection {
            Projection::Query => self.query.as_ref(),
            Projection::Key => self.key.as_ref(),
            Projection::Value => self.value.as_ref(),
            Projection::AttentionOutput => self.attention_output.as_ref(),
            Projection::Intermediate => self.intermediate.as_ref(),
            Projection::Output => self.output.as_ref(),
        }
    }

    fn slot(&mut self, projection: Projection) -> &mut Option<LoraSite> {
        match projection {
            Projection::Query => &mut self.query,
            Projection::Key => &mut self.key,
            Projection::Value => &mut self.value,
            Projection::AttentionOutput => &mut self.attention_output,
            Projection::Intermediate => &mut self.intermediate,
            Projection::Output => &mut self.output,
        }
    }
}

impl Lora {
    /// The update at one projection.
    pub fn site(&self, site: ProjectionSite) -> Option<&LoraSite> {
        match site {
            ProjectionSite::Layer(layer, projection) => self.layers.get(layer)?.site(projection),
            ProjectionSite::Pooler => self.pooler.as_ref(),
        }
    }

    /// Every adapted projection, layer by layer.
    pub fn sites(&self) -> Vec<(ProjectionSite, &LoraSite)> {
        let mut sites = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            for projection in PROJECTIONS {
                if let Some(site) = layer.site(projection) {
                    sites.push((ProjectionSite::Layer(index, projection), site));
                }
            }
        }
        sites.extend(
            self.pooler
                .iter()
                .map(|site| (ProjectionSite::Pooler, site)),
        );
        sites
    }

    /// What has to be added to the frozen projections so that they alone give the adapted encoder.
    ///
    /// # Errors
    /// With gates, which no fixed weight can replace.
    pub fn merge_deltas(&self) -> Result<Vec<ProjectionDelta>, MergeError> {
        let delta = |(site, block): (ProjectionSite, &LoraSite)| {
            let gated = || MergeError::Gated { name: site.path() };
            merge_delta(site, block).ok_or_else(gated)
        };
        self.sites().into_iter().map(delta).collect()
    }

    /// Puts an update, or none, at a projection.
    pub(crate) fn set(&mut self, site: ProjectionSite, block: Option<LoraSite>) {
        match site {
            ProjectionSite::Layer(layer, projection) => {
                if let Some(layer) = self.layers.get_mut(layer) {
                    *layer.slot(projection) = block;
                }
            }
            ProjectionSite::Pooler => self.pooler = block,
        }
    }
}

/// What replaces the block at this projection; `None` with a gate.
fn merge_delta(site: ProjectionSite, block: &LoraSite) -> Option<ProjectionDelta> {
    Some(ProjectionDelta {
        site,
        change: ProjectionChange::Add {
            weight: block.delta_weight()?,
            bias: block.bias_delta.as_ref().map(|delta| delta.val()),
        },
    })
}

impl EncoderHooks for Lora {
    fn changes(&self, site: ProjectionSite) -> bool {
        self.site(site).is_some()
    }

    fn changes_layer(&self, layer: usize) -> bool {
        let changed = |projection| self.changes(ProjectionSite::Layer(layer, projection));
        PROJECTIONS.into_iter().any(changed)
    }

    fn projection(
        &self,
        site: ProjectionSite,
        input: &SiteInput<'_>,
        pass: &Pass,
    ) -> Option<Tensor<2>> {
        Some(self.site(site)?.contribution(input, pass))
    }

    /// Gates of the self-attention's projections get all rows anyway; the ones behind it do not.
    fn needs_all_rows(&self, layer: usize) -> bool {
        let gated = |site: &Option<LoraSite>| site.as_ref().is_some_and(|site| site.gate.is_some());
        self.layers.get(layer).is_some_and(|layer| {
            gated(&layer.attention_output) || gated(&layer.intermediate) || gated(&layer.output)
        })
    }
}

impl Method for Lora {
    fn named_params(&self) -> Vec<NamedParam> {
        self.sites()
            .into_iter()
            .flat_map(|(site, block)| {
                block.named_params(&format!("{}.loras.{ADAPTER}", site.path()))
            })
            .collect()
    }

    /// Updates without a gate become deltas of the frozen projections; those with one stay.
    fn for_inference(mut self) -> (Self, Vec<ProjectionDelta>) {
        let sites = self.sites().into_iter();
        let deltas: Vec<_> = sites
            .filter_map(|(site, block)| merge_delta(site, block))
            .collect();
        for delta in &deltas {
            self.set(delta.site, None);
        }
        (self, deltas)
    }
}
