//! Nothing that is committed names a folder of one particular machine.

use super::workspace::TextFile;

/// First components of absolute paths that differ from machine to machine.
const ROOTS: [&str; 3] = ["work", "tmp", "home"];

/// Every line of a text file that names an absolute path under one of `ROOTS`.
pub fn check(files: &[TextFile]) -> Vec<String> {
    let mut violations = Vec::new();
    for file in files {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(root) = ROOTS.iter().find(|root| names_root(line, root)) {
                violations.push(format!(
                    "{}:{}: names a path under /{root}",
                    file.path,
                    index + 1
                ));
            }
        }
    }
    violations
}

/// Whether the line holds `/root` as a whole first component, not as a later part of a longer path.
fn names_root(line: &str, root: &str) -> bool {
    let continues = |c: char| c.is_alphanumeric() || "_-.~}/\\".contains(c);
    line.match_indices(&format!("/{root}"))
        .any(|(index, found)| {
            let starts_path = !line[..index].ends_with(continues);
            let after = &line[index + found.len()..];
            starts_path && (after.starts_with('/') || !after.starts_with(continues))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations_of(text: String) -> Vec<String> {
        check(&[TextFile {
            path: "README.md".to_string(),
            text,
        }])
    }

    #[test]
    fn each_machine_path_is_a_violation() {
        for root in ROOTS {
            let expected = [format!("README.md:2: names a path under /{root}")];
            for line in [
                format!("see /{root}/a"),
                format!("\"/{root}\""),
                format!("/{root}"),
            ] {
                assert_eq!(
                    violations_of(format!("first\n{line}\n")),
                    expected,
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn later_components_and_longer_names_are_fine() {
        for line in [
            "https://example.com/home/a",
            "target/tmp/a",
            "./work/a",
            "/homes",
            "/workspace/a",
            "~/home/a",
        ] {
            assert!(violations_of(line.to_string()).is_empty(), "{line}");
        }
    }
}
