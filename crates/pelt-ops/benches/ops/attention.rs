//! Attention with 12 heads.

use burn::tensor::Tensor;
use divan::Bencher;
use pelt_hooks::{KeyValue, Packing};
use pelt_ops::{AttentionLayout, attention};

use crate::cases::{Batch, Case, HIDDEN, LONG, SHORT, cases, random};

const HEADS: usize = 12;
/// Rows of a prefix.
const PREFIX: usize = 10;

const ONE: Batch = Batch::Even {
    sequences: 1,
    tokens: 512,
};
const FOUR: Batch = Batch::Even {
    sequences: 4,
    tokens: 512,
};

/// What is in front of every sequence's keys and values.
enum Front {
    Nothing,
    GatedPrefix,
}

#[divan::bench(args = cases(&[LONG, SHORT, ONE]))]
fn plain(bencher: Bencher, case: Case) {
    run(bencher, case, &case.batch.packing(), 0.0, Front::Nothing);
}

#[divan::bench(args = cases(&[LONG, SHORT, ONE]))]
fn one_query_each(bencher: Bencher, case: Case) {
    let queries = case.batch.packing().one_row_each();
    run(bencher, case, &queries, 0.0, Front::Nothing);
}

#[divan::bench(args = cases(&[LONG, SHORT, ONE]))]
fn gated_prefix(bencher: Bencher, case: Case) {
    run(
        bencher,
        case,
        &case.batch.packing(),
        0.0,
        Front::GatedPrefix,
    );
}

#[divan::bench(args = cases(&[LONG, FOUR, Batch::Mixed]))]
fn dropout(bencher: Bencher, case: Case) {
    run(bencher, case, &case.batch.packing(), 0.1, Front::Nothing);
}

#[divan::bench(args = cases(&[LONG]))]
fn gated_prefix_and_dropout(bencher: Bencher, case: Case) {
    run(
        bencher,
        case,
        &case.batch.packing(),
        0.1,
        Front::GatedPrefix,
    );
}

fn run(bencher: Bencher, case: Case, queries: &Packing, p: f64, front: Front) {
    let layout = AttentionLayout {
        keys: case.batch.packing(),
        queries: queries.clone(),
        heads: HEADS,
        dropout: p,
        dropout_key: Some(3),
    };
    let sequences = queries.sequences();
    let rows = [&layout.queries, &layout.keys, &layout.keys]
        .map(|packing| random([packing.tokens(), HIDDEN]));
    let prefix = match front {
        Front::Nothing => None,
        Front::GatedPrefix => Some([
            random([PREFIX, HIDDEN]),
            random([PREFIX, HIDDEN]),
            random([sequences, 1]),
            random([sequences, 1]),
        ]),
    };
    let inputs = || {
        let rows = rows.each_ref().map(|rows| case.input(rows));
        let prefix = prefix.as_ref().map(|parts| key_value(&case, parts));
        (rows, Vec::from_iter(prefix))
    };
    case.measure(bencher, inputs, |([query, key, value], prefixes)| {
        attention(query, key, value, prefixes, &layout)
    });
}

/// A trained prefix of keys, values and the gates of both.
fn key_value(case: &Case, parts: &[Tensor<2>; 4]) -> KeyValue {
    let [key, value, key_gate, value_gate] = parts.each_ref().map(|part| case.input(part));
    KeyValue {
        key,
        value,
        key_gate: Some(key_gate),
        value_gate: Some(value_gate),
    }
}
