//! Adapters as a method: the rules at a site against hand-computed values, counts, initial values.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use pelt_adapter::{
    AdapterLinear, Bottleneck, BottleneckConfig, InitWeights, NonLinearity, ReductionFactor,
    ResidualBeforeLn, Scaling,
};
use pelt_hooks::{
    EncoderHooks, EncoderShape, Gate, Hidden, Method, Packing, Pass, Sublayer, SublayerSite,
    SublayerStates,
};
use pelt_ops::Linear;

const TINY: EncoderShape = EncoderShape {
    layers: 2,
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

const SITE: SublayerSite = SublayerSite {
    layer: 0,
    sublayer: Sublayer::FeedForward,
};

fn tensor(rows: &[[f32; 2]]) -> Tensor<2> {
    let data = TensorData::new(rows.concat(), [rows.len(), 2]);
    Tensor::from_data(data, &Device::flex())
}

/// Down takes the sum of both columns, up gives it back times (1, -2), plus a bias of (0.5, 0).
fn known(config: BottleneckConfig) -> Bottleneck {
    let device = Device::flex();
    let mut method = BottleneckConfig {
        reduction_factor: ReductionFactor::Everywhere(2.0),
        ..config
    }
    .init(&TINY, &device)
    .unwrap();
    for layer in &mut method.layers {
        for block in [&mut layer.attention, &mut layer.feed_forward]
            .into_iter()
            .flatten()
        {
            let linear = |weight: Tensor<2>, bias: Tensor<1>| {
                AdapterLinear::Dense(Linear {
                    weight: Param::from_tensor(weight),
                    bias: Param::from_tensor(bias),
                })
            };
            block.down = linear(
                Tensor::from_data([[1.0], [1.0]], &device),
                Tensor::zeros([1], &device),
            );
            block.up = linear(
                Tensor::from_data([[1.0, -2.0]], &device),
                Tensor::from_data([0.5, 0.0], &device),
            );
        }
    }
    method
}

/// The contribution for `h` and `x` in sequences of these lengths, with a "norm" that doubles its input.
fn ask(
    method: &Bottleneck,
    h: &[[f32; 2]],
    x: &[[f32; 2]],
    lengths: &[usize],
    pass: &Pass,
) -> Vec<f32> {
    let output = Hidden {
        values: tensor(h),
        packing: Packing::new(lengths.iter().copied()),
    };
    let residual = tensor(x);
    let states = SublayerStates {
        output: &output,
        residual: &residual,
        norm: &|rows| rows * 2.0,
    };
    let value = method.sublayer(SITE, &states, pass).unwrap();
    value.into_data().try_to_vec().unwrap()
}

fn single(config: BottleneckConfig, h: [f32; 2], x: [f32; 2]) -> Vec<f32> {
    ask(&known(config), &[h], &[x], &[1], &Pass::evaluate())
}

fn close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 1e-4, "{found:?} {expected:?}");
    }
}

#[test]
fn pfeiffer_reads_the_normed_sum_and_adds_h() {
    // z = 2 (h + x) = (8, 2), down = 10, u = (10.5, -20).
    let config = BottleneckConfig::seq_bn();
    close(
        &single(config.clone(), [1.0, 2.0], [3.0, -1.0]),
        &[10.5, -20.0],
    );
    // A negative sum is cut off by relu and leaves the bias.
    close(&single(config, [-5.0, 2.0], [1.0, -1.0]), &[0.5, 0.0]);
}

#[test]
fn houlsby_reads_h() {
    let config = BottleneckConfig {
        non_linearity: NonLinearity::Relu,
        ..BottleneckConfig::double_seq_bn()
    };
    close(&single(config, [1.0, 2.0], [3.0, -1.0]), &[3.5, -6.0]);
    let swish = 3.0 / (1.0 + (-3.0_f32).exp());
    let preset = BottleneckConfig::double_seq_bn();
    close(
        &single(preset, [1.0, 2.0], [3.0, -1.0]),
        &[swish + 0.5, -2.0 * swish],
    );
}

#[test]
fn parallel_reads_x_and_has_no_residual_of_its_own() {
    // down = 2, u = 4 (2.5, -4).
    let config = BottleneckConfig {
        residual_before_ln: ResidualBeforeLn::Sum,
        ..BottleneckConfig::par_bn()
    };
    close(&single(config, [1.0, 2.0], [3.0, -1.0]), &[10.0, -16.0]);
}

