//! Whether rows are the ones published under a data set's name.

use serde::{Deserialize, Serialize};

use crate::card::Card;

/// What the rows of a data set are. Only results on published rows may go under the plain name of the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// A file of the user's own.
    Own,
    /// As many rows as the published split has.
    Published,
    /// Another number of rows than the published split has.
    Part,
    /// A split that was not published with the set.
    OtherSplit,
    /// Rows that stand in for those of another set.
    StandIn,
}

impl Standing {
    /// The standing of a split of which `read` rows were found.
    pub(crate) fn of(card: &Card, published: Option<usize>, read: usize) -> Self {
        match (&card.stand_in_for, published) {
            (Some(_), _) => Self::StandIn,
            (None, None) => Self::OtherSplit,
            (None, Some(published)) if published == read => Self::Published,
            (None, Some(_)) => Self::Part,
        }
    }

    /// The name under which results may be given.
    pub fn display_name(self, name: &str) -> String {
        match self {
            Self::Own | Self::Published => name.to_owned(),
            Self::Part => format!("{name} (part)"),
            Self::OtherSplit => format!("{name} (not a published split)"),
            Self::StandIn => format!("{name} (stand-in)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_as_many_rows_as_published_go_under_the_plain_name() {
        let name = |card: &str, published, read| {
            let card = Card::builtin(card).unwrap();
            Standing::of(&card, published, read).display_name(&card.name)
        };
        assert_eq!(name("imdb", Some(25_000), 25_000), "imdb");
        assert_eq!(name("imdb", Some(25_000), 5_000), "imdb (part)");
        assert_eq!(name("qnli", None, 10), "qnli (not a published split)");
        let stand_in = "helpfulness_standin";
        assert_eq!(
            name(stand_in, Some(10), 10),
            "helpfulness_standin (stand-in)"
        );
    }
}
