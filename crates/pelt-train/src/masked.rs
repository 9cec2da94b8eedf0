//! Texts without labels, of which some tokens are masked and predicted.

use burn::module::Module;
use burn::tensor::activation::log_softmax;
use pelt_data::Masking;
use pelt_hooks::{Method, Sequence};
use pelt_metrics::Evaluation;

use crate::batch::{Batch, Labels};
use crate::evaluate::host_values;
use crate::{PeftModel, TrainError};

/// Seed and epoch of the masks under which texts are scored: no epoch of training has this number, and runs with different
/// seeds are scored on the same tokens.
const SCORED: (u64, u64) = (0, u64::MAX);

/// Rows of text and the rule by which tokens are masked.
#[derive(Debug, Clone)]
pub struct MaskedTexts {
    /// Token sequences without masks; each has a token that can be masked.
    pub sequences: Vec<Sequence>,
    /// The rule.
    pub masking: Masking,
}

impl MaskedTexts {
    /// Rows of token ids, as [`pelt_data::pack_texts`] gives them.
    pub fn new(rows: Vec<Vec<u32>>, masking: Masking) -> Self {
        let sequences = rows.into_iter().map(|input_ids| Sequence {
            token_type_ids: vec![0; input_ids.len()],
            input_ids,
        });
        Self {
            sequences: sequences.collect(),
            masking,
        }
    }
}

/// The mean `loss` of all masked tokens, the `perplexity` (its exponential), and the `accuracy` of the likeliest token.
/// The masks are always the same ones.
///
/// # Errors
/// If there are no texts, the model cannot run a batch, or its head does not predict tokens.
pub fn evaluate_masked<M: Method>(
    model: &PeftModel<M>,
    texts: &MaskedTexts,
    batch_size: usize,
) -> Result<Evaluation, TrainError> {
    let model = model.clone().valid().for_inference();
    let device = model.device();
    let rows: Vec<usize> = (0..texts.sequences.len()).collect();
    let (mut loss, mut right, mut count) = (0.0, 0, 0);
    for rows in rows.chunks(batch_size.max(1)) {
        let batch = Batch::masked(texts, rows, SCORED.0, SCORED.1, &device);
        let Labels::Tokens(places, tokens) = batch.labels else {
            continue;
        };
        if places.is_empty() {
            continue;
        }
        let logits = model.forward_tokens(&batch.packed, &places, &model.evaluation_pass())?;
        let tokens = tokens.reshape([places.len(), 1]);
        let hits = logits.clone().argmax(1).equal(tokens.clone());
        right += host_values(hits.float())?
            .iter()
            .filter(|hit| **hit > 0.5)
            .count();
        let chosen = host_values(log_softmax(logits, 1).gather(1, tokens))?;
        loss -= chosen.iter().map(|x| f64::from(*x)).sum::<f64>();
        count += places.len();
    }
    if count == 0 {
        return Err(TrainError::Rows("there is no masked token to score".into()));
    }
    let loss = loss / count as f64;
    let mut evaluation = Evaluation::default();
    evaluation.values.insert("loss".into(), loss);
    evaluation.values.insert("perplexity".into(), loss.exp());
    let accuracy = right as f64 / count as f64;
    evaluation.values.insert("accuracy".into(), accuracy);
    Ok(evaluation)
}
