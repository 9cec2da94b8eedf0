//! Tables in Markdown, and the numbers in them.

/// What a cell without a number says.
pub const ABSENT: &str = "–";

/// A table with a header line.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_string()).collect();
    let rule: Vec<String> = header.iter().map(|_| "---".to_string()).collect();
    let mut out = line(&header) + &line(&rule);
    for row in rows {
        out.push_str(&line(row));
    }
    out
}

/// A number, or the sign for none.
pub fn cell(value: Option<f64>) -> String {
    value.map_or(ABSENT.to_string(), number)
}

/// Three significant digits, and whole numbers from 100 on.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!(
            [1234.5, 99.94, 1.005, 0.25, 7.0].map(number),
            ["1234", "99.9", "1.00", "0.25", "7"]
        );
    }
}
