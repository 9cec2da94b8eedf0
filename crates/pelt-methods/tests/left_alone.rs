//! What methods say of the layers that they leave alone is what they do.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::convert::Infallible;

use burn::tensor::{Device, Tensor};
use pelt_encoder::{Encoder, EncoderConfig, RowsRead};
use pelt_hooks::{
    EncoderHooks, Hidden, KeyValue, PackedBatch, Pass, ProjectionSite, Prompt, Reads, Sequence,
    SiteInput, SublayerSite, SublayerStates,
};
use pelt_methods::{AdapterConfig, Fusion, FusionConfig, presets};
use pelt_testkit::fixture;

const LAYERS: usize = 4;

/// Notes the layers in which hooks contribute something.
struct Spy<H> {
    hooks: H,
    layers: RefCell<BTreeSet<usize>>,
}

impl<H> Spy<H> {
    fn note(&self, layer: usize, contributed: bool) {
        if contributed {
            self.layers.borrow_mut().insert(layer);
        }
    }

    fn note_projection(&self, site: ProjectionSite, contributed: bool) {
        if let ProjectionSite::Layer(layer, _) = site {
            self.note(layer, contributed);
        }
    }
}

impl<H: EncoderHooks> EncoderHooks for Spy<H> {
    fn prompt(&self) -> Option<Prompt> {
        self.hooks.prompt()
    }

    fn position_shift(&self) -> usize {
        self.hooks.position_shift()
    }

    fn input_scale(&self, site: ProjectionSite) -> Option<Tensor<1>> {
        let scale = self.hooks.input_scale(site);
        self.note_projection(site, scale.is_some());
        scale
    }

    fn changes(&self, site: ProjectionSite) -> bool {
        self.hooks.changes(site)
    }

    fn changes_layer(&self, layer: usize) -> bool {
        self.hooks.changes_layer(layer)
    }

    fn projection_reads(&self, site: ProjectionSite) -> Reads {
        self.hooks.projection_reads(site)
    }

    fn sublayer_reads(&self, site: SublayerSite) -> Reads {
        self.hooks.sublayer_reads(site)
    }

    fn projection(
        &self,
        site: ProjectionSite,
        input: &SiteInput<'_>,
        pass: &Pass,
    ) -> Option<Tensor<2>> {
        let added = self.hooks.projection(site, input, pass);
        self.note_projection(site, added.is_some());
        added
    }

    fn prefix(&self, layer: usize, input: &Hidden, pass: &Pass) -> Vec<KeyValue> {
        let rows = self.hooks.prefix(layer, input, pass);
        self.note(layer, !rows.is_empty());
        rows
    }

    fn sublayer(
        &self,
        site: SublayerSite,
        states: &SublayerStates<'_>,
        pass: &Pass,
    ) -> Option<Tensor<2>> {
        let added = self.hooks.sublayer(site, states, pass);
        self.note(site.layer, added.is_some());
        added
    }

    fn needs_all_rows(&self, layer: usize) -> bool {
        self.hooks.needs_all_rows(layer)
    }
}

fn encoder() -> Encoder {
    let mut config = EncoderConfig::read(&fixture("models/bert/base")).unwrap();
    config.shape.layers = LAYERS;
    let mut source = |_: &str, shape: &[usize]| {
        let count = shape.iter().product::<usize>();
        Ok::<_, Infallible>((0..count).map(|i| 0.1 * (i as f32).sin()).collect())
    };
    Encoder::build(&config, &Device::flex(), &mut source).unwrap()
}

