//! From the logits of a question's windows to its answers.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// What may be an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerRules {
    /// Best starts and ends that are combined in each window, and best answers that are kept.
    pub n_best: usize,
    /// Longest answer in tokens.
    pub max_tokens: usize,
}

impl Default for AnswerRules {
    fn default() -> Self {
        Self {
            n_best: 20,
            max_tokens: 30,
        }
    }
}

/// The outputs of one window.
#[derive(Debug, Clone, Copy)]
pub struct WindowLogits<'a> {
    /// As in [`QuestionWindow`](crate::QuestionWindow).
    pub offsets: &'a [Option<[u32; 2]>],
    /// Start logit of every token.
    pub starts: &'a [f32],
    /// End logit of every token.
    pub ends: &'a [f32],
}

/// A possible answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The passage's text.
    pub text: String,
    /// Its first character in the passage and the one after its last, counted in Unicode scalar values.
    pub characters: [usize; 2],
    /// The window it was found in, as a position in the list that was given.
    pub window: usize,
    /// Its first and last token in that window.
    pub tokens: [usize; 2],
    /// Logit of the first token.
    pub start_logit: f32,
    /// Logit of the last token.
    pub end_logit: f32,
    /// Share among the candidates that are kept: a softmax over their scores.
    pub probability: f64,
}

impl Candidate {
    /// The sum of both logits.
    pub fn score(&self) -> f64 {
        f64::from(self.start_logit) + f64::from(self.end_logit)
    }
}

/// The best answers over all windows of one passage, the best one first; none where no window has an admissible one.
pub fn best_answers(
    context: &str,
    windows: &[WindowLogits<'_>],
    rules: AnswerRules,
) -> Vec<Candidate> {
    let mut spans = Vec::new();
    for (number, window) in windows.iter().enumerate() {
        let ends = largest(window.ends, rules.n_best);
        for start in largest(window.starts, rules.n_best) {
            for &end in &ends {
                let places = [start, end].map(|token| window.offsets.get(token).copied().flatten());
                let [Some([first, _]), Some([_, last])] = places else {
                    continue;
                };
                if end < start || end - start + 1 > rules.max_tokens {
                    continue;
                }
                spans.push(Candidate {
                    text: String::new(),
                    characters: [first as usize, last as usize],
                    window: number,
                    tokens: [start, end],
                    start_logit: window.starts[start],
                    end_logit: window.ends[end],
                    probability: 0.0,
                });
            }
        }
    }
    // The sort is stable, so that equal scores stay in the order in which they were found.
    spans.sort_by(|a, b| descending(a.score(), b.score()));
    spans.truncate(rules.n_best);
    let largest = spans.first().map_or(0.0, Candidate::score);
    let sum: f64 = spans
        .iter()
        .map(|span| (span.score() - largest).exp())
        .sum();
    let places: Vec<usize> = context
        .char_indices()
        .map(|(place, _)| place)
        .chain([context.len()])
        .collect();
    for span in &mut spans {
        span.probability = (span.score() - largest).exp() / sum;
        let [first, last] = span.characters.map(|character| places.get(character));
        if let (Some(&first), Some(&last)) = (first, last) {
            span.text = context.get(first..last).unwrap_or_default().to_owned();
        }
    }
    spans
}

/// The positions of the `count` largest values, the largest first; of equal ones the first comes first.
fn largest(values: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| descending(values[*a].into(), values[*b].into()));
    order.truncate(count);
    order
}

fn descending(a: f64, b: f64) -> Ordering {
    b.partial_cmp(&a).unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passage_of_one_token_is_its_only_answer() {
        let offsets = [None, None, Some([0, 5]), None];
        let window = WindowLogits {
            offsets: &offsets,
            starts: &[9.0, 1.0, -2.0, 3.0],
            ends: &[9.0, 1.0, -1.0, 3.0],
        };
        let found = best_answers("caf\u{e9}s", &[window], AnswerRules::default());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].text, "caf\u{e9}s");
        assert_eq!((found[0].characters, found[0].tokens), ([0, 5], [2, 2]));
        assert_eq!((found[0].score(), found[0].probability), (-3.0, 1.0));
    }

    #[test]
    fn there_is_no_answer_outside_the_passage() {
        let window = WindowLogits {
            offsets: &[None, None],
            starts: &[1.0, 2.0],
            ends: &[1.0, 2.0],
        };
        assert!(best_answers("text", &[window], AnswerRules::default()).is_empty());
    }
}
