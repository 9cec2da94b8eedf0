//! A table before it is HTML or Markdown.

use super::format::NOTHING;
use super::summary::Mark;

/// A table. The first cell of a row names it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// What it shows, for people who do not see it.
    pub caption: String,
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
}

#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub name: String,
    /// A second line of the header.
    pub note: Option<String>,
    pub kind: ColumnKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    Text,
    Number,
}

/// A row and its kind.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub kind: RowKind,
    pub cells: Vec<TableCell>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowKind {
    Own,
    /// What the others are tested against.
    Reference,
    /// Somebody else's result.
    Published,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct TableCell {
    pub text: String,
    /// Smaller text behind it.
    pub aside: Option<String>,
    /// The number to sort by.
    pub sort: Option<f64>,
    pub mark: Option<Mark>,
    pub sign: Option<Sign>,
    /// A remark that must not be overlooked.
    pub tag: Option<String>,
}

/// A difference from the reference that is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    Better,
    Worse,
}

impl Sign {
    pub(crate) fn arrow(self) -> &'static str {
        match self {
            Self::Better => "▲",
            Self::Worse => "▼",
        }
    }
}

impl Column {
    pub(crate) fn text(name: &str) -> Self {
        Self {
            name: name.into(),
            note: None,
            kind: ColumnKind::Text,
        }
    }

    pub(crate) fn number(name: &str) -> Self {
        Self {
            kind: ColumnKind::Number,
            ..Self::text(name)
        }
    }

    pub(crate) fn with_note(self, note: impl Into<String>) -> Self {
        Self {
            note: Some(note.into()),
            ..self
        }
    }
}

impl TableCell {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// A number as it is shown; a dash where there is none.
    pub(crate) fn number(value: Option<f64>, shown: impl Fn(f64) -> String) -> Self {
        Self {
            text: value.map_or(NOTHING.into(), shown),
            sort: value,
            ..Self::default()
        }
    }

    pub(crate) fn aside(self, aside: Option<String>) -> Self {
        Self { aside, ..self }
    }

    pub(crate) fn tag(self, tag: Option<String>) -> Self {
        Self { tag, ..self }
    }
}
