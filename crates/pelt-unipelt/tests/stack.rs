//! Stacks: every hook is forwarded, and each kind of part has its rule.

// Helpers of tests may unwrap as tests do; the lint cannot tell in a file of its own.
#![allow(clippy::unwrap_used)]

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use pelt_hooks::{
    ADAPTER, EncoderHooks, Hidden, KeyValue, Method, NamedParam, Packing, Pass, Projection,
    ProjectionSite, Prompt, PromptPlace, Reads, SiteInput, Sublayer, SublayerSite, SublayerStates,
};
use pelt_unipelt::{Stack, StackError, StackRules, StackedLora, StackedParallel};

/// Multiplies what it reads by its number, and adds that.
#[derive(Module, Debug)]
struct Probe {
    number: Param<Tensor<1>>,
    label: usize,
    #[module(skip)]
    reads: Reads,
}

const SITE: ProjectionSite = ProjectionSite::Layer(0, Projection::Query);
const SUBLAYER: SublayerSite = SublayerSite {
    layer: 0,
    sublayer: Sublayer::FeedForward,
};

fn probe(number: usize, reads: Reads) -> Probe {
    Probe {
        number: Param::from_tensor(Tensor::full([1], number as f64, &Device::flex())),
        label: number,
        reads,
    }
}

impl EncoderHooks for Probe {
    fn prompt(&self) -> Option<Prompt> {
        (self.label != 9).then(|| Prompt {
            embeddings: self.number.val().unsqueeze(),
            place: PromptPlace::BeforeSequence,
        })
    }

    fn position_shift(&self) -> usize {
        self.label
    }

    fn input_scale(&self, _: ProjectionSite) -> Option<Tensor<1>> {
        Some(self.number.val())
    }

    fn projection_reads(&self, _: ProjectionSite) -> Reads {
        self.reads
    }

    fn sublayer_reads(&self, _: SublayerSite) -> Reads {
        self.reads
    }

    fn projection(&self, _: ProjectionSite, input: &SiteInput<'_>, _: &Pass) -> Option<Tensor<2>> {
        let read = match self.reads {
            Reads::Input => &input.rows.values,
            Reads::Output => input.output,
        };
        Some(read.clone() * self.number.val().unsqueeze())
    }

