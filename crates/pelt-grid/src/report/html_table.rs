//! Tables as HTML.

use super::html_text::escape;
use super::summary::Mark;
use super::table::{ColumnKind, Row, RowKind, Sign, Table, TableCell};

/// A table in a box of its own, which scrolls where the page is too narrow. The page's script makes it sortable.
pub(crate) fn html_table(table: &Table) -> String {
    let mut html = format!(
        "<div class=\"box\" role=\"region\" tabindex=\"0\" aria-label=\"{0}\">\n<table class=\"sortable\">\n<caption>{0}</caption>\n<thead><tr>",
        escape(&table.caption)
    );
    for column in &table.columns {
        let class = match column.kind {
            ColumnKind::Text => "text",
            ColumnKind::Number => "number",
        };
        html.push_str(&format!(
            "<th scope=\"col\" class=\"{class}\"><span>{}</span>",
            escape(&column.name)
        ));
        if let Some(note) = column.note.as_ref().filter(|note| !note.is_empty()) {
            html.push_str(&format!("<small>{}</small>", escape(note)));
        }
        html.push_str("</th>");
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        push_row(&mut html, row, table);
    }
    html.push_str("</tbody>\n</table>\n</div>\n");
    html
}

fn push_row(html: &mut String, row: &Row, table: &Table) {
    html.push_str(match row.kind {
        RowKind::Own => "<tr>",
        RowKind::Reference => "<tr class=\"reference\">",
        RowKind::Published => "<tr class=\"published\">",
    });
    for (index, cell) in row.cells.iter().enumerate() {
        let kind = table
            .columns
            .get(index)
            .map_or(ColumnKind::Text, |column| column.kind);
        push_cell(html, cell, index == 0, kind, row.kind);
    }
    html.push_str("</tr>\n");
}

fn push_cell(html: &mut String, cell: &TableCell, first: bool, kind: ColumnKind, row: RowKind) {
    let mut classes = vec![match kind {
        ColumnKind::Text => "text",
        ColumnKind::Number => "number",
    }];
    match cell.mark {
        Some(Mark::Best) => classes.push("best"),
        Some(Mark::Second) => classes.push("second"),
        None => {}
    }
    let element = if first { "th scope=\"row\"" } else { "td" };
    html.push_str(&format!("<{element} class=\"{}\"", classes.join(" ")));
    if let Some(sort) = cell.sort {
        html.push_str(&format!(" data-value=\"{sort}\""));
    }
    html.push('>');
    // The sign stands before the number, so that the numbers of a column stay below each other.
    if let Some(sign) = cell.sign {
        let (class, told) = match sign {
            Sign::Better => ("better", "better than the reference, p < 0.05"),
            Sign::Worse => ("worse", "worse than the reference, p < 0.05"),
        };
        html.push_str(&format!(
            "<span class=\"sign {class}\" title=\"{told}\"><span aria-hidden=\"true\">{}</span><span class=\"unseen\"> {told}</span></span>",
            sign.arrow(),
            told = escape(told)
        ));
    }
    html.push_str(&format!(
        "<span class=\"value\">{}</span>",
        escape(&cell.text)
    ));
    if let Some(aside) = &cell.aside {
        html.push_str(&format!(" <span class=\"aside\">{}</span>", escape(aside)));
    }
    if first && row == RowKind::Reference {
        html.push_str(" <span class=\"tag quiet\">reference</span>");
    }
    if let Some(tag) = &cell.tag {
        let class = if row == RowKind::Published {
            "tag quiet"
        } else {
            "tag"
        };
        html.push_str(&format!(" <span class=\"{class}\">{}</span>", escape(tag)));
    }
    html.push_str(if first { "</th>" } else { "</td>" });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::table::Column;

    #[test]
    fn every_text_is_escaped() {
        let evil = "<b>\"&";
        let cell = TableCell::text(evil)
            .aside(Some(evil.into()))
            .tag(Some(evil.into()));
        let table = Table {
            caption: evil.into(),
            columns: vec![Column::text(evil).with_note(evil)],
            rows: vec![Row {
                kind: RowKind::Own,
                cells: vec![cell],
            }],
        };
        let html = html_table(&table);
        assert!(!html.contains("<b>"), "{html}");
        assert_eq!(html.matches("&lt;b&gt;&quot;&amp;").count(), 7);
    }
}
