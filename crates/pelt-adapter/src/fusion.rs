//! Trained adapters, mixed by attention.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation};
use pelt_hooks::{
    ADAPTER, ConfigError, EncoderHooks, EncoderShape, Hidden, Method, NamedParam, Pass,
    ProjectionSite, Sublayer, SublayerSite, SublayerStates, constant, normal,
};
use pelt_ops::{Linear, dropout, full, like};
use serde::{Deserialize, Serialize};

use crate::Bottleneck;

const METHOD: &str = "fusion";

/// The weight of the penalty in the loss.
const PENALTY: f64 = 0.01;

/// What a new value matrix has beside its diagonal of ones.
const OFF_DIAGONAL: f64 = 1e-6;

/// The dropout probability of scores where none is set: the attention dropout of BERT and RoBERTa.
const USUAL_DROPOUT: f64 = 0.1;

/// Whether mixed adapters pass through a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FusionKind {
    /// They do, through a matrix that starts near the identity.
    #[default]
    Dynamic,
    /// They do not.
    Static,
}

/// Settings of [`Fusion`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FusionConfig {
    /// Whether there is a value matrix. Default `dynamic`.
    pub kind: FusionKind,
    /// Whether training keeps value matrices near the identity. Default true.
    pub regularization: bool,
    /// Probability of dropping a score in training. Default: 0.1, the attention dropout of BERT and RoBERTa.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout_prob: Option<f64>,
}

impl Default for FusionConfig {
    fn default() -> Self {
        Self {
            kind: FusionKind::Dynamic,
            regularization: true,
            dropout_prob: None,
        }
    }
}

/// AdapterFusion (arXiv 2005.00247): at every site of several trained adapters, each row chooses how much it takes of
/// each. Trained are the mixtures; the adapters stay as they are.
///
/// With `z` what the adapters read and `u_n` what adapter `n` makes of it, `a = softmax_n((z W_q + b_q)·(u_n W_k + b_k))`
/// and the result is `(Σ a_n u_n) W_v`. Adapters' gates and dropout take no part, and the rules around `z` and the
/// residual are those of the last adapter, as in AdapterHub.
#[derive(Module, Debug)]
pub struct Fusion {
    /// The mixtures of every layer; nothing where there are no adapters.
    pub layers: Vec<FusionLayer>,
    /// Whether value matrices are kept near the identity.
    pub regularization: bool,
    #[module(skip)]
    adapters: Vec<Bottleneck>,
}

/// The mixtures of one layer.
#[derive(Module, Debug)]
pub struct FusionLayer {
    /// At the self-attention sub-layer.
    pub attention: Option<FusionBlock>,
    /// At the feed-forward sub-layer.
    pub feed_forward: Option<FusionBlock>,
}

/// The mixture at one sub-layer.
#[derive(Module, Debug)]
pub struct FusionBlock {
    /// `d -> d`, reads `z`, trained.
    pub query: Linear,
    /// `d -> d`, reads each `u_n`, trained. Its bias moves all scores of a row alike and so changes nothing.
    pub key: Linear,
    /// `W_v`, `[d, d]`, trained; only with the kind `dynamic`.
    pub value: Option<Param<Tensor<2>>>,
    /// Probability of dropping a score.
    pub dropout: f64,
}

impl FusionConfig {
    /// Creates mixtures of these adapters on `device`. The adapters are frozen.
    ///
    /// # Errors
    /// Without adapters, or if they are parallel, made for another number of layers, or not all at the same sites; and
    /// if the dropout probability is out of range.
    pub fn init(
        &self,
        adapters: Vec<Bottleneck>,
        shape: &EncoderShape,
        device: &Device,
    ) -> Result<Fusion, ConfigError> {
        let error = |field, expected: &str, found: String| {
            Err(ConfigError::new(METHOD, field, expected, found))
        };
        let p = self.dropout_prob.unwrap_or(USUAL_DROPOUT);
        if !(0.0..1.0).contains(&p) {
            return error("dropout_prob", "at least 0 and below 1", p.to_string());
        }
        let Some(last) = adapters.last() else {
            return error("adapters", "at least one adapter", "none".into());
        };
        let sites = |adapter: &Bottleneck| {
            let sites = all_sites(shape.layers);
            sites
                .map(|site| adapter.block(site).is_some())
                .collect::<Vec<_>>()
        };
        for adapter in &adapters {
            if adapter.layers.len() != shape.layers {
                let expected = format!("adapters of {} layers", shape.layers);
                return error("adapters", &expected, adapter.layers.len().to_string());
            }
            if sites(adapter) != sites(last) {
                let expected = "at the same sites";
                return error("adapters", expected, "at different ones".into());
            }
            let mut blocks = all_sites(shape.layers).filter_map(|site| adapter.block(site));
            if blocks.any(|block| block.is_parallel()) {
                let expected = "adapters that follow a sub-layer";
                return error("adapters", expected, "a parallel one".into());
            }
        }
        let block = |site| {
            let adapted = last.block(site).is_some();
            adapted.then(|| FusionBlock::new(self.kind, shape.hidden_size, p, device))
        };
        let layers = (0..shape.layers).map(|layer| FusionLayer {
            attention: block(site(layer, Sublayer::Attention)),
            feed_forward: block(site(layer, Sublayer::FeedForward)),
        });
        Ok(Fusion {
            layers: layers.collect(),
            regularization: self.regularization,
            // What is the same in every pass is computed now.
            adapters: adapters
                .into_iter()
                .map(|adapter| adapter.valid().for_inference().0)
                .collect(),
        })
    }
}

fn site(layer: usize, sublayer: Sublayer) -> SublayerSite {
    SublayerSite { layer, sublayer }
}

