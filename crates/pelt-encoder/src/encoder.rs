//! The encoder: embeddings, layers and an optional pooler.

mod forward;

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use pelt_hooks::{
    EncoderHooks, EncoderShape, Hidden, NamedParam, Pass, ProjectionChange, ProjectionDelta,
    ProjectionSite, PromptPlace,
};
use pelt_ops::{LayerNorm, Linear, like};

use crate::embeddings::Embeddings;
use crate::layer::{Layer, project};
use crate::{EncoderConfig, EncoderError, Precision};

/// Which rows of the last layer are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsRead {
    /// Every row of every sequence.
    All,
    /// The first row of every sequence: all that classification needs. The last layer then computes queries, output and
    /// feed-forward for these rows alone, unless the method needs the others (exact either way).
    First,
}

/// A pretrained encoder. Shared and frozen: it knows no method, and asks the hooks it is given at every site.
#[derive(Module, Debug)]
pub struct Encoder {
    embeddings: Embeddings,
    layers: Vec<Layer>,
    pooler: Option<Linear>,
    #[module(skip)]
    config: EncoderConfig,
    #[module(skip)]
    precision: Precision,
}

impl Encoder {
    /// Every tensor of an encoder with this configuration: name without the model's prefix, and shape in files.
    pub fn tensor_shapes(config: &EncoderConfig) -> Vec<(String, Vec<usize>)> {
        let EncoderShape {
            layers,
            hidden_size: d,
            intermediate_size: f,
            vocab_size,
            pooler,
            ..
        } = config.shape;
        let mut out: Vec<(String, Vec<usize>)> = vec![
            (
                "embeddings.word_embeddings.weight".into(),
                vec![vocab_size, d],
            ),
            (
                "embeddings.position_embeddings.weight".into(),
                vec![config.position_rows, d],
            ),
            (
                "embeddings.token_type_embeddings.weight".into(),
                vec![config.type_vocab_size, d],
            ),
        ];
        let mut pair = |path: &str, weight: Vec<usize>| {
            let bias = weight[..1].to_vec();
            out.push((format!("{path}.weight"), weight));
            out.push((format!("{path}.bias"), bias));
        };
        pair("embeddings.LayerNorm", vec![d]);
        for layer in 0..layers {
            let path = |name: &str| format!("encoder.layer.{layer}.{name}");
            for name in ["query", "key", "value"] {
                pair(&path(&format!("attention.self.{name}")), vec![d, d]);
            }
            pair(&path("attention.output.dense"), vec![d, d]);
            pair(&path("attention.output.LayerNorm"), vec![d]);
            pair(&path("intermediate.dense"), vec![f, d]);
            pair(&path("output.dense"), vec![d, f]);
            pair(&path("output.LayerNorm"), vec![d]);
        }
        if pooler {
            pair("pooler.dense", vec![d, d]);
        }
        out
    }

    /// Builds an encoder from the values that `source` gives for each of [`tensor_shapes`](Self::tensor_shapes).
    ///
    /// # Errors
    /// The first error of `source`.
    ///
    /// # Panics
    /// If `source` gives a wrong number of values.
    pub fn build<E>(
        config: &EncoderConfig,
        device: &Device,
        source: &mut impl FnMut(&str, &[usize]) -> Result<Vec<f32>, E>,
    ) -> Result<Self, E> {
        let mut builder = Builder {
            device,
            shapes: Self::tensor_shapes(config).into_iter().collect(),
            epsilon: config.layer_norm_eps,
            source,
        };
        let embeddings = Embeddings {
            words: builder.table("embeddings.word_embeddings.weight")?,
            positions: builder.table("embeddings.position_embeddings.weight")?,
            token_types: builder.table("embeddings.token_type_embeddings.weight")?,
            norm: builder.norm("embeddings.LayerNorm")?,
        };
        let mut layers = Vec::with_capacity(config.shape.layers);
        for layer in 0..config.shape.layers {
            let path = |name: &str| format!("encoder.layer.{layer}.{name}");
            layers.push(Layer {
                query: builder.linear(&path("attention.self.query"))?,
                key: builder.linear(&path("attention.self.key"))?,
                value: builder.linear(&path("attention.self.value"))?,
                attention_output: builder.linear(&path("attention.output.dense"))?,
                attention_norm: builder.norm(&path("attention.output.LayerNorm"))?,
                intermediate: builder.linear(&path("intermediate.dense"))?,
                output: builder.linear(&path("output.dense"))?,
                output_norm: builder.norm(&path("output.LayerNorm"))?,
            });
        }
        let pooler = match config.shape.pooler {
            true => Some(builder.linear("pooler.dense")?),
            false => None,
        };
        Ok(Self {
            embeddings,
            layers,
            pooler,
            config: config.clone(),
            precision: Precision::F32,
        })
    }

