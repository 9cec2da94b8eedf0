//! An encoder, a method and a head as one model.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use pelt_encoder::{Encoder, Head, HeadKind, Precision, PromptLabels, RowsRead, SpanLayout};
use pelt_hooks::{Hidden, Method, NamedParam, PackedBatch, Pass, ProjectionSite};

use crate::TrainError;

/// A frozen, shared encoder with a trained method and head. As a burn module it holds only what is trained.
#[derive(Module, Debug)]
pub struct PeftModel<M: Module> {
    /// The method.
    pub method: M,
    /// The task head.
    pub head: Head,
    /// The run's own trainable copy of the encoder, for full fine-tuning and BitFit.
    pub tuned: Option<Encoder>,
    #[module(skip)]
    backbone: Arc<Encoder>,
    #[module(skip)]
    tuned_names: Vec<String>,
    #[module(skip)]
    skipped: Vec<usize>,
}

impl<M: Method> PeftModel<M> {
    /// A model over a frozen encoder.
    pub fn new(backbone: Arc<Encoder>, method: M, head: Head) -> Self {
        Self {
            method,
            head,
            tuned: None,
            backbone,
            tuned_names: Vec::new(),
            skipped: Vec::new(),
        }
    }

    /// The same with the method left out of these layers wherever nothing is trained (AdapterDrop, arXiv 2010.11918).
    pub fn skipping(self, layers: Vec<usize>) -> Self {
        Self {
            skipped: layers,
            ..self
        }
    }

    /// A pass without dropout, in which the method is left out of the layers that were chosen.
    pub fn evaluation_pass(&self) -> Pass {
        Pass::evaluate().skipping(self.skipped.iter().copied())
    }

    /// As [`evaluation_pass`](Self::evaluation_pass), and the pass keeps the value of every gate.
    pub fn observing_pass(&self) -> Pass {
        Pass::observing_gates().skipping(self.skipped.iter().copied())
    }

    /// The same with a trainable copy of the encoder, in which the parameters that `trained` selects by name are trained.
    pub fn with_tuned_encoder(mut self, trained: impl Fn(&str) -> bool) -> Self {
        let names = self.backbone.named_params().into_iter();
        self.tuned_names = names.map(|p| p.name).filter(|name| trained(name)).collect();
        self.tuned = Some(self.backbone.trainable(trained));
        self
    }

    /// The same with hidden states, and all weights of the encoder that are not trained, in this precision.
    pub fn with_precision(mut self, precision: Precision) -> Self {
        if precision != self.encoder().precision() {
            self.backbone = Arc::new((*self.backbone).clone().with_precision(precision));
            self.tuned = self.tuned.map(|tuned| tuned.with_precision(precision));
        }
        self
    }

    /// The encoder that is run: the trained copy if there is one.
    pub fn encoder(&self) -> &Encoder {
        self.tuned.as_ref().unwrap_or(&self.backbone)
    }

    /// How many leading layers give the same in every pass without dropout, however long the model is trained: see
    /// [`Encoder::layers_left_alone`].
    pub fn layers_left_alone(&self) -> usize {
        match self.tuned {
            Some(_) => 0,
            None => self.backbone.layers_left_alone(&self.method),
        }
    }

    /// Where the encoder's weights are, without autodiff.
    pub fn device(&self) -> Device {
        let devices = self.backbone.devices();
        devices.into_iter().next().unwrap_or_default().inner()
    }

    /// The model as it is run where nothing is trained: see [`Method::for_inference`]. What could be folded into frozen
    /// projections is in a copy of the encoder that belongs to the result. Outputs without dropout are the same up to
    /// rounding; the result is not for training or saving.
    pub fn for_inference(self) -> Self {
        let (method, mut deltas) = self.method.for_inference();
        deltas.retain(|delta| match delta.site {
            ProjectionSite::Layer(layer, _) => !self.skipped.contains(&layer),
            ProjectionSite::Pooler => true,
        });
        let mut model = Self { method, ..self };
        if deltas.is_empty() {
            return model;
        }
        match &mut model.tuned {
            Some(tuned) => *tuned = tuned.with_deltas(deltas),
            None => model.backbone = Arc::new(model.backbone.with_deltas(deltas)),
        }
        model
    }

