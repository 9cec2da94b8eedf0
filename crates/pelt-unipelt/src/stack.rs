//! Methods on top of one another.

use burn::module::Module;
use burn::tensor::Tensor;
use pelt_hooks::{
    ADAPTER, EncoderHooks, Hidden, KeyValue, Method, NamedParam, Pass, ProjectionSite, Prompt,
    Reads, SiteInput, SublayerSite, SublayerStates,
};
use serde::{Deserialize, Serialize};

use crate::StackError;
use crate::combine::Parts;

/// How low-rank updates of one projection follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StackedLora {
    /// Each reads what the one below gives, and the last one's result is added, as in AdapterHub. As `B` starts at zero,
    /// freshly started updates in such a stack never get a gradient: at most the last one may be new.
    #[default]
    Composed,
    /// Each reads the projection's input, and all results are added.
    Sum,
}

/// How adapters beside one sub-layer follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StackedParallel {
    /// All results are added.
    #[default]
    Sum,
    /// The last one replaces what came before, as in AdapterHub.
    Last,
}

/// Where the references and sense disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StackRules {
    /// For low-rank updates.
    pub lora: StackedLora,
    /// For parallel adapters.
    pub parallel: StackedParallel,
}

/// Methods on top of one another, the first one at the bottom.
///
/// At a site each kind of part has a rule of its own: what reads a sub-layer's output reads what the levels below made of
/// it; factors of a projection multiply; low-rank updates and parallel adapters follow the [`StackRules`]; all
/// prefixes are put in front of keys and values; and only the first level's prompt is used, even if it has none. Gates
/// read what they would read without the other levels.
#[derive(Module, Debug)]
pub struct Stack<M: Module> {
    /// The levels, the lowest first.
    pub levels: Vec<M>,
    /// The name of each level in the names of its parameters.
    #[module(skip)]
    names: Vec<String>,
    #[module(skip)]
    rules: StackRules,
    /// So many levels, the lowest ones, are not trained.
    #[module(skip)]
    frozen: usize,
}

impl<M: Method> Stack<M> {
    /// A stack of these levels, the lowest first, each with a name that takes the place of [`ADAPTER`] in the names of
    /// its parameters.
    ///
    /// # Errors
    /// Without levels, or if two have the same name.
    pub fn new(levels: Vec<(String, M)>, rules: StackRules) -> Result<Self, StackError> {
        let (names, levels): (Vec<String>, Vec<M>) = levels.into_iter().unzip();
        if levels.is_empty() {
            return Err(StackError::Empty);
        }
        for (number, name) in names.iter().enumerate() {
            if names[..number].contains(name) {
                return Err(StackError::SharedName(name.clone()));
            }
        }
        Ok(Self {
            levels,
            names,
            rules,
            frozen: 0,
        })
    }

    /// The same with all levels but the last one frozen: their values build no graph, so they get no gradients and never
    /// change, and they are not among the [`named_params`](Method::named_params).
    pub fn training_the_last(mut self) -> Self {
        self.frozen = self.levels.len() - 1;
        for level in &mut self.levels[..self.frozen] {
            *level = level.valid();
        }
        self
    }

    /// The levels that are frozen, the lowest first.
    pub fn frozen_levels(&self) -> &[M] {
        &self.levels[..self.frozen]
    }

    /// Every level with its name, the lowest first.
    pub fn named_levels(&self) -> impl Iterator<Item = (&str, &M)> {
        self.names.iter().map(String::as_str).zip(&self.levels)
    }

    /// The levels as parts of a union, for all that the order of levels does not matter to.
    fn parts(&self) -> Parts<'_> {
        Parts::of(&self.levels)
    }
}

fn add(sum: Option<Tensor<2>>, value: Tensor<2>) -> Option<Tensor<2>> {
    Some(match sum {
        Some(sum) => sum + value,
        None => value,
    })
}

impl<M: Method> EncoderHooks for Stack<M> {
    fn prompt(&self) -> Option<Prompt> {
        self.levels.first()?.prompt()
    }

    fn position_shift(&self) -> usize {
        self.parts().position_shift()
    }

    fn input_scale(&self, site: ProjectionSite) -> Option<Tensor<1>> {
        self.parts().input_scale(site)
    }

    fn changes(&self, site: ProjectionSite) -> bool {
        self.parts().changes(site)
    }

    fn changes_layer(&self, layer: usize) -> bool {
        self.parts().changes_layer(layer)
    }

    fn projection_reads(&self, site: ProjectionSite) -> Reads {
        self.parts().projection_reads(site)
    }

    fn sublayer_reads(&self, site: SublayerSite) -> Reads {
        self.parts().sublayer_reads(site)
    }

    fn projection(
        &self,
        site: ProjectionSite,
        input: &SiteInput<'_>,
        pass: &Pass,
    ) -> Option<Tensor<2>> {
        let mut output = input.output.clone();
        let mut rows = input.rows.clone();
        let (mut scaled, mut update) = (None, None);
        for level in &self.levels {
            let reads = level.projection_reads(site);
            let here = match reads {
                Reads::Output => SiteInput {
                    output: &output,
                    ..*input
                },
                Reads::Input => SiteInput {
                    rows: &rows,
                    ..*input
                },
            };
            let Some(value) = level.projection(site, &here, pass) else {
                continue;
            };
            match (reads, self.rules.lora) {
                (Reads::Output, _) => {
                    output = output + value.clone();
                    scaled = add(scaled, value);
                }
                (Reads::Input, StackedLora::Sum) => update = add(update, value),
                (Reads::Input, StackedLora::Composed) => {
                    rows.values = value.clone();
                    update = Some(value);
                }
            }
        }
        match (scaled, update) {
            (scaled, Some(update)) => add(scaled, update),
            (scaled, None) => scaled,
        }
    }

    fn prefix(&self, layer: usize, input: &Hidden, pass: &Pass) -> Vec<KeyValue> {
        self.parts().prefix(layer, input, pass)
    }

    fn sublayer(
        &self,
        site: SublayerSite,
        states: &SublayerStates<'_>,
        pass: &Pass,
    ) -> Option<Tensor<2>> {
        let mut output = states.output.clone();
        let mut sum = None;
        for level in &self.levels {
            let here = SublayerStates {
                output: &output,
                ..*states
            };
            let Some(value) = level.sublayer(site, &here, pass) else {
                continue;
            };
            match (level.sublayer_reads(site), self.rules.parallel) {
                (Reads::Output, _) => {
                    output.values = output.values + value.clone();
                    sum = add(sum, value);
                }
                (Reads::Input, StackedParallel::Sum) => sum = add(sum, value),
                (Reads::Input, StackedParallel::Last) => {
                    output = states.output.clone();
                    sum = Some(value);
                }
            }
        }
        sum
    }

    fn needs_all_rows(&self, layer: usize) -> bool {
        self.parts().needs_all_rows(layer)
    }
}

impl<M: Method> Method for Stack<M> {
    fn named_params(&self) -> Vec<NamedParam> {
        let mut params = Vec::new();
        for (name, level) in self.named_levels().skip(self.frozen) {
            params.extend(level.named_params().into_iter().map(|param| NamedParam {
                name: param.name.replace(ADAPTER, name),
                ..param
            }));
        }
        params
    }

    fn penalty(&self) -> Option<Tensor<1>> {
        let penalties = self.levels.iter().filter_map(|level| level.penalty());
        penalties.reduce(|sum, penalty| sum + penalty)
    }
}