    /// The configuration that this encoder was built from.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// The sizes that methods need.
    pub fn shape(&self) -> &EncoderShape {
        &self.config.shape
    }

    /// The same weights with other dropout probabilities (0 to switch training dropout off).
    pub fn with_dropout(mut self, hidden: f64, attention: f64) -> Self {
        self.config.hidden_dropout = hidden;
        self.config.attention_dropout = attention;
        self
    }

    /// The same encoder with hidden states, and all weights that are not trained, in this precision.
    pub fn with_precision(self, precision: Precision) -> Self {
        struct Frozen(Precision);
        impl ModuleMapper for Frozen {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                match param.val().is_require_grad() {
                    true => param,
                    false => param.map(|value| self.0.of(value)),
                }
            }
        }
        let mut encoder = self.map(&mut Frozen(precision));
        encoder.precision = precision;
        encoder
    }

    /// The precision of hidden states.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Rows of the word embedding table, `[ids, d]`, for prompts that start from text.
    pub fn word_embeddings(&self, ids: &[u32]) -> Tensor<2> {
        let index = ids.iter().map(|id| i64::from(*id)).collect();
        let words = self.embeddings.words.val().without_autodiff();
        let index = crate::embeddings::int_tensor(index, &words.device());
        words.select(0, index)
    }

    /// The whole word embedding table, `[vocabulary, d]`: tracked where it is trained.
    pub(crate) fn word_table(&self) -> Tensor<2> {
        self.embeddings.words.val()
    }

    /// A copy on the autodiff side of its device in which the parameters that `trained` selects by name want a gradient.
    pub fn trainable(&self, trained: impl Fn(&str) -> bool) -> Self {
        struct Copy(HashMap<ParamId, bool>);
        impl ModuleMapper for Copy {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                let value = param.val().without_autodiff().autodiff();
                match self.0.get(&param.id).copied().unwrap_or(false) {
                    true => Param::initialized(param.id, value.require_grad()),
                    // An untrained parameter stays plain, so nothing is computed for it.
                    false => param,
                }
            }
        }
        let params = self.named_params();
        let selected = params
            .into_iter()
            .map(|param| (param.id, trained(&param.name)))
            .collect();
        self.clone().map(&mut Copy(selected))
    }

    /// A copy whose projections are changed so, for running a method that was folded into them. All other tensors share
    /// their storage with this encoder, which stays as it is. Where a projection is both scaled and added to, only what
    /// was frozen is scaled. Changes at sites that this encoder does not have are left out, as contributions there would
    /// never be asked for.
    ///
    /// # Panics
    /// If a change has another shape than its projection.
    pub fn with_deltas(&self, mut deltas: Vec<ProjectionDelta>) -> Self {
        let mut copy = self.clone();
        deltas.sort_by_key(|delta| matches!(delta.change, ProjectionChange::Add { .. }));
        for delta in deltas {
            let linear = match delta.site {
                ProjectionSite::Layer(layer, projection) => copy
                    .layers
                    .get_mut(layer)
                    .map(|layer| layer.linear_mut(projection)),
                ProjectionSite::Pooler => copy.pooler.as_mut(),
            };
            if let Some(linear) = linear {
                change(linear, delta.change);
            }
        }
        copy
    }

    /// Checks that sequences of `length` tokens fit the position table with these hooks.
    ///
    /// # Errors
    /// [`EncoderError::TooLong`].
    pub fn check_length<H: EncoderHooks>(
        &self,
        length: usize,
        hooks: &H,
    ) -> Result<(), EncoderError> {
        let (added, what) = match (hooks.prompt(), hooks.position_shift()) {
            (Some(prompt), _) if prompt.place == PromptPlace::BeforeWordEmbeddings => {
                (prompt.embeddings.dims()[0], "prompt positions")
            }
            (_, shift) => (shift, "positions of a cached prefix"),
        };
        let positions = self.config.shape.max_positions;
        if length + added <= positions {
            return Ok(());
        }
        Err(EncoderError::TooLong {
            length,
            extra: match added {
                0 => String::new(),
                added => format!(" and {added} {what}"),
            },
            positions,
        })
    }

    /// BERT's pooler on the first row of every sequence: `tanh(Lin(x))`, or `None` where the model has none.
    ///
    /// # Shapes
    /// `[sequences, d]` to `[sequences, d]`.
    pub fn pool<H: EncoderHooks>(&self, first: &Hidden, hooks: &H, pass: &Pass) -> Option<Hidden> {
        let pooler = self.pooler.as_ref()?;
        let pooled = project(pooler, ProjectionSite::Pooler, first, first, hooks, pass);
        Some(Hidden {
            values: pooled.tanh(),
            packing: first.packing.clone(),
        })
    }

    /// Every parameter under its name in files, without the model's prefix.
    pub fn named_params(&self) -> Vec<NamedParam> {
        let mut out = vec![];
        let embeddings = &self.embeddings;
        for (name, table) in [
            ("word_embeddings", &embeddings.words),
            ("position_embeddings", &embeddings.positions),
            ("token_type_embeddings", &embeddings.token_types),
        ] {
            out.push(NamedParam::new(format!("embeddings.{name}.weight"), table));
        }
        norm_params("embeddings.LayerNorm", &embeddings.norm, &mut out);
        for (index, layer) in self.layers.iter().enumerate() {
            for (name, linear) in [
                ("attention.self.query", &layer.query),
                ("attention.self.key", &layer.key),
                ("attention.self.value", &layer.value),
                ("attention.output.dense", &layer.attention_output),
                ("intermediate.dense", &layer.intermediate),
                ("output.dense", &layer.output),
            ] {
                linear_params(&format!("encoder.layer.{index}.{name}"), linear, &mut out);
            }
            for (name, norm) in [
                ("attention.output.LayerNorm", &layer.attention_norm),
                ("output.LayerNorm", &layer.output_norm),
            ] {
                norm_params(&format!("encoder.layer.{index}.{name}"), norm, &mut out);
            }
        }
        if let Some(pooler) = &self.pooler {
            linear_params("pooler.dense", pooler, &mut out);
        }
        out
    }
}

