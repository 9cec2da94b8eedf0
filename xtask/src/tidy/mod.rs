//! `cargo xtask tidy`: the rules of this workspace that the compiler and clippy do not check.
//!
//! Every rule is a function from plain data to a list of violations, one line each, so that its tests
//! need neither cargo nor files.

mod backends;
mod code;
mod documents;
mod layers;
mod manifests;
mod paths;
mod sources;
mod workspace;

use anyhow::{Result, bail};

use workspace::Workspace;

pub fn run() -> Result<()> {
    let workspace = Workspace::load()?;
    let mut violations = Vec::new();
    violations.extend(layers::check(&workspace.crates));
    violations.extend(backends::check(&workspace.crates));
    violations.extend(manifests::check(&workspace.crates, &workspace.lints));
    violations.extend(documents::check(
        &workspace.dependencies,
        &workspace.dependency_notes,
    ));
    violations.extend(sources::check(&workspace.files));
    violations.extend(paths::check(&workspace.files));
    for violation in &violations {
        println!("{violation}");
    }
    if !violations.is_empty() {
        bail!("tidy found {} violation(s)", violations.len());
    }
    println!(
        "tidy: {} crates and {} files follow the rules",
        workspace.crates.len(),
        workspace.files.len()
    );
    Ok(())
}