#[test]
fn other_residuals_replace_h() {
    let with = |residual_before_ln, original_ln_before| BottleneckConfig {
        residual_before_ln,
        original_ln_before,
        ..BottleneckConfig::seq_bn()
    };
    let (h, x) = ([1.0, 2.0], [3.0, -1.0]);
    // u = (10.5, -20), z = (8, 2), and h is taken off because the encoder adds it.
    let input = with(ResidualBeforeLn::AdapterInput, true);
    close(&single(input, h, x), &[10.5 + 8.0 - 1.0, -20.0 + 2.0 - 2.0]);
    let sum = with(ResidualBeforeLn::Sum, true);
    close(&single(sum, h, x), &[10.5 + 3.0, -20.0 - 1.0]);
    // Here z is h itself.
    let plain = with(ResidualBeforeLn::AdapterInput, false);
    close(&single(plain, h, x), &[3.5, -6.0]);
}

#[test]
fn a_norm_after_covers_the_residual_only_when_asked() {
    let with = |adapter_residual_before_ln| BottleneckConfig {
        ln_after: true,
        adapter_residual_before_ln,
        ..BottleneckConfig::seq_bn()
    };
    let (h, x) = ([1.0, 50.0], [3.0, -49.0]);
    // z = (8, 2) again, u = (10.5, -20); a norm over two columns gives plus and minus one.
    close(&single(with(false), h, x), &[1.0, -1.0]);
    // u + h = (11.5, 30), so the larger column changes.
    close(&single(with(true), h, x), &[-1.0 - 1.0, 1.0 - 50.0]);
    let sum = BottleneckConfig {
        residual_before_ln: ResidualBeforeLn::Sum,
        ..with(true)
    };
    // u + h + x = (14.5, -19).
    close(&single(sum, h, x), &[1.0 - 1.0, -1.0 - 50.0]);
    let parallel = BottleneckConfig {
        is_parallel: true,
        ..with(true)
    };
    // z = x, whose sum -46 relu cuts off: u = (0.5, 0).
    close(&single(parallel, h, x), &[1.0, -1.0]);
}

#[test]
fn a_norm_before_covers_the_input_of_the_down_projection() {
    let config = BottleneckConfig {
        ln_before: true,
        ..BottleneckConfig::seq_bn()
    };
    let mut method = known(config);
    let block = method.layers[0].feed_forward.as_mut().unwrap();
    let norm = block.norm_before.as_mut().unwrap();
    norm.weight = Param::from_tensor(Tensor::from_data([3.0, 1.0], &Device::flex()));
    // The norm of (8, 2) is (1, -1), weighted (3, -1): down = 2.
    let found = ask(
        &method,
        &[[1.0, 2.0]],
        &[[3.0, -1.0]],
        &[1],
        &Pass::evaluate(),
    );
    close(&found, &[2.5, -4.0]);
}

#[test]
fn scaling_covers_the_bias_of_the_up_projection() {
    let with = |scaling| BottleneckConfig {
        scaling,
        ..BottleneckConfig::seq_bn()
    };
    let (h, x) = ([1.0, 2.0], [3.0, -1.0]);
    close(&single(with(Scaling::Fixed(3.0)), h, x), &[31.5, -60.0]);
    close(&single(with(Scaling::Learned), h, x), &[10.5, -20.0]);
    let mut method = known(with(Scaling::Learned));
    let block = method.layers[0].feed_forward.as_mut().unwrap();
    block.learned_scaling = Some(Param::from_tensor(Tensor::from_data(
        [0.5],
        &Device::flex(),
    )));
    close(
        &ask(&method, &[h], &[x], &[1], &Pass::evaluate()),
        &[5.25, -10.0],
    );
}

fn gated(weight: [f32; 2], bias: f32) -> Bottleneck {
    let device = Device::flex();
    let mut method = known(BottleneckConfig {
        use_gating: true,
        ..BottleneckConfig::seq_bn()
    });
    let block = method.layers[0].feed_forward.as_mut().unwrap();
    block.gate = Some(Gate {
        weight: Param::from_tensor(tensor(&[weight]).transpose()),
        bias: Param::from_tensor(Tensor::from_data([bias], &device)),
    });
    method
}