pub(crate) fn linear_params(path: &str, linear: &Linear, out: &mut Vec<NamedParam>) {
    out.push(NamedParam::transposed(
        format!("{path}.weight"),
        &linear.weight,
    ));
    out.push(NamedParam::new(format!("{path}.bias"), &linear.bias));
}

fn norm_params(path: &str, norm: &LayerNorm, out: &mut Vec<NamedParam>) {
    out.push(NamedParam::new(format!("{path}.weight"), &norm.weight));
    out.push(NamedParam::new(format!("{path}.bias"), &norm.bias));
}

/// Makes frozen parameters out of a source of values.
struct Builder<'a, S> {
    device: &'a Device,
    shapes: HashMap<String, Vec<usize>>,
    epsilon: f64,
    source: &'a mut S,
}

impl<S: FnMut(&str, &[usize]) -> Result<Vec<f32>, E>, E> Builder<'_, S> {
    fn values(&mut self, name: &str) -> Result<(Vec<f32>, &[usize]), E> {
        let shape = &self.shapes[name];
        let values = (self.source)(name, shape)?;
        assert_eq!(values.len(), shape.iter().product::<usize>(), "{name}");
        Ok((values, shape))
    }

    fn table(&mut self, name: &str) -> Result<Param<Tensor<2>>, E> {
        let device = self.device;
        let (values, shape) = self.values(name)?;
        let data = TensorData::new(values, [shape[0], shape[1]]);
        Ok(frozen(Tensor::from_data(data, device)))
    }

    fn vector(&mut self, name: &str) -> Result<Param<Tensor<1>>, E> {
        let device = self.device;
        let (values, shape) = self.values(name)?;
        let data = TensorData::new(values, [shape[0]]);
        Ok(frozen(Tensor::from_data(data, device)))
    }

    fn linear(&mut self, path: &str) -> Result<Linear, E> {
        let device = self.device;
        let (values, shape) = self.values(&format!("{path}.weight"))?;
        let (outputs, inputs) = (shape[0], shape[1]);
        let data = TensorData::new(transpose(&values, outputs, inputs), [inputs, outputs]);
        Ok(Linear {
            weight: frozen(Tensor::from_data(data, device)),
            bias: self.vector(&format!("{path}.bias"))?,
        })
    }

    fn norm(&mut self, path: &str) -> Result<LayerNorm, E> {
        Ok(LayerNorm {
            weight: self.vector(&format!("{path}.weight"))?,
            bias: self.vector(&format!("{path}.bias"))?,
            epsilon: self.epsilon,
        })
    }
}

