//! The report as Markdown, without plots.

use super::html::sentence;
use super::protocol::{facts, progress, protocol};
use super::published::published;
use super::summary::{Mark, Summary};
use super::table::{ColumnKind, Table, TableCell};
use super::tables;

/// The report.
pub(crate) fn markdown(summary: &Summary) -> String {
    let plan = &summary.plan;
    let title = match plan.description.is_empty() {
        true => &plan.name,
        false => &plan.description,
    };
    let mut text = format!(
        "# {}\n\n{}.\n\n",
        escape(title),
        escape(&progress(summary).2)
    );
    for (name, fact) in facts(summary) {
        text.push_str(&format!("- {}: {}\n", escape(name), escape(&fact)));
    }
    text.push_str(&format!(
        "\nMean ± standard deviation over seeds. **Bold** is the best method, *italic* the second best; ▲ is better and ▼ worse than {} with \
         p < 0.05.\n",
        escape(&plan.reference)
    ));
    section(&mut text, "Overview", &tables::overview(summary));
    text.push_str("\n## Scores by task\n");
    for task in &summary.tasks {
        let parts = [
            Some(task.name.clone()),
            tables::metric_of(task),
            tables::warning_of(task),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        text.push_str(&format!("\n### {}\n\n", escape(&parts.join(", "))));
        text.push_str(&table(&tables::task_table(summary, task)));
        for reason in tables::untested(task) {
            text.push_str(&format!("\n{}\n", escape(&reason)));
        }
    }
    section(&mut text, "Cost", &tables::cost_by_method(summary));
    if let Some(gates) = tables::gates(summary) {
        section(&mut text, "Gates", &gates);
    }
    let (beside, reasons) = published(summary);
    if !beside.is_empty() || !reasons.is_empty() {
        text.push_str("\n## Published results\n");
        for one in &beside {
            text.push_str(&format!(
                "\n### {}, {}\n\n",
                escape(&one.source),
                escape(&one.encoder)
            ));
            if let Some(note) = &one.note {
                text.push_str(&format!("{}\n\n", escape(&sentence(note))));
            }
            text.push_str(&table(&one.table));
        }
        for reason in reasons {
            text.push_str(&format!("\n{}\n", escape(&reason)));
        }
    }
    if let Some(gaps) = tables::gaps(summary) {
        section(&mut text, "Failed and missing runs", &gaps);
    }
    section(&mut text, "How this was measured", &tables::data(summary));
    for (name, told) in protocol(summary) {
        text.push_str(&format!("\n**{}.** {}\n", escape(name), escape(&told)));
    }
    text
}

fn section(text: &mut String, title: &str, content: &Table) {
    text.push_str(&format!("\n## {}\n\n{}", escape(title), table(content)));
}

/// A table.
pub(crate) fn table(table: &Table) -> String {
    let mut text = String::from("|");
    for column in &table.columns {
        let note = column.note.as_ref().filter(|note| !note.is_empty());
        match note {
            Some(note) => text.push_str(&format!(" {} ({}) |", escape(&column.name), escape(note))),
            None => text.push_str(&format!(" {} |", escape(&column.name))),
        }
    }
    text.push_str("\n|");
    for column in &table.columns {
        text.push_str(match column.kind {
            ColumnKind::Text => " --- |",
            ColumnKind::Number => " ---: |",
        });
    }
    text.push('\n');
    for row in &table.rows {
        text.push('|');
        for one in &row.cells {
            text.push_str(&format!(" {} |", cell(one)));
        }
        text.push('\n');
    }
    text
}

fn cell(cell: &TableCell) -> String {
    let value = escape(&cell.text);
    let mut text = match cell.mark {
        Some(Mark::Best) => format!("**{value}**"),
        Some(Mark::Second) => format!("*{value}*"),
        None => value,
    };
    if let Some(sign) = cell.sign {
        text.push_str(sign.arrow());
    }
    if let Some(aside) = &cell.aside {
        text.push_str(&format!(" {}", escape(aside)));
    }
    if let Some(tag) = &cell.tag {
        text.push_str(&format!(" ({})", escape(tag)));
    }
    text
}

/// A text in which no letter has a meaning to Markdown, on one line.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' | '|' | '<' | '>' | '&' | '*' | '_' | '`' | '[' | ']' | '#' | '~' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            letter if letter.is_control() => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::table::{Column, Row, RowKind};

    #[test]
    fn a_cell_can_neither_end_its_cell_nor_its_row() {
        let one = Table {
            caption: String::new(),
            columns: vec![Column::text("a"), Column::number("b").with_note("n")],
            rows: vec![Row {
                kind: RowKind::Own,
                cells: vec![
                    TableCell::text("x|y\nz <b>"),
                    TableCell {
                        mark: Some(Mark::Best),
                        ..TableCell::text("1")
                    }
                    .aside(Some("± 2".into())),
                ],
            }],
        };
        assert_eq!(
            table(&one),
            "| a | b (n) |\n| --- | ---: |\n| x\\|y z \\<b\\> | **1** ± 2 |\n"
        );
    }
}
