//! Source files stay short, and libraries leave the terminal, the process and the environment alone.

use super::code;
use super::workspace::TextFile;

const MOST_LINES: usize = 600;

/// Crates whose code may talk to the terminal: the binaries, and the helpers of the tests.
const TALKING: [&str; 5] = [
    "pelt-cli",
    "pelt-bench",
    "pelt-grid",
    "pelt-parity",
    "pelt-testkit",
];

/// What a library must not contain, without anything that may stand before it.
const FORBIDDEN: [&str; 7] = [
    "println!",
    "print!",
    "eprintln!",
    "eprint!",
    "dbg!",
    "process::exit",
    "env::var",
];

/// Every file that is too long, and every line of a library that does what only a binary may.
pub fn check(files: &[TextFile]) -> Vec<String> {
    let sources = files.iter().filter(|file| file.path.ends_with(".rs"));
    sources
        .flat_map(|file| too_long(file).into_iter().chain(side_effects(file)))
        .collect()
}

fn too_long(file: &TextFile) -> Option<String> {
    let lines = file.text.lines().count();
    let path = &file.path;
    (lines > MOST_LINES)
        .then(|| format!("{path}: has {lines} lines, at most {MOST_LINES} are allowed"))
}

fn side_effects(file: &TextFile) -> Vec<String> {
    if !is_library_code(&file.path) {
        return Vec::new();
    }
    let code = code::without_tests(&code::without_comments_and_literals(&file.text));
    let mut violations = Vec::new();
    for (index, line) in code.lines().enumerate() {
        for word in FORBIDDEN.iter().filter(|word| contains_word(line, word)) {
            violations.push(format!(
                "{}:{}: a library must not use `{word}`",
                file.path,
                index + 1
            ));
        }
    }
    violations
}

/// Whether a file is compiled into a library crate, tests not counted.
fn is_library_code(path: &str) -> bool {
    let Some((krate, inside)) = path
        .strip_prefix("crates/")
        .and_then(|path| path.split_once('/'))
    else {
        return false;
    };
    let is_test = inside.ends_with("/tests.rs") || inside.contains("/tests/");
    inside.starts_with("src/") && !is_test && !TALKING.contains(&krate)
}

fn contains_word(line: &str, word: &str) -> bool {
    let starts_a_name =
        |index: usize| !line[..index].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    line.match_indices(word)
        .any(|(index, _)| starts_a_name(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations_of(path: &str, text: &str) -> Vec<String> {
        check(&[TextFile {
            path: path.to_string(),
            text: text.to_string(),
        }])
    }

    #[test]
    fn a_file_of_601_lines_is_a_violation() {
        assert!(violations_of("xtask/src/main.rs", &"\n".repeat(600)).is_empty());
        let expected = ["xtask/src/main.rs: has 601 lines, at most 600 are allowed"];
        assert_eq!(
            violations_of("xtask/src/main.rs", &"\n".repeat(601)),
            expected
        );
        assert!(violations_of("README.md", &"\n".repeat(601)).is_empty());
    }

    #[test]
    fn each_side_effect_in_a_library_is_one_violation() {
        for word in FORBIDDEN {
            let text = format!("fn a() {{\n    std::{word}(1);\n}}\n");
            let expected =
                format!("crates/pelt-lora/src/lib.rs:2: a library must not use `{word}`");
            assert_eq!(
                violations_of("crates/pelt-lora/src/lib.rs", &text),
                [expected]
            );
        }
    }

    #[test]
    fn comments_strings_and_tests_of_a_library_are_free() {
        let text = "// println!\nconst A: &str = \"println!\";\n#[cfg(test)]\nmod tests {\n    fn a() { println!() }\n}\n";
        assert!(violations_of("crates/pelt-lora/src/lib.rs", text).is_empty());
        assert!(violations_of("crates/pelt-lora/tests/all.rs", "fn a() { println!() }").is_empty());
        assert!(
            violations_of(
                "crates/pelt-lora/src/form/tests.rs",
                "fn a() { println!() }"
            )
            .is_empty()
        );
    }

    #[test]
    fn binaries_are_free() {
        assert!(violations_of("crates/pelt-cli/src/main.rs", "fn a() { println!() }").is_empty());
        assert!(violations_of("xtask/src/main.rs", "fn a() { println!() }").is_empty());
    }
}