fn all_sites(layers: usize) -> impl Iterator<Item = SublayerSite> {
    let both = [Sublayer::Attention, Sublayer::FeedForward];
    (0..layers).flat_map(move |layer| both.map(|sublayer| site(layer, sublayer)))
}

impl FusionBlock {
    /// Query and key start with weights N(0, 0.02²) and zero biases, the value matrix as the identity with 10⁻⁶ beside
    /// its diagonal.
    pub fn new(kind: FusionKind, d: usize, dropout: f64, device: &Device) -> Self {
        let linear = || Linear {
            weight: normal([d, d], 0.02, device),
            bias: constant([d], 0.0, device),
        };
        let identity = || Tensor::eye(d, device) * (1.0 - OFF_DIAGONAL) + OFF_DIAGONAL;
        Self {
            query: linear(),
            key: linear(),
            value: match kind {
                FusionKind::Dynamic => Some(Param::from_tensor(identity())),
                FusionKind::Static => None,
            },
            dropout,
        }
    }

    /// The mixture of `ups`.
    ///
    /// # Shapes
    /// `z` and each of `ups`: `[rows, d]`; result: `[rows, d]`.
    pub fn forward(&self, z: &Hidden, ups: Vec<Tensor<2>>, pass: &Pass) -> Tensor<2> {
        // Scores and mixture are computed in `f32`: there are few of them.
        let ups: Vec<_> = ups.into_iter().map(full).collect();
        let query = self.query.forward(full(z.values.clone()));
        // q·(u W_k + b_k) = (q W_kᵀ)·u + q·b_k, so that one product serves all adapters.
        let bias: Tensor<2> = self.key.bias.val().unsqueeze();
        let shift = (query.clone() * bias).sum_dim(1);
        let query = query.matmul(self.key.weight.val().transpose());
        let scores = ups.iter();
        let scores = scores.map(|u| (query.clone() * u.clone()).sum_dim(1) + shift.clone());
        let scores = Tensor::cat(scores.collect(), 1);
        let first_row = z.packing.rows_before();
        let scores = dropout(scores, self.dropout, pass.dropout_key(), first_row);
        let shares = activation::softmax(scores, 1);
        let shared = ups.into_iter().enumerate();
        let shared = shared.map(|(n, u)| u * shares.clone().narrow(1, n, 1));
        let mixed = shared.reduce(|sum, u| sum + u);
        // There is at least one adapter.
        let mixed = mixed.unwrap_or_else(|| query.zeros_like());
        let mixed = match &self.value {
            Some(value) => mixed.matmul(value.val()),
            None => mixed,
        };
        like(mixed, &z.values)
    }

    fn named_params(&self, path: &str) -> Vec<NamedParam> {
        let mut params = Vec::new();
        for (name, linear) in [("query", &self.query), ("key", &self.key)] {
            let weight = format!("{path}.{name}.weight");
            params.push(NamedParam::transposed(weight, &linear.weight));
            params.push(NamedParam::new(format!("{path}.{name}.bias"), &linear.bias));
        }
        if let Some(value) = &self.value {
            params.push(NamedParam::transposed(
                format!("{path}.value.weight"),
                value,
            ));
        }
        params
    }
}

impl Fusion {
    /// The mixture at one sub-layer.
    pub fn block(&self, site: SublayerSite) -> Option<&FusionBlock> {
        let layer = self.layers.get(site.layer)?;
        match site.sublayer {
            Sublayer::Attention => layer.attention.as_ref(),
            Sublayer::FeedForward => layer.feed_forward.as_ref(),
        }
    }

    /// The frozen adapters.
    pub fn adapters(&self) -> &[Bottleneck] {
        &self.adapters
    }
}

impl EncoderHooks for Fusion {
    fn changes(&self, _site: ProjectionSite) -> bool {
        false
    }

    fn changes_layer(&self, layer: usize) -> bool {
        let layer = self.layers.get(layer);
        layer.is_some_and(|layer| layer.attention.is_some() || layer.feed_forward.is_some())
    }

    fn sublayer(
        &self,
        site: SublayerSite,
        states: &SublayerStates<'_>,
        pass: &Pass,
    ) -> Option<Tensor<2>> {
        let mixture = self.block(site)?;
        let blocks: Vec<_> = self.adapters.iter().filter_map(|a| a.block(site)).collect();
        let last = blocks.last()?;
        let z = last.source(states);
        let ups = blocks.iter().map(|block| block.up(&z, None, None));
        let mixed = mixture.forward(&z, ups.collect(), pass);
        Some(match last.excess(states, &z) {
            Some(excess) => mixed + excess,
            None => mixed,
        })
    }
}

impl Method for Fusion {
    fn named_params(&self) -> Vec<NamedParam> {
        let mut params = Vec::new();
        for site in all_sites(self.layers.len()) {
            let place = match site.sublayer {
                Sublayer::Attention => "attention.output",
                Sublayer::FeedForward => "output",
            };
            if let Some(block) = self.block(site) {
                let path = format!("encoder.layer.{}.{place}", site.layer);
                params
                    .extend(block.named_params(&format!("{path}.adapter_fusion_layer.{ADAPTER}")));
            }
        }
        params
    }

    /// `0.01 Σ (W_v - I)²` over all sites.
    fn penalty(&self) -> Option<Tensor<1>> {
        if !self.regularization {
            return None;
        }
        let blocks = all_sites(self.layers.len()).filter_map(|site| self.block(site));
        let values = blocks.filter_map(|block| block.value.as_ref());
        let distances = values.map(|value| {
            let value = value.val();
            let identity = Tensor::eye(value.dims()[0], &value.device());
            (value - identity).powi_scalar(2).sum()
        });
        Some(distances.reduce(|sum, distance| sum + distance)? * PENALTY)
    }
}
