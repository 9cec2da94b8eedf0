//! What the report must know of the data sets: the order of their labels, and which ones stand in for others.

use serde::Deserialize;

use super::score::metric_named;

/// The cards of all sets with classes.
const CARDS: [&str; 19] = [
    include_str!("../../../../datasets/acl_arc.toml"),
    include_str!("../../../../datasets/agnews.toml"),
    include_str!("../../../../datasets/ax.toml"),
    include_str!("../../../../datasets/chemprot.toml"),
    include_str!("../../../../datasets/cola.toml"),
    include_str!("../../../../datasets/helpfulness.toml"),
    include_str!("../../../../datasets/helpfulness_standin.toml"),
    include_str!("../../../../datasets/hyperpartisan.toml"),
    include_str!("../../../../datasets/hyperpartisan_resplit.toml"),
    include_str!("../../../../datasets/imdb.toml"),
    include_str!("../../../../datasets/mnli.toml"),
    include_str!("../../../../datasets/mrpc.toml"),
    include_str!("../../../../datasets/qnli.toml"),
    include_str!("../../../../datasets/qqp.toml"),
    include_str!("../../../../datasets/rct.toml"),
    include_str!("../../../../datasets/rte.toml"),
    include_str!("../../../../datasets/scierc.toml"),
    include_str!("../../../../datasets/sst2.toml"),
    include_str!("../../../../datasets/wnli.toml"),
];

/// The fields of a card that matter here.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Card {
    pub name: String,
    pub stand_in_for: Option<String>,
    target: Target,
}

#[derive(Debug, Clone, Deserialize)]
struct Target {
    #[serde(default)]
    labels: Vec<String>,
}

/// The card of a task; `None` for a regression, for questions and for files of one's own.
pub(crate) fn card(task: &str) -> Option<Card> {
    let cards = CARDS.iter().filter_map(|text| toml::from_str(text).ok());
    cards.into_iter().find(|card: &Card| card.name == task)
}

/// The classes in the order of their numbers: the card's, where it has all that occur, else sorted. The order decides which class
/// is number 1, whose F1 is reported, and how many classes a mean over all of them has.
pub(crate) fn class_order<'a>(task: &str, occurring: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut sorted: Vec<String> = occurring.map(str::to_owned).collect();
    sorted.sort();
    sorted.dedup();
    match card(task).map(|card| card.target.labels) {
        Some(labels) if sorted.iter().all(|label| labels.contains(label)) => labels,
        _ => sorted,
    }
}

/// What the name of a set says about its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The rows that were published under this name.
    Published,
    /// Some of them, or another split.
    Other,
    /// Rows in place of those that were published.
    StandIn,
}

/// The standing of a set by the name under which results on it may be given, such as `mrpc (part) validation`.
pub(crate) fn standing(set: &str) -> Standing {
    let name = set.split_whitespace().next().unwrap_or_default();
    let stands_in = card(name).is_some_and(|card| card.stand_in_for.is_some());
    if stands_in || set.contains("stand-in") || name.contains("standin") {
        Standing::StandIn
    } else if set.contains('(') {
        Standing::Other
    } else {
        Standing::Published
    }
}

/// The metrics whose mean is a set's combined score: all of its values that are scores.
pub(crate) fn parts_of_combined<'a>(
    values: impl Iterator<Item = &'a String>,
) -> Vec<pelt_metrics::Metric> {
    values
        .filter_map(|name| metric_named(name))
        .filter(|metric| {
            metric.larger_is_better() && *metric != pelt_metrics::Metric::CombinedScore
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_card_with_labels_is_known() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets");
        let mut with_labels = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let found: Card = toml::from_str(&text).unwrap();
            if found.target.labels.is_empty() {
                continue;
            }
            with_labels += 1;
            let known = card(&found.name).unwrap();
            assert_eq!(known.target.labels, found.target.labels);
        }
        assert_eq!(with_labels, CARDS.len());
    }

    #[test]
    fn class_1_is_the_cards_and_not_the_second_in_the_alphabet() {
        let both = ["equivalent", "not_equivalent"];
        let order = class_order("mrpc", both.into_iter());
        assert_eq!(order, ["not_equivalent", "equivalent"]);
        assert_eq!(class_order("mrpc", ["b", "a", "b"].into_iter()), ["a", "b"]);
        // Classes that do not occur count too.
        assert_eq!(class_order("acl_arc", ["Uses"].into_iter()).len(), 6);
    }

    #[test]
    fn a_stand_in_is_seen_by_its_card_or_its_name() {
        assert_eq!(standing("imdb test"), Standing::Published);
        assert_eq!(standing("imdb (part) test"), Standing::Other);
        for set in [
            "helpfulness_standin test",
            "helpfulness_standin (stand-in) test",
            "hyperpartisan_resplit test",
            "mine (stand-in)",
        ] {
            assert_eq!(standing(set), Standing::StandIn, "{set}");
        }
    }
}
