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

/// Every manifest that sets for itself what the workspace sets for all.
pub fn check(crates: &[Crate]) -> Vec<String> {
    crates.iter().flat_map(check_one).collect()
}

fn check_one(krate: &Crate) -> Vec<String> {
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
    if !is_inherited(krate.manifest.get("lints")) {
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
        check(&[krate])
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
            check(&[krate]),
            ["pelt-lora: lies in a folder of another name, `lora`"]
        );
    }
}
