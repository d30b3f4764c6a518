//! The files of a checkout as the rules see them.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

/// Folders that are nobody's text: built, fetched, private, or vendored.
const SKIPPED: &[&str] = &["target", ".git", ".tools", ".coreloop", "crates/vendor", "proto/third_party"];

/// Kinds of files that people write.
const KINDS: &[&str] = &["rs", "proto", "toml", "md", "sql", "yaml", "yml", "json", "sh", "js", "html", "css"];

/// A text file.
#[derive(Debug, Clone)]
pub(super) struct File {
    /// Path from the root, with `/`.
    pub(super) path: String,
    /// Content.
    pub(super) text: String,
}

impl File {
    /// Every text file that people write, sorted by path.
    pub(super) fn all(root: &Path) -> Result<Vec<Self>> {
        let mut files = Vec::new();
        walk(root, "", &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// Extension.
    pub(super) fn kind(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(_, kind)| kind)
    }

    /// Last part of the path.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Whether it is written by a tool.
    pub(super) fn generated(&self) -> bool {
        self.path.contains("/gen/") || self.path.starts_with(".sqlx/")
    }

    /// Whether all of it is test code.
    pub(super) fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.starts_with("crates/testkit/")
            || self.path.contains("/tests/")
            || ["tests.rs", "testing.rs"].contains(&self.name())
            || self.name().ends_with("_tests.rs")
            || self.name().ends_with("_test.rs")
    }

    /// Whether it is product code in Rust.
    pub(super) fn is_source(&self) -> bool {
        self.kind() == "rs" && !self.generated() && !self.is_test()
    }

    /// The lines of code with their numbers: comments, and the test module at the end, left out.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .take(self.tests_begin())
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(index, line)| (index + 1, line))
    }

    /// The lines of test code with their numbers.
    pub(super) fn test_code(&self) -> impl Iterator<Item = (usize, &str)> {
        let skip = if self.is_test() { 0 } else { self.tests_begin() };
        self.text.lines().enumerate().skip(skip).map(|(index, line)| (index + 1, line))
    }

    /// Index of the line where the test module begins, or the number of lines.
    pub(super) fn tests_begin(&self) -> usize {
        let lines: Vec<&str> = self.text.lines().collect();
        lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.starts_with("#[cfg(test)]"))
            .map(|(index, _)| index)
            .find(|index| {
                // Attributes may stand between; a module without a body lives in a file of its own.
                let item = lines.iter().skip(*index).find(|line| line.starts_with("mod ") || line.starts_with("pub"));
                item.is_some_and(|item| item.trim_end().ends_with('{'))
            })
            .unwrap_or(lines.len())
    }
}

fn walk(root: &Path, under: &str, files: &mut Vec<File>) -> Result<()> {
    let dir = root.join(under);
    for entry in fs::read_dir(&dir).with_context(|| format!("{}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if under.is_empty() { name } else { format!("{under}/{name}") };
        let kind = entry.file_type()?;
        if SKIPPED.contains(&path.as_str()) || kind.is_symlink() {
            continue;
        }
        if kind.is_dir() {
            walk(root, &path, files)?;
        } else if KINDS.contains(&path.rsplit_once('.').map_or("", |(_, kind)| kind)) || path == ".ci/run" {
            // A file that is not text is nobody's prose.
            if let Ok(text) = fs::read_to_string(entry.path()) {
                files.push(File { path, text });
            }
        }
    }
    Ok(())
}

/// A file for the tests of the rules.
#[cfg(test)]
pub(super) fn planted(path: &str, text: &str) -> Vec<File> {
    vec![File { path: path.to_owned(), text: text.to_owned() }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_modules_and_comments_are_no_code() {
        let text = "use a;\n// a comment\nfn b() {}\n\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n    c();\n}\n";
        let file = planted("a/src/x.rs", text).pop().unwrap();
        let code: Vec<&str> = file.code().map(|(_, line)| line).collect();
        assert_eq!(code, ["use a;", "fn b() {}", ""]);
        assert!(file.test_code().any(|(number, line)| number == 8 && line.contains("c();")));
    }

    #[test]
    fn a_test_module_in_its_own_file_hides_nothing() {
        let file = planted("a/src/x.rs", "#[cfg(test)]\nmod tests;\nfn b() {}\n").pop().unwrap();
        assert!(file.code().any(|(_, line)| line == "fn b() {}"));
    }
}
