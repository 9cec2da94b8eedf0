//! Made-up rows whose labels can be learnt, and vocabularies of their words.

const GOOD: [&str; 5] = ["good", "great", "fine", "nice", "happy"];
const BAD: [&str; 5] = ["bad", "awful", "poor", "sad", "dull"];
const OTHER: [&str; 12] = [
    "the", "movie", "was", "a", "film", "story", "and", "it", "plot", "acting", "this", "very",
];

/// Numbers that look random and are the same everywhere.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        let next = self.0.wrapping_mul(6364136223846793005);
        self.0 = next.wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }

    fn filler(&mut self) -> Vec<&'static str> {
        let count = 3 + self.below(6);
        (0..count).map(|_| self.pick(&OTHER)).collect()
    }
}

/// `text` and `label` (`positive` or `negative`, in turn) between tabs.
pub fn labelled(rows: usize, seed: u64) -> String {
    let mut numbers = Numbers(seed);
    let mut out = String::from("text\tlabel\n");
    for row in 0..rows {
        let (label, words) = match row % 2 {
            0 => ("negative", BAD),
            _ => ("positive", GOOD),
        };
        let mut text = numbers.filler();
        let place = numbers.below(text.len());
        text.insert(place, numbers.pick(&words));
        out.push_str(&format!("{}\t{label}\n", text.join(" ")));
    }
    out
}

/// `first`, `second` and `label` (`same` or `other` opinion) between tabs.
pub fn pairs(rows: usize, seed: u64) -> String {
    let mut numbers = Numbers(seed);
    let mut out = String::from("first\tsecond\tlabel\n");
    for row in 0..rows {
        let (label, second) = match row % 2 {
            0 => ("same", GOOD),
            _ => ("other", BAD),
        };
        let texts = [numbers.pick(&GOOD), numbers.pick(&second)].map(|word| {
            let filler = numbers.pick(&OTHER);
            format!("{filler} {word}")
        });
        out.push_str(&format!("{}\t{label}\n", texts.join("\t")));
    }
    out
}

/// `text` and `label` (good words less bad words) between tabs.
pub fn scored(rows: usize, seed: u64) -> String {
    let mut numbers = Numbers(seed);
    let mut out = String::from("text\tlabel\n");
    for row in 0..rows {
        let mut text = vec![numbers.pick(&OTHER)];
        let (good, bad) = (row % 3, numbers.below(2));
        text.extend((0..good).map(|_| numbers.pick(&GOOD)));
        text.extend((0..bad).map(|_| numbers.pick(&BAD)));
        out.push_str(&format!(
            "{}\t{}\n",
            text.join(" "),
            good as f64 - bad as f64
        ));
    }
    out
}

/// The lines of a `vocab.txt`.
pub(super) fn vocabulary() -> Vec<&'static str> {
    let mut words = vec!["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    words.extend(GOOD.iter().chain(&BAD).chain(&OTHER));
    words
}

/// `vocab.json` and `merges.txt`: the letters, and merges of the two words `good` and `bad` behind a space.
pub(super) fn byte_pairs() -> (String, String) {
    let merges = ["o o", "Ġ g", "Ġg oo", "Ġgoo d", "a d", "Ġ b", "Ġb ad"];
    let mut tokens: Vec<String> = ["<s>", "<pad>", "</s>", "<unk>", "Ġ"]
        .map(String::from)
        .into();
    tokens.extend(('a'..='z').map(String::from));
    tokens.extend(merges.map(|merge| merge.replace(' ', "")));
    let numbered = tokens.into_iter().zip((0..).map(serde_json::Value::from));
    let vocabulary: serde_json::Map<_, _> = numbered.collect();
    let merges = format!("#version: 0.2\n{}\n", merges.join("\n"));
    (serde_json::Value::from(vocabulary).to_string(), merges)
}
