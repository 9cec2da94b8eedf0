//! Sites of an encoder, and the trait that contributes at them.

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;

use crate::{NamedParam, Packing, Pass, ProjectionDelta};

/// A linear projection inside a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Projection {
    /// `attention.self.query`.
    Query,
    /// `attention.self.key`.
    Key,
    /// `attention.self.value`.
    Value,
    /// `attention.output.dense`.
    AttentionOutput,
    /// `intermediate.dense`, before the activation.
    Intermediate,
    /// `output.dense`.
    Output,
}

/// A linear projection of the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProjectionSite {
    /// A projection of one layer.
    Layer(usize, Projection),
    /// The pooler's dense layer, before its tanh.
    Pooler,
}

impl ProjectionSite {
    /// The name of the projection in BERT's and RoBERTa's checkpoints, without the model's prefix.
    pub fn path(self) -> String {
        match self {
            Self::Pooler => "pooler.dense".to_string(),
            Self::Layer(layer, projection) => {
                let name = match projection {
                    Projection::Query => "attention.self.query",
                    Projection::Key => "attention.self.key",
                    Projection::Value => "attention.self.value",
                    Projection::AttentionOutput => "attention.output.dense",
                    Projection::Intermediate => "intermediate.dense",
                    Projection::Output => "output.dense",
                };
                format!("encoder.layer.{layer}.{name}")
            }
        }
    }
}

/// The two sub-layers of a layer, each with a residual connection and a layer norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sublayer {
    /// Self-attention and its output projection.
    Attention,
    /// The feed-forward block.
    FeedForward,
}

/// One sub-layer of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SublayerSite {
    /// The layer, from 0.
    pub layer: usize,
    /// Which of its two sub-layers.
    pub sublayer: Sublayer,
}

/// Packed hidden states.
#[derive(Debug, Clone)]
pub struct Hidden {
    /// `[tokens, width]`.
    pub values: Tensor<2>,
    /// Where each sequence lies in `values`.
    pub packing: Packing,
}

/// What a projection reads and gives.
#[derive(Debug)]
pub struct SiteInput<'a> {
    /// The rows that are projected, `[rows, in]`.
    pub rows: &'a Hidden,
    /// All rows of every sequence, `[tokens, in]`. Differs from `rows` only where the encoder computes just the rows
    /// that a head reads (queries of the last layer).
    pub all: &'a Hidden,
    /// The frozen projection's output, bias included, `[rows, out]`.
    pub output: &'a Tensor<2>,
}

/// What a sub-layer looks like just before its residual connection and norm: the result will be
/// `norm(output + contribution + residual)`.
pub struct SublayerStates<'a> {
    /// The sub-layer's output, after dropout: `h` in the equations, `[rows, d]`.
    pub output: &'a Hidden,
    /// The sub-layer's input: `x` in the equations, `[rows, d]`.
    pub residual: &'a Tensor<2>,
    /// The sub-layer's own layer norm, `[rows, d]` to `[rows, d]`.
    pub norm: &'a dyn Fn(Tensor<2>) -> Tensor<2>,
}

/// Which side of a site a contribution is made from. In a stack of methods it decides how one follows another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// What goes into the projection or the sub-layer.
    Input,
    /// The frozen output.
    Output,
}

/// Where virtual tokens are put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptPlace {
    /// In front of the embedding block's output: no position, no token type, no norm, no dropout.
    BeforeSequence,
    /// Between the first row of the embedding block's output and the rest.
    AfterFirstToken,
    /// In front of the word embeddings: prompts take the first positions and pass through the embedding block.
    BeforeWordEmbeddings,
}

/// Virtual tokens that every sequence of a batch gets.
#[derive(Debug)]
pub struct Prompt {
    /// `[prompt_length, d]`.
    pub embeddings: Tensor<2>,
    /// Where they go.
    pub place: PromptPlace,
}

/// Key and value rows that every query of a layer sees in front of its own sequence's.
#[derive(Debug)]
pub struct KeyValue {
    /// `[prefix_length, d]`, the same for all sequences.
    pub key: Tensor<2>,
    /// `[prefix_length, d]`, the same for all sequences.
    pub value: Tensor<2>,
    /// Multiplies the keys of each sequence, `[sequences, 1]`.
    pub key_gate: Option<Tensor<2>>,
    /// Multiplies the values of each sequence, `[sequences, 1]`.
    pub value_gate: Option<Tensor<2>>,
}

/// Contributions to a frozen encoder. Every default contributes nothing.
///
/// A wrapper must forward **every** function: one that is forgotten silently drops contributions.
pub trait EncoderHooks {
    /// Virtual tokens put in front of every sequence.
    fn prompt(&self) -> Option<Prompt> {
        None
    }

    /// How far the positions of real tokens are moved up, as PEFT does for a prefix passed as a key/value cache.
    fn position_shift(&self) -> usize {
        0
    }