/// Checks that the encoder counts exactly the leading layers in which nothing is contributed, and gives the number.
fn check(encoder: &Encoder, hooks: impl EncoderHooks, what: &str) -> usize {
    let spy = Spy {
        hooks,
        layers: RefCell::default(),
    };
    let batch = PackedBatch::new(&[Sequence {
        input_ids: vec![2, 5, 9, 3],
        token_type_ids: vec![0; 4],
    }]);
    for (rows, pass) in [
        (RowsRead::All, Pass::evaluate()),
        (RowsRead::First, Pass::train(3)),
    ] {
        encoder.forward(&batch, &spy, rows, &pass).unwrap();
    }
    let found = spy.layers.borrow();
    for layer in 0..LAYERS {
        let said = spy.changes_layer(layer);
        assert_eq!(said, found.contains(&layer), "{what}: layer {layer}");
    }
    let first = found.first().copied().unwrap_or(LAYERS);
    let embeddings = spy.prompt().is_some() || spy.position_shift() > 0;
    let expected = if embeddings { 0 } else { first.min(LAYERS - 1) };
    let counted = encoder.layers_left_alone(&spy);
    assert_eq!(counted, expected, "{what}");
    counted
}

#[test]
fn every_preset_contributes_in_exactly_the_layers_that_it_says() {
    let encoder = encoder();
    for preset in presets() {
        let count = |left_out: &[(&str, &[usize])]| {
            let mut config = AdapterConfig::preset(preset.name).unwrap();
            // Only methods with such a part take a setting.
            let _ = config.set("bottleneck.reduction_factor=4");
            for (part, layers) in left_out {
                let _ = config.set(&format!("{part}.leave_out={layers:?}"));
            }
            let adapter = config.init(encoder.shape(), &Device::flex(), &|_| None);
            let what = format!("{} {left_out:?}", preset.name);
            check(&encoder, adapter.unwrap(), &what)
        };
        let parts = ["lora", "bottleneck", "prefix", "ia3"];
        let prompt = preset.name.contains("prompt");
        for (left_out, leading) in [
            (&[][..], 0),
            (&[0], 1),
            (&[0, 1, 2], 3),
            (&[1, 2], 0),
            (&[3, 0], 1),
        ] {
            let found = count(&parts.map(|part| (part, left_out)));
            assert_eq!(found, if prompt { 0 } else { leading }, "{}", preset.name);
        }
        // The part that reaches down furthest decides.
        count(&[("lora", &[0, 1]), ("bottleneck", &[0, 1, 2])]);
        count(&[("prefix", &[0, 1]), ("bottleneck", &[0])]);
        count(&[("prefix", &[0, 1]), ("ia3", &[0]), ("lora", &[0])]);
    }
}

#[test]
fn the_lowest_level_of_a_stack_decides() {
    let encoder = encoder();
    let level = |preset: &str, setting: &str| {
        let mut config = AdapterConfig::preset(preset).unwrap();
        config.set(setting).unwrap();
        config
    };
    let levels = [
        level("seq_bn", "bottleneck.leave_out=[0, 1, 2]"),
        level("lora", "lora.leave_out=[0, 1]"),
    ];
    let stack = serde_json::json!({ "parts": [{ "type": "stack", "levels": levels }] });
    let config: AdapterConfig = serde_json::from_value(stack).unwrap();
    let adapter = config.init(encoder.shape(), &Device::flex(), &|_| None);
    assert_eq!(check(&encoder, adapter.unwrap(), "a stack"), 2);
}

#[test]
fn moved_positions_reach_the_first_layer() {
    let encoder = encoder();
    let mut config = AdapterConfig::preset("prefix_flat").unwrap();
    config.set("prefix.leave_out=[0]").unwrap();
    config.set("prefix.shift_positions=true").unwrap();
    let adapter = config.init(encoder.shape(), &Device::flex(), &|_| None);
    assert_eq!(check(&encoder, adapter.unwrap(), "moved positions"), 0);
}

#[test]
fn a_fusion_leaves_alone_what_its_adapters_leave_out() {
    let encoder = encoder();
    let (shape, device) = (encoder.shape(), Device::flex());
    for (left_out, leading) in [(vec![], 0), (vec![0, 1], 2), (vec![1], 0)] {
        let adapter = || {
            let mut config = pelt_adapter::BottleneckConfig::seq_bn();
            config.leave_out = left_out.clone();
            config.init(shape, &device).unwrap()
        };
        let config = FusionConfig::default();
        let fusion: Fusion = config
            .init(vec![adapter(), adapter()], shape, &device)
            .unwrap();
        assert_eq!(check(&encoder, fusion, "a fusion"), leading);
    }
}
