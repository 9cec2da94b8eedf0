//! Every crate takes what all crates share from the workspace.

use super::workspace::Crate;

/// Keys of `[package]` that must read `KEY.workspace = true`.
const INHERITED: [&str; 6] = [
    "version",
    "edition",
    "rust-version",
    "license",
    "repository",
    "publish",
];

/// The one crate whose lints differ: it may hold unsafe code, each place marked. Cargo cannot override a single
/// inherited lint, so its table repeats the workspace's.
const UNSAFE_CRATE: &str = "pelt-ops";

/// Every manifest that sets for itself what the workspace sets for all; `lints` is the workspace's table.
pub fn check(crates: &[Crate], lints: &toml::Table) -> Vec<String> {
    crates
        .iter()
        .flat_map(|krate| check_one(krate, lints))
        .collect()
}

fn check_one(krate: &Crate, lints: &toml::Table) -> Vec<String> {
    let name = &krate.name;
    let mut violations = Vec::new();
    if *name != krate.folder {
        violations.push(format!(
            "{name}: lies in a folder of another name, `{}`",
            krate.folder
        ));
    }
    let package = krate.manifest.get("package");
    for key in INHERITED {
        if !is_inherited(package.and_then(|package| package.get(key))) {
            violations.push(format!(
                "{name}: its manifest must say `{key}.workspace = true`"
            ));
        }
    }
    let own_lints = krate.manifest.get("lints");
    if name == UNSAFE_CRATE {
        if own_lints.and_then(toml::Value::as_table) != Some(&with_unsafe(lints)) {
            violations.push(format!(
                "{name}: its lints must be the workspace's, with `unsafe_code = \"deny\"`"
            ));
        }
    } else if !is_inherited(own_lints) {
        violations.push(format!(
            "{name}: its manifest must say `workspace = true` under `[lints]`"
        ));
    }
    for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let entries = krate.manifest.get(table).and_then(toml::Value::as_table);
        for (dependency, entry) in entries.into_iter().flatten() {
            // A crate that names itself, to test one of its optional features, gives its own path.
            if dependency != name && !is_inherited(Some(entry)) {
                violations.push(format!(
                    "{name} -> {dependency}: must take its version from the workspace"
                ));
            }
        }
    }
    violations
}

/// The workspace's lints, with unsafe code denied instead of forbidden, so that single places can allow it.
fn with_unsafe(lints: &toml::Table) -> toml::Table {
    let mut lints = lints.clone();
    if let Some(rust) = lints.get_mut("rust").and_then(toml::Value::as_table_mut) {
        rust.insert("unsafe_code".to_string(), "deny".into());
    }
    lints
}

fn is_inherited(value: Option<&toml::Value>) -> bool {
    value
        .and_then(|value| value.get("workspace"))
        .and_then(toml::Value::as_bool)
        == Some(true)
}

#[cfg(test)]
mod tests {
    use super::super::workspace::made_up::krate;
    use super::*;

    const GOOD: &str = "
[package]
name = \"pelt-lora\"
version.workspace = true
edition.workspace = true
rust-version.workspace = true
license.workspace = true
repository.workspace = true
publish.workspace = true

[lints]
workspace = true

[dependencies]
serde = { workspace = true }
";

    fn violations_of(manifest: &str) -> Vec<String> {
        let mut krate = krate("pelt-lora", Vec::new());
        krate.manifest = toml::from_str(manifest).unwrap();
        check(&[krate], &toml::Table::new())
    }

    #[test]
    fn a_manifest_that_inherits_everything_is_fine() {
        assert_eq!(violations_of(GOOD), Vec::<String>::new());
    }

    #[test]
    fn each_key_that_is_not_inherited_is_a_violation() {
        for key in INHERITED {
            let own = GOOD.replace(
                &format!("\n{key}.workspace = true"),
                &format!("\n{key} = \"1\""),
            );
            let expected = format!("pelt-lora: its manifest must say `{key}.workspace = true`");
            assert_eq!(violations_of(&own), [expected]);
        }
    }

    #[test]
    fn a_missing_lints_table_is_a_violation() {
        let without = GOOD.replace("[lints]\nworkspace = true", "");
        assert_eq!(
            violations_of(&without),
            ["pelt-lora: its manifest must say `workspace = true` under `[lints]`"]
        );
    }

    #[test]
    fn the_unsafe_crate_repeats_the_lints_of_the_workspace() {
        let lints = "rust.missing_docs = \"warn\"\nrust.unsafe_code = \"forbid\"";
        let lints: toml::Table = toml::from_str(lints).unwrap();
        let violations_of = |own: &str| {
            let own = format!("[lints.rust]\n{own}");
            let mut krate = krate(UNSAFE_CRATE, Vec::new());
            krate.manifest =
                toml::from_str(&GOOD.replace("[lints]\nworkspace = true", &own)).unwrap();
            check(&[krate], &lints)
        };
        let equal = "missing_docs = \"warn\"\nunsafe_code = \"deny\"";
        assert_eq!(violations_of(equal), Vec::<String>::new());
        assert_eq!(violations_of("unsafe_code = \"deny\"").len(), 1);
        assert_eq!(violations_of(&equal.replace("deny", "allow")).len(), 1);
    }

    #[test]
    fn a_dependency_with_its_own_version_is_a_violation() {
        let own = GOOD.replace("serde = { workspace = true }", "serde = \"1\"");
        assert_eq!(
            violations_of(&own),
            ["pelt-lora -> serde: must take its version from the workspace"]
        );
    }

    #[test]
    fn a_folder_of_another_name_is_a_violation() {
        let mut krate = krate("pelt-lora", Vec::new());
        krate.manifest = toml::from_str(GOOD).unwrap();
        krate.folder = "lora".to_string();
        assert_eq!(
            check(&[krate], &toml::Table::new()),
            ["pelt-lora: lies in a folder of another name, `lora`"]
        );
    }
}
