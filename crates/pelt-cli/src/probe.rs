//! `pelt probe`: a logistic regression on frozen features, as a yardstick for adapters.

use anyhow::{Result, ensure};
use burn::tensor::{Device, Int, Tensor, TensorData};
use pelt_encoder::RowsRead;
use pelt_hooks::{NoHooks, PackedBatch, Pass, Sequence};
use pelt_train::Examples;

use crate::args::ProbeArgs;
use crate::data;
use crate::device::device;
use crate::model::{self, Base};
use crate::output::print_line;

/// Steps of full-batch gradient descent with momentum.
const STEPS: usize = 500;
const LEARNING_RATE: f64 = 0.5;
const MOMENTUM: f64 = 0.9;
/// Pull of the weights towards zero.
const L2: f64 = 1e-4;

pub fn run(args: &ProbeArgs) -> Result<()> {
    let train = data::user_file(&args.train_file, &args.columns, None)?;
    ensure!(
        !train.target.is_regression(),
        "a probe needs classes, not scores"
    );
    let labels = data::label_names(&train.target);
    let validation = data::user_file(&args.validation_file, &args.columns, labels)?;
    let tokenizer = model::tokenizer(&args.model)?;
    let base = Base::open(&args.model, None)?;
    let classes = train.target.outputs();
    let train = data::examples(&train, &tokenizer, args.max_length)?.examples;
    let validation = data::examples(&validation, &tokenizer, args.max_length)?.examples;
    let train_features = features(&base, &train.sequences)?;
    let mean = train_features.clone().mean_dim(0);
    let deviation = (train_features.clone() - mean.clone())
        .powi_scalar(2)
        .mean_dim(0)
        .sqrt()
        + 1e-6;
    let normed = |x: Tensor<2>| (x - mean.clone()) / deviation.clone();
    let (weight, bias) = fit(normed(train_features), &class_numbers(&train), classes);
    let logits = normed(features(&base, &validation.sequences)?).matmul(weight) + bias;
    let gold = class_tensor(&class_numbers(&validation), &device());
    let right: f32 = logits
        .argmax(1)
        .reshape([-1])
        .equal(gold)
        .float()
        .mean()
        .into_scalar();
    match args.json {
        true => print_line(serde_json::json!({ "accuracy": right })),
        false => print_line(format!("accuracy {right:.4}")),
    }
}

/// The mean last hidden state of every sequence, `[rows, d]`.
fn features(base: &Base, sequences: &[Sequence]) -> Result<Tensor<2>> {
    let mut batches = vec![];
    for batch in sequences.chunks(32) {
        let packed = PackedBatch::new(batch);
        let hidden = base
            .encoder
            .forward(&packed, &NoHooks, RowsRead::All, &Pass::evaluate())?;
        batches.push(hidden.packing.mean(hidden.values));
    }
    Ok(Tensor::cat(batches, 0))
}

/// Weights `[d, classes]` and bias `[1, classes]`.
fn fit(features: Tensor<2>, gold: &[i64], classes: usize) -> (Tensor<2>, Tensor<2>) {
    let [rows, width] = features.dims();
    let device = features.device();
    let target: Tensor<2> = class_tensor(gold, &device).one_hot(classes).float();
    let mut weight = Tensor::<2>::zeros([width, classes], &device);
    let mut bias = Tensor::<2>::zeros([1, classes], &device);
    let mut speed = (weight.zeros_like(), bias.zeros_like());
    let transposed = features.clone().transpose();
    for _ in 0..STEPS {
        let logits = features.clone().matmul(weight.clone()) + bias.clone();
        let error = (burn::tensor::activation::softmax(logits, 1) - target.clone()) / rows as f64;
        let weight_gradient = transposed.clone().matmul(error.clone()) + weight.clone() * L2;
        speed.0 = speed.0 * MOMENTUM - weight_gradient * LEARNING_RATE;
        speed.1 = speed.1 * MOMENTUM - error.sum_dim(0) * LEARNING_RATE;
        weight = weight + speed.0.clone();
        bias = bias + speed.1.clone();
    }
    (weight, bias)
}

fn class_numbers(examples: &Examples) -> Vec<i64> {
    let class = |label: &pelt_data::Label| match label {
        pelt_data::Label::Class(class) => *class as i64,
        pelt_data::Label::Score(_) | pelt_data::Label::Span(_) => 0,
    };
    examples.labels.iter().map(class).collect()
}

fn class_tensor(classes: &[i64], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(classes.to_vec(), [classes.len()]), device)
}
