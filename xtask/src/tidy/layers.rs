//! Dependencies point down the layers, never up or sideways.

use super::workspace::{Crate, Use};

/// The crates of every layer, the lowest first. A new crate must be given its place here.
const LAYERS: [&[&str]; 9] = [
    &["pelt-hooks"],
    &["pelt-ops", "pelt-tensors", "pelt-metrics", "pelt-hub"],
    &[
        "pelt-device",
        "pelt-encoder",
        "pelt-lora",
        "pelt-ia3",
        "pelt-adapter",
        "pelt-prefix",
        "pelt-prompt",
        "pelt-data",
    ],
    &["pelt-unipelt"],
    &["pelt-methods"],
    &["pelt-train"],
    &["pelt-bench", "pelt-grid", "pelt-parity"],
    &["pelt-cli", "xtask"],
    // Examples.
    &[
        "custom-method",
        "lora-alone",
        "switch-backend",
        "unipelt-training",
    ],
];

/// Only tests may use this crate.
const TEST_ONLY: &str = "pelt-testkit";

/// Pairs that the layers alone would allow: a crate, what it must not depend on, and why.
const FORBIDDEN: [(&str, &str, &str); 2] = [
    (
        "pelt-unipelt",
        "pelt-encoder",
        "methods answer at hook sites and never see an encoder",
    ),
    (
        "pelt-train",
        "pelt-methods",
        "training is generic over the method and never names one",
    ),
];

/// Every dependency between two crates of this workspace that the layers do not allow.
pub fn check(crates: &[Crate]) -> Vec<String> {
    crates.iter().flat_map(check_one).collect()
}

fn check_one(krate: &Crate) -> Vec<String> {
    let name = krate.name.as_str();
    // Tests sit above everything, so their helpers may use any crate.
    if name == TEST_ONLY {
        return Vec::new();
    }
    let Some(own) = layer_of(name) else {
        return vec![format!(
            "{name}: has no layer; add it to LAYERS in xtask/src/tidy/layers.rs"
        )];
    };
    let mut violations = Vec::new();
    for dependency in krate
        .dependencies
        .iter()
        .filter(|dependency| dependency.used == Use::Always)
    {
        let other = dependency.name.as_str();
        if other == TEST_ONLY {
            violations.push(format!(
                "{name} -> {other}: is for tests; make it a dev-dependency"
            ));
        } else if let Some((.., why)) = FORBIDDEN
            .iter()
            .find(|(from, to, _)| (*from, *to) == (name, other))
        {
            violations.push(format!("{name} -> {other}: {why}"));
        } else if layer_of(other).is_some_and(|layer| layer >= own) {
            violations.push(format!("{name} -> {other}: is not in a lower layer"));
        }
    }
    violations
}

fn layer_of(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::super::workspace::made_up::{dependency, krate};
    use super::*;

    fn violations_of(from: &str, to: &str, used: Use) -> Vec<String> {
        check(&[krate(from, vec![dependency(to, used)])])
    }

    #[test]
    fn dependencies_on_lower_layers_and_on_foreign_crates_are_allowed() {
        assert!(violations_of("pelt-lora", "pelt-hooks", Use::Always).is_empty());
        assert!(violations_of("pelt-cli", "pelt-train", Use::Always).is_empty());
        assert!(violations_of("pelt-hooks", "burn", Use::Always).is_empty());
    }

    #[test]
    fn upward_and_sideways_dependencies_are_violations() {
        for (from, to) in [
            ("pelt-hooks", "pelt-ops"),
            ("pelt-ops", "pelt-tensors"),
            ("pelt-lora", "pelt-encoder"),
            ("pelt-encoder", "pelt-lora"),
            ("pelt-lora", "pelt-adapter"),
            ("pelt-methods", "pelt-train"),
        ] {
            let expected = format!("{from} -> {to}: is not in a lower layer");
            assert_eq!(violations_of(from, to, Use::Always), [expected]);
        }
    }

    #[test]
    fn named_pairs_are_violations_although_they_point_down() {
        for (from, to) in [
            ("pelt-train", "pelt-methods"),
            ("pelt-unipelt", "pelt-encoder"),
        ] {
            let violations = violations_of(from, to, Use::Always);
            assert_eq!(violations.len(), 1);
            assert!(violations[0].starts_with(&format!("{from} -> {to}: ")));
        }
    }

    #[test]
    fn tests_may_reach_across() {
        assert!(violations_of("pelt-lora", "pelt-encoder", Use::Development).is_empty());
        assert!(violations_of("pelt-train", "pelt-methods", Use::Development).is_empty());
        assert!(violations_of("pelt-hooks", "pelt-testkit", Use::Development).is_empty());
    }

    #[test]
    fn the_test_helpers_are_no_ordinary_dependency() {
        let violations = violations_of("pelt-cli", "pelt-testkit", Use::Always);
        assert_eq!(
            violations,
            ["pelt-cli -> pelt-testkit: is for tests; make it a dev-dependency"]
        );
    }

    #[test]
    fn a_crate_without_a_layer_is_a_violation() {
        assert_eq!(check(&[krate("pelt-new", Vec::new())]).len(), 1);
    }
}
