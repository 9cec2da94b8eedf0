//! Just enough of Rust's lexical rules to look at code without its comments, literals and tests.

/// The source with comments, string and character literals blanked out. Line numbers stay the same.
pub fn without_comments_and_literals(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut output = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = blank_until(&chars, at);
        if end > at {
            output.extend(
                chars[at..end]
                    .iter()
                    .map(|&c| if c == '\n' { '\n' } else { ' ' }),
            );
            at = end;
        } else {
            output.push(chars[at]);
            at += 1;
        }
    }
    output
}

/// Where the comment or literal that starts at `at` ends; `at` itself if none starts there.
fn blank_until(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => position(chars, at, |c| c == '\n'),
        '/' if next == Some('*') => block_comment_end(chars, at),
        '"' => quoted_end(chars, at + 1, '"'),
        'r' if !continues_a_name(chars, at) => raw_string_end(chars, at).unwrap_or(at),
        'b' if next == Some('r') && !continues_a_name(chars, at) => {
            raw_string_end(chars, at + 1).unwrap_or(at)
        }
        // A quote starts a character only if another one closes it; otherwise it is a lifetime.
        '\'' if next == Some('\\') || chars.get(at + 2) == Some(&'\'') => {
            quoted_end(chars, at + 1, '\'')
        }
        _ => at,
    }
}

fn position(chars: &[char], from: usize, is_match: impl Fn(char) -> bool) -> usize {
    (from..chars.len())
        .find(|&index| is_match(chars[index]))
        .unwrap_or(chars.len())
}

fn continues_a_name(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn quoted_end(chars: &[char], from: usize, quote: char) -> usize {
    let mut at = from;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// The end of the raw string whose `r` is at `start`, if there is one.
fn raw_string_end(chars: &[char], start: usize) -> Option<usize> {
    let open = position(chars, start + 1, |c| c != '#');
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let hashes = open - start - 1;
    let closes = |&at: &usize| {
        chars[at] == '"'
            && chars.len() > at + hashes
            && chars[at + 1..=at + hashes].iter().all(|&c| c == '#')
    };
    let close = (open + 1..chars.len()).find(closes);
    Some(close.map_or(chars.len(), |close| close + hashes + 1))
}

/// Blanked code with every item behind `#[cfg(test)]` blanked out too.
pub fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut output = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        let (before, item) = rest.split_at(start);
        output.push_str(before);
        let (tests, after) = item.split_at(item_end(item));
        output.extend(tests.chars().filter(|&c| c == '\n'));
        rest = after;
    }
    output.push_str(rest);
    output
}

/// The end of the first item of `code`: its semicolon, or the brace that closes its body.
fn item_end(code: &str) -> usize {
    let mut depth = 0;
    for (index, c) in code.char_indices() {
        match c {
            ';' if depth == 0 => return index + 1,
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth <= 0 {
                    return index + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_kept() {
        let source = "a // x\nb /* x /* x */ \n x */ c \"x\\\"x\" 'x' '\\'' &'static d r#\"x\"x\"# br\"x\" bar";
        let code = without_comments_and_literals(source);
        assert!(!code.contains('x'), "{code}");
        assert_eq!(code.lines().count(), 3);
        let words: Vec<&str> = code.split_whitespace().collect();
        assert_eq!(words, ["a", "b", "c", "&'static", "d", "bar"]);
    }

    #[test]
    fn unclosed_literals_end_with_the_file() {
        for source in ["\"abc", "/* abc", "r##\"abc\"#", "'\\", "\"abc\\"] {
            assert_eq!(without_comments_and_literals(source).trim(), "");
        }
    }

    #[test]
    fn test_items_are_blanked_and_what_follows_is_kept() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { { } } }\nfn c() {}\n#[cfg(test)]\nuse d;\nfn e() {}";
        let kept = without_tests(code);
        assert!(kept.contains("fn a") && kept.contains("fn c") && kept.contains("fn e"));
        assert!(!kept.contains("fn b") && !kept.contains("use d"));
        assert_eq!(kept.lines().count(), code.lines().count());
    }
}