#[test]
fn a_gate_reads_what_the_adapter_reads_and_multiplies_before_the_residual() {
    // z is (8, 2), (0, 4) in the first sequence and (2, 2) in the second; the gate reads the second column less 2.
    let method = gated([0.0, 1.0], -2.0);
    let h = [[1.0, 2.0], [0.0, 0.0], [0.0, 1.0]];
    let x = [[3.0, -1.0], [0.0, 2.0], [1.0, 0.0]];
    let found = ask(&method, &h, &x, &[2, 1], &Pass::evaluate());
    let first = (0.5 + 1.0 / (1.0 + (-2.0_f32).exp())) / 2.0;
    close(
        &found,
        &[
            10.5 * first,
            -20.0 * first,
            4.5 * first,
            -8.0 * first,
            4.5 * 0.5,
            -8.0 * 0.5,
        ],
    );
}

#[test]
fn a_gate_of_one_equals_no_gate() {
    let (h, x) = ([1.0, 2.0], [3.0, -1.0]);
    let open = ask(
        &gated([0.0, 0.0], 40.0),
        &[h],
        &[x],
        &[1],
        &Pass::evaluate(),
    );
    assert_eq!(open, single(BottleneckConfig::seq_bn(), h, x));
}

#[test]
fn gates_need_all_rows_of_their_own_layers() {
    let config = BottleneckConfig {
        use_gating: true,
        leave_out: vec![0],
        ..BottleneckConfig::seq_bn()
    };
    let method = config.init(&TINY, &Device::flex()).unwrap();
    assert!(!method.needs_all_rows(0));
    assert!(method.needs_all_rows(1));
    let ungated = BottleneckConfig::double_seq_bn()
        .init(&TINY, &Device::flex())
        .unwrap();
    assert!(!ungated.needs_all_rows(1));
}

#[test]
fn dropout_acts_on_the_up_projection_in_training_only() {
    let config = BottleneckConfig {
        dropout: 0.5,
        ..BottleneckConfig::seq_bn()
    };
    let method = known(config);
    let (h, x) = (vec![[1.0, 2.0]; 20], vec![[3.0, -1.0]; 20]);
    let found = ask(&method, &h, &x, &[20], &Pass::train(1));
    let allowed = |value: f32, whole: f32| value == 0.0 || (value - 2.0 * whole).abs() < 1e-3;
    for row in found.chunks_exact(2) {
        assert!(allowed(row[0], 10.5) && allowed(row[1], -20.0), "{row:?}");
    }
    assert!(found.contains(&0.0) && found.iter().any(|value| *value > 1.0));
    close(
        &ask(&method, &h, &x, &[20], &Pass::evaluate())[..2],
        &[10.5, -20.0],
    );
}

#[test]
fn sites_without_an_adapter_get_nothing() {
    let config = BottleneckConfig {
        leave_out: vec![0],
        ..BottleneckConfig::seq_bn()
    };
    let method = config.init(&TINY, &Device::flex()).unwrap();
    let output = Hidden {
        values: tensor(&[[1.0, 1.0]]),
        packing: Packing::new([1]),
    };
    let residual = tensor(&[[1.0, 1.0]]);
    let states = SublayerStates {
        output: &output,
        residual: &residual,
        norm: &|rows| rows,
    };
    let pass = Pass::evaluate();
    let at = |layer, sublayer| method.sublayer(SublayerSite { layer, sublayer }, &states, &pass);
    assert!(at(0, Sublayer::FeedForward).is_none());
    assert!(at(1, Sublayer::Attention).is_none());
    assert!(at(1, Sublayer::FeedForward).is_some());
    assert!(at(7, Sublayer::FeedForward).is_none());
}

#[test]
fn initial_values_follow_the_setting() {
    let shape = EncoderShape {
        hidden_size: 64,
        ..TINY
    };
    let largest = |config: &BottleneckConfig| {
        let method = config.init(&shape, &Device::flex()).unwrap();
        let block = method.layers[0].feed_forward.as_ref().unwrap();
        let of = |weight: Tensor<2>| weight.abs().max().into_scalar::<f32>();
        let (down, up) = (block.down.tensors(None), block.up.tensors(None));
        let biases = down.1.abs().sum() + up.1.abs().sum();
        assert_eq!(biases.into_scalar::<f32>(), 0.0);
        (of(down.0), of(up.0))
    };
    let with = |init_weights| BottleneckConfig {
        init_weights,
        reduction_factor: ReductionFactor::Everywhere(2.0),
        ..BottleneckConfig::seq_bn()
    };
    let (down, up) = largest(&with(InitWeights::Bert));
    assert!((0.04..0.2).contains(&down) && (0.04..0.2).contains(&up));
    let (down, up) = largest(&with(InitWeights::Houlsby));
    assert!((0.015..=0.0201).contains(&down) && (0.015..=0.0201).contains(&up));
    let (down, up) = largest(&with(InitWeights::MamAdapter));
    assert!((0.1..=0.125).contains(&down), "{down}");
    assert_eq!(up, 0.0);
}

