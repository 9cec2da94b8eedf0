//! What the rules look at, read once from cargo, git and the checkout.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use cargo_metadata::DependencyKind;

use crate::cargo;

/// When a dependency is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// By the crate itself or its build script.
    Always,
    /// By the crate's tests and examples only.
    Development,
}

/// One entry of a crate's dependency tables, with what it inherits from the workspace.
#[derive(Clone, Debug)]
pub struct Dependency {
    pub name: String,
    pub used: Use,
    pub features: Vec<String>,
    pub default_features: bool,
    pub optional: bool,
}

/// One package of the workspace.
#[derive(Clone, Debug)]
pub struct Crate {
    pub name: String,
    /// The name of the folder that holds it.
    pub folder: String,
    pub dependencies: Vec<Dependency>,
    /// The crate's own cargo features and what each turns on.
    pub features: BTreeMap<String, Vec<String>>,
    /// The text of its `Cargo.toml`, parsed but with nothing inherited filled in.
    pub manifest: toml::Table,
}

/// One text file that is, or would be, committed.
#[derive(Clone, Debug)]
pub struct TextFile {
    /// Relative to the top folder, with forward slashes.
    pub path: String,
    pub text: String,
}

/// Everything that the rules look at.
#[derive(Debug)]
pub struct Workspace {
    pub crates: Vec<Crate>,
    /// Names in `[workspace.dependencies]` that are not this workspace's own crates.
    pub dependencies: Vec<String>,
    /// `[workspace.lints]`.
    pub lints: toml::Table,
    /// The text of `docs/dependencies.md`.
    pub dependency_notes: String,
    pub files: Vec<TextFile>,
}

impl Workspace {
    pub fn load() -> Result<Self> {
        let root = cargo::workspace_root();
        let manifest = parse_manifest(&root.join("Cargo.toml"))?;
        Ok(Self {
            crates: load_crates()?,
            dependencies: third_party(&manifest),
            lints: shared(&manifest, "lints").cloned().unwrap_or_default(),
            // A missing file is reported by the rule, entry by entry.
            dependency_notes: std::fs::read_to_string(root.join("docs/dependencies.md"))
                .unwrap_or_default(),
            files: load_files(&root)?,
        })
    }
}

fn load_crates() -> Result<Vec<Crate>> {
    let mut crates = Vec::new();
    for package in cargo::metadata()?.packages {
        let folder = package
            .manifest_path
            .parent()
            .and_then(|folder| folder.file_name());
        let dependencies = package.dependencies.iter().map(|dependency| Dependency {
            name: dependency.name.clone(),
            used: match dependency.kind {
                DependencyKind::Development => Use::Development,
                _ => Use::Always,
            },
            features: dependency.features.clone(),
            default_features: dependency.uses_default_features,
            optional: dependency.optional,
        });
        crates.push(Crate {
            name: package.name.to_string(),
            folder: folder.unwrap_or_default().to_string(),
            dependencies: dependencies.collect(),
            features: package.features.clone(),
            manifest: parse_manifest(package.manifest_path.as_std_path())?,
        });
    }
    Ok(crates)
}

fn parse_manifest(path: &Path) -> Result<toml::Table> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is not valid TOML", path.display()))
}

/// A table under `[workspace]`.
fn shared<'a>(manifest: &'a toml::Table, table: &str) -> Option<&'a toml::Table> {
    manifest.get("workspace")?.get(table)?.as_table()
}

/// The names in a top-level manifest's `[workspace.dependencies]` that do not point into the workspace.
fn third_party(manifest: &toml::Table) -> Vec<String> {
    let entries = shared(manifest, "dependencies");
    let foreign = entries
        .into_iter()
        .flatten()
        .filter(|(_, value)| value.get("path").is_none());
    foreign.map(|(name, _)| name.clone()).collect()
}

/// Tracked files, and new ones that git does not ignore; files that are not UTF-8 text are left out.
fn load_files(root: &Path) -> Result<Vec<TextFile>> {
    let listing = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .context("cannot start `git ls-files`")?;
    if !listing.status.success() {
        bail!(
            "`git ls-files` failed: {}",
            String::from_utf8_lossy(&listing.stderr).trim()
        );
    }
    let listing =
        String::from_utf8(listing.stdout).context("a tracked file's name is not UTF-8")?;
    let mut files = Vec::new();
    for path in listing.split('\0').filter(|path| !path.is_empty()) {
        let file = root.join(path);
        // A file that was deleted but not yet committed is still listed.
        if !file.is_file() {
            continue;
        }
        let bytes = std::fs::read(&file).with_context(|| format!("cannot read {path}"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(TextFile {
                path: path.to_string(),
                text,
            });
        }
    }
    Ok(files)
}

#[cfg(test)]
pub mod made_up {
    //! Small made-up crates for the tests of the rules.

    use super::{Crate, Dependency, Use};

    pub fn krate(name: &str, dependencies: Vec<Dependency>) -> Crate {
        Crate {
            name: name.to_string(),
            folder: name.to_string(),
            dependencies,
            features: Default::default(),
            manifest: Default::default(),
        }
    }

    pub fn dependency(name: &str, used: Use) -> Dependency {
        Dependency {
            name: name.to_string(),
            used,
            features: Vec::new(),
            default_features: false,
            optional: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspace_crates_are_not_third_party() {
        let text = "[workspace.dependencies]\nours = { path = \"crates/ours\" }\nserde = \"1\"\nburn = { version = \"1\" }";
        let names = third_party(&toml::from_str(text).unwrap());
        assert_eq!(names, ["burn", "serde"]);
    }
}
