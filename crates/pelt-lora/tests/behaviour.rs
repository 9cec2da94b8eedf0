//! LoRA as a method: contributions at sites, counts and names.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use pelt_hooks::{
    EncoderHooks, EncoderShape, Gate, GateBias, Hidden, Init, Method, Packing, Pass, Projection,
    ProjectionChange, ProjectionDelta, ProjectionSite, SiteInput,
};
use pelt_lora::{AttnMatrix, Lora, LoraBias, LoraConfig, MergeError};

const TINY: EncoderShape = EncoderShape {
    layers: 2,
    hidden_size: 4,
    heads: 2,
    intermediate_size: 6,
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

const QUERY: ProjectionSite = ProjectionSite::Layer(0, Projection::Query);

fn everywhere() -> LoraConfig {
    LoraConfig {
        r: 2,
        attn_matrices: vec![AttnMatrix::Query, AttnMatrix::Key, AttnMatrix::Value],
        intermediate_lora: true,
        output_lora: true,
        attn_output_lora: true,
        pooler_lora: true,
        ..LoraConfig::default()
    }
}

fn hidden(rows: &[[f32; 4]], lengths: &[usize]) -> Hidden {
    let flat = rows.concat();
    let data = TensorData::new(flat, [rows.len(), 4]);
    Hidden {
        values: Tensor::from_data(data, &Device::flex()),
        packing: Packing::new(lengths.iter().copied()),
    }
}

fn ask(
    lora: &Lora,
    site: ProjectionSite,
    rows: &Hidden,
    all: &Hidden,
    pass: &Pass,
) -> Option<Vec<f32>> {
    let output = Tensor::zeros([rows.packing.tokens(), 4], &Device::flex());
    let input = SiteInput {
        rows,
        all,
        output: &output,
    };
    let value = lora.projection(site, &input, pass)?;
    Some(value.into_data().try_to_vec().unwrap())
}

/// What merging adds to weight and bias.
fn merged_in(delta: &ProjectionDelta) -> (Tensor<2>, Option<Tensor<1>>) {
    match delta.change.clone() {
        ProjectionChange::Add { weight, bias } => (weight, bias),
        other => panic!("{other:?}"),
    }
}

/// B filled with ones, so that the update is no longer zero.
fn with_b(mut lora: Lora) -> Lora {
    for layer in &mut lora.layers {
        for site in [&mut layer.query, &mut layer.value].into_iter().flatten() {
            let b = site.low_rank.lora_b.val().ones_like();
            site.low_rank.lora_b = Param::from_tensor(b);
        }
    }
    lora
}

#[test]
fn a_new_method_contributes_zero_at_its_sites_and_nothing_elsewhere() {
    let lora = LoraConfig {
        r: 2,
        ..LoraConfig::default()
    }
    .init(&TINY, &Device::flex())
    .unwrap();
    let x = hidden(&[[1.0, 2.0, 3.0, 4.0]], &[1]);
    let pass = Pass::evaluate();
    assert_eq!(ask(&lora, QUERY, &x, &x, &pass), Some(vec![0.0; 4]));
    let key = ProjectionSite::Layer(0, Projection::Key);
    assert_eq!(ask(&lora, key, &x, &x, &pass), None);
    assert_eq!(ask(&lora, ProjectionSite::Pooler, &x, &x, &pass), None);
}

#[test]
fn alpha_scales_by_the_rank_or_its_root_and_not_at_all_with_a_gate() {
    let scale = |config: LoraConfig| {
        let lora = config.init(&TINY, &Device::flex()).unwrap();
        lora.layers[0].query.as_ref().unwrap().low_rank.scale
    };
    let config = LoraConfig {
        r: 4,
        alpha: 6.0,
        ..LoraConfig::default()
    };
    assert_eq!(scale(config.clone()), 1.5);
    assert_eq!(
        scale(LoraConfig {
            use_rslora: true,
            ..config.clone()
        }),
        3.0
    );
    assert_eq!(
        scale(LoraConfig {
            use_gating: true,
            ..config
        }),
        1.0
    );
}

#[test]
fn a_gate_of_one_equals_no_gate() {
    let device = Device::flex();
    let config = LoraConfig {
        r: 2,
        alpha: 2.0,
        use_gating: true,
        ..LoraConfig::default()
    };
    let mut lora = with_b(config.init(&TINY, &device).unwrap());
    let x = hidden(&[[1.0, -2.0, 3.0, 0.5], [0.0, 1.0, 1.0, 2.0]], &[1, 1]);
    let site = lora.layers[0].query.as_mut().unwrap();
    let saturated = Gate {
        weight: Param::from_tensor(Tensor::zeros([4, 1], &device)),
        bias: Param::from_tensor(Tensor::full([1], 40.0, &device)),
    };
    site.gate = Some(saturated);
    let gated = ask(&lora, QUERY, &x, &x, &Pass::evaluate()).unwrap();
    lora.layers[0].query.as_mut().unwrap().gate = None;
    assert_eq!(gated, ask(&lora, QUERY, &x, &x, &Pass::evaluate()).unwrap());
}

#[test]
fn a_gate_reads_all_rows_and_its_value_goes_to_the_projected_ones() {
    let device = Device::flex();
    let config = LoraConfig {
        r: 1,
        use_gating: true,
        ..LoraConfig::default()
    };
    let mut lora = with_b(config.init(&TINY, &device).unwrap());
    let site = lora.layers[0].query.as_mut().unwrap();
    site.low_rank.lora_a =
        Param::from_tensor(Tensor::from_data([[1.0], [0.0], [0.0], [0.0]], &device));
    site.gate = Some(Gate {
        weight: Param::from_tensor(Tensor::from_data([[0.0], [1.0], [0.0], [0.0]], &device)),
        bias: Param::from_tensor(Tensor::zeros([1], &device)),
    });
    let all = hidden(
        &[
            [2.0, 0.0, 0.0, 0.0],
            [5.0, 3.0, 0.0, 0.0],
            [7.0, -1.0, 0.0, 0.0],
        ],
        &[2, 1],
    );
    let first = hidden(&[[2.0, 0.0, 0.0, 0.0], [7.0, -1.0, 0.0, 0.0]], &[1, 1]);
    let sigma = |x: f32| 1.0 / (1.0 + (-x).exp());
    let found = ask(&lora, QUERY, &first, &all, &Pass::evaluate()).unwrap();
    assert!((found[0] - 2.0 * (0.5 + sigma(3.0)) / 2.0).abs() < 1e-5);
    assert!((found[4] - 7.0 * sigma(-1.0)).abs() < 1e-5);
}

#[test]
fn only_gates_behind_the_attention_need_all_rows() {
    let device = Device::flex();
    let attention = LoraConfig {
        r: 2,
        use_gating: true,
        ..LoraConfig::default()
    };
    assert!(!attention.init(&TINY, &device).unwrap().needs_all_rows(0));
    let ungated = everywhere().init(&TINY, &device).unwrap();
    assert!(!ungated.needs_all_rows(0));
    for set in [
        (|config: &mut LoraConfig| config.output_lora = true) as fn(&mut LoraConfig),
        |config| config.intermediate_lora = true,
        |config| config.attn_output_lora = true,
    ] {
        let mut config = LoraConfig {
            leave_out: vec![1],
            ..attention.clone()
        };
        set(&mut config);
        let lora = config.init(&TINY, &device).unwrap();
        assert!(lora.needs_all_rows(0));
        assert!(!lora.needs_all_rows(1));
    }
}

#[test]
fn dropout_acts_in_training_only_and_before_a() {
    let device = Device::flex();
    let config = LoraConfig {
        r: 4,
        dropout: 0.5,
        ..LoraConfig::default()
    };
    let mut lora = with_b(config.init(&TINY, &device).unwrap());
    let site = lora.layers[0].query.as_mut().unwrap();
    site.low_rank.lora_a = Param::from_tensor(Tensor::ones([4, 4], &device));
    let x = hidden(&[[1.0; 4]; 20], &[20]);
    // Every output is alpha/r = 2 times 4 columns of A times the sum of the kept inputs, each doubled.
    let kept = ask(&lora, QUERY, &x, &x, &Pass::train(3)).unwrap();
    assert!(kept.iter().all(|value| (value % 16.0).abs() < 1e-4));
    assert!(kept.iter().any(|value| *value != kept[0]));
    let again = ask(&lora, QUERY, &x, &x, &Pass::train(3)).unwrap();
    assert_eq!(kept, again);
    let plain = ask(&lora, QUERY, &x, &x, &Pass::evaluate()).unwrap();
    assert!(plain.iter().all(|value| (value - 32.0).abs() < 1e-4));
}

#[test]
fn a_bias_difference_is_added_and_merged() {
    let device = Device::flex();
    let config = LoraConfig {
        r: 2,
        bias: LoraBias::LoraOnly,
        ..LoraConfig::default()
    };
    let mut lora = config.init(&TINY, &device).unwrap();
    let site = lora.layers[0].query.as_mut().unwrap();
    let delta = Tensor::from_data([1.0, 2.0, 3.0, 4.0], &device);
    site.bias_delta = Some(Param::from_tensor(delta));
    let x = hidden(&[[1.0; 4], [2.0; 4]], &[2]);
    let found = ask(&lora, QUERY, &x, &x, &Pass::evaluate()).unwrap();
    assert_eq!(found, [1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
    let merged = lora.merge_deltas().unwrap();
    assert_eq!(merged.len(), 4);
    assert_eq!(merged[0].site, QUERY);
    let bias = merged_in(&merged[0]).1.unwrap();
    assert_eq!(
        bias.into_data().try_to_vec::<f32>().unwrap(),
        [1.0, 2.0, 3.0, 4.0]
    );
}

#[test]
fn merging_equals_adding_and_is_refused_with_gates() {
    let device = Device::flex();
    let config = LoraConfig {
        r: 2,
        alpha: 3.0,
        ..LoraConfig::default()
    };
    let lora = with_b(config.init(&TINY, &device).unwrap());
    let x = hidden(&[[1.0, -2.0, 0.5, 4.0]], &[1]);
    let added = ask(&lora, QUERY, &x, &x, &Pass::evaluate()).unwrap();
    let weight = merged_in(&lora.merge_deltas().unwrap()[0]).0;
    let merged: Vec<f32> = x.values.matmul(weight).into_data().try_to_vec().unwrap();
    for (a, b) in added.iter().zip(&merged) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    let gated = LoraConfig {
        use_gating: true,
        ..config
    }
    .init(&TINY, &device)
    .unwrap();
    let name = "encoder.layer.0.attention.self.query".to_string();
    assert_eq!(
        gated.merge_deltas().unwrap_err(),
        MergeError::Gated { name }
    );
}

#[test]
fn inference_takes_out_what_has_no_gate_and_keeps_the_rest() {
    let device = Device::flex();
    let mut lora = everywhere().init(&TINY, &device).unwrap();
    let gated = lora.layers[1].key.as_mut().unwrap();
    gated.gate = Some(Gate::new(4, 1, GateBias::Zero, &device));
    let all: Vec<_> = lora.sites().into_iter().map(|(site, _)| site).collect();
    let (left, deltas) = lora.for_inference();
    let key = ProjectionSite::Layer(1, Projection::Key);
    let sites: Vec<_> = left.sites().into_iter().map(|(site, _)| site).collect();
    assert_eq!(sites, [key]);
    assert!(left.sites()[0].1.gate.is_some());
    let merged: Vec<_> = deltas.iter().map(|delta| delta.site).collect();
    let expected: Vec<_> = all.into_iter().filter(|site| *site != key).collect();
    assert_eq!(merged.len(), 12);
    assert_eq!(merged, expected);
}

#[test]
fn every_site_has_the_widths_of_its_projection() {
    let lora = everywhere().init(&TINY, &Device::flex()).unwrap();
    let widths: Vec<_> = lora
        .sites()
        .into_iter()
        .filter(|(site, _)| !matches!(site, ProjectionSite::Layer(1, _)))
        .map(|(_, site)| {
            (
                site.low_rank.lora_a.dims()[0],
                site.low_rank.lora_b.dims()[1],
            )
        })
        .collect();
    assert_eq!(
        widths,
        [(4, 4), (4, 4), (4, 4), (4, 4), (4, 6), (6, 4), (4, 4)]
    );
    let names: Vec<_> = lora
        .named_params()
        .into_iter()
        .map(|param| param.name)
        .collect();
    assert!(names.contains(&"pooler.dense.loras.{adapter}.lora_A".to_string()));
    assert!(
        names
            .contains(&"encoder.layer.1.attention.output.dense.loras.{adapter}.lora_B".to_string())
    );
    assert_eq!(names.len(), 2 * (6 * 2 + 1));
}

#[test]
fn gates_start_as_the_chosen_implementation_starts_them() {
    let bias = |init| {
        let config = LoraConfig {
            r: 2,
            use_gating: true,
            init,
            ..LoraConfig::default()
        };
        let lora = config.init(&TINY, &Device::flex()).unwrap();
        let gate = lora.layers[0]
            .query
            .as_ref()
            .unwrap()
            .gate
            .as_ref()
            .unwrap();
        gate.bias.val().into_scalar::<f32>()
    };
    assert_eq!(bias(Init::Original), 0.0);
    let library = bias(Init::Library);
    assert!(library != 0.0 && library.abs() <= 0.5, "{library}");
}

#[test]
fn gradients_reach_exactly_the_trainable_parameters() {
    let device = Device::flex().autodiff();
    let config = LoraConfig {
        r: 2,
        use_gating: true,
        ..LoraConfig::default()
    };
    let lora = with_b(config.init(&TINY, &device).unwrap());
    let x = Hidden {
        values: Tensor::random([3, 4], Distribution::Normal(0.0, 1.0), &Device::flex()),
        packing: Packing::new([2, 1]),
    };
    let output = Tensor::zeros([3, 4], &Device::flex());
    let input = SiteInput {
        rows: &x,
        all: &x,
        output: &output,
    };
    let value = lora.projection(QUERY, &input, &Pass::evaluate()).unwrap();
    let gradients = pelt_hooks::gradients(&lora, &value.sum().backward());
    let asked = lora.layers[0].query.as_ref().unwrap().named_params("");
    assert_eq!(asked.len(), 4);
    assert_eq!(gradients.len(), 4);
    assert!(asked.iter().all(|param| gradients.contains_key(&param.id)));
}

#[test]
fn counts_for_bert_base_are_the_published_ones() {
    let count = |config: LoraConfig| {
        let lora = config.init(&BERT_BASE, &Device::flex()).unwrap();
        let named: usize = lora.named_params().iter().map(|param| param.count()).sum();
        assert_eq!(named, lora.num_params());
        named
    };
    assert_eq!(count(LoraConfig::default()), 294_912);
    assert_eq!(
        count(LoraConfig {
            use_gating: true,
            ..LoraConfig::default()
        }),
        313_368
    );
    let all = LoraConfig {
        attn_output_lora: false,
        pooler_lora: false,
        r: 8,
        ..everywhere()
    };
    assert_eq!(count(all), 1_179_648);
}
