//! `cargo xtask check`: the types of what tests are not compiled with.

use std::ffi::OsString;

use anyhow::Result;

use crate::cargo;

/// The features that compile a backend in; of LibTorch, which is not needed for types, only these.
const BACKENDS: [&str; 5] = ["tch-types", "wgpu", "vulkan", "metal", "cuda"];

/// The programs that forward them.
const PROGRAMS: [&str; 3] = ["pelt-cli", "pelt-bench", "pelt-parity"];

/// The backend that the programs are checked with alone; for the others the library that opens devices is enough.
const OF_PROGRAMS: &str = "wgpu";

pub fn run() -> Result<()> {
    for features in sets() {
        println!("== {features}");
        let mut command = vec!["check", "--locked", "--package", "pelt-device"];
        if features == OF_PROGRAMS {
            for program in PROGRAMS {
                command.extend(["--package", program]);
            }
        }
        // Alone, so that nothing is there by chance that another backend brings.
        let features: Vec<String> = features
            .split(',')
            .map(|one| format!("pelt-device/{one}"))
            .collect();
        let features = features.join(",");
        command.extend(["--no-default-features", "--features", &features]);
        cargo::run_with(&command, &variables(&features))?;
    }
    Ok(())
}

/// For CUDA, cubecl fetches LLVM when it is built, but not where only documentation is made, for which types are enough.
fn variables(features: &str) -> Vec<(&'static str, OsString)> {
    match features.contains("cuda") {
        true => vec![("DOCS_RS", "1".into())],
        false => Vec::new(),
    }
}

/// Every backend alone, and all together.
fn sets() -> Vec<String> {
    let mut sets: Vec<String> = BACKENDS.map(String::from).to_vec();
    sets.push(format!("flex,{}", BACKENDS.join(",")));
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_of_the_programs_is_checked() {
        let manifest = cargo::workspace_root().join("crates/pelt-device/Cargo.toml");
        let manifest: toml::Table = std::fs::read_to_string(manifest).unwrap().parse().unwrap();
        let features = manifest["features"].as_table().unwrap();
        let all = sets().pop().unwrap();
        for feature in features.keys() {
            let checked = all.split(',').any(|one| one == feature);
            // `tch` is what `tch-types` is made of.
            assert!(checked || feature == "tch", "{feature}");
        }
    }
}
