//! How contributions of several parts become one.

use burn::tensor::Tensor;
use pelt_hooks::{
    EncoderHooks, Hidden, KeyValue, Pass, ProjectionSite, Prompt, Reads, SiteInput, SublayerSite,
    SublayerStates,
};

/// Parts that act side by side, each independently of the others.
pub(crate) struct Parts<'a>(pub(crate) Vec<&'a dyn EncoderHooks>);

impl<'a> Parts<'a> {
    /// Methods of one type as parts.
    pub(crate) fn of<M: EncoderHooks>(methods: &'a [M]) -> Self {
        let parts = methods.iter().map(|method| method as &dyn EncoderHooks);
        Self(parts.collect())
    }

    fn sum(&self, ask: impl Fn(&dyn EncoderHooks) -> Option<Tensor<2>>) -> Option<Tensor<2>> {
        let contributions = self.0.iter().filter_map(|part| ask(*part));
        contributions.reduce(|sum, value| sum + value)
    }
}

impl EncoderHooks for Parts<'_> {
    /// The first part that has a prompt gives it.
    fn prompt(&self) -> Option<Prompt> {
        self.0.iter().find_map(|part| part.prompt())
    }

    fn position_shift(&self) -> usize {
        self.0.iter().map(|part| part.position_shift()).sum()
    }

    /// Factors on one projection multiply.
    fn input_scale(&self, site: ProjectionSite) -> Option<Tensor<1>> {
        let scales = self.0.iter().filter_map(|part| part.input_scale(site));
        scales.reduce(|product, scale| product * scale)
    }

    fn changes(&self, site: ProjectionSite) -> bool {
        self.0.iter().any(|part| part.changes(site))
    }

    fn changes_layer(&self, layer: usize) -> bool {
        self.0.iter().any(|part| part.changes_layer(layer))
    }

    fn projection_reads(&self, site: ProjectionSite) -> Reads {
        let reads = |part: &&dyn EncoderHooks| part.projection_reads(site) == Reads::Output;
        match self.0.iter().any(reads) {
            true => Reads::Output,
            false => Reads::Input,
        }
    }

    fn sublayer_reads(&self, site: SublayerSite) -> Reads {
        let reads = |part: &&dyn EncoderHooks| part.sublayer_reads(site) == Reads::Input;
        match self.0.iter().any(reads) {
            true => Reads::Input,
            false => Reads::Output,
        }
    }

    fn projection(
        &self,
        site: ProjectionSite,
        input: &SiteInput<'_>,
        pass: &Pass,
    ) -> Option<Tensor<2>> {
        self.sum(|part| part.projection(site, input, pass))
    }

    fn prefix(&self, layer: usize, input: &Hidden, pass: &Pass) -> Vec<KeyValue> {
        self.0
            .iter()
            .flat_map(|part| part.prefix(layer, input, pass))
            .collect()
    }

    fn sublayer(
        &self,
        site: SublayerSite,
        states: &SublayerStates<'_>,
        pass: &Pass,
    ) -> Option<Tensor<2>> {
        self.sum(|part| part.sublayer(site, states, pass))
    }

    fn needs_all_rows(&self, layer: usize) -> bool {
        self.0.iter().any(|part| part.needs_all_rows(layer))
    }
}

/// Implements the hooks of a composition that has a function `parts`, every one of them by [`Parts`].
macro_rules! hooks_of_parts {
    () => {
        fn prompt(&self) -> Option<::pelt_hooks::Prompt> {
            self.parts().prompt()
        }

        fn position_shift(&self) -> usize {
            self.parts().position_shift()
        }

        fn input_scale(
            &self,
            site: ::pelt_hooks::ProjectionSite,
        ) -> Option<::burn::tensor::Tensor<1>> {
            self.parts().input_scale(site)
        }

        fn changes(&self, site: ::pelt_hooks::ProjectionSite) -> bool {
            self.parts().changes(site)
        }

        fn changes_layer(&self, layer: usize) -> bool {
            self.parts().changes_layer(layer)
        }

        fn projection_reads(&self, site: ::pelt_hooks::ProjectionSite) -> ::pelt_hooks::Reads {
            self.parts().projection_reads(site)
        }

        fn sublayer_reads(&self, site: ::pelt_hooks::SublayerSite) -> ::pelt_hooks::Reads {
            self.parts().sublayer_reads(site)
        }

        fn projection(
            &self,
            site: ::pelt_hooks::ProjectionSite,
            input: &::pelt_hooks::SiteInput<'_>,
            pass: &::pelt_hooks::Pass,
        ) -> Option<::burn::tensor::Tensor<2>> {
            self.parts().projection(site, input, pass)
        }

        fn prefix(
            &self,
            layer: usize,
            input: &::pelt_hooks::Hidden,
            pass: &::pelt_hooks::Pass,
        ) -> Vec<::pelt_hooks::KeyValue> {
            self.parts().prefix(layer, input, pass)
        }

        fn sublayer(
            &self,
            site: ::pelt_hooks::SublayerSite,
            states: &::pelt_hooks::SublayerStates<'_>,
            pass: &::pelt_hooks::Pass,
        ) -> Option<::burn::tensor::Tensor<2>> {
            self.parts().sublayer(site, states, pass)
        }

        fn needs_all_rows(&self, layer: usize) -> bool {
            self.parts().needs_all_rows(layer)
        }
    };
}
pub(crate) use hooks_of_parts;
