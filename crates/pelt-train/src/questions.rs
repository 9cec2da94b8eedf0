//! Answering questions, and scoring the answers.

use pelt_data::{AnswerRules, Candidate, Question, QuestionWindow, WindowLogits, best_answers};
use pelt_hooks::{Method, Sequence};
use pelt_metrics::{Evaluation, Metric, Predictions};

use crate::evaluate::{predict, predict_observing};
use crate::{GateMeans, PeftModel, TrainError};

/// Questions with the windows that a model reads.
#[derive(Debug, Clone)]
pub struct QuestionExamples {
    questions: Vec<Question>,
    sequences: Vec<Sequence>,
    /// Question and offsets of every window.
    windows: Vec<(usize, Vec<Option<[u32; 2]>>)>,
    rules: AnswerRules,
}

impl QuestionExamples {
    /// Questions with the windows that [`pelt_data::question_windows`] made of them.
    pub fn new(questions: Vec<Question>, windows: Vec<QuestionWindow>, rules: AnswerRules) -> Self {
        let (mut sequences, mut places) = (Vec::new(), Vec::new());
        for window in windows {
            sequences.push(Sequence {
                input_ids: window.input_ids,
                token_type_ids: window.token_type_ids,
            });
            places.push((window.question, window.offsets));
        }
        Self {
            questions,
            sequences,
            windows: places,
            rules,
        }
    }

    /// The questions.
    pub fn questions(&self) -> &[Question] {
        &self.questions
    }

    /// All windows, those of one question after another.
    pub fn sequences(&self) -> &[Sequence] {
        &self.sequences
    }

    /// The best answers to every question from the outputs for all windows.
    fn answers(&self, outputs: &[Vec<f32>]) -> Vec<Vec<Candidate>> {
        let sides: Vec<[Vec<f32>; 2]> = outputs
            .iter()
            .map(|output| [0, 1].map(|side| output.iter().skip(side).step_by(2).copied().collect()))
            .collect();
        let mut logits: Vec<Vec<WindowLogits<'_>>> = vec![Vec::new(); self.questions.len()];
        for ((question, offsets), [starts, ends]) in self.windows.iter().zip(&sides) {
            if let Some(windows) = logits.get_mut(*question) {
                windows.push(WindowLogits {
                    offsets,
                    starts,
                    ends,
                });
            }
        }
        let questions = self.questions.iter().zip(&logits);
        let answers = questions
            .map(|(question, windows)| best_answers(&question.context, windows, self.rules));
        answers.collect()
    }
}

/// The best answers to every question, the best one first; none where no span is admissible.
///
/// # Errors
/// If the model cannot run a batch, or its head gives no spans.
pub fn answer<M: Method>(
    model: &PeftModel<M>,
    examples: &QuestionExamples,
    batch_size: usize,
) -> Result<Vec<Vec<Candidate>>, TrainError> {
    check_head(model)?;
    let outputs = predict(model, &examples.sequences, batch_size)?;
    Ok(examples.answers(&outputs))
}

/// As [`answer`], with the mean of every gate over all windows.
///
/// # Errors
/// As [`answer`].
pub fn answer_observing<M: Method>(
    model: &PeftModel<M>,
    examples: &QuestionExamples,
    batch_size: usize,
) -> Result<(Vec<Vec<Candidate>>, GateMeans), TrainError> {
    check_head(model)?;
    let (outputs, gates) = predict_observing(model, &examples.sequences, batch_size)?;
    Ok((examples.answers(&outputs), gates))
}

fn check_head<M: Method>(model: &PeftModel<M>) -> Result<(), TrainError> {
    match model.head.config().kind.is_span() {
        true => Ok(()),
        false => Err(TrainError::WrongHead {
            expected: "spans",
            found: "classes or a score",
        }),
    }
}

/// Exact match and F1 of the best answers, in percent.
///
/// # Errors
/// There are no questions, or one has no right answer.
pub fn score_answers(
    questions: &[Question],
    answers: &[Vec<Candidate>],
) -> Result<Evaluation, TrainError> {
    let predicted: Vec<&str> = answers
        .iter()
        .map(|answers| answers.first().map_or("", |answer| answer.text.as_str()))
        .collect();
    let gold: Vec<Vec<&str>> = questions
        .iter()
        .map(|question| question.answers.iter().map(|a| a.text.as_str()).collect())
        .collect();
    let predictions = Predictions::Answers {
        predicted: &predicted,
        gold: &gold,
    };
    Ok(pelt_metrics::evaluate(
        &[Metric::ExactMatch, Metric::F1],
        &predictions,
    )?)
}

/// Answers all questions and scores the answers.
///
/// # Errors
/// As [`answer`] and [`score_answers`].
pub fn evaluate_questions<M: Method>(
    model: &PeftModel<M>,
    examples: &QuestionExamples,
    batch_size: usize,
) -> Result<Evaluation, TrainError> {
    let answers = answer(model, examples, batch_size)?;
    score_answers(&examples.questions, &answers)
}
