//! (IA)³ at the projections of an encoder.

use burn::module::Module;
use burn::tensor::Tensor;
use pelt_hooks::{
    ADAPTER, EncoderHooks, Method, NamedParam, Pass, Projection, ProjectionDelta, ProjectionSite,
    Reads, SiteInput,
};

use crate::{Ia3Site, Side};

/// (IA)³ (arXiv 2205.05638), with the gates of UniPELT (arXiv 2110.07577) where they are asked for.
#[derive(Module, Debug)]
pub struct Ia3 {
    /// Every scaled projection, layer by layer.
    pub sites: Vec<Ia3Site>,
}

impl Ia3 {
    /// The factors at one projection.
    pub fn site(&self, place: ProjectionSite) -> Option<&Ia3Site> {
        self.sites.iter().find(|site| site.place == place)
    }
}

impl EncoderHooks for Ia3 {
    fn input_scale(&self, place: ProjectionSite) -> Option<Tensor<1>> {
        let site = self.site(place).filter(|site| site.side == Side::Input)?;
        Some(site.scale())
    }

    fn changes(&self, site: ProjectionSite) -> bool {
        self.site(site).is_some()
    }

    fn changes_layer(&self, layer: usize) -> bool {
        let inside =
            |site: &Ia3Site| matches!(site.place, ProjectionSite::Layer(l, _) if l == layer);
        self.sites.iter().any(inside)
    }

    fn projection_reads(&self, place: ProjectionSite) -> Reads {
        match self.site(place) {
            Some(_) => Reads::Output,
            None => Reads::Input,
        }
    }

    fn projection(
        &self,
        place: ProjectionSite,
        input: &SiteInput<'_>,
        pass: &Pass,
    ) -> Option<Tensor<2>> {
        let site = self.site(place).filter(|site| site.side == Side::Output)?;
        Some(site.contribution(input, pass))
    }

    /// Gates of the self-attention's projections get all rows anyway; the ones behind it do not.
    fn needs_all_rows(&self, layer: usize) -> bool {
        let behind = [
            Projection::AttentionOutput,
            Projection::Intermediate,
            Projection::Output,
        ];
        behind.into_iter().any(|projection| {
            let site = self.site(ProjectionSite::Layer(layer, projection));
            site.is_some_and(|site| site.gate.is_some())
        })
    }
}

impl Method for Ia3 {
    fn named_params(&self) -> Vec<NamedParam> {
        self.sites
            .iter()
            .flat_map(|site| site.named_params(&format!("{}.loras.{ADAPTER}", site.place.path())))
            .collect()
    }

    /// Factors without a gate scale the frozen projections; those with one stay.
    fn for_inference(mut self) -> (Self, Vec<ProjectionDelta>) {
        let deltas = self.sites.iter().filter_map(|site| site.delta(false));
        let deltas = deltas.collect();
        self.sites.retain(|site| site.gate.is_some());
        (self, deltas)
    }
}
