//! `docs/dependencies.md` says of every third-party dependency why it is here.

use std::collections::BTreeSet;

/// Dependencies without an entry of the form ``- `name`: reason``, and entries without a dependency.
pub fn check(dependencies: &[String], notes: &str) -> Vec<String> {
    let noted: BTreeSet<&str> = notes.lines().filter_map(noted_name).collect();
    let used: BTreeSet<&str> = dependencies.iter().map(String::as_str).collect();
    let missing = used.difference(&noted);
    let stale = noted.difference(&used);
    let missing =
        missing.map(|name| format!("workspace -> {name}: has no entry in docs/dependencies.md"));
    let stale = stale.map(|name| {
        format!("workspace -> {name}: has an entry in docs/dependencies.md but is not used")
    });
    missing.chain(stale).collect()
}

/// The name in an entry that also gives a reason.
fn noted_name(line: &str) -> Option<&str> {
    let (name, reason) = line.strip_prefix("- `")?.split_once("`: ")?;
    (!reason.trim().is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_with_a_reason_satisfies_the_rule() {
        assert!(
            check(
                &["serde".to_string()],
                "# Notes\n\n- `serde`: configuration files.\n"
            )
            .is_empty()
        );
    }

    #[test]
    fn a_dependency_without_an_entry_or_a_reason_is_a_violation() {
        let expected = ["workspace -> serde: has no entry in docs/dependencies.md"];
        assert_eq!(check(&["serde".to_string()], ""), expected);
        assert_eq!(check(&["serde".to_string()], "- `serde`:  \n"), expected);
    }

    #[test]
    fn an_entry_without_a_dependency_is_a_violation() {
        let expected = ["workspace -> serde: has an entry in docs/dependencies.md but is not used"];
        assert_eq!(check(&[], "- `serde`: configuration files.\n"), expected);
    }
}
