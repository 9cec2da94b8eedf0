//! Answers as texts: exact match and token F1, by the rules of SQuAD 1.1.

use std::collections::HashMap;

/// An answer as it is compared: in lower case, without ASCII punctuation, without the words a, an and the, and with
/// single spaces between words.
pub fn normalise_answer(text: &str) -> String {
    let lower = text.to_lowercase();
    let letters: String = lower
        .chars()
        .filter(|c| !c.is_ascii_punctuation())
        .collect();
    let mut out = String::with_capacity(letters.len());
    let mut rest = letters.as_str();
    // Articles are whole words between characters that are no part of a word, whatever these are.
    while let Some(first) = rest.chars().next() {
        let is_word = first.is_alphanumeric();
        let end = rest
            .find(|c: char| c.is_alphanumeric() != is_word)
            .unwrap_or(rest.len());
        let (run, behind) = rest.split_at(end);
        out.push_str(match run {
            "a" | "an" | "the" => " ",
            _ => run,
        });
        rest = behind;
    }
    words(&out).collect::<Vec<_>>().join(" ")
}

/// Whether a prediction equals one of the answers once both are normalised.
pub fn exact_match<T: AsRef<str>>(prediction: &str, answers: &[T]) -> bool {
    let prediction = normalise_answer(prediction);
    let mut answers = answers.iter();
    answers.any(|answer| normalise_answer(answer.as_ref()) == prediction)
}

/// The largest F1 of the words that a prediction shares with one of the answers; 0 where it shares none.
pub fn token_f1<T: AsRef<str>>(prediction: &str, answers: &[T]) -> f64 {
    let prediction = normalise_answer(prediction);
    let scores = answers
        .iter()
        .map(|answer| overlap(&prediction, &normalise_answer(answer.as_ref())));
    scores.fold(0.0, f64::max)
}

fn overlap(prediction: &str, answer: &str) -> f64 {
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in words(answer) {
        *left.entry(word).or_default() += 1;
    }
    let mut common = 0;
    for word in words(prediction) {
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    if common == 0 {
        return 0.0;
    }
    let precision = f64::from(common) / words(prediction).count() as f64;
    let recall = f64::from(common) / words(answer).count() as f64;
    2.0 * precision * recall / (precision + recall)
}

/// The parts between white space, to which the information separators of ASCII belong.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_space = |c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
    text.split(is_space).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn articles_go_only_where_they_are_whole_words() {
        assert_eq!(
            normalise_answer("The theatre, a  (an) an-the x"),
            "theatre anthe x"
        );
        assert_eq!(normalise_answer("“the” end"), "“ ” end");
    }

    #[test]
    fn a_word_counts_as_often_as_both_have_it() {
        assert_eq!(token_f1("b b c", &["b d"]), 0.4);
        assert!(exact_match("A dog!", &["cat", "the dog"]));
        assert_eq!(token_f1("", &[""]), 0.0);
    }
}
