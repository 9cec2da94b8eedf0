//! Prefix tuning as a method: layout, gates, ejecting, counts.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use pelt_hooks::{EncoderHooks, EncoderShape, Gate, Hidden, Init, KeyValue, Method, Packing, Pass};
use pelt_ops::{AttentionLayout, attention};
use pelt_prefix::{Prefix, PrefixConfig, PrefixTable};

const TINY: EncoderShape = EncoderShape {
    layers: 3,
    hidden_size: 2,
    heads: 1,
    intermediate_size: 4,
    vocab_size: 10,
    max_positions: 16,
    pooler: true,
};

const BERT_BASE: EncoderShape = EncoderShape {
    layers: 12,
    hidden_size: 768,
    heads: 12,
    intermediate_size: 3072,
    vocab_size: 30522,
    max_positions: 512,
    pooler: true,
};

fn flat() -> PrefixConfig {
    PrefixConfig {
        prefix_length: 2,
        flat: true,
        ..PrefixConfig::default()
    }
}

fn network() -> PrefixConfig {
    PrefixConfig {
        prefix_length: 2,
        bottleneck_size: 5,
        ..PrefixConfig::default()
    }
}

fn input() -> Hidden {
    Hidden {
        values: Tensor::from_data([[0.0, 1.0], [3.0, 2.0], [-1.0, 5.0]], &Device::flex()),
        packing: Packing::new([2, 1]),
    }
}