fn frozen<const D: usize>(value: Tensor<D>) -> Param<Tensor<D>> {
    Param::initialized(ParamId::new(), value)
}

fn change(linear: &mut Linear, change: ProjectionChange) {
    let weight = linear.weight.val().without_autodiff();
    let bias = linear.bias.val().without_autodiff();
    match change {
        ProjectionChange::Add {
            weight: delta,
            bias: bias_delta,
        } => {
            linear.weight = sum(weight, delta);
            if let Some(delta) = bias_delta {
                linear.bias = sum(bias, delta);
            }
        }
        ProjectionChange::ScaleOutput { factor, keep_bias } => {
            let factor = like(factor.without_autodiff(), &weight);
            assert_eq!(bias.dims(), factor.dims(), "shape of a projection's factor");
            if !keep_bias {
                linear.bias = frozen(bias * factor.clone());
            }
            linear.weight = frozen(weight * factor.unsqueeze());
        }
        ProjectionChange::ScaleInput { factor } => {
            let factor = like(factor.without_autodiff(), &weight);
            assert_eq!(
                weight.dims()[0],
                factor.dims()[0],
                "shape of a projection's factor"
            );
            linear.weight = frozen(weight * factor.unsqueeze_dim(1));
        }
    }
}

/// A new frozen parameter, the sum of a value and what a method adds to it.
fn sum<const D: usize>(value: Tensor<D>, delta: Tensor<D>) -> Param<Tensor<D>> {
    assert_eq!(value.dims(), delta.dims(), "shape of a projection's delta");
    // The difference is not needed again, so the sum can take its place in memory.
    let delta = like(delta.without_autodiff(), &value);
    frozen(delta + value)
}

