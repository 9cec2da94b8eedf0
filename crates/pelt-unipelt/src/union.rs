//! Any methods of one type together.

use std::collections::HashMap;

use burn::module::Module;
use burn::tensor::Tensor;
use pelt_hooks::{EncoderHooks, Method, NamedParam, ProjectionDelta};

use crate::UnionError;
use crate::combine::{Parts, hooks_of_parts};

/// Methods that act side by side: contributions at a site are added, prefixes follow one another, the first prompt is
/// taken, and position shifts add up.
#[derive(Module, Debug)]
pub struct Union<M: Module> {
    /// The parts, in the order in which files list them.
    pub parts: Vec<M>,
}

impl<M: Method> Union<M> {
    /// A union of these parts.
    ///
    /// # Errors
    /// If two parts have a parameter of the same name: two adapters at one site, two prompts, two prefixes, or a second
    /// LoRA at a projection.
    pub fn new(parts: Vec<M>) -> Result<Self, UnionError> {
        let mut owners = HashMap::new();
        for (second, part) in parts.iter().enumerate() {
            for param in part.named_params() {
                match owners.insert(param.name.clone(), second) {
                    Some(first) if first != second => {
                        return Err(UnionError::SharedName {
                            first,
                            second,
                            name: param.name,
                        });
                    }
                    _ => {}
                }
            }
        }
        Ok(Self { parts })
    }

    fn parts(&self) -> Parts<'_> {
        Parts::of(&self.parts)
    }
}

impl<M: Method> EncoderHooks for Union<M> {
    hooks_of_parts!();
}

impl<M: Method> Method for Union<M> {
    fn named_params(&self) -> Vec<NamedParam> {
        self.parts
            .iter()
            .flat_map(|part| part.named_params())
            .collect()
    }

    fn penalty(&self) -> Option<Tensor<1>> {
        let penalties = self.parts.iter().filter_map(|part| part.penalty());
        penalties.reduce(|sum, penalty| sum + penalty)
    }

    fn for_inference(self) -> (Self, Vec<ProjectionDelta>) {
        let mut deltas = Vec::new();
        let prepare = |part: M| {
            let (part, more) = part.for_inference();
            deltas.extend(more);
            part
        };
        let parts = self.parts.into_iter().map(prepare).collect();
        (Self { parts }, deltas)
    }
}
