//! Numbers and texts as they are shown.

/// What stands where there is nothing.
pub(crate) const NOTHING: &str = "–";

/// A score, with two decimals.
pub(crate) fn score(value: f64) -> String {
    format!("{value:.2}")
}

/// A difference, with its sign.
pub(crate) fn difference(value: f64) -> String {
    let text = format!("{:.2}", value.abs());
    match text.bytes().all(|byte| byte == b'0' || byte == b'.') {
        true => text,
        false if value < 0.0 => format!("−{text}"),
        false => format!("+{text}"),
    }
}

/// A learning rate: `5e-4`.
pub(crate) fn rate(value: f64) -> String {
    format!("{value:e}")
}

/// A large number with its first three digits: `887 k`, `11.1 M`.
pub(crate) fn count(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 999.5e6 => (value / 1e9, " G"),
        value if value >= 999.5e3 => (value / 1e6, " M"),
        value if value >= 9999.5 => (value / 1e3, " k"),
        value => return grouped(value.round() as u64),
    };
    format!("{}{unit}", three_digits(value))
}

/// A whole number with a thin gap between thousands.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes.
pub(crate) fn bytes(value: f64) -> String {
    match value {
        value if value >= 999.5e6 => format!("{} GB", three_digits(value / 1e9)),
        value if value >= 999.5e3 => format!("{} MB", three_digits(value / 1e6)),
        value => format!("{} kB", three_digits(value / 1e3)),
    }
}

/// A time in seconds.
pub(crate) fn seconds(value: f64) -> String {
    match value {
        value if value >= 5400.0 => format!("{} h", three_digits(value / 3600.0)),
        value if value >= 90.0 => format!("{} min", three_digits(value / 60.0)),
        value => format!("{} s", three_digits(value)),
    }
}

/// Memory in MiB.
pub(crate) fn memory(mib: f64) -> String {
    match mib {
        mib if mib >= 1024.0 => format!("{} GiB", three_digits(mib / 1024.0)),
        mib => format!("{mib:.0} MiB"),
    }
}

/// A share in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", three_digits(100.0 * share))
}

fn three_digits(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// `a, b and c`.
pub(crate) fn and(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// `1 run`, `2 runs`.
pub(crate) fn of_things(number: usize, thing: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {thing}{ending}", grouped(number as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        assert_eq!(count(887_042.0), "887 k");
        assert_eq!(count(999_700.0), "1.00 M");
        assert_eq!(count(124_647_170.0), "125 M");
        assert_eq!(count(1538.0), "1\u{202f}538");
        assert_eq!(bytes(4200.0), "4.20 kB");
        assert_eq!(seconds(12.34), "12.3 s");
        assert_eq!(seconds(125.0), "2.08 min");
        assert_eq!(memory(2048.0), "2.00 GiB");
        assert_eq!(percent(0.0071), "0.71 %");
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
    }

    #[test]
    fn a_difference_has_a_sign_unless_it_is_shown_as_zero() {
        assert_eq!(difference(1.234), "+1.23");
        assert_eq!(difference(-1.0), "−1.00");
        assert_eq!(difference(-0.001), "0.00");
        assert_eq!(rate(5e-4), "5e-4");
    }
}
