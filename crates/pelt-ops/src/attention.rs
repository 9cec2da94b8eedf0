//! Multi-head attention over packed sequences.

use burn::tensor::Tensor;
use pelt_hooks::{KeyValue, Packing};

use crate::generic;
use crate::mask::Mask;

/// How the rows of an attention call belong together.
#[derive(Debug, Clone)]
pub struct AttentionLayout {
    /// Where the keys and values of each sequence lie.
    pub keys: Packing,
    /// Where the queries of each sequence lie: as `keys`, or fewer rows of each sequence.
    pub queries: Packing,
    /// Number of heads; divides the width.
    pub heads: usize,
    /// Probability of dropping an attention weight.
    pub dropout: f64,
    /// Key of the dropout mask; `None` turns dropout off.
    pub dropout_key: Option<u64>,
}

/// `softmax(Q Kᵀ / sqrt(d_head)) V` inside each sequence and head, with the rows of `prefixes` in front of every
/// sequence's keys and values.
///
/// # Shapes
/// `query`: `[query rows, d]`; `key`, `value`: `[tokens, d]`; result: `[query rows, d]`.
///
/// # Panics
/// If the tensors do not fit the layout.
pub fn attention(
    query: Tensor<2>,
    key: Tensor<2>,
    value: Tensor<2>,
    prefixes: Vec<KeyValue>,
    layout: &AttentionLayout,
) -> Tensor<2> {
    let [query_rows, width] = query.dims();
    let [key_rows, _] = key.dims();
    let sequences = layout.keys.sequences();
    assert_eq!(query_rows, layout.queries.all_rows(), "query rows");
    assert_eq!(key_rows, layout.keys.all_rows(), "key rows");
    assert_eq!(value.dims(), key.dims(), "shape of the values");
    assert_eq!(key.dims()[1], width, "width of the keys");
    assert_eq!(width % layout.heads, 0, "heads must divide the width");
    assert_eq!(
        layout.queries.sequences(),
        sequences,
        "sequences of queries"
    );
    for prefix in &prefixes {
        assert_eq!(prefix.key.dims()[1], width, "width of a prefix");
        assert_eq!(
            prefix.value.dims(),
            prefix.key.dims(),
            "shape of a prefix's values"
        );
        for gate in prefix.key_gate.iter().chain(&prefix.value_gate) {
            assert_eq!(gate.dims(), [sequences, 1], "shape of a prefix's gate");
        }
    }
    #[cfg(feature = "flex")]
    if kernel::serves(&query, &key, &value, &prefixes) {
        return kernel::attention(query, key, value, prefixes, layout);
    }
    generic::attention(query, key, value, prefixes, layout)
}

/// The mask of the weights: its rows are queries, its columns the keys of a sequence, with those of prefixes in front.
pub(crate) fn mask(layout: &AttentionLayout) -> Option<Mask> {
    let first = mask_row(layout.keys.sequences_before() * layout.heads);
    Mask::new(layout.dropout, layout.dropout_key, first)
}

/// The row of a head's first query in the mask; heads are counted over all sequences, so that neither their number nor
/// that of their queries changes another sequence's rows.
pub(crate) fn mask_row(head: usize) -> u64 {
    (head as u64) << 32
}

#[cfg(feature = "flex")]
mod kernel {
    use super::*;
    use crate::flex::{self, attention::Attention};
    use burn::backend::DispatchTensor;

    /// Prefixes that a call can have; the generic body takes any number.
    const PREFIXES: usize = 4;

    pub(super) fn serves(
        query: &Tensor<2>,
        key: &Tensor<2>,
        value: &Tensor<2>,
        prefixes: &[KeyValue],
    ) -> bool {
        let of_prefixes = prefixes.iter().flat_map(|prefix| {
            [&prefix.key, &prefix.value]
                .into_iter()
                .chain(&prefix.key_gate)
                .chain(&prefix.value_gate)
        });
        prefixes.len() <= PREFIXES
            && [query, key, value]
                .into_iter()
                .chain(of_prefixes)
                .all(flex::serves)
    }