    /// Multiplies the columns of what a projection reads, `[in]`. Contributions to the same projection are still handed
    /// its unscaled input.
    fn input_scale(&self, _site: ProjectionSite) -> Option<Tensor<1>> {
        None
    }

    /// Whether there may be a contribution to this projection. Where there is none, the projection can be computed together
    /// with what follows it.
    fn changes(&self, _site: ProjectionSite) -> bool {
        true
    }

    /// Whether there may be a contribution at any site of this layer. What leading layers without one give is the same
    /// however the method is trained, so it need not be computed again.
    fn changes_layer(&self, _layer: usize) -> bool {
        true
    }

    /// Which side of a projection this method's contribution there is made from.
    fn projection_reads(&self, _site: ProjectionSite) -> Reads {
        Reads::Input
    }

    /// Which side of a sub-layer this method's contribution there is made from.
    fn sublayer_reads(&self, _site: SublayerSite) -> Reads {
        Reads::Output
    }

    /// Added to the output of a projection: `[rows, out]`.
    fn projection(
        &self,
        _site: ProjectionSite,
        _input: &SiteInput<'_>,
        _pass: &Pass,
    ) -> Option<Tensor<2>> {
        None
    }

    /// Keys and values put in front of a layer's own; `input` is what the layer's projections read, `[tokens, d]`.
    fn prefix(&self, _layer: usize, _input: &Hidden, _pass: &Pass) -> Vec<KeyValue> {
        Vec::new()
    }

    /// Added to a sub-layer's output before its residual connection and norm: `[rows, d]`.
    fn sublayer(
        &self,
        _site: SublayerSite,
        _states: &SublayerStates<'_>,
        _pass: &Pass,
    ) -> Option<Tensor<2>> {
        None
    }

    /// Whether anything this method contributes *behind the attention* of `layer` depends on other rows of the same
    /// sequence (a gate that averages over a sub-layer's rows does). Then the encoder computes all rows of that layer
    /// even where a head reads only the first.
    fn needs_all_rows(&self, _layer: usize) -> bool {
        false
    }
}

impl<T: EncoderHooks + ?Sized> EncoderHooks for &T {
    fn prompt(&self) -> Option<Prompt> {
        (**self).prompt()
    }

    fn position_shift(&self) -> usize {
        (**self).position_shift()
    }

    fn input_scale(&self, site: ProjectionSite) -> Option<Tensor<1>> {
        (**self).input_scale(site)
    }

    fn changes(&self, site: ProjectionSite) -> bool {
        (**self).changes(site)
    }

    fn changes_layer(&self, layer: usize) -> bool {
        (**self).changes_layer(layer)
    }

    fn projection_reads(&self, site: ProjectionSite) -> Reads {
        (**self).projection_reads(site)
    }

    fn sublayer_reads(&self, site: SublayerSite) -> Reads {
        (**self).sublayer_reads(site)
    }

    fn projection(
        &self,
        site: ProjectionSite,
        input: &SiteInput<'_>,
        pass: &Pass,
    ) -> Option<Tensor<2>> {
        (**self).projection(site, input, pass)
    }

    fn prefix(&self, layer: usize, input: &Hidden, pass: &Pass) -> Vec<KeyValue> {
        (**self).prefix(layer, input, pass)
    }

    fn sublayer(
        &self,
        site: SublayerSite,
        states: &SublayerStates<'_>,
        pass: &Pass,
    ) -> Option<Tensor<2>> {
        (**self).sublayer(site, states, pass)
    }

    fn needs_all_rows(&self, layer: usize) -> bool {
        (**self).needs_all_rows(layer)
    }
}

/// A parameter-efficient method: hooks, and the names of what it trains.
pub trait Method: Module + ModuleDisplay + EncoderHooks {
    /// Every trainable tensor, under the name that AdapterHub's files give it (without the model's own prefix), with
    /// [`ADAPTER`](crate::ADAPTER) in the place of the adapter's name.
    fn named_params(&self) -> Vec<NamedParam>;

    /// The method as it is run where nothing is trained: what is the same in every pass is computed now, and what can be
    /// folded into frozen projections is taken out of the method and returned. With these done to the projections, the
    /// result contributes what the method does in a pass that has no dropout and skips no layer. It is not for training
    /// or saving: its parameters are others.
    ///
    /// A wrapper that does not forward this stays right, but is slower.
    fn for_inference(self) -> (Self, Vec<ProjectionDelta>) {
        (self, Vec::new())
    }

    /// What training adds to the loss, `[1]`, whatever the batch.
    fn penalty(&self) -> Option<Tensor<1>> {
        None
    }
}

/// No method: the plain encoder.
#[derive(Module, Debug)]
pub struct NoHooks;

impl EncoderHooks for NoHooks {
    fn changes(&self, _site: ProjectionSite) -> bool {
        false
    }

    fn changes_layer(&self, _layer: usize) -> bool {
        false
    }
}

impl Method for NoHooks {
    fn named_params(&self) -> Vec<NamedParam> {
        Vec::new()
    }
}
