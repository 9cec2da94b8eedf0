//! Texts in HTML.

/// A text for an element or a quoted attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // HTML has no way to write other control characters.
            letter if letter.is_control() && !"\n\t".contains(letter) => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_can_begin_an_element_or_end_an_attribute() {
        assert_eq!(
            escape("<b a='\"'>&amp;"),
            "&lt;b a=&#39;&quot;&#39;&gt;&amp;amp;"
        );
        assert_eq!(escape("a\u{0}\u{1b}[31m\n"), "a\u{fffd}\u{fffd}[31m\n");
    }
}