#[test]
fn a_new_parallel_adapter_contributes_zero() {
    let method = BottleneckConfig::scaled_par_bn()
        .init(&TINY, &Device::flex())
        .unwrap();
    let found = ask(
        &method,
        &[[1.0, 2.0]],
        &[[3.0, -1.0]],
        &[1],
        &Pass::evaluate(),
    );
    assert_eq!(found, [0.0, 0.0]);
}

#[test]
fn gradients_reach_every_parameter_of_the_site() {
    let config = BottleneckConfig {
        use_gating: true,
        ln_before: true,
        ln_after: true,
        scaling: Scaling::Learned,
        ..BottleneckConfig::seq_bn()
    };
    let shape = EncoderShape { layers: 1, ..TINY };
    let method = config.init(&shape, &Device::flex().autodiff()).unwrap();
    let output = Hidden {
        values: tensor(&[[1.0, 1.5], [2.0, 0.5]]),
        packing: Packing::new([2]),
    };
    let residual = tensor(&[[1.0, 3.0], [0.0, 1.0]]);
    let states = SublayerStates {
        output: &output,
        residual: &residual,
        norm: &|rows| rows,
    };
    let value = method.sublayer(SITE, &states, &Pass::evaluate()).unwrap();
    let gradients = pelt_hooks::gradients(&method, &value.sum().backward());
    let named = method.named_params();
    assert!(named.iter().all(|param| gradients.contains_key(&param.id)));
    assert_eq!(gradients.len(), 11);
    // The norm in front has two names.
    assert_eq!(named.len(), 13);
}

#[test]
fn counts_for_bert_base_are_the_published_ones() {
    let count = |config: BottleneckConfig| {
        let method = config.init(&BERT_BASE, &Device::flex()).unwrap();
        let named: HashMap<_, _> = method
            .named_params()
            .into_iter()
            .map(|param| (param.id, param.count()))
            .collect();
        assert_eq!(named.values().sum::<usize>(), method.num_params());
        method.num_params()
    };
    assert_eq!(count(BottleneckConfig::seq_bn()), 894_528);
    let gated = BottleneckConfig {
        use_gating: true,
        ..BottleneckConfig::seq_bn()
    };
    assert_eq!(count(gated), 903_756);
    assert_eq!(count(BottleneckConfig::double_seq_bn()), 1_789_056);
    assert_eq!(count(BottleneckConfig::par_bn()), 7_091_712);
    assert_eq!(count(BottleneckConfig::scaled_par_bn()), 7_091_724);
}

#[test]
fn compacters_products_must_divide_both_widths() {
    let shape = EncoderShape {
        hidden_size: 64,
        ..TINY
    };
    let message = |change: fn(&mut BottleneckConfig)| {
        let mut config = BottleneckConfig::compacter();
        config.reduction_factor = ReductionFactor::Everywhere(8.0);
        change(&mut config);
        let error = config.validate(&shape).err();
        error.map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(message(|_| ()), "");
    assert!(message(|c| c.phm_dim = 3).contains("phm_dim must be a divisor of the hidden size 64"));
    assert!(message(|c| c.phm_dim = 16).contains("bottleneck's width 8"));
    assert!(message(|c| c.phm_rank = 17).contains("phm_rank must be from 1 to 16"));
    assert!(message(|c| c.phm_dim = 0).contains("phm_dim"));
}

#[test]
fn compacters_layers_share_one_rule() {
    let count = |config: BottleneckConfig| {
        let method = config.init(&BERT_BASE, &Device::flex()).unwrap();
        let rules = method.named_params().into_iter();
        let rules = rules.filter(|param| param.name.ends_with("phm_rule"));
        assert_eq!(rules.count(), 1);
        method.num_params()
    };
    assert_eq!(count(BottleneckConfig::compacter()), 57_088);
    assert_eq!(count(BottleneckConfig::compacter_pp()), 28_576);
}