    fn prefix(&self, _: usize, input: &Hidden, _: &Pass) -> Vec<KeyValue> {
        let rows = input.values.clone() * self.number.val().unsqueeze();
        vec![KeyValue {
            key: rows.clone(),
            value: rows,
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
        let read = match self.reads {
            Reads::Input => states.residual,
            Reads::Output => &states.output.values,
        };
        Some(read.clone() * self.number.val().unsqueeze())
    }

    fn needs_all_rows(&self, layer: usize) -> bool {
        layer == self.label
    }
}

impl Method for Probe {
    fn named_params(&self) -> Vec<NamedParam> {
        vec![NamedParam::new(format!("probe.{ADAPTER}"), &self.number)]
    }

    fn penalty(&self) -> Option<Tensor<1>> {
        Some(self.number.val())
    }
}

fn stack(probes: Vec<Probe>, rules: StackRules) -> Stack<Probe> {
    let named = probes.into_iter().enumerate();
    let named = named.map(|(number, probe)| (format!("{ADAPTER}_{number}"), probe));
    Stack::new(named.collect(), rules).unwrap()
}

fn hidden(value: f32) -> Hidden {
    Hidden {
        values: Tensor::from_data([[value]], &Device::flex()),
        packing: Packing::new([1]),
    }
}

/// What is added to a projection that reads 1 and gives 10.
fn projection(stack: &Stack<Probe>) -> f32 {
    let (x, y) = (hidden(1.0), hidden(10.0));
    let input = SiteInput {
        rows: &x,
        all: &x,
        output: &y.values,
    };
    let value = stack.projection(SITE, &input, &Pass::evaluate());
    value.unwrap().into_scalar()
}

/// What is added to a sub-layer that reads 1 and gives 10.
fn sublayer(stack: &Stack<Probe>) -> f32 {
    let (x, h) = (hidden(1.0), hidden(10.0));
    let states = SublayerStates {
        output: &h,
        residual: &x.values,
        norm: &|rows| rows,
    };
    let value = stack.sublayer(SUBLAYER, &states, &Pass::evaluate());
    value.unwrap().into_scalar()
}

const SUM: StackRules = StackRules {
    lora: StackedLora::Sum,
    parallel: StackedParallel::Sum,
};
const LAST: StackRules = StackRules {
    lora: StackedLora::Composed,
    parallel: StackedParallel::Last,
};

#[test]
fn what_reads_the_output_reads_what_is_below() {
    for rules in [SUM, LAST] {
        let stack = stack(
            vec![probe(2, Reads::Output), probe(3, Reads::Output)],
            rules,
        );
        // 10 (1 + 2) (1 + 3) is 110 more than 10.
        assert_eq!(projection(&stack), 110.0);
        assert_eq!(sublayer(&stack), 110.0);
        assert_eq!(stack.projection_reads(SITE), Reads::Output);
        assert_eq!(stack.sublayer_reads(SUBLAYER), Reads::Output);
    }
}

#[test]
fn what_reads_the_input_is_composed_or_added() {
    let three = || {
        vec![
            probe(2, Reads::Input),
            probe(3, Reads::Input),
            probe(4, Reads::Input),
        ]
    };
    assert_eq!(projection(&stack(three(), StackRules::default())), 24.0);
    assert_eq!(projection(&stack(three(), SUM)), 9.0);
    assert_eq!(sublayer(&stack(three(), StackRules::default())), 9.0);
    assert_eq!(sublayer(&stack(three(), LAST)), 4.0);
    let mixed = || vec![probe(2, Reads::Output), probe(3, Reads::Input)];
    assert_eq!(projection(&stack(mixed(), LAST)), 23.0);
    assert_eq!(sublayer(&stack(mixed(), SUM)), 23.0);
    assert_eq!(sublayer(&stack(mixed(), LAST)), 3.0);
}

#[test]
fn the_other_hooks_are_those_of_the_levels() {
    let levels = || vec![probe(1, Reads::Input), probe(2, Reads::Input)];
    let stack = stack(levels(), SUM);
    assert_eq!(stack.position_shift(), 3);
    assert_eq!(stack.input_scale(SITE).unwrap().into_scalar::<f32>(), 2.0);
    let first = stack.prompt().unwrap().embeddings;
    assert_eq!(first.into_scalar::<f32>(), 1.0);
    let prefixes = stack.prefix(0, &hidden(5.0), &Pass::evaluate());
    let keys = prefixes
        .into_iter()
        .map(|rows| rows.key.into_scalar::<f32>());
    assert_eq!(keys.collect::<Vec<_>>(), [5.0, 10.0]);
    let all_rows = (0..4).map(|layer| stack.needs_all_rows(layer));
    assert_eq!(all_rows.collect::<Vec<_>>(), [false, true, true, false]);
    assert_eq!(stack.penalty().unwrap().into_scalar::<f32>(), 3.0);
    let names: Vec<_> = stack.named_params().into_iter().map(|p| p.name).collect();
    assert_eq!(names, ["probe.{adapter}_0", "probe.{adapter}_1"]);
}

#[test]
fn a_first_level_without_a_prompt_means_no_prompt() {
    let levels = vec![probe(9, Reads::Input), probe(2, Reads::Input)];
    assert!(stack(levels, SUM).prompt().is_none());
}

#[test]
fn levels_need_names_of_their_own() {
    let none: Vec<(String, Probe)> = vec![];
    assert_eq!(Stack::new(none, SUM).unwrap_err(), StackError::Empty);
    let level = || ("a".to_string(), probe(1, Reads::Input));
    let error = Stack::new(vec![level(), level()], SUM).unwrap_err();
    assert_eq!(error, StackError::SharedName("a".into()));
}
