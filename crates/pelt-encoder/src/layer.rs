//! One transformer layer.

use burn::module::Module;
use burn::tensor::{Tensor, activation as activations};
use pelt_hooks::{
    EncoderHooks, Hidden, Packing, Pass, Projection, ProjectionSite, SiteInput, Sublayer,
    SublayerSite, SublayerStates,
};
use pelt_ops::{AttentionLayout, LayerNorm, Linear, add, attention, dropout, gelu, like};

use crate::embeddings::int_tensor;
use crate::{Activation, EncoderConfig};

/// One layer: self-attention and feed-forward, each with residual and norm behind it.
#[derive(Module, Debug)]
pub struct Layer {
    /// `attention.self.query`.
    pub query: Linear,
    /// `attention.self.key`.
    pub key: Linear,
    /// `attention.self.value`.
    pub value: Linear,
    /// `attention.output.dense`.
    pub attention_output: Linear,
    /// `attention.output.LayerNorm`.
    pub attention_norm: LayerNorm,
    /// `intermediate.dense`.
    pub intermediate: Linear,
    /// `output.dense`.
    pub output: Linear,
    /// `output.LayerNorm`.
    pub output_norm: LayerNorm,
}

/// What a layer needs to know besides its input.
pub struct LayerContext<'a, H> {
    pub index: usize,
    pub hooks: &'a H,
    pub config: &'a EncoderConfig,
    pub pass: &'a Pass,
    /// Whether only the first row of every sequence is read behind this layer.
    pub first_rows_only: bool,
}

/// The first row of every sequence.
pub fn first_rows(hidden: &Hidden) -> Hidden {
    let index = int_tensor(hidden.packing.first_rows(), &hidden.values.device().inner());
    Hidden {
        values: hidden.values.clone().select(0, index),
        packing: hidden.packing.one_row_each(),
    }
}

impl Layer {
    /// Dropout keys that a forward pass draws, beside those of a method: of the attention and of both sub-layers.
    pub const DROPOUT_SITES: u64 = 3;

    /// The frozen projection of this name, to be replaced in a copy of the layer.
    pub fn linear_mut(&mut self, projection: Projection) -> &mut Linear {
        match projection {
            Projection::Query => &mut self.query,
            Projection::Key => &mut self.key,
            Projection::Value => &mut self.value,
            Projection::AttentionOutput => &mut self.attention_output,
            Projection::Intermediate => &mut self.intermediate,
            Projection::Output => &mut self.output,
        }
    }

    /// `[tokens, d]` to `[tokens, d]`, or to `[sequences, d]` where only first rows are read.
    pub fn forward<H: EncoderHooks>(&self, input: Hidden, context: &LayerContext<'_, H>) -> Hidden {
        let LayerContext {
            index,
            hooks,
            config,
            pass,
            ..
        } = *context;
        let early = context.first_rows_only && !hooks.needs_all_rows(index);
        let read = match early {
            true => first_rows(&input),
            false => input.clone(),
        };
        let query = self.project(Projection::Query, &read, &input, context);
        let key = self.project(Projection::Key, &input, &input, context);
        let value = self.project(Projection::Value, &input, &input, context);
        let layout = AttentionLayout {
            keys: input.packing.clone(),
            queries: read.packing.clone(),
            heads: config.shape.heads,
            dropout: config.attention_dropout,
            dropout_key: pass.dropout_key(),
        };
        let prefixes = hooks.prefix(index, &input, pass);
        drop(input);
        let attended = attention(query, key, value, prefixes, &layout);
        let packing = read.packing.clone();
        let with = |values| Hidden {
            values,
            packing: packing.clone(),
        };

        let attended = with(attended);
        let h = self.project(Projection::AttentionOutput, &attended, &attended, context);
        drop(attended);
        let x = self.close(Sublayer::Attention, h, read.values, &packing, context);

        let x = with(x);
        let inner = with(self.inner(&x, context));
        let h = self.project(Projection::Output, &inner, &inner, context);
        drop(inner);
        let out = with(self.close(Sublayer::FeedForward, h, x.values, &packing, context));
        match context.first_rows_only && !early {
            true => first_rows(&out),
            false => out,
        }
    }

    /// The first half of the feed-forward layer, with its activation.
    fn inner<H: EncoderHooks>(&self, x: &Hidden, context: &LayerContext<'_, H>) -> Tensor<2> {
        let activation = context.config.activation;
        let site = ProjectionSite::Layer(context.index, Projection::Intermediate);
        let hooks = context.hooks;
        let untouched = !hooks.changes(site) && hooks.input_scale(site).is_none();
        if untouched && activation == Activation::Gelu {
            return self.intermediate.forward_gelu(x.values.clone());
        }
        let inner = self.project(Projection::Intermediate, x, x, context);
        match activation {
            Activation::Gelu => gelu(inner),
            Activation::GeluTanh => activations::gelu_approximate(inner),
            Activation::Relu => activations::relu(inner),
        }
    }

    fn project<H: EncoderHooks>(
        &self,
        projection: Projection,
        rows: &Hidden,
        all: &Hidden,
        context: &LayerContext<'_, H>,
    ) -> Tensor<2> {
        let linear = match projection {
            Projection::Query => &self.query,
            Projection::Key => &self.key,
            Projection::Value => &self.value,
            Projection::AttentionOutput => &self.attention_output,
            Projection::Intermediate => &self.intermediate,
            Projection::Output => &self.output,
        };
        let site = ProjectionSite::Layer(context.index, projection);
        project(linear, site, rows, all, context.hooks, context.pass)
    }

    /// Dropout, the contributions to the sub-layer, residual and norm.
    fn close<H: EncoderHooks>(
        &self,
        sublayer: Sublayer,
        output: Tensor<2>,
        residual: Tensor<2>,
        packing: &Packing,
        context: &LayerContext<'_, H>,
    ) -> Tensor<2> {
        let norm = match sublayer {
            Sublayer::Attention => &self.attention_norm,
            Sublayer::FeedForward => &self.output_norm,
        };
        let output = Hidden {
            values: dropout(
                output,
                context.config.hidden_dropout,
                context.pass.dropout_key(),
                packing.rows_before(),
            ),
            packing: packing.clone(),
        };
        let site = SublayerSite {
            layer: context.index,
            sublayer,
        };
        let states = SublayerStates {
            output: &output,
            residual: &residual,
            norm: &|x| norm.forward(x),
        };
        match context.hooks.sublayer(site, &states, context.pass) {
            Some(delta) => norm.forward_sum([output.values, delta, residual]),
            None => norm.forward_sum([output.values, residual]),
        }
    }
}

/// A projection with what the hooks add to it.
pub fn project<H: EncoderHooks>(
    linear: &Linear,
    site: ProjectionSite,
    rows: &Hidden,
    all: &Hidden,
    hooks: &H,
    pass: &Pass,
) -> Tensor<2> {
    let read = match hooks.input_scale(site) {
        Some(scale) => rows.values.clone() * like(scale, &rows.values).unsqueeze(),
        None => rows.values.clone(),
    };
    let output = linear.forward(read);
    let input = SiteInput {
        rows,
        all,
        output: &output,
    };
    match hooks.projection(site, &input, pass) {
        Some(delta) => add(output, delta),
        None => output,
    }
}
