//! Packed attention.

use burn::tensor::Tensor;
use pelt_hooks::{KeyValue, Packing};
use proptest::prelude::*;

use super::*;
use crate::{AttentionLayout, attention, generic};

/// A call: inputs are query, key, value, and for each prefix keys, values and the gates that it has.
#[derive(Debug, Clone)]
struct Call {
    layout: AttentionLayout,
    head_width: usize,
    prefixes: Vec<PrefixCall>,
}

#[derive(Debug, Clone, Copy)]
struct PrefixCall {
    length: usize,
    key_gate: bool,
    value_gate: bool,
}

impl Call {
    fn new(lengths: &[usize], heads: usize, head_width: usize) -> Self {
        let packing = Packing::new(lengths.iter().copied());
        Self {
            layout: AttentionLayout {
                keys: packing.clone(),
                queries: packing,
                heads,
                dropout: 0.0,
                dropout_key: None,
            },
            head_width,
            prefixes: vec![],
        }
    }

    fn with_prefix(mut self, length: usize, key_gate: bool, value_gate: bool) -> Self {
        self.prefixes.push(PrefixCall {
            length,
            key_gate,
            value_gate,
        });
        self
    }

    fn with_dropout(mut self) -> Self {
        self.layout.dropout = 0.3;
        self.layout.dropout_key = Some(5);
        self
    }

    fn with_first_rows_only(mut self) -> Self {
        self.layout.queries = self.layout.keys.one_row_each();
        self
    }

    fn inputs(&self, seed: u64) -> Vec<Tensor<2>> {
        let width = self.layout.heads * self.head_width;
        let tokens = self.layout.keys.tokens();
        let sequences = self.layout.keys.sequences();
        let mut shapes = vec![
            (self.layout.queries.tokens(), width),
            (tokens, width),
            (tokens, width),
        ];
        for prefix in &self.prefixes {
            shapes.extend([(prefix.length, width); 2]);
            shapes.extend(prefix.key_gate.then_some((sequences, 1)));
            shapes.extend(prefix.value_gate.then_some((sequences, 1)));
        }
        let numbered = shapes.into_iter().zip(seed..);
        numbered
            .map(|((rows, columns), seed)| noise(rows, columns, seed))
            .collect()
    }

    fn arguments(&self, inputs: &[Tensor<2>]) -> ([Tensor<2>; 3], Vec<KeyValue>) {
        let mut inputs = inputs.iter().cloned();
        let mut next = || inputs.next().unwrap();
        let rows = [next(), next(), next()];
        let prefixes = self.prefixes.iter().map(|prefix| KeyValue {
            key: next(),
            value: next(),
            key_gate: prefix.key_gate.then(&mut next),
            value_gate: prefix.value_gate.then(&mut next),
        });
        (rows, prefixes.collect())
    }

    fn kernel(&self, inputs: &[Tensor<2>]) -> Tensor<2> {
        let ([query, key, value], prefixes) = self.arguments(inputs);
        attention(query, key, value, prefixes, &self.layout)
    }

    fn generic(&self, inputs: &[Tensor<2>]) -> Tensor<2> {
        let ([query, key, value], prefixes) = self.arguments(inputs);
        generic::attention(query, key, value, prefixes, &self.layout)
    }

    fn check(&self, tracked: &[bool]) {
        let inputs = self.inputs(3);
        let kernel = |inputs: &[Tensor<2>]| self.kernel(inputs);
        assert_same(&kernel, &|inputs| self.generic(inputs), &inputs, tracked);
    }

    fn check_all(&self) {
        self.check(&vec![true; self.inputs(0).len()]);
    }
}