fn vector(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

fn one(prefix: &Prefix, layer: usize, pass: &Pass) -> KeyValue {
    let mut found = prefix.prefix(layer, &input(), pass);
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[test]
fn a_flat_vector_is_rows_of_keys_and_values_slot_by_slot() {
    let device = Device::flex();
    let config = PrefixConfig {
        leave_out: vec![1],
        ..flat()
    };
    let mut prefix = config.init(&TINY, &device).unwrap();
    // Two rows of: keys and values of layer 0, keys and values of layer 2, two columns each.
    let counting = TensorData::new((0..16).map(|value| value as f32).collect(), [16]);
    prefix.table = PrefixTable::Flat(Param::from_tensor(Tensor::from_data(counting, &device)));
    let pass = Pass::evaluate();
    let first = one(&prefix, 0, &pass);
    assert_eq!(vector(first.key), [0.0, 1.0, 8.0, 9.0]);
    assert_eq!(vector(first.value), [2.0, 3.0, 10.0, 11.0]);
    assert!(first.key_gate.is_none() && first.value_gate.is_none());
    let last = one(&prefix, 2, &pass);
    assert_eq!(vector(last.key), [4.0, 5.0, 12.0, 13.0]);
    assert_eq!(vector(last.value), [6.0, 7.0, 14.0, 15.0]);
    assert!(prefix.prefix(1, &input(), &pass).is_empty());
    assert!(prefix.prefix(9, &input(), &pass).is_empty());
}

#[test]
fn the_network_is_two_linear_layers_around_tanh() {
    let device = Device::flex();
    let config = PrefixConfig {
        prefix_length: 1,
        bottleneck_size: 1,
        leave_out: vec![1, 2],
        ..PrefixConfig::default()
    };
    let mut prefix = config.init(&TINY, &device).unwrap();
    let PrefixTable::Network(network) = &mut prefix.table else {
        panic!("a prefix that is not flat has a network");
    };
    let matrix = |rows: TensorData| Param::from_tensor(Tensor::from_data(rows, &device));
    network.embedding = matrix([[2.0_f32, 1.0]].into());
    network.hidden.weight = matrix([[1.0_f32], [-1.0]].into());
    network.hidden.bias = Param::from_tensor(Tensor::from_data([0.5], &device));
    network.output.weight = matrix([[1.0_f32, 2.0, 3.0, 4.0]].into());
    network.output.bias = Param::from_tensor(Tensor::from_data([0.0, 0.0, 0.0, 1.0], &device));
    let t = 1.5_f32.tanh();
    let found = one(&prefix, 0, &Pass::evaluate());
    let all = [vector(found.key), vector(found.value)].concat();
    for (a, b) in all.iter().zip([t, 2.0 * t, 3.0 * t, 4.0 * t + 1.0]) {
        assert!((a - b).abs() < 1e-5, "{all:?}");
    }
}

#[test]
fn an_ejected_prefix_gives_the_same_rows() {
    for device in [Device::flex(), Device::flex().autodiff()] {
        let config = PrefixConfig {
            use_gating: true,
            ..network()
        };
        let prefix = config.init(&TINY, &device).unwrap();
        let ejected = prefix.clone().eject();
        assert!(matches!(ejected.table, PrefixTable::Flat(_)));
        for layer in 0..3 {
            let (before, after) = (
                one(&prefix, layer, &Pass::evaluate()),
                one(&ejected, layer, &Pass::evaluate()),
            );
            assert_eq!(vector(before.key), vector(after.key));
            assert_eq!(vector(before.value), vector(after.value));
            assert_eq!(
                vector(before.key_gate.unwrap()),
                vector(after.key_gate.unwrap())
            );
        }
        let names = |prefix: &Prefix| -> Vec<(String, Vec<usize>)> {
            let params = prefix.named_params().into_iter();
            params.map(|param| (param.name, param.shape)).collect()
        };
        let config = PrefixConfig {
            flat: true,
            ..config
        };
        let as_flat = config.init(&TINY, &device).unwrap();
        assert_eq!(names(&ejected), names(&as_flat));
    }
}

#[test]
fn inference_needs_the_table_alone() {
    let prefix = network().init(&TINY, &Device::flex()).unwrap();
    let (prepared, deltas) = prefix.clone().for_inference();
    assert!(matches!(prepared.table, PrefixTable::Flat(_)));
    assert!(deltas.is_empty());
    let rows = |prefix: &Prefix| vector(one(prefix, 2, &Pass::evaluate()).value);
    assert_eq!(rows(&prepared), rows(&prefix));
}

#[test]
fn an_ejected_prefix_can_be_trained_on() {
    let device = Device::flex().autodiff();
    let ejected = network().init(&TINY, &device).unwrap().eject();
    let found = one(&ejected, 1, &Pass::evaluate());
    let gradients = pelt_hooks::gradients(&ejected, &found.key.sum().backward());
    assert_eq!(gradients.len(), 1);
    assert!(gradients.contains_key(&ejected.named_params()[0].id));
}

fn with_gates(weight: TensorData, bias: TensorData, shared: bool) -> Prefix {
    let device = Device::flex();
    let config = PrefixConfig {
        use_gating: true,
        shared_gating: shared,
        ..flat()
    };
    let mut prefix = config.init(&TINY, &device).unwrap();
    prefix.gates[0] = Some(Gate {
        weight: Param::from_tensor(Tensor::from_data(weight, &device)),
        bias: Param::from_tensor(Tensor::from_data(bias, &device)),
    });
    prefix
}

#[test]
fn gates_read_the_layer_input_and_are_shared_or_apart() {
    let sigma = |x: f32| 1.0 / (1.0 + (-x).exp());
    let close = |found: Tensor<2>, expected: [f32; 2]| {
        assert_eq!(found.dims(), [2, 1]);
        for (a, b) in vector(found).iter().zip(expected) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    };
    // Only the first column is read: 0 and 3 in the first sequence, -1 in the second.
    let first = [(0.5 + sigma(3.0)) / 2.0, sigma(-1.0)];
    let shared = with_gates([[1.0_f32], [0.0]].into(), [0.0_f32].into(), true);
    let found = one(&shared, 0, &Pass::evaluate());
    close(found.key_gate.unwrap(), first);
    close(found.value_gate.unwrap(), first);
    let apart = with_gates(
        [[1.0_f32, 0.0], [0.0, 1.0]].into(),
        [0.0_f32, 0.0].into(),
        false,
    );
    let found = one(&apart, 0, &Pass::evaluate());
    close(found.key_gate.unwrap(), first);
    close(
        found.value_gate.unwrap(),
        [(sigma(1.0) + sigma(2.0)) / 2.0, sigma(5.0)],
    );
}

#[test]
fn a_gate_of_one_equals_no_gate_in_attention() {
    let mut prefix = with_gates([[0.0_f32], [0.0]].into(), [40.0_f32].into(), true);
    let attend = |prefix: &Prefix| {
        let x = input();
        let layout = AttentionLayout {
            keys: x.packing.clone(),
            queries: x.packing.clone(),
            heads: 1,
            dropout: 0.0,
            dropout_key: None,
        };
        let prefixes = prefix.prefix(0, &x, &Pass::evaluate());
        let rows = || x.values.clone();
        vector(attention(rows(), rows(), rows(), prefixes, &layout))
    };
    let open = attend(&prefix);
    prefix.gates = Vec::new();
    assert_eq!(open, attend(&prefix));
}

#[test]
fn dropout_gives_all_layers_one_mask_in_training_only() {
    let device = Device::flex();
    let config = PrefixConfig {
        dropout: 0.5,
        ..flat()
    };
    let mut prefix = config.init(&TINY, &device).unwrap();
    prefix.table = PrefixTable::Flat(Param::from_tensor(Tensor::ones([24], &device)));
    let rows = |pass: &Pass| -> Vec<f32> {
        (0..3)
            .flat_map(|layer| {
                let found = one(&prefix, layer, pass);
                [vector(found.key), vector(found.value)].concat()
            })
            .collect()
    };
    let pass = Pass::train(5);
    let found = rows(&pass);
    assert!(found.contains(&0.0) && found.contains(&2.0), "{found:?}");
    assert_eq!(found, rows(&pass), "the table is computed once a pass");
    assert!(rows(&Pass::evaluate()).iter().all(|value| *value == 1.0));
}

#[test]
fn positions_move_only_when_asked() {
    let shift = |shift_positions| {
        let config = PrefixConfig {
            shift_positions,
            ..flat()
        };
        config
            .init(&TINY, &Device::flex())
            .unwrap()
            .position_shift()
    };
    assert_eq!((shift(false), shift(true)), (0, 2));
}

#[test]
fn initial_values_follow_the_chosen_implementation() {
    let shape = EncoderShape {
        hidden_size: 64,
        max_positions: 64,
        ..TINY
    };
    let network = |init| {
        let config = PrefixConfig {
            use_gating: true,
            init,
            ..PrefixConfig::default()
        };
        let prefix = config.init(&shape, &Device::flex()).unwrap();
        let gate = prefix.gates[0].as_ref().unwrap().bias.val();
        let PrefixTable::Network(network) = prefix.table else {
            panic!("a prefix that is not flat has a network");
        };
        let largest = |weight: &Param<Tensor<2>>| weight.val().abs().max().into_scalar::<f32>();
        (
            largest(&network.embedding),
            largest(&network.hidden.weight),
            network.hidden.bias.val().abs().max().into_scalar::<f32>(),
            gate.abs().max().into_scalar::<f32>(),
        )
    };
    let (embedding, weight, bias, gate) = network(Init::Library);
    assert!(
        embedding > 2.0 && (0.12..=0.125).contains(&weight),
        "{embedding} {weight}"
    );
    assert!(bias > 0.1 && gate > 0.0, "{bias} {gate}");
    let (embedding, weight, bias, gate) = network(Init::Original);
    assert!(embedding < 0.2 && weight < 0.2, "{embedding} {weight}");
    assert_eq!((bias, gate), (0.0, 0.0));
}

#[test]
fn counts_for_bert_base_are_the_published_ones() {
    let count = |config: PrefixConfig| {
        let prefix = config.init(&BERT_BASE, &Device::flex()).unwrap();
        let named: usize = prefix
            .named_params()
            .iter()
            .map(|param| param.count())
            .sum();
        assert_eq!(named, prefix.num_params());
        named
    };
    let with = |prefix_length, flat| PrefixConfig {
        prefix_length,
        flat,
        ..PrefixConfig::default()
    };
    assert_eq!(count(with(30, false)), 9_872_384);
    assert_eq!(count(with(30, true)), 552_960);
    assert_eq!(count(with(10, false)), 9_857_024);
    assert_eq!(count(with(10, true)), 184_320);
    assert_eq!(count(with(20, true)), 368_640);
    let gated = |shared_gating| PrefixConfig {
        use_gating: true,
        shared_gating,
        ..with(10, false)
    };
    assert_eq!(count(gated(true)), 9_866_252);
    assert_eq!(count(gated(false)), 9_875_480);
    let projected = PrefixConfig {
        bottleneck_size: 768,
        ..with(20, false)
    };
    assert_eq!(count(projected), 14_780_160);
}
