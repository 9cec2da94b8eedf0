//! (IA)³ as a method: contributions at sites, gates, merging and names.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use pelt_hooks::{
    EncoderHooks, EncoderShape, Hidden, Method, Packing, Pass, Projection, ProjectionChange,
    ProjectionSite, Reads, SiteInput,
};
use pelt_ia3::{Ia3, Ia3Config, Ia3Target};
use pelt_testkit::adapter_shapes;

const TINY: EncoderShape = EncoderShape {
    layers: 2,
    hidden_size: 4,
    heads: 2,
    intermediate_size: 6,
    vocab_size: 10,
    max_positions: 16,
    pooler: true,
};

const KEY: ProjectionSite = ProjectionSite::Layer(0, Projection::Key);
const OUTPUT: ProjectionSite = ProjectionSite::Layer(0, Projection::Output);

fn hidden() -> Hidden {
    let rows = [[1.0, 2.0, 3.0, 4.0], [0.0, -1.0, 1.0, 2.0]];
    Hidden {
        values: Tensor::from_data(rows, &Device::flex()),
        packing: Packing::new([2]),
    }
}

/// The contribution at a projection whose frozen output is its input.
fn ask(ia3: &Ia3, site: ProjectionSite) -> Option<Vec<f32>> {
    let x = hidden();
    let input = SiteInput {
        rows: &x,
        all: &x,
        output: &x.values,
    };
    let value = ia3.projection(site, &input, &Pass::evaluate())?;
    Some(value.into_data().try_to_vec().unwrap())
}

fn with_factors(config: Ia3Config, factors: [f32; 4]) -> Ia3 {
    let device = Device::flex();
    let mut ia3 = config.init(&TINY, &device).unwrap();
    for site in &mut ia3.sites {
        if site.factor.dims() == [4] {
            let values = Tensor::from_data(TensorData::from(factors), &device);
            site.factor = Param::from_tensor(values);
        }
    }
    ia3
}

#[test]
fn a_new_method_contributes_zero_at_its_sites_and_nothing_elsewhere() {
    let ia3 = Ia3Config::default().init(&TINY, &Device::flex()).unwrap();
    assert_eq!(ask(&ia3, KEY), Some(vec![0.0; 8]));
    assert_eq!(ask(&ia3, OUTPUT), None);
    assert_eq!(ia3.projection_reads(KEY), Reads::Output);
    assert_eq!(ia3.projection_reads(OUTPUT), Reads::Input);
    let last = ProjectionSite::Layer(1, Projection::Key);
    let config = Ia3Config {
        leave_out: vec![1],
        ..Ia3Config::default()
    };
    let ia3 = config.init(&TINY, &Device::flex()).unwrap();
    assert_eq!(ask(&ia3, last), None);
    assert_eq!(ia3.sites.len(), 3);
}

#[test]
fn factors_multiply_the_output_or_the_input() {
    let factors = [2.0, 0.5, 1.0, -1.0];
    let ia3 = with_factors(Ia3Config::peft(), factors);
    let added = [1.0, -1.0, 0.0, -8.0, 0.0, 0.5, 0.0, -4.0];
    assert_eq!(ask(&ia3, KEY).unwrap(), added);
    let attention_output = ProjectionSite::Layer(0, Projection::AttentionOutput);
    assert_eq!(ask(&ia3, attention_output), None);
    let scale = ia3.input_scale(attention_output).unwrap();
    assert_eq!(scale.into_data().try_to_vec::<f32>().unwrap(), factors);
    assert!(ia3.input_scale(KEY).is_none());
    let doubled = Ia3Config {
        alpha: 2.0,
        ..Ia3Config::default()
    };
    let ia3 = with_factors(doubled, factors);
    assert_eq!(ask(&ia3, KEY).unwrap()[..4], [3.0, 0.0, 3.0, -12.0]);
}

#[test]
fn a_gate_takes_the_place_of_alpha() {
    let gated = Ia3Config {
        alpha: 5.0,
        use_gating: true,
        ..Ia3Config::default()
    };
    let mut ia3 = with_factors(gated, [2.0, 0.5, 1.0, -1.0]);
    let gate = ia3.sites[0].gate.as_mut().unwrap();
    let device = Device::flex();
    gate.weight = Param::from_tensor(Tensor::zeros([4, 1], &device));
    gate.bias = Param::from_tensor(Tensor::zeros([1], &device));
    // The gate is one half, so the output becomes half of itself times the factors.
    let found = ask(&ia3, KEY).unwrap();
    assert_eq!(found[..4], [0.0, -1.5, -1.5, -6.0]);
    assert!(
        ia3.needs_all_rows(0),
        "the intermediate gate reads all rows"
    );
    assert_eq!(ia3.for_inference().1.len(), 0);
}

#[test]
fn merging_keeps_what_has_a_gate() {
    let ia3 = with_factors(Ia3Config::peft(), [2.0, 0.5, 1.0, -1.0]);
    let (left, deltas) = ia3.for_inference();
    assert!(left.sites.is_empty());
    assert_eq!(deltas.len(), 8);
    let inputs = deltas
        .iter()
        .filter(|delta| matches!(delta.change, ProjectionChange::ScaleInput { .. }));
    assert_eq!(inputs.count(), 4);
}

#[test]
fn names_and_shapes_equal_the_fixtures() {
    let tiny = EncoderShape {
        hidden_size: 32,
        intermediate_size: 64,
        heads: 4,
        ..TINY
    };
    let ia3 = Ia3Config::default().init(&tiny, &Device::flex()).unwrap();
    let found = ia3.named_params().into_iter();
    let found = found.map(|param| (param.name.replace(pelt_hooks::ADAPTER, "a"), param.shape));
    assert_eq!(
        found.collect::<std::collections::BTreeMap<_, _>>(),
        adapter_shapes("bert_cls_ia3")
    );
    let pooler = Ia3Config {
        targets: vec![Ia3Target::Pooler],
        ..Ia3Config::default()
    };
    let ia3 = pooler.init(&tiny, &Device::flex()).unwrap();
    assert_eq!(
        ia3.named_params()[0].name,
        "pooler.dense.loras.{adapter}.lora_B"
    );
}