fn prefixes() -> impl Strategy<Value = Vec<PrefixCall>> {
    let prefix = (1_usize..5, any::<bool>(), any::<bool>());
    let prefix = prefix.prop_map(|(length, key_gate, value_gate)| PrefixCall {
        length,
        key_gate,
        value_gate,
    });
    proptest::collection::vec(prefix, 0..=3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_kernel_equals_the_generic_body(
        lengths in proptest::collection::vec(1_usize..9, 1..20),
        heads in 1_usize..4,
        head_width in 1_usize..12,
        prefixes in prefixes(),
        drops in any::<bool>(),
        first_rows_only in any::<bool>(),
        tracked in proptest::collection::vec(any::<bool>(), 15),
    ) {
        let mut call = Call::new(&lengths, heads, head_width);
        call.prefixes = prefixes;
        if drops {
            call = call.with_dropout();
        }
        if first_rows_only {
            call = call.with_first_rows_only();
        }
        let inputs = call.inputs(0);
        call.check(&tracked[..inputs.len()]);
        assert_slopes(&|inputs| call.kernel(inputs), &inputs);
    }
}

#[test]
fn one_sequence_of_one_token_agrees() {
    Call::new(&[1], 2, 4).check_all();
    Call::new(&[1], 1, 8)
        .with_prefix(3, true, true)
        .with_dropout()
        .check_all();
}

#[test]
fn long_sequences_agree_over_several_blocks_of_queries() {
    Call::new(&[512, 1, 130], 2, 32)
        .with_prefix(10, true, true)
        .check_all();
    Call::new(&[70, 200], 1, 8).with_dropout().check_all();
}

#[test]
fn first_row_queries_with_two_prefixes_agree() {
    let call = Call::new(&[3, 64, 1, 9], 3, 8).with_prefix(2, true, false);
    call.with_prefix(4, false, true)
        .with_first_rows_only()
        .check_all();
}

#[test]
fn more_prefixes_than_the_kernel_takes_go_to_the_generic_body() {
    let mut call = Call::new(&[3, 2], 2, 4);
    for length in 1..=5 {
        call = call.with_prefix(length, false, false);
    }
    call.check_all();
}

#[test]
fn gates_of_zero_have_a_gradient() {
    let call = Call::new(&[3, 2], 2, 4).with_prefix(2, true, true);
    let mut inputs = call.inputs(1);
    inputs[5] = inputs[5].zeros_like();
    inputs[6] = inputs[6].zeros_like();
    let kernel = |inputs: &[Tensor<2>]| call.kernel(inputs);
    assert_same(&kernel, &|inputs| call.generic(inputs), &inputs, &[true; 7]);
}

#[test]
fn the_gradient_agrees_with_finite_differences() {
    let call = Call::new(&[3, 1], 2, 3)
        .with_prefix(2, true, true)
        .with_dropout();
    assert_gradient(&|inputs| call.kernel(inputs), &call.inputs(2));
}

#[test]
fn slopes_agree_without_a_prefix_at_one_token_one_sequence_and_512_tokens() {
    for lengths in [&[1][..], &[37], &[512], &[512, 1, 130]] {
        for prefix in [0, 10] {
            let mut call = Call::new(lengths, 2, 32).with_dropout();
            if prefix > 0 {
                call = call.with_prefix(prefix, true, true);
            }
            assert_slopes(&|inputs| call.kernel(inputs), &call.inputs(2));
        }
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let call = Call::new(&[5; 30], 3, 8)
        .with_prefix(4, true, true)
        .with_dropout();
    assert_threads_do_not_matter(&|inputs| call.kernel(inputs), &call.inputs(2));
}

#[test]
fn views_that_are_not_contiguous_work() {
    let call = Call::new(&[3, 5], 2, 4);
    let mut inputs = call.inputs(2);
    for (input, seed) in inputs.iter_mut().zip(20..) {
        *input = noise(8, 8, seed).transpose();
    }
    let kernel = |inputs: &[Tensor<2>]| call.kernel(inputs);
    assert_same(&kernel, &|inputs| call.generic(inputs), &inputs, &[true; 3]);
}

#[test]
fn an_empty_batch_and_an_empty_sequence_do_not_panic() {
    for (lengths, rows) in [(vec![], 0), (vec![0, 2], 2)] {
        let call = Call::new(&lengths, 2, 4).with_prefix(2, true, true);
        let (output, _) = evaluate(&|inputs| call.kernel(inputs), &call.inputs(1), &[true; 7]);
        assert_eq!(output.dims(), [rows, 8]);
    }
}
