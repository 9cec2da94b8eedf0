//! Unions and UniPELT: every hook is forwarded, parts do not disturb one another, counts.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use pelt_adapter::BottleneckConfig;
use pelt_hooks::{
    EncoderHooks, EncoderShape, Hidden, KeyValue, Method, NamedParam, Packing, Pass, Projection,
    ProjectionChange, ProjectionDelta, ProjectionSite, Prompt, PromptPlace, Reads, SiteInput,
    Sublayer, SublayerSite, SublayerStates,
};
use pelt_prefix::PrefixTable;
use pelt_unipelt::{UniPelt, UniPeltConfig, Union, UnionError};

const TINY: EncoderShape = EncoderShape {
    layers: 2,
    hidden_size: 4,
    heads: 2,
    intermediate_size: 8,
    vocab_size: 10,
    max_positions: 40,
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

/// Contributes its number at every site.
#[derive(Module, Debug)]
struct Probe {
    number: Param<Tensor<1>>,
    label: usize,
}

impl Probe {
    fn new(label: usize) -> Self {
        let number = Tensor::full([1], label as f64, &Device::flex());
        Self {
            number: Param::from_tensor(number),
            label,
        }
    }

    fn rows(&self, like: &Hidden) -> Tensor<2> {
        like.values.zeros_like() + self.number.val().unsqueeze()
    }
}

impl EncoderHooks for Probe {
    fn prompt(&self) -> Option<Prompt> {
        Some(Prompt {
            embeddings: self.number.val().unsqueeze(),
            place: PromptPlace::AfterFirstToken,
        })
    }

    fn position_shift(&self) -> usize {
        self.label
    }

    fn input_scale(&self, _: ProjectionSite) -> Option<Tensor<1>> {
        Some(self.number.val())
    }

    fn changes_layer(&self, layer: usize) -> bool {
        layer == self.label
    }

    fn projection_reads(&self, _: ProjectionSite) -> Reads {
        Reads::Output
    }

    fn sublayer_reads(&self, _: SublayerSite) -> Reads {
        Reads::Input
    }

    fn projection(&self, _: ProjectionSite, input: &SiteInput<'_>, _: &Pass) -> Option<Tensor<2>> {
        Some(self.rows(input.rows))
    }

    fn prefix(&self, _: usize, input: &Hidden, _: &Pass) -> Vec<KeyValue> {
        vec![KeyValue {
            key: self.rows(input),
            value: self.rows(input),
            key_gate: None,
            value_gate: None,
        }]
    }

    fn sublayer(
        &self,
        _: SublayerSite,
        states: &SublayerStates<'_>,
        _: &Pass,
    ) -> Option<Tensor<2>> {
        Some(self.rows(states.output))
    }

    fn needs_all_rows(&self, layer: usize) -> bool {
        layer == self.label
    }
}

impl Method for Probe {
    fn named_params(&self) -> Vec<NamedParam> {
        vec![NamedParam::new(
            format!("probe.{}", self.label),
            &self.number,
        )]
    }

    fn penalty(&self) -> Option<Tensor<1>> {
        Some(self.number.val())
    }

    /// Leaves a trace: the label grows, and its old value is the layer of a delta.
    fn for_inference(self) -> (Self, Vec<ProjectionDelta>) {
        let delta = ProjectionDelta {
            site: ProjectionSite::Layer(self.label, Projection::Query),
            change: ProjectionChange::Add {
                weight: Tensor::zeros([1, 1], &Device::flex()),
                bias: None,
            },
        };
        (Self::new(self.label + 10), vec![delta])
    }
}

/// A method type that can hold unions of itself, as a registry's enum does.
#[derive(Module, Debug)]
enum Any {
    Probe(Probe),
    Union(Union<Any>),
}

impl Any {
    fn hooks(&self) -> &dyn EncoderHooks {
        match self {
            Self::Probe(probe) => probe,
            Self::Union(union) => union,
        }
    }
}

impl EncoderHooks for Any {
    fn prompt(&self) -> Option<Prompt> {
        self.hooks().prompt()
    }

    fn position_shift(&self) -> usize {
        self.hooks().position_shift()
    }

    fn input_scale(&self, site: ProjectionSite) -> Option<Tensor<1>> {
        self.hooks().input_scale(site)
    }

    fn changes_layer(&self, layer: usize) -> bool {
        self.hooks().changes_layer(layer)
    }

    fn projection_reads(&self, site: ProjectionSite) -> Reads {
        self.hooks().projection_reads(site)
    }

    fn sublayer_reads(&self, site: SublayerSite) -> Reads {
        self.hooks().sublayer_reads(site)
    }

    fn projection(
        &self,
        site: ProjectionSite,
        input: &SiteInput<'_>,
        pass: &Pass,
    ) -> Option<Tensor<2>> {
        self.hooks().projection(site, input, pass)
    }

    fn prefix(&self, layer: usize, input: &Hidden, pass: &Pass) -> Vec<KeyValue> {
        self.hooks().prefix(layer, input, pass)
    }

    fn sublayer(
        &self,
        site: SublayerSite,
        states: &SublayerStates<'_>,
        pass: &Pass,
    ) -> Option<Tensor<2>> {
        self.hooks().sublayer(site, states, pass)
    }

    fn needs_all_rows(&self, layer: usize) -> bool {
        self.hooks().needs_all_rows(layer)
    }
}

impl Method for Any {
    fn named_params(&self) -> Vec<NamedParam> {
        match self {
            Self::Probe(probe) => probe.named_params(),
            Self::Union(union) => union.named_params(),
        }
    }

    fn penalty(&self) -> Option<Tensor<1>> {
        match self {
            Self::Probe(probe) => probe.penalty(),
            Self::Union(union) => union.penalty(),
        }
    }

    fn for_inference(self) -> (Self, Vec<ProjectionDelta>) {
        match self {
            Self::Probe(probe) => {
                let (probe, deltas) = probe.for_inference();
                (Self::Probe(probe), deltas)
            }
            Self::Union(union) => {
                let (union, deltas) = union.for_inference();
                (Self::Union(union), deltas)
            }
        }
    }
}

fn hidden() -> Hidden {
    Hidden {
        values: Tensor::from_data(
            [[1.0, 2.0, 3.0, 4.0], [0.0, -1.0, 1.0, 2.0]],
            &Device::flex(),
        ),
        packing: Packing::new([2]),
    }
}

fn vector(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

/// Everything that hooks contribute, as plain numbers.
#[derive(Debug, PartialEq)]
struct Answers {
    prompt: Option<(Vec<f32>, PromptPlace)>,
    shift: usize,
    projection: Option<Vec<f32>>,
    prefix: Vec<(Vec<f32>, Vec<f32>)>,
    sublayer: Option<Vec<f32>>,
    all_rows: Vec<bool>,
    layers: Vec<bool>,
    scale: Option<Vec<f32>>,
    reads: [Reads; 2],
}

fn answers(hooks: &dyn EncoderHooks) -> Answers {
    let (x, pass) = (hidden(), Pass::evaluate());
    let input = SiteInput {
        rows: &x,
        all: &x,
        output: &x.values,
    };
    let states = SublayerStates {
        output: &x,
        residual: &x.values,
        norm: &|rows| rows,
    };
    let site = SublayerSite {
        layer: 0,
        sublayer: Sublayer::FeedForward,
    };
    let prompt = hooks
        .prompt()
        .map(|prompt| (vector(prompt.embeddings), prompt.place));
    let prefix = hooks.prefix(0, &x, &pass).into_iter();
    Answers {
        prompt,
        shift: hooks.position_shift(),
        projection: hooks.projection(QUERY, &input, &pass).map(vector),
        prefix: prefix
            .map(|rows| (vector(rows.key), vector(rows.value)))
            .collect(),
        sublayer: hooks.sublayer(site, &states, &pass).map(vector),
        all_rows: (0..4).map(|layer| hooks.needs_all_rows(layer)).collect(),
        layers: (0..4).map(|layer| hooks.changes_layer(layer)).collect(),
        scale: hooks
            .input_scale(QUERY)
            .map(|scale| scale.into_data().try_to_vec().unwrap()),
        reads: [hooks.projection_reads(QUERY), hooks.sublayer_reads(site)],
    }
}

#[test]
fn a_union_of_one_part_answers_like_the_part_at_every_site() {
    let alone = answers(&Probe::new(3));
    assert!(alone.prompt.is_some() && alone.projection.is_some() && alone.sublayer.is_some());
    assert_eq!(answers(&Union::new(vec![Probe::new(3)]).unwrap()), alone);
    assert_eq!(answers(&&Probe::new(3)), alone);
    let nested = Union::new(vec![Any::Union(
        Union::new(vec![Any::Probe(Probe::new(3))]).unwrap(),
    )]);
    assert_eq!(answers(&nested.unwrap()), alone);
}

#[test]
fn a_union_adds_what_its_parts_contribute() {
    let found = answers(&Union::new(vec![Probe::new(1), Probe::new(2)]).unwrap());
    assert_eq!(
        found.prompt,
        Some((vec![1.0], PromptPlace::AfterFirstToken))
    );
    assert_eq!(found.shift, 3);
    assert_eq!(found.projection, Some(vec![3.0; 8]));
    assert_eq!(found.sublayer, Some(vec![3.0; 8]));
    let rows = |value| (vec![value; 8], vec![value; 8]);
    assert_eq!(found.prefix, [rows(1.0), rows(2.0)]);
    assert_eq!(found.all_rows, [false, true, true, false]);
    assert_eq!(found.layers, [false, true, true, false]);
    assert_eq!(found.scale, Some(vec![2.0]));
    let penalty = Union::new(vec![Probe::new(1), Probe::new(2)])
        .unwrap()
        .penalty();
    assert_eq!(penalty.unwrap().into_scalar::<f32>(), 3.0);
}

#[test]
fn parts_with_the_same_parameters_are_refused() {
    let error = Union::new(vec![Probe::new(1), Probe::new(2), Probe::new(1)]).unwrap_err();
    let expected = UnionError::SharedName {
        first: 0,
        second: 2,
        name: "probe.1".into(),
    };
    assert_eq!(error, expected);
    let init = |config: BottleneckConfig| config.init(&TINY, &Device::flex()).unwrap();
    let attention_only = BottleneckConfig {
        mh_adapter: true,
        output_adapter: false,
        ..BottleneckConfig::seq_bn()
    };
    let norm_in_front = BottleneckConfig {
        ln_before: true,
        ..BottleneckConfig::seq_bn()
    };
    let seq_bn = BottleneckConfig::seq_bn;
    assert!(Union::new(vec![init(seq_bn()), init(seq_bn())]).is_err());
    assert!(Union::new(vec![init(seq_bn()), init(attention_only)]).is_ok());
    assert!(Union::new(vec![init(norm_in_front)]).is_ok());
}

#[test]
fn a_union_prepares_all_its_parts_for_inference() {
    let inner = Union::new(vec![Any::Probe(Probe::new(3))]).unwrap();
    let union = Union::new(vec![Any::Probe(Probe::new(2)), Any::Union(inner)]).unwrap();
    let (prepared, deltas) = union.for_inference();
    let names: Vec<String> = prepared
        .named_params()
        .into_iter()
        .map(|param| param.name)
        .collect();
    assert_eq!(names, ["probe.12", "probe.13"]);
    let sites: Vec<_> = deltas.iter().map(|delta| delta.site).collect();
    let query = |layer| ProjectionSite::Layer(layer, Projection::Query);
    assert_eq!(sites, [query(2), query(3)]);
}

#[test]
fn unipelt_prepares_all_its_parts_for_inference() {
    let mut config = UniPeltConfig::with_prompt();
    config.lora.r = 2;
    let gated = unipelt(config.clone());
    let (prepared, deltas) = gated.clone().for_inference();
    assert!(deltas.is_empty());
    assert!(matches!(prepared.prefix.table, PrefixTable::Flat(_)));
    assert_eq!(answers(&prepared), answers(&gated));
    config.lora.use_gating = false;
    let (prepared, deltas) = unipelt(config).for_inference();
    assert_eq!((deltas.len(), prepared.lora.num_params()), (4, 0));
    assert!(prepared.prompt.is_some() && prepared.bottleneck.num_params() > 0);
}

fn unipelt(config: UniPeltConfig) -> UniPelt {
    config.init(&TINY, &Device::flex()).unwrap()
}

#[test]
fn unipelt_acts_at_each_parts_own_site() {
    let method = unipelt(UniPeltConfig {
        lora: pelt_lora::LoraConfig {
            r: 2,
            ..UniPeltConfig::default().lora
        },
        ..UniPeltConfig::with_prompt()
    });
    let whole = answers(&method);
    let (prefix, lora) = (answers(&method.prefix), answers(&method.lora));
    let (bottleneck, prompt) = (
        answers(&method.bottleneck),
        answers(method.prompt.as_ref().unwrap()),
    );
    assert_eq!(whole.prompt, prompt.prompt);
    assert_eq!(whole.prefix, prefix.prefix);
    assert_eq!(whole.projection, lora.projection);
    assert_eq!(whole.sublayer, bottleneck.sublayer);
    assert_eq!(whole.all_rows, [true, true, false, false]);
    assert!(whole.prompt.is_some() && whole.prefix.len() == 1);
    assert!(whole.projection.is_some() && whole.sublayer.is_some());
}

#[test]
fn ejecting_changes_no_answer() {
    let config = UniPeltConfig {
        lora: pelt_lora::LoraConfig {
            r: 2,
            ..UniPeltConfig::default().lora
        },
        ..UniPeltConfig::default()
    };
    let method = unipelt(config);
    assert_eq!(answers(&method.clone().eject()), answers(&method));
}

#[test]
fn errors_of_a_part_come_through() {
    let mut config = UniPeltConfig::with_prompt();
    config.lora.r = 2;
    config.validate(&TINY).unwrap();
    config.prompt.as_mut().unwrap().prompt_length = 0;
    assert_eq!(
        config.init(&TINY, &Device::flex()).unwrap_err().method,
        "prompt"
    );
    config.lora.r = 0;
    assert_eq!(config.validate(&TINY).unwrap_err().method, "lora");
}

#[test]
fn counts_for_bert_base_are_the_published_ones() {
    let with_prompt = UniPeltConfig::with_prompt()
        .init(&BERT_BASE, &Device::flex())
        .unwrap();
    let named = with_prompt.named_params();
    assert_eq!(with_prompt.num_params(), 11_091_056);
    assert_eq!(
        named.iter().map(|param| param.count()).sum::<usize>(),
        11_091_056
    );
    let mut plain = with_prompt;
    plain.prompt = None;
    assert_eq!(plain.num_params(), 11_083_376);
    assert_eq!(plain.eject().num_params(), 1_410_672);
}
