//! Spans of a text: where their logits and labels stand among the rows of a batch, and their loss.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};
use pelt_hooks::{Packing, Prompt, PromptPlace};
use serde::{Deserialize, Serialize};

/// What a position in a text means where prompt rows stand before or inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptLabels {
    /// The row of that token: positions behind the prompt are moved past it.
    #[default]
    Shifted,
    /// The row of that number, whatever stands there. The `adapters` library trains and predicts like this, so that a
    /// token is told by the row of another one.
    Unshifted,
}

/// Where the tokens of a batch's texts stand among the rows that an encoder gives.
#[derive(Debug, Clone)]
pub struct SpanLayout {
    text: Packing,
    hidden: Packing,
    /// Rows of every sequence in front of the prompt.
    before: usize,
    /// Rows of the prompt.
    prompt: usize,
    labels: PromptLabels,
}

impl SpanLayout {
    /// The layout of sequences whose tokens are packed like `text`, under this prompt.
    pub fn new(text: &Packing, prompt: Option<&Prompt>, labels: PromptLabels) -> Self {
        let (before, length) = match prompt {
            None => (0, 0),
            Some(prompt) => match prompt.place {
                PromptPlace::AfterFirstToken => (1, prompt.embeddings.dims()[0]),
                PromptPlace::BeforeSequence | PromptPlace::BeforeWordEmbeddings => {
                    (0, prompt.embeddings.dims()[0])
                }
            },
        };
        Self {
            text: text.clone(),
            hidden: text.lengthened(length),
            before,
            prompt: length,
            labels,
        }
    }

    /// The row, inside its sequence, that a position means.
    fn row(&self, position: usize) -> usize {
        match self.labels {
            PromptLabels::Shifted if position >= self.before => position + self.prompt,
            PromptLabels::Shifted | PromptLabels::Unshifted => position,
        }
    }

    /// The rows of all tokens of all texts, in their order.
    pub fn text_rows(&self) -> Vec<i64> {
        let sequences = 0..self.text.sequences();
        let rows = sequences.flat_map(|sequence| {
            let start = self.hidden.offsets()[sequence];
            let tokens = 0..self.text.rows(sequence).len();
            tokens.map(move |token| (start + self.row(token)) as i64)
        });
        rows.collect()
    }

    /// The mean of the cross-entropies of first and last token over all rows of a sequence, prompt rows included. A
    /// position behind a sequence's end is left out of its mean.
    ///
    /// # Shapes
    /// `logits`: `[rows, 2]`, start and end; `spans`: first and last token of every sequence; result: `[1]`.
    ///
    /// # Panics
    /// If `logits` has other rows than this layout.
    pub fn loss(&self, logits: Tensor<2>, spans: &[[usize; 2]]) -> Tensor<1> {
        let device = logits.device().inner();
        let (sequences, longest) = (self.hidden.sequences(), self.hidden.longest());
        assert_eq!(logits.dims(), [self.hidden.tokens(), 2]);
        let (mut index, mut mask) = (Vec::new(), Vec::new());
        for sequence in 0..sequences {
            let rows = self.hidden.rows(sequence);
            for place in 0..longest {
                index.push(rows.start.saturating_add(place).min(rows.end - 1) as i64);
                // Far below any logit, and finite: infinity times zero would be no number in the backward pass.
                mask.push(if place < rows.len() { 0.0 } else { -1e30_f32 });
            }
        }
        let count = sequences * longest;
        let index = Tensor::<1, Int>::from_data(TensorData::new(index, [count]), &device);
        let mask = Tensor::<3>::from_data(TensorData::new(mask, [sequences, longest, 1]), &device);
        let padded = logits
            .clone()
            .select(0, index)
            .reshape([sequences, longest, 2]);
        let log_shares = log_softmax(padded + mask, 1).reshape([count * 2]);
        let [starts, ends] = [0, 1].map(|side| {
            let places = spans.iter().enumerate().filter_map(|(sequence, span)| {
                let limit = match self.labels {
                    PromptLabels::Shifted => self.text.rows(sequence).len(),
                    PromptLabels::Unshifted => self.hidden.rows(sequence).len(),
                };
                let row = self.row(span[side]);
                (span[side] < limit).then_some(((sequence * longest + row) * 2 + side) as i64)
            });
            let places: Vec<i64> = places.collect();
            match places.len() {
                0 => logits.clone().sum() * 0.0,
                kept => {
                    let places = Tensor::from_data(TensorData::new(places, [kept]), &device);
                    log_shares.clone().select(0, places).mean()
                }
            }
        });
        (starts + ends) * -0.5
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn prompt(place: PromptPlace) -> Prompt {
        Prompt {
            embeddings: Tensor::zeros([2, 3], &Device::flex()),
            place,
        }
    }

    fn layout(place: PromptPlace, labels: PromptLabels) -> SpanLayout {
        SpanLayout::new(&Packing::new([2, 3]), Some(&prompt(place)), labels)
    }

    #[test]
    fn tokens_are_found_around_the_prompt() {
        use PromptLabels::{Shifted, Unshifted};
        let rows = |place, labels| layout(place, labels).text_rows();
        let before = PromptPlace::BeforeSequence;
        assert_eq!(rows(before, Shifted), [2, 3, 6, 7, 8]);
        assert_eq!(rows(before, Unshifted), [0, 1, 4, 5, 6]);
        let after = PromptPlace::AfterFirstToken;
        assert_eq!(rows(after, Shifted), [0, 3, 4, 7, 8]);
        let none = SpanLayout::new(&Packing::new([2, 3]), None, Shifted);
        assert_eq!(none.text_rows(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_loss_looks_at_a_sequences_own_rows_and_leaves_out_what_lies_behind() {
        let none = SpanLayout::new(&Packing::new([2, 3]), None, PromptLabels::Shifted);
        let values = [[1.0, 5.0], [2.0, 4.0], [0.5, 0.0], [0.0, 1.0], [3.0, 2.0]];
        let logits = Tensor::<2>::from_data(values, &Device::flex());
        let share = |column: usize, rows: &[usize], chosen: usize| {
            let sum: f64 = rows
                .iter()
                .map(|row| f64::from(values[*row][column] as f32).exp())
                .sum();
            f64::from(values[chosen][column] as f32) - sum.ln()
        };
        let start = (share(0, &[0, 1], 1) + share(0, &[2, 3, 4], 2)) / 2.0;
        // The last token of the second sequence is outside of it.
        let end = share(1, &[0, 1], 1);
        let loss: f32 = none.loss(logits, &[[1, 1], [0, 3]]).into_scalar();
        assert!(
            (f64::from(loss) + (start + end) / 2.0).abs() < 1e-6,
            "{loss}"
        );
    }
}