/// `[rows, columns]` to `[columns, rows]`, in blocks that stay in the cache.
fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const BLOCK: usize = 32;
    let mut out = vec![0.0; values.len()];
    for row_block in (0..rows).step_by(BLOCK) {
        for column_block in (0..columns).step_by(BLOCK) {
            for row in row_block..(row_block + BLOCK).min(rows) {
                for column in column_block..(column_block + BLOCK).min(columns) {
                    out[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Checkpoint;
    use pelt_hooks::{Projection, values};

    #[test]
    fn a_copy_with_deltas_has_other_tensors_only_where_something_is_added() {
        let folder = pelt_testkit::fixture("models/bert/base");
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let encoder = checkpoint.encoder(&Device::flex()).unwrap();
        let (d, f) = (
            encoder.shape().hidden_size,
            encoder.shape().intermediate_size,
        );
        let delta = |site, [inputs, outputs]: [usize; 2], bias: bool| ProjectionDelta {
            site,
            change: ProjectionChange::Add {
                weight: Tensor::full([inputs, outputs], 0.5, &Device::flex()),
                bias: bias.then(|| Tensor::full([outputs], -1.0, &Device::flex())),
            },
        };
        let layer = ProjectionSite::Layer;
        let copy = encoder.with_deltas(vec![
            delta(layer(1, Projection::Output), [f, d], true),
            delta(layer(0, Projection::Key), [d, d], false),
            delta(ProjectionSite::Pooler, [d, d], false),
            delta(layer(99, Projection::Key), [d, d], false),
        ]);
        let host = |encoder: &Encoder, param: &NamedParam| -> Vec<f32> {
            let value = values(encoder).remove(&param.id).unwrap();
            value.into_data().try_to_vec().unwrap()
        };
        let mut changed = vec![];
        for (old, new) in encoder.named_params().iter().zip(copy.named_params()) {
            assert_eq!((&old.name, &old.shape), (&new.name, &new.shape));
            if old.id == new.id {
                continue;
            }
            let added = match new.name.ends_with("bias") {
                true => -1.0,
                false => 0.5,
            };
            let expected: Vec<f32> = host(&encoder, old).iter().map(|x| x + added).collect();
            assert_eq!(host(&copy, &new), expected, "{}", new.name);
            changed.push(new.name);
        }
        let expected = [
            "encoder.layer.0.attention.self.key.weight",
            "encoder.layer.1.output.dense.weight",
            "encoder.layer.1.output.dense.bias",
            "pooler.dense.weight",
        ];
        assert_eq!(changed, expected);
    }
    #[test]
    fn scales_are_applied_to_what_was_frozen_and_then_something_is_added() {
        let device = Device::flex();
        let folder = pelt_testkit::fixture("models/bert/base");
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let encoder = checkpoint.encoder(&device).unwrap();
        let d = encoder.shape().hidden_size;
        let site = ProjectionSite::Layer(0, Projection::Key);
        let ramp = || Tensor::<1, burn::tensor::Int>::arange(1..d as i64 + 1, &device).float();
        let copy = encoder.with_deltas(vec![
            ProjectionDelta {
                site,
                change: ProjectionChange::Add {
                    weight: Tensor::full([d, d], 0.5, &device),
                    bias: None,
                },
            },
            ProjectionDelta {
                site,
                change: ProjectionChange::ScaleOutput {
                    factor: ramp(),
                    keep_bias: false,
                },
            },
            ProjectionDelta {
                site,
                change: ProjectionChange::ScaleInput { factor: ramp() },
            },
        ]);
        let (old, new) = (&encoder.layers[0].key, &copy.layers[0].key);
        let host = |x: Tensor<1>| x.into_data().try_to_vec::<f32>().unwrap();
        let weights = |linear: &Linear| host(linear.weight.val().reshape([d * d]));
        for (at, (old, new)) in weights(old).into_iter().zip(weights(new)).enumerate() {
            let expected = old * ((at / d + 1) * (at % d + 1)) as f32 + 0.5;
            assert!((new - expected).abs() < 1e-4, "{at}: {new} {expected}");
        }
        let biases = host(old.bias.val()).into_iter().zip(host(new.bias.val()));
        for (at, (old, new)) in biases.enumerate() {
            assert_eq!(new, old * (at + 1) as f32);
        }
    }
}