    /// Logits of every sequence, `[sequences, labels]`.
    ///
    /// # Errors
    /// If the encoder cannot run the batch, or has no pooler and the head needs one; or the head gives spans or tokens.
    pub fn forward(&self, batch: &PackedBatch, pass: &Pass) -> Result<Tensor<2>, TrainError> {
        let rows = RowsRead::First;
        let first = self.encoder().forward(batch, &self.method, rows, pass)?;
        self.logits(first, pass)
    }

    /// Logits from the first row of every sequence, `[sequences, d]`.
    pub(crate) fn logits(&self, first: Hidden, pass: &Pass) -> Result<Tensor<2>, TrainError> {
        let kind = self.head.config().kind;
        if kind.is_span() || kind.is_masked_lm() {
            return Err(TrainError::WrongHead {
                expected: "classes or scores",
                found: if kind.is_span() { "spans" } else { "tokens" },
            });
        }
        let input = match kind {
            HeadKind::BertPooled => self
                .encoder()
                .pool(&first, &self.method, pass)
                .ok_or(TrainError::NoPooler)?,
            _ => first,
        };
        Ok(self.head.forward(input, pass))
    }

    /// Start and end logits of every row, `[rows, 2]`, prompt rows included, and where the tokens stand among them.
    ///
    /// # Errors
    /// If the encoder cannot run the batch, or the head gives no spans.
    pub fn forward_spans(
        &self,
        batch: &PackedBatch,
        pass: &Pass,
    ) -> Result<(Tensor<2>, SpanLayout), TrainError> {
        let rows = RowsRead::All;
        let hidden = self.encoder().forward(batch, &self.method, rows, pass)?;
        self.span_logits(hidden, batch, pass)
    }

    /// The same from all rows.
    pub(crate) fn span_logits(
        &self,
        hidden: Hidden,
        batch: &PackedBatch,
        pass: &Pass,
    ) -> Result<(Tensor<2>, SpanLayout), TrainError> {
        let Some(labels) = self.head.config().kind.prompt_labels() else {
            return Err(TrainError::WrongHead {
                expected: "spans",
                found: "something else",
            });
        };
        let layout = SpanLayout::new(&batch.packing, self.method.prompt().as_ref(), labels);
        Ok((self.head.forward(hidden, pass), layout))
    }

    /// Logits of the whole vocabulary at some tokens of a batch, counted over all its sequences without prompts.
    ///
    /// # Shapes
    /// `[tokens, vocabulary]`.
    ///
    /// # Errors
    /// If the encoder cannot run the batch, or the head does not predict tokens.
    ///
    /// # Panics
    /// If the batch has no such token.
    pub fn forward_tokens(
        &self,
        batch: &PackedBatch,
        tokens: &[usize],
        pass: &Pass,
    ) -> Result<Tensor<2>, TrainError> {
        let rows = RowsRead::All;
        let hidden = self.encoder().forward(batch, &self.method, rows, pass)?;
        self.token_logits(hidden, batch, tokens)
    }

    /// The same from all rows.
    pub(crate) fn token_logits(
        &self,
        hidden: Hidden,
        batch: &PackedBatch,
        tokens: &[usize],
    ) -> Result<Tensor<2>, TrainError> {
        let prompt = self.method.prompt();
        let layout = SpanLayout::new(&batch.packing, prompt.as_ref(), PromptLabels::Shifted);
        let rows = layout.text_rows();
        let rows: Vec<i64> = tokens.iter().map(|token| rows[*token]).collect();
        let device = hidden.values.device().inner();
        let rows = TensorData::new(rows, [tokens.len()]);
        let rows = Tensor::<1, Int>::from_data(rows, &device);
        let rows = hidden.values.select(0, rows);
        self.head
            .token_logits(rows, self.encoder())
            .ok_or(TrainError::WrongHead {
                expected: "tokens",
                found: "something else",
            })
    }

    /// Everything that is trained, by name: the method's parameters, the head's, and those of a trained encoder.
    pub fn named_params(&self) -> Vec<NamedParam> {
        let mut params = self.method.named_params();
        params.extend(self.head.named_params());
        params.extend(self.tuned_params());
        params
    }

    /// The trained parameters of the encoder's copy.
    pub fn tuned_params(&self) -> Vec<NamedParam> {
        let params = self.tuned.iter().flat_map(Encoder::named_params);
        params
            .filter(|param| self.tuned_names.contains(&param.name))
            .collect()
    }
}
