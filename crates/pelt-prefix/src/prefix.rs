//! Prefixes at the layers of an encoder.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use pelt_hooks::{
    ADAPTER, EncoderHooks, Gate, Hidden, KeyValue, Method, NamedParam, Pass, ProjectionDelta,
    ProjectionSite,
};
use pelt_ops::{dropout, gate};

use crate::PrefixTable;

/// Prefix tuning (arXiv 2101.00190), with UniPELT's gates where they are asked for.
///
/// The table's columns are `[keys of slot 0, values of slot 0, keys of slot 1, ...]`, `d` columns each. A slot is a
/// layer that has a prefix; layers that are left out have none and leave no gap.
#[derive(Module, Debug)]
pub struct Prefix {
    /// Where the rows come from.
    pub table: PrefixTable,
    /// One gate per layer, reading what the layer reads: one column for keys and values together, or one for each.
    /// Empty without gating; `None` in layers that are left out.
    pub gates: Vec<Option<Gate>>,
    /// The slot of every layer.
    #[module(skip)]
    pub(crate) slots: Vec<Option<usize>>,
    /// `P`, rows per layer.
    pub(crate) prefix_length: usize,
    /// `d`.
    pub(crate) width: usize,
    /// Probability of dropping an entry of the table.
    pub dropout: f64,
    /// Whether positions of real tokens are moved up by `P`.
    pub shift_positions: bool,
}

impl Prefix {
    /// Rows that are put in front of every layer's keys and values.
    pub fn prefix_length(&self) -> usize {
        self.prefix_length
    }

    /// The same prefixes without the network that made them: outputs are identical, and far fewer parameters are left.
    /// The configuration of the result has `flat = true`.
    pub fn eject(self) -> Self {
        let table = self.table.forward(self.prefix_length);
        let count = table.shape().num_elements();
        Self {
            table: PrefixTable::Flat(Param::from_tensor(table.reshape([count]).detach())),
            ..self
        }
    }

    /// The table after dropout. It is the same for all layers and computed once a pass, so all layers see one mask.
    fn table(&self, pass: &Pass) -> Tensor<2> {
        let id = self.table.id();
        pass.once(id, || {
            let table = self.table.forward(self.prefix_length);
            dropout(table, self.dropout, pass.shared_dropout_key(id), 0)
        })
    }
}

impl EncoderHooks for Prefix {
    fn changes(&self, _site: ProjectionSite) -> bool {
        false
    }

    fn changes_layer(&self, layer: usize) -> bool {
        self.slots.get(layer).is_some_and(|slot| slot.is_some())
    }

    fn position_shift(&self) -> usize {
        match self.shift_positions {
            true => self.prefix_length,
            false => 0,
        }
    }

    fn prefix(&self, layer: usize, input: &Hidden, pass: &Pass) -> Vec<KeyValue> {
        let Some(slot) = self.slots.get(layer).copied().flatten() else {
            return Vec::new();
        };
        let table = self.table(pass);
        let columns = |part: usize| table.clone().narrow(1, part * self.width, self.width);
        let weights = self.gates.get(layer).and_then(|gate| gate.as_ref());
        let (key_gate, value_gate) = match weights.map(|weights| gate(weights, input, pass)) {
            None => (None, None),
            Some(gates) if gates.dims()[1] == 1 => (Some(gates.clone()), Some(gates)),
            Some(gates) => (
                Some(gates.clone().narrow(1, 0, 1)),
                Some(gates.narrow(1, 1, 1)),
            ),
        };
        vec![KeyValue {
            key: columns(2 * slot),
            value: columns(2 * slot + 1),
            key_gate,
            value_gate,
        }]
    }
}

impl Method for Prefix {
    fn named_params(&self) -> Vec<NamedParam> {
        let mut params = self.table.named_params();
        for (layer, gate) in self.gates.iter().enumerate() {
            if let Some(gate) = gate {
                let site = format!("encoder.layer.{layer}.attention.self");
                let path = format!("{site}.prefix_tuning.prefix_gates.{ADAPTER}");
                params.extend(gate.named_params(&path));
            }
        }
        params
    }

    /// The table is computed once and not in every pass.
    fn for_inference(self) -> (Self, Vec<ProjectionDelta>) {
        (self.eject(), Vec::new())
    }
}
