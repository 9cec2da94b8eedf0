//! AdapterFusion: initial values, counts, the penalty, and which adapters can be fused.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use pelt_adapter::{Bottleneck, BottleneckConfig, Fusion, FusionConfig, FusionKind};
use pelt_hooks::{
    EncoderHooks, EncoderShape, Hidden, Method, Packing, Pass, Sublayer, SublayerSite,
    SublayerStates,
};

const TINY: EncoderShape = EncoderShape {
    layers: 2,
    hidden_size: 8,
    heads: 1,
    intermediate_size: 4,
    vocab_size: 10,
    max_positions: 16,
    pooler: true,
};

const SITE: SublayerSite = SublayerSite {
    layer: 1,
    sublayer: Sublayer::FeedForward,
};

fn adapter(config: BottleneckConfig) -> Bottleneck {
    config.init(&TINY, &Device::flex()).unwrap()
}

fn fusion(config: FusionConfig, count: usize) -> Fusion {
    let adapters = (0..count).map(|_| adapter(BottleneckConfig::seq_bn()));
    let device = Device::flex().autodiff();
    config.init(adapters.collect(), &TINY, &device).unwrap()
}

fn ask(hooks: &dyn EncoderHooks) -> Vec<f32> {
    let rows = |seed: usize| {
        let values = (0..16).map(|i| ((i * seed) as f32).sin()).collect();
        Tensor::from_data(TensorData::new(values, [2, 8]), &Device::flex())
    };
    let output = Hidden {
        values: rows(3),
        packing: Packing::new([2]),
    };
    let states = SublayerStates {
        output: &output,
        residual: &rows(5),
        norm: &|rows| rows * 0.5,
    };
    let value = hooks.sublayer(SITE, &states, &Pass::evaluate()).unwrap();
    value.into_data().try_to_vec().unwrap()
}

#[test]
fn equal_adapters_mix_to_themselves() {
    let one = adapter(BottleneckConfig::seq_bn());
    let config = FusionConfig {
        kind: FusionKind::Static,
        ..FusionConfig::default()
    };
    let adapters = vec![one.clone(), one.clone(), one.clone()];
    let fused = config.init(adapters, &TINY, &Device::flex()).unwrap();
    for (found, expected) in ask(&fused).iter().zip(ask(&one)) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
    assert_eq!(fused.adapters().len(), 3);
}

#[test]
fn only_mixtures_are_trained() {
    let fused = fusion(FusionConfig::default(), 3);
    let (d, sites) = (8, 2);
    assert_eq!(fused.num_params(), sites * (3 * d * d + 2 * d));
    let named = fused.named_params().into_iter().map(|param| param.count());
    assert_eq!(named.sum::<usize>(), fused.num_params());
    let config = FusionConfig {
        kind: FusionKind::Static,
        ..FusionConfig::default()
    };
    assert_eq!(fusion(config, 2).num_params(), sites * (2 * d * d + 2 * d));
    // bert-base, one site: 3 d² + 2 d.
    let block = pelt_adapter::FusionBlock::new(FusionKind::Dynamic, 768, 0.0, &Device::flex());
    assert_eq!(block.num_params(), 1_771_008);
}

#[test]
fn the_penalty_is_the_distance_to_the_identity() {
    let mut fused = fusion(FusionConfig::default(), 2);
    let penalty = |fused: &Fusion| fused.penalty().map(|p| p.into_scalar::<f32>());
    assert!(penalty(&fused).unwrap() < 1e-9);
    let block = fused.layers[0].feed_forward.as_mut().unwrap();
    let device = Device::flex().autodiff();
    block.value = Some(Param::from_tensor(Tensor::eye(8, &device) * 3.0));
    let found = penalty(&fused).unwrap();
    assert!((found - 0.01 * 8.0 * 4.0).abs() < 1e-6, "{found}");
    let gradients = pelt_hooks::gradients(&fused, &fused.penalty().unwrap().backward());
    assert_eq!(gradients.len(), 2, "a gradient for each value matrix");
    fused.regularization = false;
    assert_eq!(penalty(&fused), None);
}

#[test]
fn adapters_that_cannot_be_fused_are_refused() {
    let refusal = |adapters: Vec<Bottleneck>, shape: &EncoderShape| {
        let fused = FusionConfig::default().init(adapters, shape, &Device::flex());
        fused.unwrap_err().to_string()
    };
    let seq = || adapter(BottleneckConfig::seq_bn());
    assert!(refusal(vec![], &TINY).contains("at least one adapter"));
    let parallel = vec![adapter(BottleneckConfig::par_bn())];
    assert!(refusal(parallel, &TINY).contains("a parallel one"));
    let double = vec![seq(), adapter(BottleneckConfig::double_seq_bn())];
    assert!(refusal(double, &TINY).contains("at the same sites"));
    let deeper = EncoderShape { layers: 3, ..TINY };
    assert!(refusal(vec![seq()], &deeper).contains("adapters of 3 layers, but is 2"));
    let config = FusionConfig {
        dropout_prob: Some(1.0),
        ..FusionConfig::default()
    };
    let error = config
        .init(vec![seq()], &TINY, &Device::flex())
        .unwrap_err();
    assert!(error.to_string().contains("dropout_prob"));
}
