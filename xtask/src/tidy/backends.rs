//! Libraries enable no tensor backend; the binaries choose.

use super::workspace::{Crate, Dependency, Use};

/// The cargo features of burn that compile a backend in.
const BACKENDS: [&str; 10] = [
    "flex", "tch", "wgpu", "vulkan", "webgpu", "cuda", "metal", "cpu", "ndarray", "rocm",
];

/// Crates that choose a backend: the binaries, what names their devices, the helpers that all tests are built
/// with, and the examples.
const CHOOSERS: [&str; 9] = [
    "custom-method",
    "lora-alone",
    "pelt-bench",
    "pelt-cli",
    "pelt-device",
    "pelt-parity",
    "pelt-testkit",
    "switch-backend",
    "unipelt-training",
];

/// The one library with code for a particular backend, and the optional feature that compiles it in.
const OPS: (&str, &str) = ("pelt-ops", "flex");

/// Every place where a crate that should not choose a backend does.
pub fn check(crates: &[Crate]) -> Vec<String> {
    let mut violations = Vec::new();
    for krate in crates {
        for dependency in krate
            .dependencies
            .iter()
            .filter(|dependency| dependency.name == "burn")
        {
            if dependency.default_features {
                violations.push(format!(
                    "{} -> burn: must set default-features = false",
                    krate.name
                ));
            }
        }
        if !CHOOSERS.contains(&krate.name.as_str()) {
            violations.extend(
                krate
                    .dependencies
                    .iter()
                    .flat_map(|dependency| enabled(krate, dependency)),
            );
            violations.extend(forwarded(krate));
        }
    }
    violations
}

/// Backends that one dependency entry of a library turns on.
fn enabled(krate: &Crate, dependency: &Dependency) -> Vec<String> {
    let (name, other) = (&krate.name, dependency.name.as_str());
    let in_ops = name == OPS.0 && (dependency.optional || dependency.used == Use::Development);
    if other
        .strip_prefix("burn-")
        .is_some_and(|backend| BACKENDS.contains(&backend))
        && !in_ops
    {
        return vec![format!(
            "{name} -> {other}: a library depends on no backend"
        )];
    }
    // A crate names itself among its dev-dependencies to test one of its optional features.
    let is_own_test = other == name && dependency.used == Use::Development;
    if (other != "burn" && other != OPS.0) || is_own_test {
        return Vec::new();
    }
    let backends = dependency
        .features
        .iter()
        .filter(|feature| BACKENDS.contains(&feature.as_str()));
    backends
        .map(|backend| {
            format!("{name} -> {other}: a library enables no backend, found `{backend}`")
        })
        .collect()
}

/// Backends that a library's own cargo features turn on.
fn forwarded(krate: &Crate) -> Vec<String> {
    let mut violations = Vec::new();
    for (feature, targets) in &krate.features {
        // The optional feature itself is allowed; that it is on by default is not.
        if krate.name == OPS.0 && feature == OPS.1 {
            continue;
        }
        for target in targets {
            let backend = match target.split_once('/') {
                Some((package, backend))
                    if ["burn", OPS.0].contains(&package.trim_end_matches('?')) =>
                {
                    backend
                }
                // A feature of the same crate; only the one of `OPS` can lead to a backend.
                None if krate.name == OPS.0 => target,
                _ => continue,
            };
            if BACKENDS.contains(&backend) {
                let name = &krate.name;
                violations.push(format!(
                    "{name} -> burn: feature `{feature}` of a library enables `{target}`"
                ));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::super::workspace::made_up::{dependency, krate};
    use super::*;

    fn with_feature(name: &str, other: &str, feature: &str) -> Vec<String> {
        let mut burn = dependency(other, Use::Always);
        burn.features.push(feature.to_string());
        check(&[krate(name, vec![burn])])
    }

    fn with_own_feature(name: &str, feature: &str, target: &str) -> Vec<String> {
        let mut krate = krate(name, Vec::new());
        krate
            .features
            .insert(feature.to_string(), vec![target.to_string()]);
        check(&[krate])
    }

    #[test]
    fn default_features_of_burn_are_a_violation_everywhere() {
        for name in ["pelt-lora", "pelt-cli"] {
            let mut burn = dependency("burn", Use::Always);
            burn.default_features = true;
            let expected = format!("{name} -> burn: must set default-features = false");
            assert_eq!(check(&[krate(name, vec![burn])]), [expected]);
        }
    }

    #[test]
    fn every_backend_feature_in_a_library_is_a_violation() {
        for backend in BACKENDS {
            let expected =
                format!("pelt-lora -> burn: a library enables no backend, found `{backend}`");
            assert_eq!(with_feature("pelt-lora", "burn", backend), [expected]);
        }
        assert_eq!(with_feature("pelt-train", "pelt-ops", "flex").len(), 1);
        assert!(with_feature("pelt-lora", "burn", "std").is_empty());
    }

    #[test]
    fn binaries_and_test_helpers_choose_a_backend() {
        assert!(with_feature("pelt-cli", "burn", "flex").is_empty());
        assert!(with_feature("pelt-testkit", "burn", "flex").is_empty());
        assert!(with_own_feature("pelt-cli", "cuda", "burn/cuda").is_empty());
    }

    #[test]
    fn a_library_feature_that_enables_a_backend_is_a_violation() {
        assert_eq!(with_own_feature("pelt-train", "fast", "burn/flex").len(), 1);
        assert_eq!(
            with_own_feature("pelt-train", "fast", "burn?/wgpu").len(),
            1
        );
        assert_eq!(
            with_own_feature("pelt-train", "fast", "pelt-ops/flex").len(),
            1
        );
        assert!(with_own_feature("pelt-train", "sets", "burn/dataset").is_empty());
    }

    #[test]
    fn the_ops_crate_has_one_optional_backend_feature() {
        assert!(with_own_feature("pelt-ops", "flex", "burn/flex").is_empty());
        assert_eq!(with_own_feature("pelt-ops", "default", "flex").len(), 1);
        assert_eq!(with_own_feature("pelt-ops", "gpu", "burn/cuda").len(), 1);
    }

    #[test]
    fn the_ops_crate_may_test_its_own_backend_feature() {
        let mut own = dependency("pelt-ops", Use::Development);
        own.features.push("flex".to_string());
        assert!(check(&[krate("pelt-ops", vec![own.clone()])]).is_empty());
        assert_eq!(check(&[krate("pelt-lora", vec![own])]).len(), 1);
    }

    #[test]
    fn backend_crates_are_optional_in_the_ops_crate_and_forbidden_elsewhere() {
        let mut flex = dependency("burn-flex", Use::Always);
        let expected = "pelt-lora -> burn-flex: a library depends on no backend";
        assert_eq!(check(&[krate("pelt-lora", vec![flex.clone()])]), [expected]);
        assert_eq!(check(&[krate("pelt-ops", vec![flex.clone()])]).len(), 1);
        flex.optional = true;
        assert!(check(&[krate("pelt-ops", vec![flex])]).is_empty());
    }
}