    pub(super) fn attention(
        query: Tensor<2>,
        key: Tensor<2>,
        value: Tensor<2>,
        prefixes: Vec<KeyValue>,
        layout: &AttentionLayout,
    ) -> Tensor<2> {
        let count = prefixes.len();
        let device = query.device().inner();
        let gate = |gate: Option<Tensor<2>>| {
            gate.unwrap_or_else(|| Tensor::ones([layout.keys.sequences(), 1], &device))
        };
        let of_prefixes = prefixes.into_iter().flat_map(|prefix| {
            let gates = [gate(prefix.key_gate), gate(prefix.value_gate)];
            [prefix.key, prefix.value].into_iter().chain(gates)
        });
        let inputs = [query, key, value].into_iter().chain(of_prefixes);
        let inputs = inputs.map(Tensor::into_dispatch);
        let op = Attention {
            keys: layout.keys.clone(),
            queries: layout.queries.clone(),
            heads: layout.heads,
            mask: mask(layout),
        };
        match count {
            0 => run::<3>(op, inputs),
            1 => run::<7>(op, inputs),
            2 => run::<11>(op, inputs),
            3 => run::<15>(op, inputs),
            _ => run::<19>(op, inputs),
        }
    }

    fn run<const N: usize>(
        op: Attention,
        mut inputs: impl Iterator<Item = DispatchTensor>,
    ) -> Tensor<2> {
        let inputs = std::array::from_fn(|_| inputs.next().expect("inputs were counted"));
        flex::run::<Attention, N, 2>(op, inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution, Int, TensorData};

    fn random(rows: usize) -> Tensor<2> {
        Tensor::random([rows, 8], Distribution::Normal(0.0, 1.0), &Device::flex())
    }

    fn int_tensor(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
        let count = values.len();
        Tensor::from_data(TensorData::new(values, [count]), device)
    }

    fn layout(lengths: &[usize]) -> AttentionLayout {
        let packing = Packing::new(lengths.iter().copied());
        AttentionLayout {
            keys: packing.clone(),
            queries: packing,
            heads: 2,
            dropout: 0.0,
            dropout_key: None,
        }
    }

    #[test]
    fn a_sequence_does_not_see_its_neighbours() {
        let (q, k, v) = (random(7), random(7), random(7));
        let together = attention(q.clone(), k.clone(), v.clone(), vec![], &layout(&[2, 4, 1]));
        let alone = attention(
            q.slice([2..6, 0..8]),
            k.slice([2..6, 0..8]),
            v.slice([2..6, 0..8]),
            vec![],
            &layout(&[4]),
        );
        let difference: f32 = (together.slice([2..6, 0..8]) - alone)
            .abs()
            .max()
            .into_scalar();
        assert!(difference < 1e-5, "{difference}");
    }

    #[test]
    fn first_row_queries_equal_the_first_rows_of_all_queries() {
        let (q, k, v) = (random(7), random(7), random(7));
        let all = layout(&[2, 4, 1]);
        let index = int_tensor(all.keys.first_rows(), &Device::flex());
        let expected =
            attention(q.clone(), k.clone(), v.clone(), vec![], &all).select(0, index.clone());
        let first = AttentionLayout {
            queries: all.keys.one_row_each(),
            ..all
        };
        let found = attention(q.select(0, index), k, v, vec![], &first);
        let difference: f32 = (found - expected).abs().max().into_scalar();
        assert!(difference < 1e-5, "{difference}");
    }

    #[test]
    fn a_prefix_equals_rows_written_in_front_of_every_sequence() {
        let (q, k, v) = (random(5), random(5), random(5));
        let prefix = || random(2);
        let (pk, pv) = (prefix(), prefix());
        let rows = |x: &Tensor<2>, range: std::ops::Range<usize>| x.clone().slice([range, 0..8]);
        let expected = attention(
            rows(&q, 0..3),
            Tensor::cat(vec![pk.clone(), rows(&k, 0..3)], 0),
            Tensor::cat(vec![pv.clone(), rows(&v, 0..3)], 0),
            vec![],
            &AttentionLayout {
                keys: Packing::new([5]),
                queries: Packing::new([3]),
                ..layout(&[3])
            },
        );
        let found = attention(
            q,
            k,
            v,
            vec![KeyValue {
                key: pk,
                value: pv,
                key_gate: None,
                value_gate: None,
            }],
            &layout(&[3, 2]),
        );
        let difference: f32 = (rows(&found, 0..3) - expected).abs().max().into_scalar();
        assert!(difference < 1e-5, "{difference}");
    }
}
