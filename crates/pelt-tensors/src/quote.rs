//! Text from files, as error messages repeat it: whatever a file holds, a message is one line of a moderate length.

/// The longest name that is repeated whole, in characters.
const LONGEST_NAME: usize = 200;

/// More extents than any tensor of a model has.
const MOST_EXTENTS: usize = 8;

/// A name from a file: as it is where it is an ordinary one, else quoted and escaped, and cut where it is long.
pub fn shown(name: &str) -> String {
    let start: String = name.chars().take(LONGEST_NAME).collect();
    let quoted = format!("{start:?}");
    // Escapes make it longer.
    let ordinary = !start.is_empty() && !start.contains(' ') && quoted.len() == start.len() + 2;
    let rest = if start.len() < name.len() { "..." } else { "" };
    match ordinary {
        true => start + rest,
        false => quoted + rest,
    }
}

/// The extents of a tensor, or how many there are.
pub fn shown_shape(shape: &[usize]) -> String {
    match shape.len() {
        0..=MOST_EXTENTS => format!("{shape:?}"),
        extents => format!("of {extents} extents"),
    }
}

/// A message that may repeat parts of a file, on one line and cut after so many characters.
pub fn one_line(message: &str, longest: usize) -> String {
    let mut line: String = message
        .chars()
        .take(longest)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if message.chars().nth(longest).is_some() {
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_shown_as_they_are_and_others_quoted() {
        for name in ["encoder.layer.0.output.dense.weight", "heads.été.4.bias"] {
            assert_eq!(shown(name), name);
        }
        for (name, expected) in [
            ("", "\"\""),
            ("two words", "\"two words\""),
            ("a\nb", "\"a\\nb\""),
            ("\u{1b}[31mred", "\"\\u{1b}[31mred\""),
            ("a\"b", "\"a\\\"b\""),
        ] {
            assert_eq!(shown(name), expected);
        }
        let long = shown(&"x".repeat(100_000));
        assert_eq!(long, format!("{}...", "x".repeat(200)));
    }

    #[test]
    fn long_shapes_and_messages_are_cut() {
        assert_eq!(shown_shape(&[2, 3]), "[2, 3]");
        assert_eq!(shown_shape(&[1; 1000]), "of 1000 extents");
        assert_eq!(one_line("two\nlines", 2000), "two lines");
        assert_eq!(one_line("\u{85}", 1), " ");
        for longest in [2000, 8000] {
            let long = one_line(&"é".repeat(100_000), longest);
            assert_eq!(long.chars().count(), longest + 3);
        }
    }
}
