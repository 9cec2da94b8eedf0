//! What holds for one forward pass.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use burn::module::ParamId;
use burn::tensor::Tensor;

/// One forward pass: whether dropout is active, and what a method has already computed in it.
///
/// Every dropout site draws a key of its own from the pass, in the order of the computation. A mask is a pure function
/// of its key, so a pass with the same seed drops the same entries, on any number of threads.
#[derive(Debug)]
pub struct Pass {
    seed: Option<u64>,
    sites: Cell<u64>,
    scratch: RefCell<HashMap<ParamId, Tensor<2>>>,
    shared_keys: RefCell<HashMap<ParamId, Option<u64>>>,
    gates: Option<RefCell<HashMap<ParamId, Tensor<2>>>>,
    skipped: Vec<usize>,
}

impl Pass {
    /// A pass without dropout.
    pub fn evaluate() -> Self {
        Self {
            seed: None,
            sites: Cell::new(0),
            scratch: RefCell::default(),
            shared_keys: RefCell::default(),
            gates: None,
            skipped: Vec::new(),
        }
    }

    /// The same pass with nothing contributed in these layers (AdapterDrop, arXiv 2010.11918). Prompts stay: they belong
    /// to no layer.
    pub fn skipping(self, layers: impl IntoIterator<Item = usize>) -> Self {
        Self {
            skipped: layers.into_iter().collect(),
            ..self
        }
    }

    /// Whether methods contribute nothing in this layer.
    pub fn skips(&self, layer: usize) -> bool {
        self.skipped.contains(&layer)
    }

    /// A pass without dropout that keeps the value of every gate.
    pub fn observing_gates() -> Self {
        Self {
            gates: Some(RefCell::default()),
            ..Self::evaluate()
        }
    }

    /// Keeps a gate's values (`[sequences, columns]`) under the id of the gate's weight, if this pass observes gates.
    pub fn observe_gate(&self, gate: ParamId, values: &Tensor<2>) {
        if let Some(gates) = &self.gates {
            gates.borrow_mut().insert(gate, values.clone());
        }
    }

    /// The gates of this pass, by the id of their weight; empty unless it observed them.
    pub fn into_gates(self) -> HashMap<ParamId, Tensor<2>> {
        self.gates.map(RefCell::into_inner).unwrap_or_default()
    }

    /// A pass with dropout; `seed` should be different for every step.
    pub fn train(seed: u64) -> Self {
        Self {
            seed: Some(seed),
            ..Self::evaluate()
        }
    }

    /// The key for the next dropout site, or `None` where dropout is off.
    pub fn dropout_key(&self) -> Option<u64> {
        let site = self.sites.get() + 1;
        self.sites.set(site);
        self.key(site)
    }

    fn key(&self, site: u64) -> Option<u64> {
        self.seed.map(|seed| mix(seed ^ mix(site)))
    }

    /// Passes over the next dropout sites, whose results are known: the sites behind them keep their keys.
    pub fn pass_over(&self, sites: u64) {
        self.sites.set(self.sites.get() + sites);
    }

    /// The key of a dropout site that several layers share, of which `owner` is a parameter.
    pub fn shared_dropout_key(&self, owner: ParamId) -> Option<u64> {
        let mut keys = self.shared_keys.borrow_mut();
        // Numbers from the far end, so that the sites in between keep theirs.
        let site = u64::MAX - keys.len() as u64;
        *keys.entry(owner).or_insert_with(|| self.key(site))
    }

    /// How many dropout sites have drawn a key.
    pub fn sites(&self) -> u64 {
        self.sites.get()
    }

    /// A pass for computing a part of the same once more, that begins where so many sites had drawn a key: they draw the
    /// same keys again. Values that layers share are computed again.
    pub fn again_from(&self, sites: u64) -> Self {
        Self {
            seed: self.seed,
            sites: Cell::new(sites),
            scratch: RefCell::default(),
            shared_keys: self.shared_keys.clone(),
            gates: None,
            skipped: self.skipped.clone(),
        }
    }

    /// A value that a method needs in several layers and computes once a pass, stored under one of its parameters.
    pub fn once(&self, owner: ParamId, compute: impl FnOnce() -> Tensor<2>) -> Tensor<2> {
        if let Some(value) = self.scratch.borrow().get(&owner) {
            return value.clone();
        }
        let value = compute();
        self.scratch.borrow_mut().insert(owner, value.clone());
        value
    }
}

/// The finaliser of SplitMix64: a bijection of 64-bit numbers that scatters neighbours.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_between_sites_and_repeat_with_the_seed() {
        let draw = |seed| {
            let pass = Pass::train(seed);
            [pass.dropout_key(), pass.dropout_key()]
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_ne!(draw(1)[0], draw(1)[1]);
        assert_eq!(Pass::evaluate().dropout_key(), None);
        let pass = Pass::train(1);
        pass.pass_over(1);
        assert_eq!(pass.dropout_key(), draw(1)[1]);
    }

    #[test]
    fn a_part_that_is_computed_again_draws_the_same_keys() {
        let pass = Pass::train(1);
        let owner = ParamId::new();
        let keys = || (pass.dropout_key(), pass.shared_dropout_key(owner));
        let (first, shared) = keys();
        let start = pass.sites();
        let (second, same) = keys();
        assert_eq!(same, shared);
        assert_ne!(first, second);
        let again = pass.again_from(start);
        assert_eq!(again.dropout_key(), second);
        assert_eq!(again.shared_dropout_key(owner), shared);
    }
}
